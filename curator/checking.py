"""The flags of pairs in the database: written as single pairs change, and how far they go. Knows no pass over all.

`history` calls `note` in the transaction of the change. Looking at a pair takes a fraction of a millisecond, so an act
on up to MOST pairs is flagged by itself; a larger one is left to the pass of `quality`, and `Checked` says so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import flags
from curator.flags import BETWEEN, Rules, Texts
from curator.models import Changeset, Checked

MOST = 200  # pairs that one act may change and have flagged in its own transaction
NEARLY = "nearly"  # how the detail of a flag begins that a search for near-duplicates gave, which no single save can
TOLD = 5  # pairs that a detail names
T = TypeVar("T")
CROWD = 500  # pairs that ask the same
AT_ONCE = 1000  # questions that are compared with one statement


@dataclass(frozen=True)
class State:
    """How far the flags go: by which rules, and up to which change.

    A pass that is not at its end has looked at what changed after `since` in pairs up to `after`.
    """

    rules: Rules
    changeset_id: int = 0
    since: int = 0
    after: int | None = None  # None: there is nothing left of it
    stamp: int = field(default=0, compare=False)


class Found(NamedTuple):
    """What a look at one pair gave. A pair in the trash has neither flags nor keys."""

    pair_id: int
    flags: Mapping[str, str]
    keys: tuple[int, int] | None


SAID = ("question", "answer", "system", "history", "trashed", "dataset_id")
# Of a revision: whether it changed what flags follow from. A status or a tag is nothing to a check.
CONCERNS = (
    "(before IS NULL OR fingerprint IS NOT NULL OR CAST(before AS TEXT) LIKE '%\"trashed\"%' OR "
    "CAST(before AS TEXT) LIKE '%\"dataset_id\"%')"
)
COLUMNS = "id, question, answer, system, CAST(history AS TEXT), dataset_id, trashed, revision"


def concerns(fields: Collection[str]) -> bool:
    """Whether a change of these fields may change flags."""
    return any(name in fields for name in SAID)


def look(row: Sequence[Any], rules: Rules) -> Found:
    """Look at a pair, given as COLUMNS of its row."""
    pair_id, question, answer, system, history, dataset_id, trashed = row[:7]
    if trashed:
        return Found(pair_id, {}, None)
    texts = Texts(question, answer, system, json.loads(history) if history != "[]" else [], dataset_id)
    return Found(pair_id, flags.find(texts, rules), flags.keys(texts))


def state(session: Session, hold: bool = False) -> State | None:
    """Return how far the flags go; None where nobody checked, or by rules of another Curator."""
    chosen = sa.select(Checked.scheme, Checked.changeset_id, Checked.stamp)
    row = session.execute(chosen.with_for_update() if hold else chosen).first()
    if row is None:
        return None
    try:
        scheme = json.loads(row.scheme)
        rules = Rules.load(json.dumps(scheme["rules"]))
        since, after = scheme["since"], scheme["after"]
    except (ValueError, KeyError, TypeError):
        return None
    return State(rules, row.changeset_id, since, after, row.stamp) if rules else None


def set_state(session: Session, stands: State) -> None:
    """Write down how far the flags go; caches of what they count notice."""
    stamp = session.scalar(sa.select(Checked.stamp)) or 0
    rules = json.loads(stands.rules.dump())
    scheme = json.dumps({"rules": rules, "since": stands.since, "after": stands.after})
    session.merge(Checked(id=1, scheme=scheme, changeset_id=stands.changeset_id, stamp=stamp + 1))
    session.flush()


def note(session: Session, changeset: Changeset, pair_ids: Sequence[int]) -> None:
    """Flag pairs that an act has changed, where these are few; else leave them to the next pass."""
    stands = state(session)
    if stands is None:
        if changeset.id != 1 or session.scalar(sa.select(Checked.id)) is not None:
            return
        stands = State(Rules())  # the first act of all: from here on, flags can be kept
    if changeset.rows > MOST:
        if stands.changeset_id == changeset.id:  # its first part was few
            move(session, stands, changeset.id - 1)
        return
    session.flush()
    if pair_ids and not look_again(session, pair_ids):
        return
    # What an act between the two changed may not be flagged yet: then a pass goes over both.
    if stands.changeset_id in (changeset.id - 1, changeset.id):
        move(session, stands, changeset.id)


def look_again(session: Session, pair_ids: Sequence[int]) -> bool:
    """Flag some pairs as they are now. Return whether they could be compared with all that ask the same."""
    stands = state(session)
    rows = session.execute(sa.text(f"SELECT {COLUMNS} FROM pair WHERE id IN ({numbers(pair_ids)})")).all()
    asked = put(session, [look(row, stands.rules if stands else Rules()) for row in rows])
    if is_crowded(session, asked):
        return False
    relate(session, asked)
    return True


def is_crowded(session: Session, keys: Iterable[int]) -> bool:
    """Whether so many pairs ask one of these questions that all of them can't be told in passing."""
    return session.connection().exec_driver_sql(
        f"SELECT key FROM pair_question WHERE key IN ({numbers(keys)}) GROUP BY key HAVING count(*) > {CROWD}"
    ).first() is not None  # fmt: skip


def move(session: Session, stands: State, changeset_id: int) -> None:
    """Say that the flags go up to a change. It has a number of its own, so that no cache needs the stamp."""
    if not stands.changeset_id and session.scalar(sa.select(Checked.id)) is None:
        set_state(session, replace(stands, changeset_id=changeset_id))
    elif stands.changeset_id != changeset_id:
        session.execute(sa.update(Checked).values(changeset_id=changeset_id))


