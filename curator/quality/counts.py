"""How many pairs have which flag, which these are, and how many changed since they were checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking, search
from curator.duplicates.remembering import once
from curator.flags import FLAGS, Flag, Rules
from curator.models import Changeset, Pair, PairFlag, Revision
from curator.pairs import dataset_named
from curator.quality.workers import FEW, MOST, processors
from curator.search import Selection

SECONDS = 0.0004  # that a look at a pair takes one processor, as `python -m bench.checks` measures it
START_SECONDS = 2.0


@dataclass(frozen=True)
class Counted:
    """A flag, and how many pairs outside the trash have it."""

    flag: Flag
    pairs: int


@dataclass(frozen=True)
class Flagged:
    """How many pairs have any flag, and how many each."""

    pairs: int
    flags: list[Counted]


def stand(session: Session) -> Hashable:
    """Return what is another whenever flags changed that no changeset tells of."""
    stands = checking.state(session)
    return stands.stamp if stands else None


def flagged(session: Session, dataset: str | None = None) -> Flagged:
    """Count the pairs of each flag outside the trash, of one data set or of all."""

    def count() -> dict[str, int]:
        live: list[sa.ColumnElement[bool]] = [Pair.trashed.is_(False)]
        if dataset:
            live.append(Pair.dataset_id == dataset_named(session, dataset).id)
        n = sa.func.count()
        joined = sa.join(PairFlag, Pair, PairFlag.pair_id == Pair.id)
        counts = Counter(dict(session.execute(
            sa.select(PairFlag.flag, n).select_from(joined).where(*live).group_by(PairFlag.flag)
        ).all()))  # fmt: skip
        some = sa.select(sa.func.count(sa.distinct(PairFlag.pair_id))).select_from(joined).where(*live)
        return {**counts, "": session.scalar(some) or 0}

    counts = once(session, ("flagged", dataset, stand(session)), count)
    return Flagged(counts[""], [Counted(flag, counts.get(name, 0)) for name, flag in FLAGS.items()])


def examples(session: Session, flag: str, dataset: str | None = None, most: int = 3) -> list[tuple[Pair, str]]:
    """Return some pairs that have a flag, the newest first, each with what was found."""
    some = sa.select(Pair, PairFlag.detail).join(PairFlag, PairFlag.pair_id == Pair.id)
    some = some.where(PairFlag.flag == flag, ~Pair.trashed).order_by(PairFlag.pair_id.desc()).limit(most)
    if dataset:
        some = some.where(Pair.dataset_id == dataset_named(session, dataset).id)
    return [(pair, detail) for pair, detail in session.execute(some)]


def flags_of(session: Session, pair_ids: Sequence[int]) -> dict[int, list[tuple[Flag, str]]]:
    """Return the flags of some pairs, each with what was found, the worst first."""
    order = {name: place for place, name in enumerate(FLAGS)}
    rows = session.execute(sa.select(PairFlag).where(PairFlag.pair_id.in_(pair_ids))).scalars() if pair_ids else ()
    found: dict[int, list[tuple[Flag, str]]] = {}
    for row in sorted((row for row in rows if row.flag in order), key=lambda row: order[row.flag]):
        found.setdefault(row.pair_id, []).append((FLAGS[row.flag], row.detail))
    return found


def last_check(session: Session) -> Changeset | None:
    """Return the newest change that was checked; None where nobody ever checked."""
    stands = checking.state(session)
    return session.get(Changeset, stands.changeset_id) if stands else None


def is_finished(session: Session) -> bool:
    """Whether there was a pass and none was stopped on its way."""
    stands = checking.state(session)
    return stands is not None and stands.after is None


def is_of(session: Session, rules: Rules) -> bool:
    """Whether the flags were found by these rules, whatever the languages of the data sets."""
    stands = checking.state(session)
    return stands is not None and stands.rules.is_like(rules)


def behind(session: Session, rules: Rules) -> int:
    """Return about how many pairs the flags don't know as they are now: all of them where the rules are others."""
    stands = checking.state(session)
    if stands is None or not stands.rules.is_like(rules):
        return search.count(session, Selection())
    left = sa.select(sa.func.count(sa.distinct(Revision.pair_id))).where(sa.text(checking.CONCERNS))
    number = 0
    if stands.after is not None and stands.since:
        number = session.scalar(left.where(Revision.changeset_id > stands.since, Revision.pair_id > stands.after)) or 0
    elif stands.after is not None:
        number = session.scalar(sa.select(sa.func.count()).select_from(Pair).where(Pair.id > stands.after)) or 0
    since = left.where(Revision.changeset_id > stands.changeset_id)
    return number + once(session, ("behind", stands.changeset_id), lambda: session.scalar(since) or 0)


def look_seconds(pairs: int) -> float:
    """Return about how long a look at so many pairs takes here."""
    if pairs <= FEW:
        return pairs * SECONDS
    return START_SECONDS + pairs * SECONDS / min(processors(), MOST)


def each_flagged(session: Session, flag: str, dataset: str | None = None) -> Iterator[tuple[int, str, str]]:
    """Yield the pairs that have a flag: id, what was found, the question."""
    some = sa.select(Pair.id, PairFlag.detail, Pair.question).join(PairFlag, PairFlag.pair_id == Pair.id)
    some = some.where(PairFlag.flag == flag, ~Pair.trashed).order_by(Pair.id)
    if dataset:
        some = some.where(Pair.dataset_id == dataset_named(session, dataset).id)
    for row in session.execute(some.execution_options(yield_per=1000)):
        yield row[0], row[1], row[2]
