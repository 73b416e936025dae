"""A file as the rows that it brings, in batches, with its plan begun. Knows no database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from curator import formats
from curator.errors import UserError
from curator.formats import Columns, Refusal, Row, find_columns, mended, to_rows
from curator.imports.plans import Plan
from curator.pairs import DEFAULT_DATASET

BATCH = 5000  # rows inserted by one statement; the full-text index takes many at once with less work
BATCH_CHARACTERS = 2**22  # of texts in a batch, so that long ones don't fill the memory
OF_ONE_SHAPE = frozenset(("messages", "conversations", "conversation", "chosen", "rejected"))


@dataclass(frozen=True)
class Reading:
    """What a person may say about a file: how it is read, what its columns are, and where its rows go."""

    dataset: str = DEFAULT_DATASET
    mapping: Mapping[str, str] = field(default_factory=dict)  # {"answer": "Reply"}, where names don't say it
    shape: str | None = None  # a key of `formats.SHAPES`, where the columns don't tell
    each_turn: bool = False  # a pair of every answer of a conversation, not of the last alone
    ids: str = ""  # of pairs of another source: "update" changes those, "ignore" adds rows whatever their key
    encoding: str | None = None  # found where it is not given, as are the next two
    delimiter: str | None = None
    split: str | None = None  # of a data set of the hub

    def opened(self, path: Path | str, name: str | None) -> formats.Reading:
        """Open a file. Raises UserError where it can't be read."""
        return formats.read(path, name, encoding=self.encoding, delimiter=self.delimiter, split=self.split)


AS_FOUND = Reading()


def begin(file: formats.Reading, asked: Reading) -> tuple[Plan, Iterator[Row]]:
    """Return an empty plan for a file, and its rows; what is refused goes to the plan as the rows are read."""
    found = Plan(file.name, " ".join(asked.dataset.split()), file.kind, "", list(file.headers), ids=asked.ids)
    found.delimiter, found.encoding = file.delimiter, file.encoding
    shapes: dict[str, str] = {}  # the columns of the first record of each shape
    keys: set[int] = set()  # hashes, as there may be millions

    @lru_cache(maxsize=1000)  # each record may have fields of its own
    def columns(names: tuple[str, ...]) -> Columns:
        found_here = find_columns(names, asked.mapping, asked.shape)
        shapes.setdefault(found_here.shape, str(found_here))
        found.shape = "; also ".join(shapes.values())
        return found_here

    if file.headers:
        try:
            columns(tuple(file.headers))
        except UserError as error:
            raise UserError(f"{file.name} {error}") from error

    def rows() -> Iterator[Row]:
        for record in map(mended, file):
            if isinstance(record, Refusal):
                found.refused.add(record)
                continue
            found.headers = found.headers or list(record.fields)
            names = tuple(record.fields)
            if not OF_ONE_SHAPE.isdisjoint(names):
                # Where records of several shapes were put into one table, the fields of the others are null.
                names = tuple(n for n, v in record.fields.items() if v is not None or n not in OF_ONE_SHAPE)
            try:
                read = to_rows(record, columns(names), asked.each_turn)
            except UserError as error:
                read = Refusal(record.line, str(error))
            if isinstance(read, Refusal):
                found.refused.add(replace(read, fields=record.fields))
                continue
            for row in read:
                if row.key:
                    # A name that several rows share names none of them but the first.
                    if asked.ids == "ignore" or hash(row.key) in keys:
                        row = replace(row, key="", meta=row.meta | {columns(names).named["key"]: row.key})
                    else:
                        keys.add(hash(row.key))
                yield row

    return found, rows()


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut rows into batches that a statement and the memory can take."""
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row.question) + len(row.answer)
        if len(batch) == BATCH or characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
