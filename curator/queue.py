"""The queue of pairs to review: which comes next and why, and how far a person is. Reads; writes nothing.

Pairs that have a reason come first, the strongest reasons before all: what checks flagged, what contradicts another
pair, what a run found hard to learn, what was rated low. The others follow, the newest first. Reasons lie in small
tables, so only their pairs are scored, and the scores stay in the process: an act changes those of its pairs alone.
"""

from __future__ import annotations

import statistics
import threading
import weakref
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from curator import flags, search
from curator.models import Changeset, Checked, Loss, Pair, PairFlag, Rating, Revision, Run, Sample, now
from curator.search import Selection

# How much worse a training file is with such a pair left in it.
WEIGHTS = {"bad": 5.0, "warn": 3.0, "note": 1.0}
SEVERITY = {name: WEIGHTS[flag.severity] for name, flag in flags.FLAGS.items()}
SEVERITY |= {"contradiction": 6.0, "secret": 6.0, "duplicate": 2.0, "long": 2.0}
OTHER = 2.0  # a flag of another Curator
HARD = 0.1  # the share of a run's lines that are hard: those it lost most on
MOST_HARD = 10_000  # of them: each is looked up, and nobody reads more before the next run
HARDEST = 4.0  # what the first of them counts; the last of them counts almost nothing
LOW_STARS = 2.5  # answers to it that are rated so on average say that it teaches badly
FEW = 2000  # pairs that wait: so many are sorted together; of more, those at hand are looked for
AT_ONCE = 64  # pairs without a reason that are taken from the set together
MANY_CHANGED = 5000  # pairs after which all are scored again
SITTING_GAP = timedelta(minutes=5)
ACTS_READ = 20_000  # of the latest acts, where a person's own are looked for
DONE = ("approved", "rejected", "trashed")

Key = tuple[float, int]  # (-score, -id): the queue is in the order of these


class Reason(NamedTuple):
    """Why a pair comes early: what it is, and what there is to know of it."""

    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.detail else self.name


class Hard(NamedTuple):
    """What a run lost on the text of a pair, and which share of its lines was as hard."""

    fingerprint: str
    loss: float
    share: float


