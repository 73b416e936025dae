"""Texts and columns of very many pairs out of the database: rows as they come, never objects. Knows SQL only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import bitmaps
from curator.duplicates import joining
from curator.minhash import Joined

# What of a pair is compared, as SQL: one column, or two where both must be alike. The first is `neighbours.text_of`.
TEXTS = {
    "pair": "question || chr(10) || answer",
    "question": "question",
    "answer": "answer",
    "both": "question, answer",
}
SOME = 20_000  # ids in one statement
LIST = 1000  # rows in a list


def on_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


@contextmanager
def snapshot(session: Session) -> Iterator[None]:
    """Let all reads of the block see the database as it is at the first of them, whatever is written meanwhile."""
    if session.info.get("writing"):  # nobody else writes then
        yield
        return
    session.rollback()
    if on_postgresql(session):
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    try:
        yield
    finally:
        session.rollback()


def texts(session: Session, field: str, dataset_id: int | None = None) -> Iterator[list[tuple[Any, ...]]]:
    """Yield, by lists, id and texts of every pair outside the trash, of one data set or of all, in order of the ids."""
    return lists(session, f"SELECT id, {TEXTS[field]} FROM pair WHERE NOT trashed{of(dataset_id)} ORDER BY id")


def joined(session: Session, field: str, dataset_id: int | None = None) -> Iterator[tuple[Sequence[int], Joined]]:
    """Yield what `texts` does, ids and texts apart, the texts of many in one piece."""
    if on_postgresql(session):
        for rows in texts(session, field, dataset_id):
            yield [row[0] for row in rows], in_one_piece(rows)
        return
    driver: Any = session.connection().connection.driver_connection
    yield from joining.rows(driver, sqlite(TEXTS[field]), f" AND NOT trashed{of(dataset_id)}")


def joined_of_ids(session: Session, field: str, ids: Sequence[int]) -> Joined:
    """Return the texts of the pairs of these ids, which ascend, as far as they are there, in one piece."""
    if on_postgresql(session):
        return in_one_piece(list(of_ids(session, f"id, {TEXTS[field]}", ids)))
    driver: Any = session.connection().connection.driver_connection
    return joining.of_ids(driver, sqlite(TEXTS[field]), ids)


def in_one_piece(rows: Sequence[tuple[Any, ...]]) -> Joined:
    """Return the texts of rows, which begin with an id. PostgreSQL keeps no text that holds a zero."""
    texts = [text for row in rows for text in row[1:]]
    return Joined("\0".join([*texts, ""]).encode(), len(rows), len(texts) // max(len(rows), 1))


def sqlite(columns: str) -> str:
    return columns.replace("chr(10)", "char(10)")


def count(session: Session, dataset_id: int | None = None) -> int:
    """Return how many pairs `texts` yields, by the index in memory where it is there: SQL reads the whole table."""
    if index := bitmaps.ready(session):
        with index.lock:
            index.refresh()
            return len(index.live if dataset_id is None else index.live & index.having("dataset", dataset_id))
    found = session.scalar(sa.text(f"SELECT count(*) FROM pair WHERE NOT trashed{of(dataset_id)}"))
    return int(found or 0)


def ids(session: Session, dataset_id: int) -> Iterator[int]:
    """Yield the ids of `texts`, in no order."""
    for rows in lists(session, f"SELECT id FROM pair WHERE NOT trashed{of(dataset_id)}"):
        yield from (row[0] for row in rows)


def of(dataset_id: int | None) -> str:
    return "" if dataset_id is None else f" AND dataset_id = {int(dataset_id)}"


def of_ids(session: Session, columns: str, ids: Sequence[int], where: str = "") -> Iterator[tuple[Any, ...]]:
    """Yield columns of the pairs of these ids, as far as they are there, in the order of the ids, which ascend."""
    for found in lists_of_ids(session, columns, ids, where):
        yield from found


def lists_of_ids(
    session: Session, columns: str, ids: Sequence[int], where: str = ""
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield what `of_ids` does, by lists."""
    chosen = "= ANY(%s)" if on_postgresql(session) else "IN (SELECT value FROM json_each(?))"
    for start in range(0, len(ids), SOME):
        some = list(ids[start : start + SOME])
        wanted = some if on_postgresql(session) else json.dumps(some)
        yield from lists(session, f"SELECT {columns} FROM pair WHERE id {chosen}{where} ORDER BY id", wanted)


def lists(session: Session, statement: str, *values: Any, size: int = LIST) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows, so many at a time, by the driver's own cursor: SQLAlchemy's rows take as long again as SQLite does.

    On SQLite texts are bytes of UTF-8: whoever hashes them needs no strings.
    """
    if on_postgresql(session):
        streamed = session.connection().exec_driver_sql(
            statement, values, execution_options={"stream_results": True, "max_row_buffer": 5000}
        )
        yield from map(list, streamed.partitions(size))
        return
    driver: Any = session.connection().connection.driver_connection
    usual, driver.text_factory = driver.text_factory, bytes  # of the statements that are begun now
    cursor = driver.execute(sqlite(statement), values)
    try:
        while some := cursor.fetchmany(size):
            # Others may use the connection between two batches, and read strings.
            driver.text_factory = usual
            yield some
            driver.text_factory = bytes
    finally:
        driver.text_factory = usual
        cursor.close()
