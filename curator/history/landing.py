"""The new rows of an import, from their stage into the tables by a few statements; on SQLite with short turns to write.

There is one writer at a time, and people save while a file is imported. Most of the work is indexes: `prepare` enters
the new rows there before their pairs are, some at a time. What is entered without a pair is found by nobody, since
whoever asks an index asks the pairs next; the ids are reserved and given to nobody else. `withdraw` takes out what was
entered of pairs that never came; where even that is impossible, it stays, and takes room alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking, neighbours
from curator.history.changing import add, next_ids, stored
from curator.history.indexing import INDEXED
from curator.models import Changeset, Pair, writing
from curator.staging import COLUMNS, Stage

LANDED = 20_000  # rows by one statement, between two looks at whether it is to go on
INDEXED_AT_ONCE = 5 * LANDED  # rows that FTS5 sorts together: a million are ten pieces, too few to be merged
PREPARED = 5_000  # rows by one turn: less than a tenth of a second
PAUSE_SECONDS = 0.02  # between two turns: who waits for his asks again after 10 ms at most
UNENTERED = "NOT IN (SELECT id FROM pair_text_docsize)"
UNBORN = "NOT IN (SELECT id FROM main.pair)"


def prepare(session: Session, stage: Stage, on_progress: Callable[[int], object]) -> None:
    """Enter the new pairs of a closed stage into the indexes by many short turns; what is small can wait for `land`."""
    if session.get_bind().dialect.name != "sqlite" or stage.last <= PREPARED:
        return
    with attached(session, stage.path) as beside:
        with writing(beside):
            shift = next_ids(beside, 1)[0] - 1
            made = beside.execute(sa.text("UPDATE sqlite_sequence SET seq = seq + :more WHERE name = 'pair'"),
                                  {"more": stage.last}).rowcount  # type: ignore[attr-defined]  # fmt: skip
            if not made:
                beside.execute(sa.text("INSERT INTO sqlite_sequence VALUES ('pair', :more)"), {"more": stage.last})
            words = beside.scalar(sa.text("SELECT sql FROM main.sqlite_master WHERE name = 'pair_words'"))
        stage.settle(shift, words)
        enter = sa.text(
            f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT :shift + id, {INDEXED} FROM stage.pair_words "
            f"WHERE id BETWEEN :first AND :end"
        )
        for first in range(1, stage.last + 1, PREPARED):
            with writing(beside):
                beside.execute(enter, {"shift": shift, "first": first, "end": first + PREPARED - 1})
            on_progress(min(first + PREPARED - 1, stage.last))
            time.sleep(PAUSE_SECONDS)
        for rows in stage.bands.rows(shift):
            with writing(beside):
                if not neighbours.is_current(beside):
                    break
                neighbours.enter(beside, iter([rows]))
            stage.entered = stage.entered or (int(rows[0][0]), int(rows[1][0]))
            on_progress(stage.last)
            time.sleep(PAUSE_SECONDS)


@contextmanager
def attached(session: Session, path: Path) -> Iterator[Session]:
    """Open a session with a connection of its own, to which the file of a stage is attached."""
    with session.get_bind().connect() as connection:  # type: ignore[union-attr]
        connection.detach()  # what is attached to it goes with it, since the pool does not get it back
        attach(connection, path)
        with Session(connection, expire_on_commit=False) as beside:
            yield beside


def attach(connection: sa.Connection, path: Path) -> None:
    """Let a connection read the file of a stage, in no transaction or in the one that it has."""
    connection.connection.cursor().execute("ATTACH ? AS stage", (str(path),))


def withdraw(session: Session, path: Path) -> None:
    """Take out of the indexes what `prepare` entered of pairs that never came, given the file of their stage."""
    if session.get_bind().dialect.name != "sqlite":
        return
    # The file of a Curator before, or one that a fallen machine left in pieces, tells nothing.
    with contextlib.suppress(sa.exc.DatabaseError), attached(session, path) as beside:
        shift = beside.scalar(sa.text("SELECT shift FROM stage.place"))
        last = beside.scalar(sa.text("SELECT max(id) FROM stage.pair")) or 0
        for first in range(1, last + 1 if shift is not None else 0, PREPARED):
            with writing(beside):
                take_out(beside, shift, f"id BETWEEN {first} AND {first + PREPARED - 1}")
            time.sleep(PAUSE_SECONDS)


def take_out(session: Session, shift: int, some: str) -> None:
    """Take out of the indexes what was entered of some rows of the attached stage that have no pair."""
    which = f"{some} AND :shift + id {UNBORN}"
    rows = session.execute(sa.text(f"SELECT :shift + id, question, answer FROM stage.pair WHERE {which}"),
                           {"shift": shift}).all()  # fmt: skip
    if not rows:
        return
    bands = neighbours.Bands()
    bands.take([row[0] for row in rows], [neighbours.text_of(row[1], row[2]) for row in rows])
    neighbours.remove(session, bands.rows())
    session.execute(
        sa.text(f"INSERT INTO pair_text (pair_text, rowid, {INDEXED}) SELECT 'delete', :shift + id, {INDEXED} "
                f"FROM stage.pair_words WHERE {which} AND NOT :shift + id {UNENTERED}"), {"shift": shift},
    )  # fmt: skip


def land(
    session: Session, changeset: Changeset, stage: Stage, dataset_id: int, on_progress: Callable[[int], object]
) -> None:
    """Add the new pairs of a stage. On SQLite they go from file to file, which frees Python for everybody else.

    Fingerprints come in no order. Where most of them are new, sorting all for a new index takes a quarter of the
    time of entering one after the other.
    """
    if session.get_bind().dialect.name != "sqlite":
        for rows in stage.batches():
            add(session, changeset, [row | {"dataset_id": dataset_id} for row in rows])
            on_progress(changeset.rows)
        return
    connection = session.connection()
    connection.detach()
    attach(connection, stage.path)
    last = next_ids(session, 1)[0] - 1 if stage.shift is None else stage.shift
    columns = ", ".join(COLUMNS)
    statements = [
        f"INSERT INTO pair (id, {columns}, dataset_id, trashed, revision, created_at, created_by, updated_at, "
        f"updated_by) SELECT :last + id, {columns}, :dataset_id, 0, 1, :at, :by, :at, :by FROM stage.pair "
        "WHERE id BETWEEN :first - :last AND :end - :last AND id NOT IN (SELECT id FROM stage.gone)",
        "INSERT INTO revision (pair_id, number, changeset_id) "
        "SELECT id, 1, :changeset_id FROM pair WHERE id BETWEEN :first AND :end",
    ]
    into_index = (
        f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words "
        f"WHERE id BETWEEN :first AND :end AND id {UNENTERED}"
    )
    of_all = {
        "last": last, "dataset_id": dataset_id, "changeset_id": changeset.id,
        "at": stored(session, Pair.created_at, changeset.at), "by": changeset.by,
    }  # fmt: skip
    fingerprints = next(index for index in Pair.metadata.tables["pair"].indexes if index.name == "ix_pair_fingerprint")
    is_mostly_new = stage.last > max(last, LANDED)
    if is_mostly_new:
        fingerprints.drop(connection)
    end, is_indexed = last + stage.last, last
    for first in range(last + 1, end + 1, LANDED):
        some = of_all | {"first": first, "end": min(first + LANDED - 1, end)}
        landed = [connection.exec_driver_sql(statement, some).rowcount for statement in statements]
        changeset.rows += landed[0]
        if some["end"] == end or some["end"] - is_indexed >= INDEXED_AT_ONCE:
            connection.exec_driver_sql(into_index, some | {"first": is_indexed + 1})
            is_indexed = some["end"]
        on_progress(changeset.rows)
    # Where somebody built that index anew meanwhile, what was entered is gone.
    if neighbours.is_current(session) and not (stage.entered and neighbours.holds(session, *stage.entered)):
        neighbours.enter(session, stage.bands.rows(last, stage.removed))
    stage.bands.pieces.clear()  # 80 MB of a million, which sorting the fingerprints needs
    if stage.shift is not None and stage.removed:
        take_out(session, last, "id IN (SELECT id FROM stage.gone)")
    checking.note(session, changeset, range(last + 1, end + 1))
    if is_mostly_new:
        fingerprints.create(connection)
