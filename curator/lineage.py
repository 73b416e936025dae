"""What became of what: from a pair to versions, runs, samples and ratings; from a run back to what changed before it.

Reads what `versions`, `runs` and `reviews` have written, and writes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import duplicates, minhash, neighbours, runs, search, text
from curator.models import Changeset, Line, Loss, Pair, Rating, Run, Sample, Signal, Version, VersionLine
from curator.search import Selection

SHOWN = 5
NEAREST = 0.2  # from here on the index of near-duplicates finds a row, if it is lucky
WORDS = 16  # the longest of a sample, that rows are looked for by
COMMON = 50_000  # rows: a word that more of them have says nothing
CANDIDATES = 300  # rows that are compared with a sample
RATES = {"rouge1", "rouge2", "rougeL", "token_f1", "exact_match"}  # parts of 1
RATES |= {"truncated", "repetition", "echo", "empty", "templated"}


@dataclass(frozen=True)
class Held:
    """A version that holds a pair, on which side, and whether it says there what the pair says now."""

    version: Version
    split: str
    is_now: bool


@dataclass
class Seen:
    """What a run made of a pair: its loss, in the end and pass by pass, and what each model answered, with stars."""

    run: Run
    loss: Loss | None = None
    signal: Signal | None = None
    samples: list[tuple[Sample, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A test row that two runs were measured on: its loss in each, mean nats a token."""

    pair_id: int | None
    fingerprint: str
    question: str
    before: float
    now: float


@dataclass(frozen=True)
class Since:
    """What lies between a run and another one, by nature the one before it, and what it did to the same test rows."""

    previous: Run
    is_older: bool  # whether the other one's version is older
    changesets: list[Changeset]
    number: int  # of changesets, of which those above are the newest
    common: int  # test rows that both were measured on
    changed: int  # test rows of both versions that say something else in each
    is_same_test: bool
    perplexity: tuple[float, float] | None  # of the answers of these rows: before, now
    better: list[Row]
    worse: list[Row]
    better_number: int
    worse_number: int
    measures: list[tuple[str, float, float, float, bool | None]]  # see `measures`


def versions_of(session: Session, pair: Pair) -> list[Held]:
    """Return the versions that hold a pair, the newest first."""
    rows = session.execute(
        sa.select(Version, VersionLine.split, Line.fingerprint)
        .join(VersionLine, sa.and_(VersionLine.version_id == Version.id, VersionLine.pair_id == pair.id))
        .join(Line, Line.id == VersionLine.line_id)
        .order_by(Version.id.desc())
    )
    return [Held(version, split, fingerprint == pair.fingerprint) for version, split, fingerprint in rows]


def runs_of(session: Session, pair_id: int) -> list[Seen]:
    """Return the runs that saw a pair, the newest first, with its loss and what was answered to it."""
    found: dict[int, Seen] = {}
    for loss, run in session.execute(
        sa.select(Loss, Run).join(Run, Run.id == Loss.run_id).where(Loss.pair_id == pair_id)
    ):
        found.setdefault(run.id, Seen(run)).loss = loss
    for signal in session.scalars(sa.select(Signal).options(joinedload(Signal.run)).where(Signal.pair_id == pair_id)):
        found.setdefault(signal.run_id, Seen(signal.run)).signal = signal
    stars = sa.select(sa.func.avg(Rating.stars)).where(Rating.sample_id == Sample.id).scalar_subquery()
    rows = session.execute(
        sa.select(Sample, stars).options(joinedload(Sample.run)).where(Sample.pair_id == pair_id).order_by(Sample.model)
    )
    for sample, mean in rows:
        seen = found.setdefault(sample.run_id, Seen(sample.run))
        seen.samples.append((sample, None if mean is None else float(mean)))
    return sorted(found.values(), key=lambda seen: -seen.run.id)


def since(session: Session, run: Run, beside: int | None = None) -> Since | None:
    """Return what lies between a run and another one: `beside`, or the natural one, if there is any.

    Where both were measured on the same frozen test rows, their losses are laid side by side; measures of the whole
    test split only where it is the same in both. Raises NotFound where there is no run of that number.
    """
    previous = previous_of(session, run) if beside is None else runs.get(session, beside)
    if previous is None or previous.id == run.id:
        return None
    low, high = sorted(each.version.changeset_id or 0 if each.version else 0 for each in (previous, run))
    where = [Changeset.id > low, Changeset.id <= high, sa.literal(bool(previous.version and run.version))]
    changesets = list(session.scalars(sa.select(Changeset).where(*where).order_by(Changeset.id.desc()).limit(20)))
    number = session.scalar(sa.select(sa.func.count(Changeset.id)).where(*where)) or 0
    rows, tokens = common_rows(session, previous, run)
    before, now = (
        sum(tokens[row.fingerprint] * getattr(row, when) for row in rows) / max(sum(tokens.values()), 1)
        for when in ("before", "now")
    )
    by_change = sorted(rows, key=lambda row: row.now - row.before)
    better = [row for row in by_change if row.now < row.before]
    worse = [row for row in reversed(by_change) if row.now > row.before]
    same = is_same_test(session, previous, run)
    perplexity = (math.exp(min(before, 700)), math.exp(min(now, 700))) if rows else None
    return Since(
        previous, (previous.version_id or 0) < (run.version_id or 0), changesets, number, len(rows),
        changed_tests(session, previous, run), same, perplexity,
        better[:SHOWN], worse[:SHOWN], len(better), len(worse), measures(previous, run) if same else [],
    )  # fmt: skip


