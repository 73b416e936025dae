"""What the form of a training asks, and how it calls what the trainer calls otherwise. Reads and starts nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

USUAL = "as usual"
COMMAND = re.compile(r"\b(flask|python -m) \w")


class Option(NamedTuple):
    """An option of the trainer as the form asks for it; the trainer itself says what is wrong with a value."""

    name: str
    title: str
    hint: str
    choices: Mapping[str, str] = MappingProxyType({})  # what the trainer takes, and what the form calls it


CHOICES = {
    "method": {"": "answers", "dpo": "chosen and rejected answers (DPO)", "kto": "answers judged good or bad (KTO)"},
    "quantisation": {"": USUAL, "nf4": "4 bits (NF4)", "int8": "8 bits (INT8)", "none": "as it is"},
    "adapter": {"": USUAL, "lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "none": "none"},
    "schedule": {"": USUAL, **{name: name for name in ("cosine", "linear", "constant", "plateau")}},
}
FEW = (
    Option("epochs", "Epochs", "passes over the lines; empty: 3, or 12 for a small base"),
    Option("learning_rate", "Learning rate", "empty: by the width of the base"),
    Option("quantisation", "Base kept in", "4 bits take the least memory", CHOICES["quantisation"]),
)
MORE = (
    Option("method", "Learn from", "judged ones: from an export of ratings", CHOICES["method"]),
    Option("adapter", "Adapter", "none trains all weights", CHOICES["adapter"]),
    Option("rank", "Rank", "empty: 16, or 64 for a narrow base"),
    Option("alpha", "Alpha", "empty: twice the rank"),
    Option("dropout", "Dropout", "share from 0 to below 1"),
    Option("batch_size", "Lines a step", "empty: 16"),
    Option("max_tokens", "Tokens of a line", "longer lines are left out; empty: 99.5\u00a0% fit"),
    Option("schedule", "Schedule", "of the learning rate", CHOICES["schedule"]),
    Option("patience", "Patience", "evaluations without gain; empty: 4"),
    Option("seed", "Seed", "empty: 1"),
)
TITLES = {"base": "Base", **{option.name: option.title for option in (*FEW, *MORE)}}
OPTIONS = ("base", *(option.name for option in (*FEW, *MORE)))


def words(data: str, options: Mapping[str, str], output: str = "") -> list[str]:
    """Return the words after `run` or `plan` that mean these options."""
    found = [data, *(f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value)]
    return [*found, f"--output={output}"] if output else found


def in_words_of_the_form(said: str) -> str:
    """Return what the trainer says of its options with the names that the form has for them; commands stay as they are.

    Of the one that the form leaves out on purpose, it says where there is one.
    """

    def titled(found: re.Match[str]) -> str:
        title = TITLES.get(found[1].replace("-", "_"))
        if COMMAND.search(said[: found.start()].rpartition(": ")[2]):
            return found[0]
        return f"“{title}”" if title else f"{found[0]}, in a terminal" if found[1] == "force" else found[0]

    return re.sub(r"(?<!\S)--([a-z]+(?:-[a-z]+)*)", titled, said)


def asked_again(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that a run was asked for, as the form takes them; none where its record does not say."""
    match record:
        case {"config": {"asked": {"method": method, **asked}}}:
            asked |= {"method": None if method == "sft" else method}
            given = {name: asked[name] for name in OPTIONS if isinstance(asked.get(name), str | int | float)}
            return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in given.items()}
    return {}


def spoken(name: str, value: str) -> str:
    """Return what the form calls a choice of an option."""
    return CHOICES[name].get(value, value)
