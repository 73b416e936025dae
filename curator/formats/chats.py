"""Conversations to messages: a list of turns in any common notation, or one text with marks between its turns."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import Any

from curator.formats.records import Refusal, shorten
from curator.text import Message

# OpenAI's roles, ShareGPT's, Open Assistant's, and the marks of Guanaco and Alpaca texts.
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "instruction": "user", "input": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "response": "assistant", "output": "assistant",
    "inst": "user", "/inst": "assistant",
}  # fmt: skip
TOOL_ROLES = ("tool", "function", "observation", "function_call", "tool_call", "function_response", "tool_response")
WHO, WORDS = ("role", "from"), ("content", "value")  # how OpenAI and ShareGPT name the two parts of a turn
MARKS = (
    re.compile(r"###\s*(Human|User|Assistant|System|Instruction|Input|Response):", re.IGNORECASE),
    re.compile(r"(?:\A|\n)\s*(Human|Assistant|System):"),  # Anthropic's HH-RLHF
)
# Texts that went through a chat template: they begin with its mark, and each turn may end with a token of its own.
TEMPLATE_MARKS = (
    re.compile(r"<\|im_start\|>(system|user|assistant)\n"),  # ChatML: Qwen, Yi and many more
    re.compile(r"<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\n"),  # Llama 3
    re.compile(r"<start_of_turn>(user|model)\n"),  # Gemma
    re.compile(r"<\|(system|user|assistant)\|>\n"),  # Zephyr and Phi
    re.compile(r"\[(/?INST)\]"),  # Llama 2 and Mistral
)
TEMPLATE_TOKEN = re.compile(
    r"<\|(?:im_end|eot_id|end|endoftext|begin_of_text|end_of_text)\|>|<end_of_turn>|</?s>|<bos>|<eos>"
)
LLAMA_2_SYSTEM = re.compile(r"\A<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def read_turns(chat: list[Any], line: int) -> list[Message] | Refusal:
    """Return turns with known roles and a text each, or what is wrong with the first that has not."""
    found: list[Message] = []
    for number, turn in enumerate(chain.from_iterable(map(apart, chat)), 1):
        who = next((turn[name] for name in WHO if name in turn), None) if isinstance(turn, dict) else None
        if who is None:
            return Refusal(line, f"has no role in message {number}.")
        if str(who).casefold() in TOOL_ROLES:
            return Refusal(line, f"has the role {str(who)!r} in message {number}, and a pair keeps text only.")
        if turn.get("tool_calls") or turn.get("function_call"):
            return Refusal(line, f"calls a tool in message {number}, and a pair keeps text only.")
        role = ROLES.get(str(who).casefold())
        if role is None:
            return Refusal(
                line, f"has the role {shorten(str(who))!r} in message {number}. Use system, user or assistant."
            )  # fmt: skip
        words = next((turn[name] for name in WORDS if turn.get(name) is not None), None)
        content = text_of(words)
        if content is None:
            parts = words if isinstance(words, list) else []
            kinds = [part.get("type", "text") for part in parts if isinstance(part, dict)]
            other = next((kind for kind in kinds if kind != "text"), "")
            if other:
                return Refusal(line, f"holds {shorten(str(other))} in message {number}, and a pair keeps text only.")
            return Refusal(line, f"has no text in message {number}, from the {role}.")
        found.append({"role": role, "content": content})
    return found


def apart(turn: Any) -> list[Any]:
    """Return the turns of a round like {"human": "Hi", "assistant": "Hello"}; another turn as it is."""
    if not isinstance(turn, dict) or not turn or not all(str(who).casefold() in ROLES for who in turn):
        return [turn]
    return [
        {"role": who, "content": words} for who, words in turn.items() if words or ROLES[who.casefold()] != "system"
    ]


def text_of(content: Any) -> str | None:
    """Return the text of a message: a string, or OpenAI's list of text parts; None if it has other parts."""
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        texts = [part.get("text", part.get("value")) for part in content if part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(texts)
        return None
    return content if isinstance(content, str) else None


def read_history(value: Any, line: int) -> list[Message] | Refusal:
    """Return earlier turns: messages, Alpaca's [[question, answer], …], or one of the two as JSON text."""
    chat = as_list(value or [])
    if chat is None:
        return Refusal(line, "has a history that is not a list of messages.")
    if chat and all(isinstance(turn, list) and len(turn) == 2 for turn in chat):
        chat = [
            {"role": role, "content": words}
            for turn in chat
            for role, words in zip(("user", "assistant"), turn, strict=True)
        ]
    return read_turns(chat, line)


def as_list(value: Any) -> list[Any] | None:
    """Return a list, or the list that a text holds as JSON, as the cell of a CSV does; None where it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def split_text(text: str) -> list[Message]:
    """Return the turns of a text like "### Human: Hi### Assistant: Hello", none where no mark is found.

    White space around a turn belongs to the notation and goes. What stands before the first mark is
    the system message; an "### Input:" belongs to the instruction above it.
    """
    if templated := split_template(text):
        return templated
    for mark in MARKS:
        before, *parts = mark.split(text)
        found = [{"role": "system", "content": before.strip()}] if before.strip() else []
        for who, words in zip(parts[::2], parts[1::2], strict=True):
            if who.casefold() == "input" and found and found[-1]["role"] == "user":
                found[-1]["content"] = "\n\n".join(filter(None, [found[-1]["content"], words.strip()]))
            else:
                found.append({"role": ROLES[who.casefold()], "content": words.strip()})
        if parts:
            return found
    return []


def split_template(text: str) -> list[Message]:
    """Return the turns of a text like "<|im_start|>user\\nHi<|im_end|>", none where it begins with no such mark."""
    for mark in TEMPLATE_MARKS:
        before, *parts = mark.split(text)
        if parts and not TEMPLATE_TOKEN.sub("", before).strip():
            turns = [TEMPLATE_TOKEN.sub("", words).strip() for words in parts[1::2]]
            found = [{"role": ROLES[who.casefold()], "content": w} for who, w in zip(parts[::2], turns, strict=True)]
            if system := LLAMA_2_SYSTEM.match(turns[0]):
                found[0]["content"] = turns[0][system.end() :].strip()
                found.insert(0, {"role": "system", "content": system.group(1).strip()})
            return found
    return []
