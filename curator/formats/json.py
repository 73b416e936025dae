"""JSON lines, and arrays of any length: objects with the line that each begins on, in constant memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from curator.formats.chats import WHO
from curator.formats.records import (
    MAX_CELL_BYTES,
    MAX_DEPTH,
    MAX_RECORD_BYTES,
    Record,
    Refusal,
    broken_bytes,
    raw,
    shorten,
    unfit_text,
)
from curator.formats.streams import Source

CHUNK_CHARACTERS = 2**18
NOT_BLANK = re.compile("[^ \t\r\n\ufeff]")
# An error this near the end of what was read so far may be a value that goes on: a name, a number, \ud83d\ude00.
CUT_OFF = 16
# What programs call the one list that they save as an object, maybe behind single values: {"version": 1, "data": […]}.
WRAPPED = re.compile(
    r'\s*\{\s*(?:"[^"\\]*"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)\s*,\s*)*'
    r'"(data|dataset|examples|faqs?|instances|items|pairs|questions|records|rows|train)"\s*:\s*\['
)
SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # it may make a NUL, or half of a surrogate pair


class Decoder(json.JSONDecoder):
    """A decoder that notes the numbers that can't be kept as they are, and goes on."""

    def __init__(self) -> None:
        super().__init__(parse_int=self.whole, parse_float=self.real, parse_constant=self.constant)
        self.unfit = ""

    def whole(self, digits: str) -> int:
        try:
            return int(digits)
        except ValueError:  # Python reads no more than 4,300 digits, as it would take ever longer
            self.unfit = f"holds a number of {len(digits):,} digits. Put quotes around it."
            return 0

    def real(self, digits: str) -> float:
        number = float(digits)
        if number in (float("inf"), float("-inf")):
            self.unfit = f"holds the number {shorten(digits)}, which is too large. Put quotes around it."
        return number

    def constant(self, name: str) -> None:
        """Take NaN, which pandas writes for a missing value, as null; JSON itself has none of these names."""
        if name != "NaN":
            self.unfit = f"holds {name}, which is no JSON number. Put quotes around it."


def record_of(source: Source, decoder: Decoder, value: Any, text: str, line: int) -> Record | Refusal:
    """Return what was decoded from a text as a record: an object's fields, or a bare list of turns as its messages."""
    unfit, decoder.unfit = decoder.unfit or (source.is_damaged and broken_bytes(text)), ""
    if unfit:
        return Refusal(line, unfit, raw(text))
    if text.count("[") + text.count("{") > MAX_DEPTH and is_deep(value):
        return Refusal(line, f"is nested too deep: more than {MAX_DEPTH} lists and objects in each other.", raw(text))
    if SUSPECT.search(text) and (problem := unfit_text(value)):
        return Refusal(line, problem, raw(text))
    if isinstance(value, dict):
        return Record(line, value)
    if are_turns(value):
        return Record(line, {"messages": value})
    return Refusal(line, f"is {shorten(text)}, not an object with named fields.", raw(text))


def are_turns(value: Any) -> bool:
    """Return whether a value is a bare list of turns, each with who speaks."""
    return (
        isinstance(value, list)
        and all(isinstance(t, dict) and not t.keys().isdisjoint(WHO) for t in value)
        and bool(value)
    )


def is_turns(text: str) -> bool:
    """Return whether a text is a bare list of turns."""
    try:
        return text[0] == "[" and are_turns(json.loads(text))
    except (ValueError, RecursionError):
        return False


