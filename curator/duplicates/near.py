"""What is stored that is nearly the same as a text: proposed by the index, proved by counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import minhash, neighbours
from curator.duplicates import reading
from curator.models import Pair
from curator.pairs import dataset_named

REVIEW = 0.75  # from here on a person should look
PROPOSED = 500  # pairs that one band proposes for a text by itself
COUNTED = 200  # candidates that are counted at once
COLUMNS = "id, question || chr(10) || answer"  # as neighbours.text_of has it
LIVE = " AND NOT trashed"


@dataclass(frozen=True)
class Near:
    """A pair that says nearly the same as a text."""

    pair: Pair
    similarity: float


def find_near(
    session: Session, question: str, answer: str, dataset: str | None = None, except_id: int | None = None,
    threshold: float = REVIEW, limit: int = 5,
) -> list[Near]:  # fmt: skip
    """Return the pairs outside the trash that say nearly the same, the most alike first, each similarity counted.

    Raises neighbours.NotIndexed where there is no index yet.
    """
    dataset_id = dataset_named(session, dataset).id if dataset else None
    nearest = find_ids(session, neighbours.text_of(question, answer), dataset_id, except_id, threshold, limit)
    if not nearest:
        return []
    ids = [pair_id for pair_id, _ in nearest]
    pairs = session.scalars(sa.select(Pair).options(joinedload(Pair.dataset)).where(Pair.id.in_(ids)))
    by_id = {pair.id: pair for pair in pairs}
    return [Near(by_id[pair_id], score) for pair_id, score in nearest if pair_id in by_id]


def find_ids(
    session: Session, text: str, dataset_id: int | None = None, except_id: int | None = None,
    threshold: float = REVIEW, limit: int = 5,
) -> list[tuple[int, float]]:  # fmt: skip
    """Return which pairs `find_near` finds, and how similar they are: half a millisecond of a million pairs."""
    (ids,) = neighbours.candidates(session, [text], PROPOSED)
    found: list[tuple[float, int]] = []
    for start in range(0, len(ids), COUNTED):
        some = sorted(pair_id for pair_id in ids[start : start + COUNTED] if pair_id != except_id)
        rows = list(reading.of_ids(session, COLUMNS, some, LIVE + reading.of(dataset_id)))
        scores = minhash.scores(text, [row[1] for row in rows], neighbours.SCHEME.shingle)
        found += [(-score, row[0]) for score, row in zip(scores, rows, strict=True) if score >= threshold]
        if len(found) >= limit:  # what shares fewer bands is less alike
            break
    return [(pair_id, -score) for score, pair_id in sorted(found)[:limit]]


def find_many(
    session: Session, texts: Sequence[str], dataset_id: int | None = None, threshold: float = REVIEW
) -> dict[int, tuple[int, float]]:
    """Return, by the place of each text that is like a pair, the pair most like it and how much.

    Texts are those of `neighbours.text_of`. Raises neighbours.NotIndexed.
    """
    import numpy as np

    candidates = [ids[:COUNTED] for ids in neighbours.candidates(session, texts)]
    wanted = sorted({pair_id for ids in candidates for pair_id in ids})
    found: dict[int, tuple[int, float]] = {}
    for rows in reading.lists_of_ids(session, COLUMNS, wanted, LIVE + reading.of(dataset_id)):
        place_of = {row[0]: place for place, row in enumerate(rows, len(texts))}
        both = [(place, there) for place, ids in enumerate(candidates) for i in ids if (there := place_of.get(i))]
        left, right = np.array(both, np.int64).reshape(-1, 2).T
        scores = minhash.scores_of([*texts, *(row[1] for row in rows)], left, right, neighbours.SCHEME.shingle)
        for edge in np.flatnonzero(scores >= threshold).tolist():
            place, near = int(left[edge]), (rows[right[edge] - len(texts)][0], float(scores[edge]))
            if near[1] > found.get(place, (0, 0.0))[1]:
                found[place] = near
    return found
