"""The indexes of SQLite while very many pairs are written: sorted in large pieces, or made anew. Knows no revision."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import neighbours
from curator.models import Pair, Revision
from curator.neighbours import Progress

INDEXED = "question, answer, system, notes, turns, fields"  # the columns of the full-text index
ENTERED = 100_000  # pairs whose words FTS5 sorts together: a million are ten pieces, too few to be merged
SELDOM = 100_000  # objects more than before, after which Python looks for garbage; by default 700
ANEW = 20_000  # changed texts from which on it may be worth it to make the indexes anew


@contextmanager
def in_bulk(session: Session, texts: int = 0, on_progress: Progress = neighbours.quiet) -> Iterator[None]:
    """Take many rows: the index of near-duplicates once for all, and on SQLite larger pieces of full-text entries.

    These, sorted and merged with more memory, halve the time of the full text of a million pairs. `texts` says of
    how many pairs the block changes the text; the block may not search, as the index may be empty meanwhile.
    It belongs inside `writing`. After the block the indexes take their time: `on_progress` is told, and may end it.
    """
    with (
        in_large_pieces(session), made_anew(session, texts, on_progress), neighbours.holding(session, on_progress),
        frozen_heap(),
    ):  # fmt: skip
        yield


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Spare the garbage collector all that is there, and let it look less often: rows make no circles.

    It would go through all again for every few thousand rows, a seventh of the time of a large change.
    """
    is_mine, often = gc.get_freeze_count() == 0, gc.get_threshold()
    if is_mine:
        gc.freeze()
        gc.set_threshold(SELDOM, *often[1:])
    try:
        yield
    finally:
        if is_mine:
            gc.set_threshold(*often)
            gc.unfreeze()


@contextmanager
def in_large_pieces(session: Session) -> Iterator[None]:
    """Give the full-text index of SQLite longer lists to sort."""
    if session.get_bind().dialect.name != "sqlite":
        yield
        return
    tune_index(session, hashsize=2**25, automerge=16)
    yield
    tune_index(session, hashsize=2**20, automerge=4)  # FTS5's own defaults; where the block failed, rolled back


def tune_index(session: Session, **settings: int) -> None:
    """Set options of FTS5: `hashsize` in bytes, `automerge` in pieces that make one."""
    setting = sa.text("INSERT INTO pair_text (pair_text, rank) VALUES (:name, :value)")
    session.execute(setting, [{"name": name, "value": value} for name, value in settings.items()])


@contextmanager
def made_anew(session: Session, texts: int, on_progress: Progress) -> Iterator[None]:
    """Where half of all texts or more change, take the indexes of SQLite away, and make them of what is there then.

    A pair's words leave the index as slowly as they enter it, so that above half entering all is less; and
    fingerprints, which come in no order, are sorted four times as fast as they are entered one by one.
    """
    if texts < ANEW or session.get_bind().dialect.name != "sqlite":
        yield
        return
    connection = session.connection()
    if 2 * texts < connection.exec_driver_sql("SELECT count(*) FROM pair").scalar_one():
        yield
        return
    old = connection.exec_driver_sql("SELECT count(*) FROM revision WHERE fingerprint IS NOT NULL").scalar_one()
    tables = [Pair.metadata.tables["pair"]] + [Revision.metadata.tables["revision"]] * (2 * texts >= old)
    named = {f"ix_{table.name}_fingerprint" for table in tables}
    fingerprints = [index for table in tables for index in table.indexes if index.name in named]
    trigger = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'pair_text_update'").scalar_one()
    for index in fingerprints:
        index.drop(connection)
    connection.exec_driver_sql("DROP TRIGGER pair_text_update")
    words = session.info["words"] = Words(connection)
    try:
        yield
    finally:
        del session.info["words"]
    last = connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM pair").scalar_one()
    while words.entered < last:
        words.enter()
        on_progress(min(words.entered, last), last, "Indexing words")
    connection.exec_driver_sql(trigger)
    for index in fingerprints:
        index.create(connection)


class Words:
    """A full-text index that is made anew while pairs change in the order of their ids, a little behind them."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.is_in_order = True
        self.clear()

    def clear(self) -> None:
        """Hold the words of no pair."""
        self.connection.exec_driver_sql("INSERT INTO pair_text (pair_text) VALUES ('delete-all')")
        self.entered = 0  # up to which id the words of all pairs are there

    def enter(self) -> None:
        """Enter the words of the next pairs."""
        enter_words(self.connection, self.entered + 1, self.entered + ENTERED)
        self.entered += ENTERED

    def follow(self, changing: int) -> None:
        """Enter the pairs before one that is about to change; where its words are there, all wait for the end."""
        if changing <= self.entered:
            self.is_in_order = False
            self.clear()
        while self.is_in_order and self.entered + ENTERED < changing:
            self.enter()


def enter_words(connection: sa.Connection, first: int, last: int) -> None:
    """Enter the words of pairs, by their first and last id, into the full-text index of SQLite."""
    connection.exec_driver_sql(
        f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words WHERE id BETWEEN ? AND ?",
        (first, last),
    )
