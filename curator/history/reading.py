"""What was done, by whom and when: of one pair, of one changeset, of all of them. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.errors import NotFound
from curator.history.changing import FIELDS
from curator.models import Changeset, Pair, Revision


@dataclass(frozen=True)
class Step:
    """One change of one pair. `before` is None where the pair was added by it."""

    changeset: Changeset
    number: int
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What one changeset made of one pair. `before` is None where the pair was added by it."""

    pair: Pair  # as it stands now
    number: int
    before: dict[str, Any] | None
    after: dict[str, Any]


def timeline(session: Session, pair_id: int) -> list[Step]:
    """Return the changes of a pair, the newest first, each with the values before and after it."""
    pair = session.get(Pair, pair_id)
    if pair is None:
        raise NotFound(f"There is no pair {pair_id}.")
    state = {name: getattr(pair, name) for name in FIELDS}
    steps = []
    rows = session.execute(
        sa.select(Revision, Changeset)
        .join(Changeset, Changeset.id == Revision.changeset_id)
        .where(Revision.pair_id == pair_id)
        .order_by(Revision.number.desc())
    )
    for revision, changeset in rows:
        changed = revision.before
        after = state if changed is None else {name: state[name] for name in changed}
        steps.append(Step(changeset, revision.number, changed, dict(after)))
        state = state | (changed or {})
    return steps


def version_of(session: Session, pair_id: int, number: int) -> dict[str, Any]:
    """Return all fields of a pair as they stood after one of its changes. Raises NotFound."""
    pair = session.get(Pair, pair_id)
    state = {name: getattr(pair, name) for name in FIELDS} if pair else {}
    for step in timeline(session, pair_id):
        if step.number == number:
            return state
        state |= step.before or {}
    raise NotFound(f"Pair {pair_id} has no version {number}.")


def recent(
    session: Session, limit: int = 50, before: int | None = None, by: str = "", action: str = ""
) -> list[Changeset]:
    """Return the latest changesets, the newest first, each with `undoing`: the one that took it back, or None.

    That one has its own `undoing`, as the pairs are then changed again.

    `before` is the number of a changeset: those older than that. `by` and `action` narrow them.
    """
    undo_of, redo_of = sa.orm.aliased(Changeset), sa.orm.aliased(Changeset)
    found = sa.select(Changeset, undo_of, redo_of).outerjoin(undo_of, undo_of.undoes_id == Changeset.id)
    found = found.outerjoin(redo_of, redo_of.undoes_id == undo_of.id)
    if before is not None:
        found = found.where(Changeset.id < before)
    if by:
        found = found.where(Changeset.by == by)
    if action:
        found = found.where(Changeset.action == action)
    changesets = []
    for changeset, undoing, redoing in session.execute(found.order_by(Changeset.id.desc()).limit(limit)):
        changeset.undoing = undoing
        if undoing is not None:
            undoing.undoing = redoing
        changesets.append(changeset)
    return changesets


def changeset(session: Session, number: int) -> Changeset:
    """Return one changeset, with its `undoing`. Raises NotFound."""
    found = recent(session, limit=1, before=number + 1)
    if not found or found[0].id != number:
        raise NotFound(f"There is no change number {number}.")
    return found[0]


def who_and_what(session: Session) -> tuple[list[str], list[str]]:
    """Return everybody who changed something, and everything that was done, by their names."""
    people = session.scalars(sa.select(Changeset.by).distinct().order_by(Changeset.by))
    return list(people), list(session.scalars(sa.select(Changeset.action).distinct().order_by(Changeset.action)))


def rows_of(session: Session, changeset: Changeset, after: int = 0, limit: int = 50) -> list[Row]:
    """Return the rows that a changeset changed beyond the pair `after`, in the order of the pairs' ids."""
    found = sa.select(Revision, Pair).join(Revision.pair).where(Revision.changeset_id == changeset.id)
    some = session.execute(found.where(Revision.pair_id > after).order_by(Revision.pair_id).limit(limit)).all()
    if not some:
        return []
    state = {pair.id: {name: getattr(pair, name) for name in FIELDS} for _, pair in some}
    numbers = {revision.pair_id: revision.number for revision, _ in some}
    # What it made of a pair stands in the pair, or in what the later changes replaced.
    later = sa.select(Revision.pair_id, Revision.number, Revision.before).where(Revision.pair_id.in_(numbers))
    later = later.where(Revision.number > min(numbers.values()))
    for pair_id, number, replaced in session.execute(later.order_by(Revision.pair_id, Revision.number.desc())):
        if number > numbers[pair_id]:
            state[pair_id] = state[pair_id] | (replaced or {})
    return [
        Row(pair, revision.number, revision.before,
            {name: state[pair.id][name] for name in (FIELDS if revision.before is None else revision.before)})
        for revision, pair in some
    ]  # fmt: skip


def left_by(session: Session, undone: Changeset, limit: int = 100) -> list[int]:
    """Return the pairs of a changeset that its undo left alone, since they had changed meanwhile."""
    if undone.undoing is None or undone.undoing.rows >= undone.rows:
        return []
    other = sa.orm.aliased(Revision)
    touched = sa.exists().where(other.pair_id == Revision.pair_id, other.changeset_id == undone.undoing.id)
    found = sa.select(Revision.pair_id).where(Revision.changeset_id == undone.id, ~touched).order_by(Revision.pair_id)
    return list(session.scalars(found.distinct().limit(limit)))


def find(session: Session, fingerprints: Iterable[str]) -> dict[str, int]:
    """Return the pair that each fingerprint belongs to: as it stands now, else as it once stood."""
    wanted = list(dict.fromkeys(fingerprints))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        for table in (Revision, Pair):  # what stands now wins, so it comes last
            key = Revision.pair_id if table is Revision else Pair.id
            order = [key] if table is Revision else [Pair.trashed.desc(), key.desc()]
            rows = session.execute(
                sa.select(table.fingerprint, key).where(table.fingerprint.in_(some)).order_by(*order)
            )
            found.update({str(fingerprint): pair_id for fingerprint, pair_id in rows})
    return found
