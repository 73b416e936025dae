"""The new rows of an import, from their stage into the tables by a few statements."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking, neighbours
from curator.history.changing import add, stored
from curator.history.indexing import INDEXED
from curator.models import Changeset, Pair
from curator.staging import COLUMNS, Stage

LANDED = 20_000  # rows by one statement, between two looks at whether it is to go on
INDEXED_AT_ONCE = 5 * LANDED  # rows that FTS5 sorts together: a million are ten pieces, too few to be merged


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
    connection.detach()  # what is attached to it goes with it, since the pool does not get it back
    connection.exec_driver_sql("ATTACH ? AS stage", (str(stage.path),))
    last = session.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'pair'")) or 0
    columns = ", ".join(COLUMNS)
    statements = [
        f"INSERT INTO pair (id, {columns}, dataset_id, trashed, revision, created_at, created_by, updated_at, "
        f"updated_by) SELECT :last + number, {columns}, :dataset_id, 0, 1, :at, :by, :at, :by FROM stage.pair "
        "WHERE number BETWEEN :first - :last AND :end - :last",
        "INSERT INTO revision (pair_id, number, changeset_id) "
        "SELECT id, 1, :changeset_id FROM pair WHERE id BETWEEN :first AND :end",
    ]
    into_index = (
        f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words "
        "WHERE id BETWEEN :first AND :end"
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
    neighbours.land(session, stage.bands, last, stage.removed)
    checking.note(session, changeset, range(last + 1, end + 1))
    if is_mostly_new:
        fingerprints.create(connection)
