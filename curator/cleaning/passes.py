"""Steps over the pairs of a selection: what they would change, shown and counted, and changing it as one changeset."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import history, search
from curator.cleaning import phrases
from curator.cleaning.cleaner import Cleaner, digested, is_emptied
from curator.cleaning.steps import TEXTS, Step
from curator.duplicates.remembering import once
from curator.errors import Conflict, UserError
from curator.models import Changeset, Pair, to_json, writing
from curator.search import Selection
from curator.text import fingerprint_of

SAID = frozenset(TEXTS)
BATCH = 5000  # pairs that are read, and changed, by one statement
AGAIN_LOOKED_AT = 1000  # changed pairs that are cleaned a second time, to say whether that changes them again
# How long all patterns may take: this, and a millisecond a pair, which is a hundred times what they need.
SECONDS_ALLOWED, SECONDS_A_PAIR = 30.0, 0.001
SAMPLED = 5000  # pairs among which boilerplate is looked for

Progress = Callable[..., object]  # told how many pairs are done, and of how many; what it raises ends the work


@dataclass(frozen=True)
class Change:
    """What the steps make of one field of one pair."""

    field: str
    before: str
    after: str


@dataclass
class Found:
    """What steps would change, or have changed."""

    steps: tuple[Step, ...]
    ids: array[int] = field(default_factory=lambda: array("q"))  # the pairs that change, in order
    rows: list[int] = field(default_factory=list)  # of them, how many each step changes
    matches: list[int] = field(default_factory=list)  # and in how many places
    emptied: array[int] = field(default_factory=lambda: array("q"))  # pairs of which nothing would be left: not changed
    copies: int = 0  # pairs that would say the same as another one of their data set
    again: int = 0  # of the first AGAIN_LOOKED_AT, how many a second run would change again
    looked: int = 0  # how many pairs were looked at
    is_whole: bool = True  # whether that is all of them
    digest: int = 0  # of the new texts: the same changes have the same
    as_of: int = 0  # the last changeset when this was looked at
    changeset: Changeset | None = None  # the one that made the changes


def columns_of(fields: Sequence[str]) -> list[Any]:
    """Return the columns of some fields as they are stored: earlier turns as JSON, which mostly is empty."""
    return [sa.cast(Pair.history, sa.Text) if name == "history" else getattr(Pair, name) for name in fields]


def candidates(session: Session, steps: Sequence[Step]) -> list[Any]:
    """Return the condition that a pair must meet for the first of the steps to find anything, if it can be told."""
    needles = [(step, step.needle()) for step in steps]
    if not all(needle for _, needle in needles):
        return []
    place = sa.func.strpos if session.get_bind().dialect.name == "postgresql" else sa.func.instr
    found = []
    for step, needle in needles:
        for name, column in zip(step.fields, columns_of(step.fields), strict=True):
            if name != "history":
                found.append(place(column, needle) > 0)
            elif needle.isascii() and to_json(needle) == f'"{needle}"':
                found.append(place(column, needle) > 0)
            else:  # it stands there otherwise than it is written
                found.append(column != "[]")
    return [sa.or_(*found)]


def read(
    session: Session, selection: Selection, steps: Sequence[Step], fields: Sequence[str]
) -> Iterator[Sequence[sa.Row[Any]]]:
    """Yield the pairs of a selection that the steps may change, in order, by the thousand: id and fields."""
    found = sa.select(Pair.id, *columns_of(fields)).order_by(Pair.id)
    found = found.where(*search.conditions(session, selection), *candidates(session, steps))
    # By the connection, as what the session would do to each row is half of the reading.
    with session.connection().execute(found.execution_options(yield_per=BATCH)) as rows:
        yield from rows.partitions()


@history.frozen_heap()
def look(
    session: Session,
    steps: Sequence[Step],
    selection: Selection,
    *,
    on_progress: Progress | None = None,
    seconds: float | None = None,
) -> Found:
    """Return what steps would change, changing nothing. With `seconds`, what is found until then.

    Raises UserError where a pattern is stopped, naming the pair.
    """
    began = time.monotonic()
    cleaner = Cleaner(steps)
    found = Found(cleaner.steps, rows=[0] * len(steps), matches=[0] * len(steps), as_of=last_changeset(session))
    copies = Copies(session)
    total = search.count(session, selection) if on_progress else None
    for rows in read(session, selection, steps, cleaner.fields):
        changed = dict(changes_among(cleaner, rows, found))
        copies.take(changed)
        found.looked += len(rows)
        spent = time.monotonic() - began
        if any(map(cleaner.is_slow, range(len(steps)))) and spent > SECONDS_ALLOWED + SECONDS_A_PAIR * found.looked:
            raise UserError(
                f"The patterns were stopped at pair {rows[-1].id}, after {spent:.0f} s for {found.looked:,} pairs. "
                "Nothing was changed. Write them without repetitions inside repetitions."
            )
        if on_progress:
            on_progress(found.looked, total)
        if seconds is not None and spent > seconds and len(rows) == BATCH:
            found.is_whole = False
            break
    found.copies = copies.counted(found.ids)
    return found


def changes_among(cleaner: Cleaner, rows: Sequence[sa.Row[Any]], found: Found) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the pairs among some that change, each with its new values, and count them."""
    for row in rows:
        values = cleaner.clean(row)
        if not values:
            continue
        pair_id = row[0]
        if is_emptied(values):
            found.emptied.append(pair_id)
            continue
        found.ids.append(pair_id)
        met = cleaner.counted
        for number in {number for number, _ in met} if len(met) > 1 else (met[0][0],):
            found.rows[number] += 1
        for number, places in met:
            found.matches[number] += places
        found.digest = digested(pair_id, values, found.digest)
        if len(found.ids) <= AGAIN_LOOKED_AT:
            second = (pair_id, *map(values.get, cleaner.fields, row[1:]))
            found.again += bool(cleaner.clean(second))
        yield pair_id, values


