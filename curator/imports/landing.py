"""What was read and compared, written down as one changeset. Knows no file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import history
from curator.errors import UserError
from curator.formats import Row
from curator.imports.plans import Plan
from curator.models import Pair, Revision, writing
from curator.pairs import dataset_named
from curator.staging import Stage

OnProgress = Callable[..., object]  # told how many rows, of how many if that can be told, and what is done


def land(session: Session, found: Plan, stage: Stage, by: str, latest: int, on_progress: OnProgress) -> None:
    """Write down what was read, as one changeset; what others wrote since the changeset `latest` is not added again."""
    try:
        history.prepare(session, stage, lambda rows: on_progress(rows, found.new, "Indexing"))
        write(session, found, stage, by, latest, on_progress)
    except BaseException:
        # A full disk may have no room for it either: then the entries stay, and nobody finds them.
        with contextlib.suppress(UserError):
            history.withdraw(session, stage.path)
        raise


def write(session: Session, found: Plan, stage: Stage, by: str, latest: int, on_progress: OnProgress) -> None:
    """Write down what was prepared, in one turn."""
    total = found.new + found.changed
    with writing(session), history.in_bulk(session):
        place = dataset_named(session, found.dataset, create=True)
        since = sa.select(Pair.fingerprint, Pair.key).join(Revision, Revision.pair_id == Pair.id)
        since = since.where(Revision.changeset_id > latest, Pair.dataset_id == place.id, ~Pair.trashed)
        others = session.execute(since).all()
        stage.remove({fingerprint for fingerprint, _ in others})
        if stage.holds_key({key for _, key in others if key}):
            raise UserError(f"Rows with ids of {found.name} were added meanwhile. Import it again, and they change.")
        changeset = history.begin(session, "imported", by, f"{found.name} into {place.name}")
        history.land(session, changeset, stage, place.id, lambda rows: on_progress(rows, total, "Saving"))
        new = changeset.rows
        for changes in stage.changes():
            named = sa.select(*history.CHANGEABLE).where(Pair.id.in_(changes))
            pairs = session.execute(named).all()
            history.change_many(session, changeset, [(pair, changes[pair.id]) for pair in pairs])
            on_progress(changeset.rows, total, "Saving")
        if changeset.rows:
            found.changeset = changeset
        else:
            session.delete(changeset)
    found.new, found.changed = new, changeset.rows - new
    found.identical += total - changeset.rows


def as_values(row: Row, fingerprint: str, file: str) -> dict[str, Any]:
    """Return the columns of a pair for a row; its source is the file where the row names none."""
    return {
        "question": row.question, "answer": row.answer, "system": row.system,
        "history": row.history, "status": row.status, "tags": row.tags,
        "source": row.source or file, "notes": row.notes, "rejected": row.rejected, "key": row.key,
        "meta": row.meta, "fingerprint": fingerprint,
    }  # fmt: skip
