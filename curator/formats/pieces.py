"""Files too large for one machine, cut into pieces that are read in any order, anywhere: Parquet and JSON lines.

Knows files, on a disk or in a store such as s3://, and which fields are question and answer; refuses no row, but
gives empty texts for one that holds no pair.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from curator.errors import UserError
from curator.formats.records import Record, Refusal
from curator.formats.rows import to_row
from curator.formats.shapes import Columns, find_columns, quoted

PIECE_BYTES = 64 << 20
BATCH = 4096
LOOK_AT = 1000  # lines for the first object of JSON
ROW_BYTES = 500  # of JSON lines, to guess how many there are
PACKED = (".gz", ".bz2", ".zst", ".lz4", ".br")  # what Arrow unpacks, told by the name; it can't be cut
# Columns with which a pair is more than two texts beside each other.
MORE = {"messages", "text", "context", "history"}
Pair = tuple[str, str]
NO_PAIR = "", ""


@dataclass(frozen=True)
class Piece:
    """Some row groups of a Parquet file, or the JSON lines that begin within some bytes."""

    path: str
    parquet: bool
    begin: int
    end: int
    rows: int  # counted in Parquet, guessed in JSON lines
    size: int  # in bytes, packed


def cut(paths: Iterable[str]) -> list[Piece]:
    """Return the pieces of all files, in order: a path may be a file, a folder, a glob, or an address such as s3://.

    What a folder or a glob holds is in the order of its names. Raises UserError where there is nothing, or where
    no columns of the first row of a file are a question and an answer.
    """
    named = dict(found for path in paths for found in files(path))  # each once
    found = [piece for file, size in named.items() for piece in cut_file(file, size)]
    if not found:
        raise UserError(f"There is no row in {', '.join(paths)}. Name Parquet files or JSON lines.")
    return found


def files(path: str) -> Iterator[tuple[str, int]]:
    """Yield the path, with its scheme, and the size of each file that is meant."""
    from pyarrow import fs

    scheme, place, system = located(path)
    stem = place[: min((place.find(sign) for sign in "*?[" if sign in place), default=len(place))]
    try:
        if stem != place:
            folder = fs.FileSelector(stem.rpartition("/")[0] or "/", allow_not_found=True, recursive=True)
            infos = [info for info in system.get_file_info(folder) if fnmatchcase(info.path, place)]
        else:
            infos = [system.get_file_info(place)]
            if infos[0].type == fs.FileType.Directory:
                infos = system.get_file_info(fs.FileSelector(place, recursive=True))
                # What Spark and others leave beside the data.
                infos = [info for info in infos if not info.base_name.startswith(("_", "."))]
    except OSError as error:
        raise UserError(f"{path} can't be read: {error}") from error
    infos = sorted((info for info in infos if info.type == fs.FileType.File), key=lambda info: info.path)
    if not infos:
        raise UserError(f"There is no file {path}. Name a file, a folder, or a glob in quotes.")
    yield from ((scheme + info.path, info.size) for info in infos)


def located(path: str) -> tuple[str, str, Any]:
    """Return the scheme of a path with its "://", its place in its file system, and that file system."""
    from pyarrow import fs

    scheme, mark, rest = path.partition("://")
    if not mark or scheme == "file":
        return "", Path(rest if mark else path).absolute().as_posix(), fs.LocalFileSystem()
    try:
        # The place goes in as it is: a glob is no address.
        system, _ = fs.FileSystem.from_uri(f"{scheme}://{rest.partition('/')[0]}")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}. Name a path, or an address such as s3://BUCKET/…") from error
    return scheme + mark, rest, system


def cut_file(path: str, size: int) -> Iterator[Piece]:
    """Yield the pieces of one file; none of an empty one."""
    if not size:
        return
    with opened(path) as (file, parquet):
        if not parquet:
            check(path, (json_object(line) for line in islice(file, LOOK_AT)))
            step = size if path.endswith(PACKED) else PIECE_BYTES
            for begin in range(0, size, max(step, 1)):
                end = min(begin + step, size)
                yield Piece(path, False, begin, end, (end - begin) // ROW_BYTES + 1, end - begin)
            return
        check(path, [dict.fromkeys(file.schema_arrow.names)])
        begin = rows = weight = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            rows += group.num_rows
            weight += sum(group.column(i).total_compressed_size for i in range(group.num_columns))
            if weight >= PIECE_BYTES or number + 1 == file.num_row_groups:
                yield Piece(path, True, begin, number + 1, rows, weight)
                begin, rows, weight = number + 1, 0, 0


def check(path: str, records: Iterable[dict[str, Any] | None]) -> None:
    """Raise UserError where the first record of a file has no columns for a pair."""
    first = next(filter(None, records), None)
    if first is None:
        raise UserError(f"{path} is neither Parquet nor JSON lines. Convert it with: flask convert")
    if columns_of(tuple(first)) is None:
        raise UserError(
            f"{path} has no columns for a question and an answer. It has: {quoted(first)}. "
            "Say which they are with: flask convert --map question=COLUMN --map answer=COLUMN"
        )


@contextmanager
def opened(path: str, at: int = 0) -> Iterator[tuple[Any, bool]]:
    """Open a file: a ParquetFile and True, or the lines from a byte on, which are unpacked, and False."""
    import pyarrow
    import pyarrow.parquet

    _, place, system = located(path)
    try:
        if path.endswith(PACKED):
            with system.open_input_stream(place, buffer_size=1 << 20) as stream:
                yield io.BufferedReader(stream, 1 << 20), False
            return
        with system.open_input_file(place) as source:
            if source.read(4) == b"PAR1":
                yield pyarrow.parquet.ParquetFile(source), True
            else:
                source.seek(at)
                yield io.BufferedReader(source, 1 << 20), False
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"{path} is damaged or gone: {reason}. Write or fetch it again.") from error


def read(piece: Piece, wanted: Sequence[int] | None = None) -> Iterator[Pair]:
    """Yield question and answer of each row of a piece, or of the `wanted` ones, which ascend; blank lines are rows."""
    with opened(piece.path, max(piece.begin - 1, 0)) as (file, parquet):
        yield from (read_groups if parquet else read_lines)(file, piece, wanted)


def read_groups(file: Any, piece: Piece, wanted: Sequence[int] | None) -> Iterator[Pair]:
    """Yield the pairs of some row groups."""
    names = list(find_columns(file.schema_arrow.names).named.values())
    begin = place = 0
    for batch in file.iter_batches(BATCH, row_groups=range(piece.begin, piece.end), columns=names):
        if wanted is not None:
            until = place
            while until < len(wanted) and wanted[until] < begin + len(batch):
                until += 1
            begin, batch = begin + len(batch), batch.take([row - begin for row in wanted[place:until]])
            place = until
        columns = [batch.column(name).to_pylist() for name in names]
        yield from (pair_of(dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True))


def read_lines(file: Any, piece: Piece, wanted: Sequence[int] | None) -> Iterator[Pair]:
    """Yield the pairs of the lines that begin within a piece."""
    at = piece.begin
    if at:  # a line that began before is the piece's before
        at += len(file.readline()) - 1
    packed = piece.path.endswith(PACKED)
    chosen = iter(wanted or ())
    following = next(chosen, -1)
    for row, line in enumerate(file):
        if not packed and at >= piece.end:
            return
        at += len(line)
        if wanted is None:
            yield pair_of(json_object(line) or {})
        elif row == following:
            yield pair_of(json_object(line) or {})
            following = next(chosen, -1)
            if following < 0:
                return


def json_object(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line of JSON, None where there is none."""
    try:
        found = orjson.loads(line)
    except ValueError:
        try:
            found = json.loads(line)  # which takes NaN, as pandas writes it, and numbers of any length
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def pair_of(fields: dict[str, Any]) -> Pair:
    """Return question and answer of a record, empty where it holds no pair."""
    columns = columns_of(tuple(fields))
    if columns is None:
        return NO_PAIR
    question, answer = fields.get(columns.question or ""), fields.get(columns.answer or "")
    if isinstance(question, str) and isinstance(answer, str) and MORE.isdisjoint(columns.named):
        return (question, answer) if question.strip() and answer.strip() else NO_PAIR
    row = to_row(Record(0, fields), columns)
    return NO_PAIR if isinstance(row, Refusal) else (row.question, row.answer)


@lru_cache(1000)
def columns_of(names: tuple[str, ...]) -> Columns | None:
    """Return which field is what of records with these fields, None where they hold no pair."""
    try:
        return find_columns(names)
    except UserError:
        return None