def one_of(session: Session, column: Any, values: Collection[Any]) -> Any:
    """Return the condition that a column is one of many values: on SQLite by one list rather than thousands."""
    if session.get_bind().dialect.name == "postgresql":
        return column.in_(values)
    listed = sa.func.json_each(to_json(list(values))).table_valued("value")
    return column.in_(sa.select(listed.c.value))


class Copies:
    """Counts pairs that cleaning would make say the same as another one of their data set."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.new: dict[tuple[int, int], int] = {}  # how many pairs change to a text, by data set and fingerprint
        self.there: list[tuple[int, tuple[int, int]]] = []  # pairs that say it now

    def take(self, changed: dict[int, dict[str, Any]]) -> None:
        """Take pairs with their new values."""
        changed = {pair_id: values for pair_id, values in changed.items() if not SAID.isdisjoint(values)}
        if not changed:
            return
        wanted = sa.select(Pair.id, Pair.dataset_id, *columns_of(TEXTS)).where(one_of(self.session, Pair.id, changed))
        of: dict[str, int] = {}
        for pair_id, dataset_id, question, answer, system, turns in self.session.connection().execute(wanted):
            get = changed[pair_id].get
            earlier = get("history") or (json.loads(turns) if turns != "[]" else ())
            fingerprint = fingerprint_of(
                get("question", question), get("answer", answer), get("system", system), earlier
            )
            of[fingerprint] = dataset_id
            key = (dataset_id, int(fingerprint[:16], 16))
            self.new[key] = self.new.get(key, 0) + 1
        same = sa.select(Pair.id, Pair.dataset_id, Pair.fingerprint)
        same = same.where(one_of(self.session, Pair.fingerprint, of), ~Pair.trashed)
        for pair_id, dataset_id, fingerprint in self.session.connection().execute(same):
            self.there.append((pair_id, (dataset_id, int(fingerprint[:16], 16))))

    def counted(self, ids: Collection[int]) -> int:
        """Return how many pairs would be copies, the first of each text not counted."""
        changing = set(ids) if self.there else ()
        among = {key for pair_id, key in self.there if pair_id not in changing}
        return sum(number - (key not in among) for key, number in self.new.items() if number > 1 or key in among)


def last_changeset(session: Session) -> int:
    """Return the number of the last change of anything."""
    return session.scalar(sa.select(sa.func.max(Changeset.id))) or 0


def changes(session: Session, steps: Sequence[Step], ids: Sequence[int]) -> list[tuple[sa.Row[Any], list[Change]]]:
    """Return what steps make of some pairs as they stand now, field by field; each turn is a field of its own."""
    cleaner = Cleaner(steps)
    found = []
    for pair in session.execute(sa.select(*Pair.__table__.columns).where(Pair.id.in_(ids)).order_by(Pair.id)):
        values = cleaner.clean((pair.id, *(getattr(pair, name) for name in cleaner.fields)))
        differing = []
        for name, value in values.items():
            if name == "history":
                for number, (old, new) in enumerate(zip(pair.history, value, strict=True), 1):
                    if old != new:
                        differing.append(Change(f"turn {number}", old["content"], new["content"]))
            else:
                differing.append(Change(name, getattr(pair, name), value))
        found.append((pair, differing))
    return found


def apply(
    session: Session,
    steps: Sequence[Step],
    selection: Selection,
    by: str,
    *,
    except_ids: Collection[int] = (),
    found: Found | None = None,
    reason: str = "",
    on_progress: Progress | None = None,
) -> Found:
    """Make the changes that were found but for the pairs excepted, as one changeset; none where nothing changes.

    Without `found` it looks first. Raises Conflict, and changes nothing, where the pairs changed since so that
    something else would come of it.
    """
    found = found or look(session, steps, selection, on_progress=on_progress)
    cleaner, digest = Cleaner(steps), 0
    excepted = set(except_ids)
    wanted = set(found.ids) - excepted
    if not wanted:
        return found
    with writing(session), history.in_bulk(session, len(wanted), on_progress or history.quiet):
        changeset = history.begin(session, "cleaned", by, reason or ", ".join(step.title for step in steps))
        texts_of_pair = attrgetter("id", *cleaner.fields)
        done, size = 0, history.FIRST
        of_batch = sa.select(*history.changeable(cleaner.fields)).where(Pair.trashed.is_(selection.trash))
        with history.in_step(session, changeset) as (reader, change):
            while some := found.ids[done : done + size].tolist():
                pairs = reader.execute(of_batch.where(one_of(session, Pair.id, some)).order_by(Pair.id)).all()
                changed = []
                for pair in pairs:
                    values = cleaner.clean(texts_of_pair(pair))
                    if values:
                        digest = digested(pair.id, values, digest)
                        if pair.id not in excepted:
                            changed.append((pair, values))
                change(changed)
                done, size = done + len(some), history.at_once(pairs)
                if on_progress:
                    on_progress(done, len(found.ids), "Cleaning")
        if digest != found.digest:
            raise changed_since()
    return replace(found, changeset=changeset)


def changed_since() -> Conflict:
    """Return the refusal to change what nobody has seen."""
    return Conflict("The pairs changed since this was looked at, so nothing was cleaned. Look at it once more.")


def suggestions(session: Session, selection: Selection, most: int = 5) -> list[tuple[str, int]]:
    """Return sentences that open or close many of the first answers, most often first: boilerplate, perhaps.

    Remembered until somebody writes.
    """

    def find() -> list[tuple[str, int]]:
        where = search.conditions(session, selection)
        answers = session.scalars(sa.select(Pair.answer).where(*where).order_by(Pair.id).limit(SAMPLED))
        return phrases.common_ends(answers, most)

    return once(session, ("suggestions", selection, most), find)