@dataclass
class Order:
    """The pairs that have a reason. One for each database, in the process, read and brought up to date under `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stamp: tuple[Any, ...] | None = None  # what told that flags, losses or ratings are others
    changeset_id: int = 0  # the newest whose pairs are scored
    scores: dict[int, float] = field(default_factory=dict)
    ranked: list[Key] = field(default_factory=list)
    hard: dict[int, Hard] = field(default_factory=dict)
    run: str = ""  # the name of the run that `hard` is of

    def key(self, pair_id: int) -> Key:
        """Return where a pair stands, whether it waits or not."""
        return -self.scores.get(pair_id, 0.0), -pair_id


@dataclass(frozen=True)
class Progress:
    """How far the review is: of all pairs of a selection, and of one person."""

    left: int
    total: int
    today: int  # pairs that this person decided today, on the clock of this machine
    seconds: float | None  # the median from one pair to the next in this sitting; None before the second


ORDERS: weakref.WeakKeyDictionary[Engine, Order] = weakref.WeakKeyDictionary()
ORDERS_LOCK = threading.Lock()


def waiting(selection: Selection) -> Selection:
    """Return what of a selection waits for review: its drafts, unless it names another status."""
    return selection.but(trash=False, statuses=selection.statuses or ("draft",))


def walk(session: Session, selection: Selection, beside: int | None = None, back: bool = False) -> Iterator[int]:
    """Yield the pairs of a selection that wait, in the order of the queue; from behind one pair if it is named.

    `back` turns the order round.
    """
    order, wanted = order_of(session), waiting(selection)
    mark = order.key(beside) if beside is not None else None
    chosen = search.found(session, wanted)
    if len(chosen) <= FEW:
        few = sorted(order.key(pair_id) for pair_id in chosen)
        yield from (-number for _, number in beyond(few, mark, back))
        return
    parts = [with_reason, the_rest]
    for part in parts[::-1] if back else parts:
        yield from part(order, chosen, mark, back)


def beyond(ranked: list[Key], mark: Key | None, back: bool) -> list[Key]:
    """Return what follows a mark, or with `back` what comes before it, the nearest first."""
    if back:
        return ranked[: bisect_left(ranked, mark) if mark else None][::-1]
    return ranked[bisect_right(ranked, mark) if mark else 0 :]


def after(session: Session, selection: Selection, pair_id: int) -> int | None:
    """Return the pair that follows one in the queue; behind the last comes the first again, so none is forgotten."""
    following = next(walk(session, selection, pair_id), None) or next(walk(session, selection), None)
    return following if following != pair_id else None


def before(session: Session, selection: Selection, pair_id: int) -> int | None:
    """Return the pair that comes before one in the queue, None where it is the first."""
    return next(walk(session, selection, pair_id, back=True), None)


def with_reason(order: Order, chosen: Any, mark: Key | None, back: bool) -> Iterator[int]:
    """Yield the chosen pairs that have a reason, the strongest reason first."""
    yield from (-number for _, number in beyond(order.ranked, mark, back) if -number in chosen)


def the_rest(order: Order, chosen: Any, mark: Key | None, back: bool) -> Iterator[int]:
    """Yield the chosen pairs that have no reason, the newest first."""
    if back and mark and mark[0] < 0:
        return
    last = -mark[1] if mark and mark[0] == 0 else None
    if back:
        low, high = 0 if last is None else chosen.rank(last), len(chosen)
    else:
        low, high = 0, len(chosen) if last is None else chosen.rank(last - 1)
    while low < high:
        if back:
            ids, low = list(chosen[low : min(low + AT_ONCE, high)]), low + AT_ONCE
        else:
            ids, high = list(chosen[max(high - AT_ONCE, low) : high])[::-1], high - AT_ONCE
        yield from (pair_id for pair_id in ids if pair_id not in order.scores)


def reasons(session: Session, pair: Pair) -> list[Reason]:
    """Return why a pair comes where it comes, the strongest reason first; none where only its age decides."""
    order = order_of(session)
    flagged = session.execute(sa.select(PairFlag.flag, PairFlag.detail).where(PairFlag.pair_id == pair.id)).all()
    found = [Reason(title(name), detail) for name, detail in sorted(flagged, key=lambda f: -severity(f.flag))]
    hard = order.hard.get(pair.id)
    if hard and hard.fingerprint == pair.fingerprint:
        found.append(Reason(f"loss {hard.loss:.1f}", f"top {max(1, ceil(100 * hard.share))} % of run {order.run}"))
    for _, stars in session.execute(low_ratings([pair.id])):
        found.append(Reason(f"rated {float(stars):.1f}", "what models answer to it, of 5 stars"))
    return found


def progress(session: Session, selection: Selection, by: str) -> Progress:
    """Return how far the review of a selection is, and what one person did of it."""
    today, seconds = sitting(session, by)
    left = search.count(session, waiting(selection))
    total = search.count(session, selection.but(trash=False, statuses=()))
    return Progress(left, total, today, seconds)


def sitting(session: Session, by: str) -> tuple[int, float | None]:
    """Return how many pairs a person decided today, and the median seconds from pair to pair in this sitting.

    Only acts on single pairs count. A pause of more than SITTING_GAP begins a new sitting; one that lasts
    till now has ended it.
    """
    moment = now()
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    newest = session.scalar(sa.select(sa.func.max(Changeset.id))) or 0
    acts = session.execute(
        sa.select(Changeset.id, Changeset.at, Changeset.action, Changeset.undoes_id, Revision.pair_id)
        .join(Revision, Revision.changeset_id == Changeset.id)
        .where(Changeset.id > newest - ACTS_READ, Changeset.by == by, Changeset.rows == 1)
        .where(Changeset.at >= moment - timedelta(days=1))
        .order_by(Changeset.id.desc())
    ).all()
    undone = {act.undoes_id for act in acts}
    acts = [act for act in acts if act.undoes_id is None and act.id not in undone]
    today = {act.pair_id for act in acts if act.action in DONE and act.at >= midnight}
    ended: list[datetime] = []  # when each pair of this sitting was left, the last one first
    pair_id, later = None, moment
    for act in acts:
        if later - act.at > SITTING_GAP:
            break
        if act.pair_id != pair_id:
            ended.append(act.at)
        pair_id, later = act.pair_id, act.at
    gaps = [(one - other).total_seconds() for one, other in zip(ended, ended[1:], strict=False)]
    return len(today), statistics.median(gaps) if gaps else None


def title(flag: str) -> str:
    """Return what a flag is called on a page."""
    return flags.FLAGS[flag].title if flag in flags.FLAGS else flag.replace("_", " ")


def severity(flag: str) -> float:
    """Return how much a flag counts."""
    return SEVERITY.get(flag, OTHER)


def order_of(session: Session) -> Order:
    """Return the pairs with a reason as the database has them now."""
    with ORDERS_LOCK:
        order = ORDERS.setdefault(session.get_bind().engine, Order())
    with order.lock:
        stamp, newest = stamps(session)
        if order.stamp != stamp or newest < order.changeset_id:
            score_all(session, order)
        elif newest > order.changeset_id:
            score_changed(session, order)
        order.stamp, order.changeset_id = stamp, newest
    return order


def stamps(session: Session) -> tuple[tuple[Any, ...], int]:
    """Return what changes when flags, losses or ratings do, and the newest changeset."""
    told = session.execute(
        sa.select(
            sa.select(sa.func.max(Checked.stamp)).scalar_subquery(),
            sa.select(sa.func.max(Loss.run_id)).scalar_subquery(),
            sa.select(sa.func.max(Run.imported_at)).scalar_subquery(),
            sa.select(sa.func.count(Rating.id)).scalar_subquery(),
            sa.select(sa.func.max(Rating.at)).scalar_subquery(),
            sa.select(sa.func.max(Changeset.id)).scalar_subquery(),
        )
    ).one()
    return tuple(told[:-1]), told[-1] or 0


def score_all(session: Session, order: Order) -> None:
    """Score every pair that has a reason."""
    order.hard, order.run = hardest(session)
    order.scores = scored(session, order)
    order.ranked = sorted((-score, -pair_id) for pair_id, score in order.scores.items())


def score_changed(session: Session, order: Order) -> None:
    """Score the pairs again that were changed by changesets since."""
    since = sa.select(Revision.pair_id).where(Revision.changeset_id > order.changeset_id)
    changed = set(session.scalars(since.limit(MANY_CHANGED + 1)))
    if len(changed) > MANY_CHANGED:
        return score_all(session, order)
    scores = scored(session, order, changed)
    ranked = list(order.ranked)  # who walks along the old one goes on doing so
    for pair_id in changed:
        old, new = order.scores.pop(pair_id, None), scores.get(pair_id)
        if old is not None:
            del ranked[bisect_left(ranked, (-old, -pair_id))]
        if new is not None:
            order.scores[pair_id] = new
            insort(ranked, (-new, -pair_id))
    order.ranked = ranked


def scored(session: Session, order: Order, ids: Iterable[int] | None = None) -> dict[int, float]:
    """Return the score of each pair that has a reason, or of those of some pairs."""
    some = None if ids is None else list(ids)
    weight = sa.case(SEVERITY, value=PairFlag.flag, else_=OTHER)
    flagged = sa.select(PairFlag.pair_id, sa.func.sum(weight)).group_by(PairFlag.pair_id)
    flagged = flagged if some is None else flagged.where(PairFlag.pair_id.in_(some))
    scores = {pair_id: float(score) for pair_id, score in session.execute(flagged)}
    hard = order.hard
    if some is not None and hard:
        texts = session.execute(sa.select(Pair.id, Pair.fingerprint).where(Pair.id.in_([i for i in some if i in hard])))
        hard = {pair_id: hard[pair_id] for pair_id, said in texts if hard[pair_id].fingerprint == said}
    for pair_id, found in hard.items():
        scores[pair_id] = scores.get(pair_id, 0.0) + HARDEST * (1 - found.share / HARD)
    for pair_id, stars in session.execute(low_ratings(some)):
        scores[pair_id] = scores.get(pair_id, 0.0) + LOW_STARS + 1 - float(stars)
    return scores


def hardest(session: Session) -> tuple[dict[int, Hard], str]:
    """Return the pairs that the newest run with losses lost most on, as long as they say what they said then."""
    run_id = session.scalar(sa.select(sa.func.max(Loss.run_id)))
    if run_id is None:
        return {}, ""
    lines = session.scalar(sa.select(sa.func.count()).select_from(Loss).where(Loss.run_id == run_id)) or 0
    most = (
        sa.select(Loss.pair_id, Loss.fingerprint, Loss.tuned_loss)
        .where(Loss.run_id == run_id, Loss.pair_id.is_not(None))
        .order_by(Loss.tuned_loss.desc())
        .limit(min(int(lines * HARD), MOST_HARD))
        .subquery()
    )
    still = sa.and_(Pair.id == most.c.pair_id, Pair.fingerprint == most.c.fingerprint)
    text = sa.select(*most.c, Pair.id).outerjoin(Pair, still).order_by(most.c.tuned_loss.desc())
    found = {
        row[0]: Hard(row[1], row[2], place / lines)
        for place, row in enumerate(session.execute(text))
        if row[3] is not None  # it still says so
    }
    return found, session.scalar(sa.select(Run.name).where(Run.id == run_id)) or ""


def low_ratings(ids: Iterable[int] | None = None) -> sa.Select[Any]:
    """Ask for pairs whose question models answered so that people rated it low, each with the mean of its stars."""
    mean = sa.func.avg(Rating.stars)
    rows = sa.select(Sample.pair_id, mean).join(Sample, Sample.id == Rating.sample_id)
    rows = rows.where(Sample.pair_id.is_not(None), Rating.stars.is_not(None))
    rows = rows if ids is None else rows.where(Sample.pair_id.in_(list(ids)))
    return rows.group_by(Sample.pair_id).having(mean <= LOW_STARS)
