"""What is stored that is nearly the same as a text: proposed by the index, proved by counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import minhash, neighbours
from curator.duplicates.reading import of, of_ids
from curator.models import Pair
from curator.pairs import dataset_named

REVIEW = 0.75  # from here on a person should look
PROPOSED = 500  # pairs that one band proposes for a text by itself
COUNTED = 200  # candidates that are counted at once


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

    Takes less than a millisecond of a million pairs. Raises neighbours.NotIndexed where there is no index yet.
    """
    dataset_id = dataset_named(session, dataset).id if dataset else None
    text = neighbours.text_of(question, answer)
    (ids,) = neighbours.candidates(session, [text], PROPOSED)
    scores: list[tuple[float, int]] = []
    for start in range(0, len(ids), COUNTED):
        some = sorted(pair_id for pair_id in ids[start : start + COUNTED] if pair_id != except_id)
        columns = "id, question || chr(10) || answer"
        found = [row for row in of_ids(session, columns, some, f" AND NOT trashed{of(dataset_id)}")]
        counted = minhash.scores(text, [row[1] for row in found], neighbours.SCHEME.shingle)
        scores += [(-score, row[0]) for score, row in zip(counted, found, strict=True) if score >= threshold]
        if len(scores) >= limit:  # what shares fewer bands is less alike
            break
    nearest = sorted(scores)[:limit]
    pairs = sa.select(Pair).options(joinedload(Pair.dataset)).where(Pair.id.in_([pair_id for _, pair_id in nearest]))
    by_id = {pair.id: pair for pair in session.scalars(pairs)}
    return [Near(by_id[pair_id], -score) for score, pair_id in nearest if pair_id in by_id]


def find_many(
    session: Session, texts: Sequence[str], dataset_id: int | None = None, threshold: float = REVIEW
) -> dict[int, tuple[int, float]]:
    """Return, by the place of each text that is like a pair, the pair most like it and how much.

    Texts are those of `neighbours.text_of`. Raises neighbours.NotIndexed.
    """
    candidates = neighbours.candidates(session, texts)
    wanted = sorted({pair_id for ids in candidates for pair_id in ids[:COUNTED]})
    columns = "id, question || chr(10) || answer"
    stored = dict(of_ids(session, columns, wanted, f" AND NOT trashed{of(dataset_id)}"))
    found: dict[int, tuple[int, float]] = {}
    for place, ids in enumerate(candidates):
        there = [pair_id for pair_id in ids[:COUNTED] if pair_id in stored]
        if there:
            counted = minhash.scores(texts[place], [stored[i] for i in there], neighbours.SCHEME.shingle)
            score, pair_id = max(zip(counted, (-i for i in there), strict=True))
            if score >= threshold:
                found[place] = (-pair_id, score)
    return found
