"""A file or a data set of the hub, opened for reading: told by its content, never by its name."""

from __future__ import annotations

import re
from pathlib import Path

from curator.errors import UserError
from curator.formats.csv import read_csv
from curator.formats.hub import read_hub
from curator.formats.json import WRAPPED, is_turns, json_lines, json_values
from curator.formats.parquet import read_parquet
from curator.formats.records import MAX_CELL_BYTES, Reading, Record, Refusal, shorten
from curator.formats.streams import Source, chunks, decode, find

BEGINNING_CHARACTERS, BEGINNING_LINES = 2**16, 20
__all__ = ["MAX_CELL_BYTES", "Reading", "Record", "Refusal", "read", "shorten"]


def read(
    path: Path | str,
    name: str | None = None,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    split: str | None = None,
) -> Reading:
    """Open a file of pairs; `name` is what to call it where `path` is a stored upload.

    Compression, encoding, kind, delimiter and quoting are found. `encoding` and `delimiter` say what
    they are instead; a file with a delimiter is a table. `hub:OWNER/NAME` opens that data set of the
    Hugging Face hub, and `split` is for it alone. Raises UserError where the file is missing, empty,
    cut short, not text, or a table without a usable header.
    """
    if str(path).startswith("hub:"):
        return read_hub(Path(path).as_posix(), split)
    source = find(path, name)
    if split:
        raise UserError(f"{source.name} has no splits. --split is for a data set of the hub: hub:OWNER/NAME")
    first = next(chunks(source), b"")
    if first.startswith(b"PAR1"):
        return read_parquet(source)
    source = decode(source, first, encoding)
    start = beginning(source)
    if not start:
        raise UserError(f"{source.name} is empty. Choose a file with a header and at least one row.")
    first_line, second_line = start[0], (start * 2)[1]
    if delimiter or first_line[0] not in "{[":
        reading = read_csv(source, delimiter)
    elif (first_line[-1] == "}" and start[1:] and second_line.startswith("{")) or is_turns(first_line):
        reading = Reading(source.name, f"JSON lines, {source}", records=lambda: json_lines(source))
    elif wrapped := WRAPPED.match(" ".join(start)):
        name = wrapped.group(1)
        kind = f"JSON array {name!r} of an object, {source}"
        reading = Reading(source.name, kind, records=lambda: json_values(source, name))
    elif first_line[0] == "{" and (first_line[-1] == "}" or second_line.startswith("{")):
        reading = Reading(source.name, f"JSON lines, {source}", records=lambda: json_lines(source))
    else:
        kind = "JSON array" if first_line[0] == "[" else "JSON objects"
        reading = Reading(source.name, f"{kind}, {source}", records=lambda: json_values(source))
    reading.encoding, reading.estimate = source.spoken, source.estimate
    return reading


def beginning(source: Source) -> list[str]:
    """Return the first lines that are not blank, as far as they stand in the first piece of the text.

    The second tells an object on many lines from a broken one. A line may be as long as the file.
    """
    with source.open_text() as file:
        while piece := file.read(BEGINNING_CHARACTERS):
            lines = (line.strip(" \t\ufeff") for line in re.split("[\r\n]+", piece))
            if found := [line for line in lines if line][:BEGINNING_LINES]:
                return found
    return []
