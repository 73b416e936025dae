"""What an index reads of pairs: rows of the database as arrays, and what many have alike once. Knows no set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy.engine import Connection

AT_ONCE = 500  # rows: so few stay in the cache of a processor until they are arrays
HAS = ("system", "history", "notes", "tag", "source", "rejected", "meta")
MEASURES = {"length": np.int32, "asked": np.int32, "size": np.int32, "edited": np.int64, "added": np.int64}
OCTETS = {"sqlite": "length(CAST({} AS BLOB))", "postgresql": "octet_length({})"}
COLUMNS = (
    "pair.id, length(answer), length(question), {size}, pair.updated_at, pair.created_at, CAST(tags AS TEXT), "
    "trashed, dataset_id, status, source, created_by, "
    "CASE WHEN system != '' THEN 1 ELSE 0 END + CASE WHEN CAST(history AS TEXT) != '[]' THEN 2 ELSE 0 END + "
    "CASE WHEN notes != '' THEN 4 ELSE 0 END + CASE WHEN CAST(tags AS TEXT) != '[]' THEN 8 ELSE 0 END + "
    "CASE WHEN source != '' THEN 16 ELSE 0 END + CASE WHEN rejected != '' THEN 32 ELSE 0 END + "
    "CASE WHEN CAST(meta AS TEXT) != '{{}}' THEN 64 ELSE 0 END"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rows(NamedTuple):
    """Pairs that were read, in any order; the last two are to be gone through once."""

    ids: np.ndarray
    measures: list[np.ndarray]  # those of MEASURES
    alike: Iterator[tuple[Any, np.ndarray]]  # trash, data set, status, source, author and bits of HAS, with ids
    tagged: Iterator[tuple[str, np.ndarray]]  # tags as JSON, with ids


def read_pairs(connection: Connection, where: str = "") -> Rows | None:
    """Return all pairs, or those of a condition; None where there is none."""
    parts: list[list[np.ndarray]] = []
    # What a value, or all that many pairs have alike, is called while it is read: a number from 0 on.
    kinds: dict[Any, int] = Codes()
    tagged: dict[Any, int] = Codes()
    moments: dict[Any, int] = Moments()
    # Plain tuples: SQLAlchemy's rows take as long again. PostgreSQL sends them in pieces to a cursor with a name.
    named = ("pairs",) if connection.dialect.name == "postgresql" else ()
    with closing(connection.connection.cursor(*named)) as cursor:
        cursor.execute(f"SELECT {columns(connection)} FROM pair {where}")
        while part := cursor.fetchmany(AT_ONCE):
            ids, length, asked, size, edited, added, tags, *alike = zip(*part, strict=True)
            parts.append([
                *(np.array(numbers, np.int64) for numbers in (ids, length, asked, size)),
                *(np.fromiter(map(moments.__getitem__, some), np.int64, len(part)) for some in (edited, added)),
                np.fromiter(map(tagged.__getitem__, tags), np.int64, len(part)),
                np.fromiter(map(kinds.__getitem__, zip(*alike, strict=True)), np.int64, len(part)),
            ])  # fmt: skip
    if not parts:
        return None
    places, *measures, tag_codes, kind_codes = (np.concatenate(some) for some in zip(*parts, strict=True))
    return Rows(places, measures, grouped(kinds, kind_codes, places), grouped(tagged, tag_codes, places))


def columns(connection: Connection) -> str:
    """Return what is read of each pair: the number, the measures in their order, the tags, what many have alike."""
    octets = OCTETS[connection.dialect.name]
    return COLUMNS.format(size=" + ".join(octets.format(name) for name in ("question", "answer", "system")))


class Codes(dict[Any, int]):
    """A number for each value that is looked up, from 0 on in the order of their coming."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


class Moments(dict[Any, int]):
    """Microseconds since 1970 for each moment that is looked up."""

    def __missing__(self, moment: Any) -> int:
        self[moment] = microseconds(moment)
        return self[moment]


def grouped(codes: dict[Any, int], of_each: np.ndarray, ids: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield each value with the ids that have its code."""
    order = np.argsort(of_each, kind="stable")
    ends = np.cumsum(np.bincount(of_each, minlength=len(codes)))
    yield from zip(codes, np.split(ids[order], ends[:-1]), strict=True)


def microseconds(moment: Any) -> int:
    """Return a moment as SQLite or PostgreSQL gives it as microseconds since 1970."""
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return round(((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH).total_seconds() * 1_000_000)