def is_deep(value: Any) -> bool:
    """Return whether more than MAX_DEPTH lists and objects stand in each other."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [inner for part in parts for inner in part]
    return bool(level)


def json_lines(source: Source) -> Iterator[Record | Refusal]:
    """Yield the objects of a JSON-lines file; blank lines are passed over."""
    decoder = Decoder()
    for line, text in enumerate(source.lines(), 1):
        text = text.strip(" \t\r\n\ufeff")  # joined files keep their byte order marks
        if not text:
            continue
        try:
            value, end = decoder.raw_decode(text)
            if end != len(text):
                decoder.decode(text)  # it says what is wrong with the rest
        except (ValueError, RecursionError) as error:
            decoder.unfit = ""
            reason = broken_bytes(text) or f"is not JSON: {explain_json(error)}. It begins {shorten(text)!r}."
            yield Refusal(line, reason, raw(text))
        else:
            yield record_of(source, decoder, value, text, line)


@dataclass
class Window:
    """The part of a long text that is being read. What was read is dropped, so the memory stays constant."""

    file: TextIO
    text: str = ""
    at: int = 0
    line: int = 1

    def next_character(self) -> str:
        """Pass over white space, and return the character after it; "" at the end of the file."""
        while True:
            found = NOT_BLANK.search(self.text, self.at)
            self.move(found.start() if found else len(self.text))
            if found:
                return found.group()
            if not self.read_on():
                return ""

    def move(self, to: int) -> None:
        """Go on to a place, counting the lines that are passed."""
        self.line += self.text.count("\n", self.at, to)
        self.at = to

    def read_on(self) -> bool:
        """Read as much again as is waiting, and return whether there was anything."""
        piece = self.file.read(max(CHUNK_CHARACTERS, len(self.text) - self.at))
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def value(self, decoder: Decoder) -> tuple[Any, str]:
        """Read one value and pass over it; return it with its text. Raises ValueError where there is none."""
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                decoder.unfit = ""
                self.refuse_giants(error)
                is_cut_off = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - CUT_OFF
                if is_cut_off and self.read_on():
                    continue
                raise
            if end == len(self.text) and self.read_on():  # the number 12 may go on: 123
                decoder.unfit = ""
                continue
            text = self.text[self.at : end]
            self.move(end)
            return value, text

    def refuse_giants(self, error: json.JSONDecodeError) -> None:
        """Raise ValueError where a value is too long to be waited for."""
        if error.msg.startswith("Unterminated string") and len(self.text) - error.pos > MAX_CELL_BYTES:
            raise ValueError(f"a text is longer than {MAX_CELL_BYTES // 2**20} MB, or its quote is never closed")
        if len(self.text) - self.at > MAX_RECORD_BYTES:
            raise ValueError(f"an object is longer than {MAX_RECORD_BYTES // 2**20} MB, or its bracket is never closed")


def json_values(source: Source, wrapper: str = "") -> Iterator[Record | Refusal]:
    """Yield the objects of a JSON array, or objects that stand one after the other over several lines.

    With a `wrapper` the array is the first list of one object, which has that name. Each comes with the
    line that it begins on. What follows a broken value can't be told apart any more: one refusal says
    where, and the reading ends.
    """
    decoder = Decoder()
    with source.open_text(newline=None) as file:  # outside texts, JSON has no other use for line ends
        window = Window(file)
        in_list = bool(wrapper)
        if wrapper and window.next_character() and (opening := WRAPPED.match(window.text, window.at)):
            window.move(opening.end())
        while character := window.next_character():
            if wrapper and not in_list:
                yield from fields_beside(window, decoder, wrapper)
                return
            if character in (",]" if in_list else "["):
                in_list = character != "]"
                window.at += 1
                continue
            line = window.line
            try:
                value, text = window.value(decoder)
            except (ValueError, RecursionError) as error:
                yield Refusal(line, explain_rest(error, window.text[window.at : window.at + 2**16]))
                return
            yield record_of(source, decoder, value, text, line)
        if in_list:
            yield Refusal(
                window.line, "is where the file ends, but its list is not closed with ]: the rest is missing."
            )


def fields_beside(window: Window, decoder: Decoder, wrapper: str) -> Iterator[Refusal]:
    """Pass over the single values that follow a wrapped list; yield a refusal for each list and object."""
    try:
        while window.next_character() == ",":
            window.at += 1
            window.next_character()
            line = window.line
            name, _ = window.value(decoder)
            window.next_character()
            window.at += 1  # the colon
            window.next_character()
            value, _ = window.value(decoder)
            if value and isinstance(value, list | dict):
                reason = (
                    f"holds {shorten(repr(name))} beside {wrapper!r}, and only that list is read. Save each by itself."
                )
                yield Refusal(line, reason)
    except (ValueError, RecursionError) as error:
        yield Refusal(window.line, explain_rest(error, window.text[window.at : window.at + 2**16]))


def explain_rest(error: Exception, rest: str) -> str:
    """Say why what is left of a file can't be read."""
    if problem := broken_bytes(rest):
        return problem
    where = f" It begins {shorten(rest)!r}."
    if isinstance(error, json.JSONDecodeError):
        near = error.doc[max(0, error.pos - 20) : error.pos + 20]
        return f"is not JSON from here on: {error.msg[0].lower()}{error.msg[1:]}, near {shorten(near)!r}.{where}"
    return f"is not JSON from here on: {explain_json(error)}.{where}"


def explain_json(error: Exception) -> str:
    """Say what the JSON decoder found, without its own line and position."""
    if isinstance(error, json.JSONDecodeError):
        if error.msg == "Extra data":
            return f"more follows where its object ends, at column {error.colno}"
        return f"{error.msg[0].lower()}{error.msg[1:]} at column {error.colno}"
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
