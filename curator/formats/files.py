"""Files to records: encoding, CSV of any delimiter, JSON lines, a JSON array; each record with its line."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from curator.errors import UserError

MAX_CELL_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
# What begins like this is not text, and the user is told what it is.
SIGNATURES = (
    (b"\x1f\x8b", "is compressed with gzip. Unpack it first with: gunzip {name}"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd. Unpack it first with: unzstd {name}"),
    (b"PK\x03\x04", "is a zip archive or an Excel workbook. Save the sheet as CSV and import that."),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook. Save the sheet as CSV and import that."),
    (b"PAR1", "is a Parquet file. Write it as JSON lines first: one object a line."),
    (b"SQLite format 3\0", "is an SQLite database. Export its rows as CSV or JSON lines first."),
)
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


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
class Reading:
    """A file opened for reading: iterate it, as often as needed, for its records and refusals."""

    name: str
    kind: str  # as a person would say it: "CSV, comma, UTF-8"
    headers: list[str] = field(default_factory=list)  # of a CSV
    records: Callable[[], Iterator[Record | Refusal]] = lambda: iter(())

    def __iter__(self) -> Iterator[Record | Refusal]:
        return self.records()


def read(path: Path | str, name: str | None = None) -> Reading:
    """Open a file of pairs; `name` is what to call it where `path` is a stored upload.

    CSV is told from JSON by the first character that is no white space. Raises UserError where
    the file is missing, empty, not text, or a CSV without a usable header.
    """
    path = Path(path)
    name = name or path.name
    encoding, spoken = detect_encoding(path, name)
    with open_text(path, encoding) as file:
        first = next((line.lstrip() for line in file if line.strip()), "")
    if not first:
        raise UserError(f"{name} is empty. Choose a file with a header and at least one row.")
    if first[0] == "{":
        return Reading(name, f"JSON lines, {spoken}", records=lambda: json_lines(path, encoding))
    if first[0] == "[":
        return Reading(name, f"JSON array, {spoken}", records=lambda: json_array(path, encoding, name))
    delimiter = detect_delimiter(first)
    headers = read_header(path, encoding, delimiter, name)
    return Reading(
        name,
        f"CSV, {DELIMITERS[delimiter]}, {spoken}",
        headers,
        lambda: csv_records(path, encoding, delimiter, headers),
    )


def detect_encoding(path: Path, name: str) -> tuple[str, str]:
    """Return the encoding of a text file, for Python and for people: UTF-8 when all of it is, else Windows-1252.

    Reads the file in pieces, so its size does not matter.
    """
    if path.is_dir():
        raise UserError(f"{name} is a folder. Name the files in it, as in: flask import {name}/*.csv")
    if not path.is_file():
        raise UserError(f"There is no file {name}. Check the name and the folder.")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as file:
            chunk = file.read(CHUNK_BYTES)
            for signature, advice in SIGNATURES:
                if chunk.startswith(signature):
                    raise UserError(f"{name} {advice.format(name=name)}")
            for mark, encoding, spoken in BYTE_ORDER_MARKS:
                if chunk.startswith(mark):
                    return encoding, spoken
            if looks_binary(chunk):
                raise UserError(
                    f"{name} is not a text file: it is full of control characters. Import a CSV or JSON lines."
                )
            while chunk:
                decoder.decode(chunk)
                chunk = file.read(CHUNK_BYTES)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252", "Windows-1252"
    except OSError as error:
        raise UserError(f"{name} can't be read: {error.strerror}. Check who may read it.") from error
    return "utf-8", "UTF-8"


def looks_binary(chunk: bytes) -> bool:
    """Return whether more than one byte in a hundred is a control character that no text holds."""
    controls = sum(chunk.count(code) for code in (*range(0, 9), *range(14, 27), *range(28, 32)))
    return controls > len(chunk) / 100


def open_text(path: Path, encoding: str) -> TextIO:
    """Open a text file with its line ends kept, as the csv module asks for."""
    # Windows-1252 leaves five bytes undefined; such a byte is kept as the control character of Latin-1.
    return path.open(encoding=encoding, newline="", errors="latin1" if encoding == "cp1252" else "strict")


def _latin1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("latin1", _latin1)


def detect_delimiter(header: str) -> str:
    """Return the delimiter that stands most often in a header, quoted names left out; a comma if none does."""
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def read_header(path: Path, encoding: str, delimiter: str, name: str) -> list[str]:
    """Return the column names of a CSV, or raise UserError where one stands twice."""
    with open_text(path, encoding) as file:
        try:
            header = next((row for row in csv.reader(file, delimiter=delimiter) if any(row)), [])
        except csv.Error as error:
            raise UserError(f"{name} has a header that can't be read: {error}.") from error
    headers = [" ".join(cell.split()) for cell in header]
    twice = {h for h in headers if h and headers.count(h) > 1}
    if twice:
        raise UserError(
            f"{name} has {len(twice)} column names that stand twice: {', '.join(sorted(twice))}. Rename one."
        )
    return headers


def csv_records(path: Path, encoding: str, delimiter: str, headers: list[str]) -> Iterator[Record | Refusal]:
    """Yield the rows of a CSV. A row with too many or too few fields is refused, never cut or padded."""
    csv.field_size_limit(MAX_CELL_BYTES)
    with open_text(path, encoding) as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        seen_header = False
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield Refusal(line, explain_csv(str(error), rows.line_num))
                continue
            if not any(row):
                continue
            if not seen_header:
                seen_header = True
                continue
            if len(row) != len(headers):
                fields = dict(zip(headers, row, strict=False)) | {"_rest": delimiter.join(row[len(headers) :])}
                yield Refusal(line, explain_ragged(row, headers, delimiter), fields)
                continue
            yield Record(line, dict(zip(headers, row, strict=True)))


def explain_ragged(row: list[str], headers: list[str], delimiter: str) -> str:
    """Say what is wrong with a row of the wrong length, with the text to look for."""
    found = f"has {len(row)} field{'s' * (len(row) != 1)}, the header has {len(headers)}"
    if len(row) < len(headers):
        return f"{found}. Add the missing {DELIMITERS[delimiter]}s, or the missing quote before a text."
    surplus = shorten(row[len(headers)])
    return f"{found}: {surplus!r} is one too many. Put quotes around a text that holds a {DELIMITERS[delimiter]}."


def explain_csv(error: str, last_line: int) -> str:
    """Say what the csv module found, in words that help."""
    if "field larger" in error:
        return f"has a cell of more than {MAX_CELL_BYTES // 2**20} MB. Shorten it."
    if "end of data" in error:
        return f"opens a quote that is never closed: all up to line {last_line} was taken as one text. Close it."
    if "expected after" in error:
        return 'has text after a closing quote. Write a quote inside a quoted text twice: ""'
    return f"can't be read: {error}."


def json_lines(path: Path, encoding: str) -> Iterator[Record | Refusal]:
    """Yield the objects of a JSON-lines file; blank lines are passed over."""
    with open_text(path, encoding) as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                yield parse_object(text, line)


def json_array(path: Path, encoding: str, name: str) -> Iterator[Record | Refusal]:
    """Yield the objects of one JSON array, each with the line that it begins on."""
    with open_text(path, encoding) as file:
        text = file.read()
    decoder = json.JSONDecoder()
    at, line = text.index("[") + 1, 1 + text.count("\n", 0, text.index("["))
    while True:
        start = at
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        line += text.count("\n", start, at)
        if text[at : at + 1] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            # What follows a broken value can't be told apart any more, so the reading ends here.
            yield Refusal(line, f"is not JSON from here on: {explain_json(error)}.")
            return
        yield as_record(value, line)
        line += text.count("\n", at, end)
        at = end


def parse_object(text: str, line: int) -> Record | Refusal:
    """Return the object of one line, or why there is none."""
    try:
        return as_record(json.loads(text), line)
    except (ValueError, RecursionError) as error:
        return Refusal(line, f"is not JSON: {explain_json(error)}. It begins {shorten(text)!r}.")


def as_record(value: Any, line: int) -> Record | Refusal:
    """Return a decoded value as a record; only objects have fields."""
    if isinstance(value, dict):
        return Record(line, value)
    return Refusal(line, f"is {shorten(json.dumps(value))}, not an object with named fields.")


def explain_json(error: Exception) -> str:
    """Say what the JSON decoder found, without its own line and position."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[0].lower()}{error.msg[1:]} at column {error.colno}"
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def shorten(text: str, characters: int = 40) -> str:
    """Return the beginning of a text, for a message."""
    text = " ".join(text.split())
    return text if len(text) <= characters else text[:characters].rstrip() + "…"
