"""Tables as text: CSV, TSV and their kin. Knows delimiters, quoting and ragged rows; each row with its line."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from curator.errors import UserError
from curator.formats.records import (
    MAX_CELL_BYTES,
    Reading,
    Record,
    Refusal,
    broken_bytes,
    refuse_twins,
    shorten,
    unfit_text,
)
from curator.formats.streams import Source
from curator.formats.writing import restored

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SAMPLE_LINES = 200
SAMPLE_CHARACTERS = 2**20
STRAY_QUOTE = re.compile(r"""\s+".*"\s*$""", re.DOTALL)
QUOTED_CELL = re.compile(r"""(?m)(^|\t)"[^\t\r\n]*"(\t|\r?$)""")
NAMED_DELIMITER = re.compile(r"""sep=([^\w"'\\])\s*$""")  # Excel writes this line, and means it


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the cells of a table are told apart."""

    delimiter: str
    quote: str | None = '"'
    escape: str | None = None
    skips_spaces: bool = False  # a space after a delimiter does not belong to the cell

    @property
    def name(self) -> str:
        """The delimiter as a person says it."""
        return DELIMITERS.get(self.delimiter) or f"delimiter {self.delimiter!r}"

    def __str__(self) -> str:
        words = [self.name]
        if self.quote is None:
            words.append("no quotes")
        elif self.quote == "'":
            words.append("single quotes")
        if self.escape:
            words.append("backslash escapes")
        if self.skips_spaces:
            words.append("spaces after delimiters")
        return ", ".join(words)

    def options(self) -> dict[str, Any]:
        """Return the dialect as the csv module takes it."""
        return {
            "delimiter": self.delimiter, "quotechar": self.quote, "escapechar": self.escape,
            "quoting": csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            "skipinitialspace": self.skips_spaces, "strict": True,
        }  # fmt: skip


class Lines:
    """The lines of a file, counted. Those of the record at hand are held, so that they can be read again."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = iter(lines)
        self.again: deque[str] = deque()
        self.held: list[str] = []
        self.number = 0  # of the line read last

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self.lines)
        self.held.append(line)
        self.number += 1
        return line

    def are_rows(self, delimiter: str, width: int) -> bool:
        """Return whether most lines after the first of the record at hand look like rows of their own."""
        alike = sum(line.count(delimiter) == width - 1 for line in self.held[1:])
        return alike > (len(self.held) - 1) / 2

    def go_back(self) -> None:
        """Go back to the second line of the record at hand."""
        self.again.extendleft(reversed(self.held[1:]))
        self.number -= len(self.held) - 1


def read_csv(source: Source, delimiter: str | None = None) -> Reading:
    """Open a table. Raises UserError where its header can't be used, or where `delimiter` is none."""
    csv.field_size_limit(MAX_CELL_BYTES)
    given = known_delimiter(delimiter) if delimiter else None
    sample = sample_of(source)
    named = NAMED_DELIMITER.match(sample[0]) if sample else None
    if named:
        sample = sample[1:]
    dialect = detect_dialect(sample, given or (named.group(1) if named else None))
    headers = read_header(source, dialect)
    return Reading(
        source.name, f"CSV, {dialect}, {source}", headers, dialect.name,
        records=lambda: csv_records(source, dialect, headers),
    )  # fmt: skip


def known_delimiter(delimiter: str) -> str:
    """Return the character of a delimiter that was given as such or by its name. Raises UserError for others."""
    by_name = {name: character for character, name in DELIMITERS.items()} | {"\\t": "\t"}
    character = by_name.get(delimiter.strip().casefold(), delimiter)
    if len(character) != 1 or character.isalnum() or character in "\"'\\\r\n\0":
        raise UserError(f"{shorten(delimiter)!r} is no delimiter. Give one character, or comma, semicolon, tab or bar.")
    return character


def sample_of(source: Source) -> list[str]:
    """Return the first lines of a file from the first that is not blank, up to a megabyte or so."""
    lines: list[str] = []
    characters = 0
    for line in source.lines():
        if lines or line.strip():
            lines.append(line)
            characters += len(line)
        if len(lines) == SAMPLE_LINES or characters > SAMPLE_CHARACTERS:
            break
    return lines


def detect_dialect(sample: list[str], delimiter: str | None = None) -> Dialect:
    """Return the dialect that reads a sample with the fewest faults; the usual one where none reads it better.

    Of the delimiters, the one that stands most often in the header wins, quoted names left out, unless
    the rows below fit another.
    """
    header = sample[0] if sample else ""
    outside = "".join(header.split('"')[::2])
    found = sorted((d for d in DELIMITERS if d in outside), key=outside.count, reverse=True)
    candidates = [Dialect(d) for d in ([delimiter] if delimiter else found or [","])]
    best = min(candidates, key=lambda dialect: faults(sample, dialect))
    others = [replace(best, escape="\\")]
    # Another dialect reads the sound rows otherwise too, so one broken row is no reason to take it.
    if any(re.search(re.escape(best.delimiter) + ' +"', line) for line in sample[:2]):
        others.append(replace(best, skips_spaces=True))
    if header.lstrip().startswith("'"):
        others.insert(0, replace(best, quote="'"))
        if faults(sample, others[0]) <= faults(sample, best):
            return others[0]
    # Tables by tab are often written without any quoting.
    if best.delimiter == "\t" and not QUOTED_CELL.search("".join(sample)):
        others.append(replace(best, quote=None))
    return min([best, *others], key=lambda dialect: faults(sample, dialect))


