"""Steps made ready for many pairs: what they make of one. Knows no database."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

from curator.cleaning.literal import SECONDS_A_TEXT, Clean, shown
from curator.cleaning.steps import FIELDS, Step
from curator.errors import UserError


def fields_of(steps: Sequence[Step]) -> list[str]:
    """Return the fields that some steps clean, in their usual order."""
    return [name for name in FIELDS if any(name in step.fields for step in steps)]


class Cleaner:
    """Steps made ready for many pairs."""

    def __init__(self, steps: Sequence[Step]) -> None:
        if not steps:
            raise UserError("Choose at least one step.")
        self.steps = tuple(steps)
        self.fields = fields_of(steps)
        made = [step.clean() for step in steps]
        self.plans: list[list[tuple[int, Clean]]] = [
            [
                (number, clean)
                for number, (step, clean) in enumerate(zip(steps, made, strict=True))
                if name in step.fields
            ]
            for name in self.fields
        ]
        self.counted: list[tuple[int, int]] = []  # what the last pair met: (step, places)

    def clean(self, row: Sequence[Any]) -> dict[str, Any]:
        """Return the new values of the fields that change; a row is an id and the values of `fields`.

        Raises UserError where a pattern takes too long.
        """
        values: dict[str, Any] = {}
        counted = self.counted = []
        for name, plan, value in zip(self.fields, self.plans, row[1:], strict=True):
            if not value or value == "[]":
                continue
            try:
                if name == "history":
                    turns = json.loads(value) if isinstance(value, str) else value
                    after = [turn | {"content": self.through(plan, turn["content"], counted)} for turn in turns]
                    if after != turns:
                        values[name] = after
                else:
                    cleaned = self.through(plan, value, counted)
                    if cleaned != value:
                        values[name] = cleaned
            except TimeoutError:
                patterns = " or ".join(shown(self.steps[n].option("find")) for n, _ in plan if self.is_slow(n))
                raise UserError(
                    f"The pattern {patterns} was stopped: it took more than {SECONDS_A_TEXT:g} s on the {name} of "
                    f"pair {row[0]}. Nothing was changed. Write it without a repetition inside a repetition."
                ) from None
        return values

    def is_slow(self, number: int) -> bool:
        """Return whether a step can take for ever."""
        return self.steps[number].kind == "regex"

    @staticmethod
    def through(plan: list[tuple[int, Clean]], value: str, counted: list[tuple[int, int]]) -> str:
        """Return what steps make of a text, each taking what the one before it left."""
        for number, clean in plan:
            cleaned, places = clean(value)
            if cleaned != value:
                counted.append((number, places))
                value = cleaned
        return value


def is_emptied(values: dict[str, Any]) -> bool:
    """Return whether nothing would be left of a question, an answer or a turn. The rest may be empty."""
    needed = [values[name] for name in ("question", "answer") if name in values]
    needed += [turn["content"] for turn in values.get("history", ())]
    return not all(map(str.strip, needed))


def texts_of(values: dict[str, Any]) -> list[str]:
    """Return the texts of some values, turn by turn."""
    if "history" not in values:
        return list(values.values())
    turns = [turn["content"] for turn in values["history"]]
    return [text for name, value in values.items() for text in (turns if name == "history" else (value,))]


def digested(pair_id: int, values: dict[str, Any], digest: int) -> int:
    """Return the checksum of one more change. Raises UserError where a text could not be kept."""
    said = "\n".join(texts_of(values))
    try:
        written = f"{pair_id} {' '.join(values)}\n{said}".encode()
    except UnicodeEncodeError:
        raise UserError(f"Pair {pair_id} would hold half of a surrogate pair, which no database keeps.") from None
    if "\0" in said:
        raise UserError(f"Pair {pair_id} would hold a NUL character, which no database keeps.")
    return zlib.crc32(written, digest)
