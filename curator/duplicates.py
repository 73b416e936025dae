"""Near-duplicates of a data set: clusters whose members are like the one to keep, and their removal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import history, minhash, text
from curator.errors import UserError
from curator.models import Changeset, Pair, writing
from curator.pairs import dataset_named, get

# Of three-word runs: at 0.8 about one word in thirty differs between two answers of forty words.
THRESHOLD, SHINGLE = 0.8, "word3"
BEST_STATUS = {"approved": 0, "draft": 1, "rejected": 2}


@dataclass(frozen=True)
class Cluster:
    """Pairs that say the same: the one to keep first, then those like it, the most alike first."""

    pairs: list[Pair]
    similarities: list[float]  # of each further pair to the first


def similar(pairs: Sequence[Pair], threshold: float = THRESHOLD) -> minhash.Similar:
    """Return which pairs, by their place, have texts of at least that Jaccard similarity, and how much."""
    return minhash.find_similar([f"{pair.question}\n{pair.answer}" for pair in pairs], threshold, SHINGLE)


def find_like(
    session: Session, dataset_id: int, texts: Sequence[str], threshold: float = THRESHOLD, seconds: float = 3
) -> tuple[dict[int, tuple[int, float]], int]:
    """Return, by the place of each text that is like a pair, the pair most like it and how much.

    Every similarity is counted, none estimated: pairs are read from the newest on and looked up by their
    word runs, so that time and memory grow with the texts given. Also returns how many pairs were
    looked at, fewer than there are where `seconds` were not enough.
    """
    sets = [text.shingles(one) for one in texts]
    holders: dict[str, list[int]] = {}
    for place, runs in enumerate(sets):
        for run in runs:
            holders.setdefault(run, []).append(place)
    found: dict[int, tuple[int, float]] = {}
    looked_at, deadline = 0, time.monotonic() + seconds
    rows = session.execute(
        sa.select(Pair.id, Pair.question, Pair.answer)
        .where(Pair.dataset_id == dataset_id, ~Pair.trashed)
        .order_by(Pair.id.desc())
        .execution_options(yield_per=500)
    )
    for some in rows.partitions():
        if time.monotonic() > deadline:
            break
        for pair_id, question, answer in some:
            runs = text.shingles(f"{question}\n{answer}")
            shared = Counter(place for run in runs for place in holders.get(run, ()))
            for place, both in shared.items():
                score = both / (len(runs) + len(sets[place]) - both)
                if score >= threshold and score >= found.get(place, (0, 0.0))[1]:
                    found[place] = (pair_id, score)
        looked_at += len(some)
    rows.close()
    return found, looked_at


def find_clusters(session: Session, dataset: str | None = None, threshold: float = THRESHOLD) -> list[Cluster]:
    """Return the clusters of near-duplicates outside the trash, the most alike first.

    The pair to keep is the approved one, then the one with the longer answer, then one not in
    capitals, then the older. Pairs of two data sets are not compared. Case, punctuation and white
    space are folded.
    """
    if not 0.5 <= threshold <= 1:
        raise UserError(f"The threshold {threshold:g} is not between 0.5 and 1.")
    where = [~Pair.trashed]
    if dataset:
        where.append(Pair.dataset_id == dataset_named(session, dataset).id)
    rows = session.scalars(sa.select(Pair).options(joinedload(Pair.dataset)).where(*where).order_by(Pair.id))
    by_dataset: dict[int, list[Pair]] = {}
    for pair in rows:
        by_dataset.setdefault(pair.dataset_id, []).append(pair)
    clusters = []
    for pairs in by_dataset.values():
        best_first = sorted(range(len(pairs)), key=lambda place: best(pairs[place]))
        for kept, members in minhash.stars(best_first, similar(pairs, threshold)):
            places, scores = zip(*members, strict=True)
            clusters.append(Cluster([pairs[kept], *(pairs[place] for place in places)], list(scores)))
    return sorted(clusters, key=lambda c: (-c.similarities[0], c.pairs[0].id))


def best(pair: Pair) -> tuple[int, int, bool, int]:
    """Sort key: which of several like pairs to keep comes first."""
    shouts = pair.question.isupper() or pair.answer.isupper()
    return BEST_STATUS[pair.status], -len(text.normalise(pair.answer)), shouts, pair.id


def resolve(session: Session, choices: Sequence[tuple[int, Sequence[int]]], by: str) -> Changeset:
    """Keep one pair of each choice and trash the others, as one changeset; the kept one gets their tags.

    Raises UserError where a pair is gone or stands on both sides.
    """
    keep = {kept for kept, _ in choices}
    with writing(session):
        changeset = history.begin(session, "merged duplicates", by, f"{len(choices):,} clusters, best kept")
        for kept_id, others in choices:
            kept, tags = get(session, kept_id), list(get(session, kept_id).tags)
            if kept.trashed:
                raise UserError(f"Pair {kept_id} is in the trash by now. Look at the clusters again.")
            for other_id in others:
                if other_id in keep:
                    raise UserError(f"Pair {other_id} can't be both kept and trashed.")
                other = get(session, other_id)
                history.change(session, changeset, other, {"trashed": True})
                tags += [tag for tag in other.tags if tag not in tags]
            history.change(session, changeset, kept, {"tags": tags})
    return changeset
