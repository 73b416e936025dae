"""The way back: a changeset taken back, days later too. What changed since is left alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.errors import NotFound, UserError
from curator.history.changing import CHANGEABLE, FIELDS, FIRST, at_once, begin
from curator.history.indexing import in_bulk
from curator.history.stepping import in_step
from curator.models import Changeset, Revision, writing
from curator.neighbours import Progress, quiet

TO_TRASH = {"trashed": True}  # what takes back that a pair was added


@dataclass(frozen=True)
class Undone:
    """What an undo did: its own changeset, and the pairs left alone because they changed since."""

    changeset: Changeset
    left: list[int]

    @property
    def told(self) -> str:
        """Say it in a sentence or two."""
        rows, left = self.changeset.rows, len(self.left)
        said = f"Undone: {rows:,} {'pair' if rows == 1 else 'pairs'} as before."
        if left:
            named = ", ".join(map(str, self.left[:10])) + (f" and {left - 10:,} more" if left > 10 else "")
            said += f" Changed since, and left alone: {named}."
        return said


def undo(session: Session, changeset_id: int, by: str, on_progress: Progress = quiet) -> Undone:
    """Take back one changeset, days later too. A pair that changed since is named and left alone.

    Pairs that the changeset added go to the trash. The undo is a changeset itself and can be undone.
    Raises NotFound where there is no such changeset, UserError where it was undone already or where
    every pair of it changed since.
    """
    with writing(session):
        changeset = session.get(Changeset, changeset_id)
        if changeset is None:
            raise NotFound(f"There is no change number {changeset_id}.")
        refuse_twice(session, changeset_id)
        undoing = begin(session, "undid", by, f"change {changeset_id}: {changeset.action}", changeset)
        left: list[int] = []
        seen = 0
        with in_bulk(session, texts_of(session, changeset_id), on_progress):
            with in_step(session, undoing) as (reader, change):
                for pairs in pairs_of(reader, changeset.id):
                    changed = changed_since(reader, changeset.id, pairs)
                    left += sorted(changed)
                    restored = [pair for pair in pairs if pair.id not in changed]
                    change([(pair, TO_TRASH if pair.before is None else pair.before) for pair in restored])
                    seen += len(pairs)
                    on_progress(seen, changeset.rows, "Undoing")
        if not undoing.rows:
            raise UserError(
                f"Change {changeset_id} can't be undone: each of its pairs changed since. Undo the later changes first."
            )
    return Undone(undoing, left)


def refuse_twice(session: Session, changeset_id: int) -> None:
    """Raise UserError where a changeset was undone already, saying by which and how it comes back."""
    undone_by = undoing_of(session, changeset_id)
    if undone_by is None:
        return
    again = undoing_of(session, undone_by)
    if again is None:
        raise UserError(f"Change {changeset_id} was undone already, by change {undone_by}.")
    raise UserError(
        f"Change {changeset_id} was undone already, by change {undone_by}, and that was undone by change {again}. "
        f"To take it back once more, undo change {again}."
    )


def undoing_of(session: Session, changeset_id: int) -> int | None:
    """Return the changeset that took one back, None where it stands."""
    return session.scalar(sa.select(Changeset.id).where(Changeset.undoes_id == changeset_id))


def is_undone(session: Session, changeset_id: int) -> bool:
    """Return whether a changeset was taken back."""
    return undoing_of(session, changeset_id) is not None


def texts_of(session: Session, changeset_id: int) -> int:
    """Return of how many pairs a changeset changed the text."""
    changed = sa.select(sa.func.count(Revision.fingerprint)).where(Revision.changeset_id == changeset_id)
    return session.scalar(changed) or 0


def pairs_of(reader: sa.Connection, changeset_id: int) -> Iterator[Sequence[Any]]:
    """Yield the pairs that a changeset changed in batches: CHANGEABLE, and `number` and `before` of its revision."""
    place = sa.tuple_(Revision.pair_id, Revision.number)
    last, size = (0, 0), FIRST
    found = sa.select(*CHANGEABLE, Revision.number, Revision.before).join(Revision.pair)
    found = found.where(Revision.changeset_id == changeset_id).order_by(Revision.pair_id, Revision.number)
    while pairs := reader.execute(found.where(place > last).limit(size)).all():
        yield pairs
        last, size = (pairs[-1].id, pairs[-1].number), at_once(pairs)


def changed_since(reader: sa.Connection, changeset_id: int, pairs: Sequence[sa.Row[Any]]) -> set[int]:
    """Return which pairs of a changeset differ from what it made of them: changes that were undone don't count."""
    today = {pair.id: {name: getattr(pair, name) for name in FIELDS} for pair in pairs if pair.revision != pair.number}
    if not today:
        return set()
    then = dict(today)
    later = sa.orm.aliased(Revision)
    since = (
        sa.select(later.pair_id, later.before)
        .join(Revision, sa.and_(later.pair_id == Revision.pair_id, later.number > Revision.number))
        .where(Revision.changeset_id == changeset_id, Revision.pair_id.between(min(today), max(today)))
        .order_by(later.pair_id, later.number.desc())
    )
    for pair_id, before in reader.execute(since):
        if pair_id in then:
            then[pair_id] = then[pair_id] | (before or {})
    return {pair_id for pair_id, values in then.items() if values != today[pair_id]}