def previous_of(session: Session, run: Run) -> Run | None:
    """Return the newest run before this one that trained on an older version, of the same base if there is one."""
    earlier = sa.select(Run).options(joinedload(Run.version)).where(
        Run.id != run.id, Run.version_id.is_not(None), Run.version_id < (run.version_id or 0)
    )  # fmt: skip
    order = (Run.base == run.base).desc(), Run.version_id.desc(), Run.started_at.desc(), Run.id.desc()
    return session.scalar(earlier.order_by(*order).limit(1))


def others(session: Session, run: Run) -> list[Run]:
    """Return the runs that one can be laid beside, the newest first."""
    return [each for each in runs.all(session) if each.id != run.id]


def changed_tests(session: Session, previous: Run, run: Run) -> int:
    """Return how many pairs are in the test splits of both versions, with another text in each."""
    old, new = sa.orm.aliased(VersionLine), sa.orm.aliased(VersionLine)
    both = sa.select(sa.func.count()).select_from(old).join(new, new.pair_id == old.pair_id).where(
        old.version_id == previous.version_id, new.version_id == run.version_id, old.split == "test",
        new.split == "test", old.line_id != new.line_id,
    )  # fmt: skip
    return session.scalar(both) or 0


def common_rows(session: Session, previous: Run, run: Run) -> tuple[list[Row], dict[str, int]]:
    """Return the test rows that both runs were measured on, text for text, and how many tokens each answer has."""
    other = sa.orm.aliased(Loss)
    found = session.execute(
        sa.select(Loss, other.tuned_loss, Pair.question)
        .join(other, other.fingerprint == Loss.fingerprint)
        .outerjoin(Pair, Pair.id == Loss.pair_id)
        .where(Loss.run_id == run.id, other.run_id == previous.id, Loss.split == "test", other.split == "test")
        .order_by(Loss.fingerprint)
    ).all()
    rows = [
        Row(loss.pair_id, loss.fingerprint, question or "", before, loss.tuned_loss) for loss, before, question in found
    ]
    return rows, {loss.fingerprint: loss.tokens for loss, _, _ in found}


def is_same_test(session: Session, previous: Run, run: Run) -> bool:
    """Whether the test splits of two runs hold the same lines, and any."""
    one, other = (
        set(session.scalars(sa.select(VersionLine.line_id).where(
            VersionLine.version_id == each.version_id, VersionLine.split == "test"))) for each in (previous, run)
    )  # fmt: skip
    return bool(one) and one == other


def measures(previous: Run, run: Run) -> list[tuple[str, float, float, float, bool | None]]:
    """Return the measures of two tuned models: title, before, now, the points between, whether that is better.

    It is neither where the numbers are the same, or where their intervals overlap: then it may be chance.
    """
    found = []
    old, new = ({m.name: m for m in runs.comparison(each)} for each in (previous, run))
    for name, title, direction in runs.MEASURES:
        if name in old and name in new and name != "perplexity":  # which is told of the rows of both
            before, now = old[name].tuned, new[name].tuned
            points = (now - before) * (100 if name in RATES else 1)
            one, other = old[name].intervals.get("tuned"), new[name].intervals.get("tuned")
            is_chance = bool(one and other and one.low <= other.high and other.low <= one.high)
            is_better = None if before == now or is_chance else (now > before) == (direction == "higher")
            found.append((title, before, now, points, is_better))
    return found


def nearest_rows(session: Session, sample: Sample, limit: int = SHOWN) -> list[tuple[Pair, float, str]]:
    """Return the pairs that say most nearly what a sample asks and answers, how nearly, and their side in its run.

    Those that the run trained on come first; the pair that was asked itself is none of them. Raises
    neighbours.NotIndexed.
    """
    question = sample.messages[-1]["content"] if sample.messages else ""
    said = [neighbours.text_of(question, answer) for answer in dict.fromkeys((sample.text, sample.reference))]
    found = {one.pair.id for one in duplicates.find_near(session, question, sample.text, threshold=NEAREST, limit=20)}
    found = (found | set(worded_alike(session, said))) - {sample.pair_id}
    pairs = list(session.scalars(sa.select(Pair).where(Pair.id.in_(found), ~Pair.trashed).order_by(Pair.id)))
    texts = [neighbours.text_of(pair.question, pair.answer) for pair in pairs]
    alike = [max(scores) for scores in zip(*(minhash.scores(one, texts) for one in said), strict=True)]
    sides = sa.select(VersionLine.pair_id, VersionLine.split).where(
        VersionLine.version_id == sample.run.version_id, VersionLine.pair_id.in_(found)
    )
    side_of = dict(session.execute(sides).all())
    near = [(pair, score, side_of.get(pair.id, "")) for pair, score in zip(pairs, alike, strict=True) if score]
    return sorted(near, key=lambda one: (one[2] != "train", -one[1]))[:limit]


def worded_alike(session: Session, texts: Sequence[str]) -> list[int]:
    """Return the pairs that share rare words with texts, those with most of them first."""
    words = sorted({word for one in texts for word in text.normalise(one).split()}, key=lambda word: (-len(word), word))
    shared: Counter[int] = Counter()
    for word in words[:WORDS]:
        holders = search.ids(session, Selection(query=f'"{word}"'))
        if len(holders) <= COMMON:
            shared.update(dict.fromkeys(holders, 1 / max(len(holders), 1)))
    return [pair_id for pair_id, _ in shared.most_common(CANDIDATES)]
