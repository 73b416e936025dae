"""One act on many pairs: on those that were ticked, or on all that a query matches. Knows no request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import history, pairs, search
from curator.errors import Conflict, UserError
from curator.models import Changeset, Dataset, Pair, writing
from curator.search import Selection

# The acts, each with what it makes of pairs, as a message says it: "1,284 pairs approved."
ACTS = {
    "approve": "approved", "reject": "rejected", "draft": "put back to draft", "tag": "tagged", "untag": "untagged",
    "move": "moved", "trash": "trashed", "restore": "restored",
}  # fmt: skip
STATUS_OF = {"approve": "approved", "reject": "rejected", "draft": "draft"}
LARGE = 5000  # pairs: what changes more is a job, with progress and a way to stop it
BATCH = 5000
Which = Selection | Sequence[int]
Progress = Callable[[int, int | None, str], object]


class Otherwise(Conflict):
    """Another number of pairs matches than the person was told."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"{found:,} match now; it was {expected:,}. Nothing was changed.")
        self.found = found


@dataclass(frozen=True)
class Act:
    """What is to be done: one of ACTS, with the tags or the data set that it takes."""

    name: str
    tags: Sequence[str] = ()
    into: str = ""  # a data set, made where it is not there

    def __post_init__(self) -> None:
        """Raise UserError where it is no act, or lacks what it takes."""
        if self.name not in ACTS:
            raise UserError(f"{self.name!r} can't be done to pairs. Choose one of: {', '.join(ACTS)}.")
        if self.name in ("tag", "untag") and not self.tags:
            raise UserError("No tag is named. Write one, or several with commas between them.")
        if self.name == "move" and not self.into.strip():
            raise UserError("No data set is named. Write where the pairs are to go.")

    @property
    def reason(self) -> str:
        """What the history says beside the act."""
        if self.name == "move":
            return f"into {' '.join(self.into.split())}"
        return ", ".join(self.tags) if self.name in ("tag", "untag") else ""


@dataclass
class Done:
    """What became of the pairs that were meant: `changed`, `already` so, or left since the same text is there."""

    act: Act
    changeset: Changeset | None = None
    matched: int = 0
    changed: int = 0
    same: list[int] = field(default_factory=list)  # not moved: their text stands in the other data set already

    @property
    def already(self) -> int:
        return self.matched - self.changed - len(self.same)

    @property
    def told(self) -> str:
        """Say it in a sentence or two."""
        what = ACTS[self.act.name] + (f" {self.act.reason}" if self.act.name == "move" else "")
        said = f"{self.changed:,} {'pair' if self.changed == 1 else 'pairs'} {what}"
        if self.already:
            said += f"; {self.already:,} {'was' if self.already == 1 else 'were'} so already"
        if self.same:
            named = ", ".join(map(str, self.same[:5])) + (" …" if len(self.same) > 5 else "")
            said += f". Left where they are, as the same text is in {self.act.into} already: {named}"
        return said + "."


def count(session: Session, which: Which) -> int:
    """Return how many pairs are meant."""
    return search.count(session, which) if isinstance(which, Selection) else len(set(which))


def do(
    session: Session,
    act: Act,
    which: Which,
    *,
    by: str,
    expected: int | None = None,
    dry_run: bool = False,
    on_progress: Progress = history.quiet,
) -> Done:
    """Do one act to pairs, as one changeset; None of it where no pair changes, or where another number is meant.

    `expected` is how many pairs the person was told: Otherwise is raised where it differs. NotFound names a pair
    that is not there.
    """
    done = Done(act)
    with writing(session), history.in_bulk(session, on_progress=on_progress):
        done.matched = count(session, which)
        if expected is not None and expected != done.matched:
            raise Otherwise(expected, done.matched)
        place = pairs.dataset_named(session, act.into, create=True) if act.name == "move" else None
        changeset = history.begin(session, ACTS[act.name], by, act.reason)
        seen = 0
        for some in batches(session, which):
            changes = [(pair, values_of(act, pair, place)) for pair in some]
            if place:
                same = taken(session, place, some)
                done.same += sorted(same)
                changes = [change for change in changes if change[0].id not in same]
            history.change_many(session, changeset, changes)
            seen += len(some)
            on_progress(seen, done.matched, "Changing")
        done.changed = changeset.rows
        if dry_run:
            session.rollback()
        elif changeset.rows:
            done.changeset = changeset
        else:
            session.delete(changeset)
            if place and not session.scalar(sa.select(Pair.id).where(Pair.dataset_id == place.id).limit(1)):
                session.delete(place)  # nothing went there, and it was made for this
    return done


def batches(session: Session, which: Which) -> Iterator[Sequence[Any]]:
    """Yield the pairs that are meant, some at a time in the order of their ids; they may be changed meanwhile."""
    found = sa.select(*history.CHANGEABLE).order_by(Pair.id)
    if isinstance(which, Selection):
        # Those of a query are found once: what is done to some may take them out of it, or bring others in.
        which = search.ids(session, which)
    wanted = sorted(set(which))
    for start in range(0, len(wanted), BATCH):
        some = wanted[start : start + BATCH]
        there = session.execute(found.where(Pair.id.in_(some))).all()
        for gone in sorted(set(some) - {pair.id for pair in there}):
            pairs.get(session, gone)  # raises NotFound
        yield there


def values_of(act: Act, pair: Any, place: Dataset | None) -> dict[str, Any]:
    """Return the fields that an act gives a pair."""
    if act.name in STATUS_OF:
        return {"status": STATUS_OF[act.name]}
    if act.name == "tag":
        return {"tags": list(dict.fromkeys([*pair.tags, *act.tags]))}
    if act.name == "untag":
        return {"tags": [tag for tag in pair.tags if tag not in act.tags]}
    if place:
        return {"dataset_id": place.id}
    return {"trashed": act.name == "trash"}


def taken(session: Session, place: Dataset, some: Sequence[Any]) -> set[int]:
    """Return which pairs can't go into a data set: their text is there, or comes there with another of them."""
    coming = [pair for pair in some if pair.dataset_id != place.id and not pair.trashed]
    there = sa.select(Pair.fingerprint).where(
        Pair.dataset_id == place.id, ~Pair.trashed, Pair.fingerprint.in_([pair.fingerprint for pair in coming])
    )
    known = set(session.scalars(there))
    found = set()
    for pair in coming:
        if pair.fingerprint in known:
            found.add(pair.id)
        known.add(pair.fingerprint)
    return found