def numbers(ids: Iterable[int]) -> str:
    """Return whole numbers as a list of SQL: thousands of parameters take longer than the statement."""
    return ", ".join(map(str, map(int, ids)))


def put(session: Session, found: Sequence[Found]) -> set[int]:
    """Replace the flags and keys of pairs by what was found. Return the questions that were and are asked by them."""
    if not found:
        return set()
    connection = session.connection()
    ids = numbers(one.pair_id for one in found)
    old = connection.exec_driver_sql(f"SELECT pair_id, key, answer FROM pair_question WHERE pair_id IN ({ids})")
    before = {pair_id: (key, answer) for pair_id, key, answer in old}
    connection.exec_driver_sql(f"DELETE FROM pair_flag WHERE pair_id IN ({ids})")
    enter(session, [(one.pair_id, flag, detail) for one in found for flag, detail in one.flags.items()])
    after = {one.pair_id: one.keys for one in found if one.keys}
    gone = [(key, pair_id) for pair_id, (key, answer) in before.items() if after.get(pair_id) != (key, answer)]
    if gone:
        many(session, "DELETE FROM pair_question WHERE key = ? AND pair_id = ?", gone)
    come = [(key, pair_id, answer) for pair_id, (key, answer) in after.items() if before.get(pair_id) != (key, answer)]
    if come:
        many(session, "INSERT INTO pair_question (key, pair_id, answer) VALUES (?, ?, ?)", sorted(come))
    return {key for key, _ in before.values()} | {key for key, _ in after.values()}


def enter(session: Session, rows: Sequence[tuple[int, str, str]], over: bool = True) -> None:
    """Add flags: pair, flag and detail. What a person found to be none stays out; `over`: a new detail wins."""
    if not rows:
        return
    fine = set(map(tuple, session.connection().exec_driver_sql(
        "SELECT flag_fine.pair_id, flag FROM flag_fine JOIN pair ON pair.id = flag_fine.pair_id "
        f"AND pair.fingerprint = flag_fine.fingerprint WHERE pair.id IN ({numbers({row[0] for row in rows})})"
    )))  # fmt: skip
    kept = sorted(row for row in rows if row[:2] not in fine)
    if kept:
        clash = "DO UPDATE SET detail = excluded.detail" if over else "DO NOTHING"
        statement = (
            f"INSERT INTO pair_flag (pair_id, flag, detail) VALUES (?, ?, ?) ON CONFLICT (pair_id, flag) {clash}"
        )
        many(session, statement, kept)


def many(session: Session, statement: str, rows: list[Any]) -> None:
    """Run a statement once for each row, as the driver does it."""
    connection = session.connection()
    mark = statement if connection.dialect.paramstyle == "qmark" else statement.replace("?", "%s")
    connection.exec_driver_sql(mark, rows)


def relate(session: Session, keys: Iterable[int]) -> None:
    """Flag pairs anew that ask one of these questions: those that answer alike, and those that answer otherwise."""
    for some in in_slices(sorted(keys), AT_ONCE):
        rows = session.connection().exec_driver_sql(
            f"SELECT key, pair_id, answer FROM pair_question WHERE key IN ({numbers(some)}) ORDER BY key, pair_id"
        ).all()  # fmt: skip
        wanted = list(between(rows))
        single_out(session, [row[1] for row in rows])
        enter(session, wanted)


def single_out(session: Session, pair_ids: Sequence[int]) -> None:
    """Take away what was said of pairs beside others, but for what a search for near-duplicates said."""
    for some in in_slices(pair_ids, 5 * AT_ONCE):
        gone = f"DELETE FROM pair_flag WHERE pair_id IN ({numbers(some)}) AND flag IN {BETWEEN}"
        session.execute(sa.text(f"{gone} AND detail NOT LIKE :nearly"), {"nearly": f"{NEARLY}%"})


def between(rows: Iterable[Sequence[int]]) -> Iterator[tuple[int, str, str]]:
    """Yield the flags of pairs that ask the same, of rows (key, pair_id, answer) in the order of the keys."""
    for _, group in groupby(rows, key=lambda row: row[0]):
        crowd = [(pair_id, answer) for _, pair_id, answer in group]
        if len(crowd) < 2:
            continue
        by_answer: dict[int, list[int]] = {}
        for pair_id, answer in crowd:
            by_answer.setdefault(answer, []).append(pair_id)
        first = [ids[0] for ids in by_answer.values()]
        for pair_id, answer in crowd:
            alike = by_answer[answer]
            if len(alike) > 1:
                yield pair_id, "duplicate", f"the same as {pairs_named(alike, pair_id)}"
            if len(by_answer) > 1:
                others = [one for one in first[: TOLD + 2] if one != alike[0]]
                count = len(crowd) - len(alike)
                yield pair_id, "contradiction", f"asks what {pairs_named(others, 0, count)} ask{'s' * (count == 1)}"


def pairs_named(ids: Sequence[int], but: int, count: int | None = None) -> str:
    """Return "pair 3", "pairs 3, 5 and 8", "pairs 3, 5, 8 and 12 more"."""
    some = [one for one in ids[: TOLD + 1] if one != but][:TOLD]
    rest = (len(ids) - (but in ids) if count is None else count) - len(some)
    if len(some) == 1 and not rest:
        return f"pair {some[0]}"
    words = [str(one) for one in some] + ([f"{rest:,} more"] if rest else [])
    return f"pairs {', '.join(words[:-1])} and {words[-1]}"


def in_slices(some: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a list into pieces."""
    for start in range(0, len(some), size):
        yield some[start : start + size]
