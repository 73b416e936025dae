"""What reading gives: records with their lines, refusals with their reasons. Every kind of file gives the same."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from curator.errors import UserError

MAX_CELL_BYTES = 16 * 2**20
MAX_RECORD_BYTES = 4 * MAX_CELL_BYTES  # a longer line is no record, and would fill the memory
SURROGATE = re.compile("[\ud800-\udfff]")
BROKEN_BYTE = re.compile("[\udc00-\udcff]")
MAX_RAW_CHARACTERS = 10_000  # of a record that can't be read, kept to be mended
KEPT, REASONS, NAMED = 1000, 10, 4  # refusals of a file, reasons that are said, and lines that are named for each
MAX_DEPTH = 100  # lists and objects in each other; Python itself gives up near a thousand


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: the line that it begins on, from 1, and its fields."""

    line: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What could not be read, and why, in one sentence without the name of the file."""

    line: int
    reason: str
    fields: dict[str, Any] = field(default_factory=dict, compare=False)  # as far as they were read, to be mended


@dataclass
class Refusals:
    """What was refused of a file: all of it counted, the first of it kept. There may be millions."""

    count: int = 0
    first: list[Refusal] = field(default_factory=list)  # KEPT of them, without their fields
    lines: dict[str, list[int]] = field(default_factory=dict)  # the first few of each of the first REASONS
    by_reason: Counter[str] = field(default_factory=Counter)  # of the same reasons, all lines
    listener: Callable[[Refusal], object] = lambda refusal: None  # told of each, whole

    def __len__(self) -> int:
        return self.count

    def add(self, refusal: Refusal) -> None:
        """Take one more into account."""
        self.listener(refusal)
        self.count += 1
        if len(self.first) < KEPT:
            self.first.append(Refusal(refusal.line, refusal.reason))
        if refusal.reason in self.lines or len(self.lines) < REASONS:
            self.by_reason[refusal.reason] += 1
            lines = self.lines.setdefault(refusal.reason, [])
            if len(lines) < NAMED:
                lines.append(refusal.line)

    def sentences(self, name: str) -> Iterator[str]:
        """Yield for each of the first reasons which lines of the file of that name were refused for it."""
        for reason, (first, *others) in self.lines.items():
            more = self.by_reason[reason] - NAMED
            also = ", ".join(f"{line:,}" for line in others) + (f" and {more:,} more" if more > 0 else "")
            yield f"{name} line {first} {reason}" + (f" (Also: {also}.)" if also else "")
        if rest := self.count - self.by_reason.total():
            yield f"… and {rest:,} more."


@dataclass
class Reading:
    """A file opened for reading: iterate it, as often as needed, for its records and refusals."""

    name: str
    kind: str  # as a person would say it: "CSV, comma, UTF-8"
    headers: list[str] = field(default_factory=list)  # of a table
    delimiter: str = ""  # of a table, by its name
    encoding: str = ""  # of a text
    records: Callable[[], Iterator[Record | Refusal]] = lambda: iter(())
    estimate: Callable[[int], int | None] = lambda records: None  # about how many there are, once some are read

    def __iter__(self) -> Iterator[Record | Refusal]:
        return self.records()


def shorten(text: str, characters: int = 40) -> str:
    """Return the beginning of a text, for a message."""
    text = " ".join(text[: 20 * characters].split())
    return text if len(text) <= characters else text[:characters].rstrip() + "…"


def raw(text: str) -> dict[str, str]:
    """Return a text that is no record as the field `_raw`, so that it can be mended; a long one is cut.

    What no JSON text may hold is shown as the replacement character.
    """
    return {"_raw": BROKEN_BYTE.sub("\ufffd", text[:MAX_RAW_CHARACTERS].replace("\0", "\ufffd"))}


def refuse_twins(headers: Iterable[str], name: str) -> None:
    """Raise UserError where two columns have one name: nobody could say which of them is meant."""
    headers = list(headers)
    twice = {h for h in headers if h and headers.count(h) > 1}
    if twice:
        called = ", ".join(map(repr, sorted(twice)))
        raise UserError(f"{name} has more than one column called {called}. Give each a name of its own.")


def broken_bytes(text: str) -> str:
    """Return why a text that was decoded with `streams.keep_byte` can't be used; "" where it can.

    A byte that the encoding has no character for stands in the text as U+DC00 plus the byte, which no
    encoding gives for real text.
    """
    found = BROKEN_BYTE.search(text)
    if not found:
        return ""
    near = BROKEN_BYTE.sub("�", text[max(0, found.start() - 20) : found.start() + 20])
    return (
        f"holds the byte 0x{ord(found.group()) - 0xDC00:02X}, which is no character in the encoding of the file, "
        f"near {shorten(near)!r}. Write the text again, or name the encoding with --encoding."
    )


def unfit_text(value: Any) -> str:
    """Return why one of the texts in a value can't be kept by every database; "" where all can."""
    if isinstance(value, str):
        if "\0" in value:
            return f"holds a NUL character near {shorten(value.replace(chr(0), '␀'))!r}. Remove it."
        if not value.isascii() and SURROGATE.search(value):
            return "holds half of a surrogate pair (\\ud800–\\udfff). Remove it."
        return ""
    if isinstance(value, dict):
        return next(filter(None, map(unfit_text, [*value, *value.values()])), "")
    if isinstance(value, list):
        return next(filter(None, map(unfit_text, value)), "")
    return ""


def plain_record(number: int, row: dict[str, Any]) -> Record | Refusal:
    """Return a row of a table as a record of plain values, or why it can't be one."""
    fields = plain(row)
    reason = unfit_text(fields)
    return Refusal(number, reason) if reason else Record(number, fields)


def plain(value: Any) -> Any:
    """Return a value of a table as JSON can hold it: dates and decimals as text, a missing number as None."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    return format(value, "f") if isinstance(value, decimal.Decimal) else str(value)
