"""Texts of very many rows out of SQLite, joined there: Python makes one object of hundreds. Knows SQL and a driver.

While SQLite joins, other threads run: they work on the texts that came before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

from curator.minhash import Joined

IDS = 512  # at once: so few that what is joined stays in the processor's cache
LISTED = 4096  # in one list of ids
BYTES = 16 << 20  # in one piece at most, however long the texts are


def rows(driver: sqlite3.Connection, columns: str, where: str = "") -> Iterator[tuple[Sequence[int], Joined]]:
    """Yield ids and texts of the rows of `pair`, in order of the ids. `where` begins with AND; no column holds NULL."""
    # Each by itself: asked for both at once, SQLite reads the whole table.
    first, final = (f"(SELECT {end}(id) FROM pair)" for end in ("min", "max"))
    low, last = driver.execute(f"SELECT coalesce({first}, 1), coalesce({final}, 0)").fetchone()
    while low <= last:
        found = False
        for ids, texts in between(driver, columns, where, low, low + IDS):
            found = True
            yield ids, texts
        low += IDS
        if not found:
            (low,) = driver.execute(
                f"SELECT coalesce(min(id), ?) FROM pair WHERE id >= ?{where}", (last + 1, low)
            ).fetchone()


def between(
    driver: sqlite3.Connection, columns: str, where: str, low: int, high: int
) -> Iterator[tuple[Sequence[int], Joined]]:
    """Yield the rows from one id to before another, in one piece, or in halves where they can't be joined."""
    some = f"FROM pair WHERE id >= ? AND id < ?{where}"
    joined = join(driver, columns, some, low, high)
    if joined is None and high - low > 1:
        middle = (low + high) // 2
        yield from between(driver, columns, where, low, middle)
        yield from between(driver, columns, where, middle, high)
    elif joined is None:
        yield [low], alone(driver, columns, some, low, high)
    elif joined[0].texts:
        texts, first, last = joined
        every = last - first + 1 == texts.texts
        ids = driver.execute(f"SELECT id {some} ORDER BY id", (low, high)) if not every else ()
        yield range(first, last + 1) if every else [i for (i,) in ids], texts


def of_ids(driver: sqlite3.Connection, columns: str, ids: Sequence[int]) -> Joined:
    """Return the texts of these ids, which ascend, as far as they are there."""
    lists = (ids[start : start + LISTED] for start in range(0, len(ids), LISTED))
    pieces = [piece for some in lists for piece in listed(driver, columns, some)]
    data = b"".join(piece.data for piece in pieces)
    return Joined(data, sum(piece.texts for piece in pieces), 1 + columns.count(", "))


def listed(driver: sqlite3.Connection, columns: str, ids: Sequence[int]) -> Iterator[Joined]:
    """Yield the texts of a list of ids, in one piece, or in halves where they can't be joined."""
    some, values = "FROM (SELECT value FROM json_each(?)) CROSS JOIN pair ON id = value", json.dumps(ids)
    joined = join(driver, columns, some, values)
    if joined:
        yield joined[0]
    elif len(ids) > 1:
        yield from listed(driver, columns, ids[: len(ids) // 2])
        yield from listed(driver, columns, ids[len(ids) // 2 :])
    else:
        yield alone(driver, columns, some, values)


def join(driver: sqlite3.Connection, columns: str, some: str, *values: object) -> tuple[Joined, int, int] | None:
    """Return the texts of some rows, and the first and the last id.

    None where they take more than BYTES, or where a text holds a zero, which is what ends each of them.
    """
    one, fields = columns.replace(", ", " || char(0) || "), 1 + columns.count(", ")
    usual, limit = driver.text_factory, driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, BYTES)
    driver.text_factory = bytes
    try:
        joined = f"SELECT count(*), min(id), max(id), group_concat({one}, char(0)) || char(0) {some}"
        count, first, last, data = driver.execute(joined, values).fetchone()
    except sqlite3.DataError:
        return None
    finally:  # others use the connection between two pieces
        driver.text_factory = usual
        driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
    texts = Joined(data or b"", count, fields)
    return (texts, first, last) if texts.is_whole() else None


def alone(driver: sqlite3.Connection, columns: str, some: str, *values: object) -> Joined:
    """Return the texts of one row, whatever they hold."""
    usual, driver.text_factory = driver.text_factory, bytes
    try:
        texts = driver.execute(f"SELECT {columns} {some}", values).fetchone()
    finally:
        driver.text_factory = usual
    return Joined(b"".join(text.replace(b"\0", b" ") + b"\0" for text in texts), 1, len(texts))
