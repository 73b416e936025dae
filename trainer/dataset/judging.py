"""Rows of preferences in: two answers of which one is better, or one answer and whether it is good. Knows no file."""

from __future__ import annotations

import json
from typing import Any

from trainer.dataset.messages import Messages, as_object, checked

SHAPES = {
    "dpo": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
}
WRITTEN_BY = {
    "sft": "flask export --jsonl",
    "dpo": "flask export --ratings dpo",
    "kto": "flask export --ratings kto",
}


def read_pair(line: str) -> tuple[Messages, str]:
    """Return the conversation that ends with the better answer, and the other answer.

    Raises ValueError with what is wrong about the line, in words.
    """
    record = as_object(line)
    check_shape(record, "dpo")
    prompt = turns(record["prompt"], "user", "prompt")
    chosen, rejected = (answer(record[name], name) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise ValueError("has the same answer as chosen and as rejected.")
    check_bad(prompt, rejected)
    return checked([*prompt, {"role": "assistant", "content": chosen}]), rejected


def read_judgement(line: str) -> tuple[Messages, bool]:
    """Return the conversation that ends with the answer, and whether that is good.

    Raises ValueError with what is wrong about the line, in words.
    """
    record = as_object(line)
    check_shape(record, "kto")
    if not isinstance(record["label"], bool):
        raise ValueError(f"has the label {json.dumps(record['label'])[:40]}, which must be true or false.")
    prompt = turns(record["prompt"], "user", "prompt")
    text = answer(record["completion"], "completion")
    if not record["label"]:
        return [*check_bad(prompt, text), {"role": "assistant", "content": text}], False
    return checked([*prompt, {"role": "assistant", "content": text}]), True


def check_bad(prompt: Messages, text: str) -> Messages:
    """Return the prompt of a bad answer. To say nothing is one too, and to be learnt from. Raises ValueError."""
    return checked([*prompt, {"role": "assistant", "content": text if text.strip() else "."}])[:-1]


def check_shape(record: dict[str, Any], method: str) -> None:
    if missing := [name for name in SHAPES[method] if name not in record]:
        found = ", ".join(list(record)[:5]) or "nothing"
        fits = next((other for other, names in SHAPES.items() if set(names) <= set(record)), None)
        hint = f" Such rows are for --method {fits}." if fits else ""
        raise ValueError(f"has no {missing[0]}, which --method {method} learns from, but {found}.{hint}")


def turns(value: Any, role: str, name: str) -> Messages:
    """Return a text as one message of a role, and messages as they are."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise ValueError(f"has no text and no list of messages as {name}.")
    return value


def answer(value: Any, name: str) -> str:
    messages = turns(value, "assistant", name)
    if len(messages) != 1 or not isinstance(messages[0], dict) or messages[0].get("role") != "assistant":
        raise ValueError(f"has a {name} that is not one answer of the assistant.")
    content = messages[0].get("content")
    if not isinstance(content, str):
        raise ValueError(f"has no text as {name}.")
    return content