def faults(sample: list[str], dialect: Dialect) -> int:
    """Return how many rows of a sample a dialect can't read, or reads with another length than the header's."""
    lines = Lines(sample)
    rows = csv.reader(lines, **dialect.options())
    width = found = 0
    while True:
        start = lines.number
        try:
            row = next(rows)
        except StopIteration:
            return found
        except csv.Error as error:
            # A quote that is open at the end of a sample may well be closed below it; one that takes half of it, not.
            is_long = lines.number - start > len(sample) / 2
            found += is_long or "end of data" not in str(error)
            continue
        if any(row):
            width = width or len(row)
            found += len(row) != width or any(STRAY_QUOTE.match(cell) for cell in row)


def read_header(source: Source, dialect: Dialect) -> list[str]:
    """Return the column names of a table; one that has none is called by its number.

    Raises UserError where a name stands twice.
    """
    try:
        _, header = next(rows_of(source, dialect))
    except StopIteration:
        header = []
    if isinstance(header, str):
        raise UserError(f"{source.name} has a header that {header}")
    if problem := broken_bytes("".join(header)):
        raise UserError(f"{source.name} has a header that {problem}")
    headers = [" ".join(cell.split()) for cell in header]
    while headers and not headers[-1]:
        headers.pop()
    refuse_twins(headers, source.name)
    return [name or f"column {number}" for number, name in enumerate(headers, 1)]


def csv_records(source: Source, dialect: Dialect, headers: list[str]) -> Iterator[Record | Refusal]:
    """Yield the rows of a table. A row with too many or too few fields is refused, never cut or padded."""
    width = len(headers)
    for line, row in islice(rows_of(source, dialect), 1, None):
        if isinstance(row, str):
            yield Refusal(line, row)
            continue
        while len(row) > width and not row[-1]:  # spreadsheets end rows with delimiters of columns that are empty
            row.pop()
        if len(row) != width:
            fields = dict(zip(headers, row, strict=False)) | {"_rest": dialect.delimiter.join(row[width:])}
            yield Refusal(line, explain_ragged(row, headers, dialect.delimiter), fields)
        elif source.is_damaged and (problem := broken_bytes("".join(row))):
            yield Refusal(line, problem)
        elif "\0" in "".join(row):
            yield Refusal(line, unfit_text(row))
        else:
            yield Record(line, restored(dict(zip(headers, row, strict=True))))


def rows_of(source: Source, dialect: Dialect) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each row that is not blank with its first line; a text in place of the row says why it can't be read."""
    lines = Lines(source.lines())
    rows = csv.reader(lines, **dialect.options())
    width = 0
    while True:
        lines.held.clear()
        start = lines.number + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            # A quote that is never closed takes all the rows below it for one text: they are read again.
            is_open = "end of data" in str(error) or "field larger" in str(error)
            goes_back = is_open and lines.are_rows(dialect.delimiter, width)
            yield start, explain_csv(str(error), lines, goes_back)
            if goes_back:
                lines.go_back()
            continue
        if not width and len(lines.held) == 1 and NAMED_DELIMITER.match(lines.held[0]):
            continue
        if any(row):
            width = width or len(row)
            yield start, row


def explain_ragged(row: list[str], headers: list[str], delimiter: str) -> str:
    """Say what is wrong with a row of the wrong length, with the text to look for."""
    name = DELIMITERS.get(delimiter, repr(delimiter))
    found = f"has {len(row)} field{'s' * (len(row) != 1)}, the header has {len(headers)}"
    if len(row) < len(headers):
        return f"{found}. Add the missing {name}s, or the missing quote before a text."
    surplus = shorten(row[len(headers)])
    return f"{found}: {surplus!r} is one too many. Put quotes around a text that holds a {name}."


def explain_csv(error: str, lines: Lines, goes_back: bool) -> str:
    """Say what the csv module found, in words that help."""
    if "field larger" in error:
        megabytes = MAX_CELL_BYTES // 2**20
        return f"has a cell of more than {megabytes} MB, or a quote that is never closed. Shorten or close it."
    if "end of data" in error:
        rest = "" if goes_back else f": all up to line {lines.number} was taken as one text"
        return f"opens a quote that is never closed, near {shorten(lines.held[0])!r}{rest}. Close it."
    if "expected after" in error:
        return 'has text after a closing quote. Write a quote inside a quoted text twice: ""'
    return f"can't be read: {error}."
