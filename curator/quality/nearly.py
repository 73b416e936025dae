"""Flags of pairs that are nearly alike, by the last searches for near-duplicates. Searches nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking, duplicates, minhash
from curator.checking import NEARLY
from curator.models import Dataset, Pair, writing

SLICE = 1000
Row = tuple[int, str, str]


def enter(session: Session, home: Path, on_progress: Callable[..., object]) -> None:
    """Let the flags say what the last searches found, as far as the pairs still say the same."""
    wanted: dict[tuple[int, str], str] = {}
    names = list(session.scalars(sa.select(Dataset.name)))
    for name in (None, *names):
        for pair_id, flag, detail in (*alike(session, home, name), *otherwise(session, home, name)):
            wanted.setdefault((pair_id, flag), detail)
    rows = session.execute(
        sa.text("SELECT pair_id, flag, detail FROM pair_flag WHERE detail LIKE :nearly"), {"nearly": f"{NEARLY}%"}
    )
    there = {(pair_id, flag): detail for pair_id, flag, detail in rows}
    old = sorted(place for place, detail in there.items() if wanted.get(place) != detail)
    new: list[Row] = sorted((*place, detail) for place, detail in wanted.items() if there.get(place) != detail)
    session.rollback()
    for some in checking.in_slices(old, SLICE):
        with writing(session):
            checking.many(session, "DELETE FROM pair_flag WHERE pair_id = ? AND flag = ?", list(some))
    for start, rows_ in enumerate(checking.in_slices(new, SLICE)):
        with writing(session):
            live = set(session.scalars(sa.select(Pair.id).where(Pair.id.in_([row[0] for row in rows_]), ~Pair.trashed)))
            checking.enter(session, [row for row in rows_ if row[0] in live], over=False)
        on_progress(start * SLICE + len(rows_), len(new), "Noting near-duplicates")


def standing(session: Session, home: Path, dataset: str | None, kind: str, field: str) -> duplicates.Findings | None:
    """Return what the last search found and what is still true of it."""
    found = duplicates.kept(home, dataset, field, kind=kind)
    return duplicates.without_gone(session, found) if found else None


def alike(session: Session, home: Path, dataset: str | None) -> Iterator[Row]:
    """Yield flags of near-duplicates, each with the pair that it is most like."""
    found = standing(session, home, dataset, "duplicates", "pair")
    if found is None:
        return
    nearest: dict[int, tuple[float, int]] = {}
    for left, right, similarity in edges(found):
        if similarity >= duplicates.AUTOMATIC:
            for one, other in ((left, right), (right, left)):
                nearest[one] = max(nearest.get(one, (0.0, 0)), (similarity, other))
    for pair_id, (similarity, other) in nearest.items():
        yield pair_id, "duplicate", f"{NEARLY} the same as pair {other} ({100 * similarity:.0f} %)"


def otherwise(session: Session, home: Path, dataset: str | None) -> Iterator[Row]:
    """Yield flags of pairs whose questions are nearly alike and state the same facts, answered otherwise."""
    found = standing(session, home, dataset, "contradictions", "question")
    if found is None:
        return
    close = [edge for edge in edges(found) if edge[2] >= duplicates.AUTOMATIC]
    ids = sorted({pair_id for edge in close for pair_id in edge[:2]})
    asked: dict[int, str] = {}
    for some in checking.in_slices(ids, SLICE):
        asked.update(session.execute(sa.select(Pair.id, Pair.question).where(Pair.id.in_(some))).all())
    for left, right, _ in close:
        if left in asked and right in asked and minhash.differs_in_fact(asked[left], asked[right]) is None:
            yield left, "contradiction", f"{NEARLY} the question of pair {right}, answered otherwise"
            yield right, "contradiction", f"{NEARLY} the question of pair {left}, answered otherwise"


def edges(found: duplicates.Findings) -> Iterator[tuple[int, int, float]]:
    """Yield pairs that are similar, two by two, with how similar they are."""
    yield from zip(
        found.ids[found.left].tolist(), found.ids[found.right].tolist(), found.similarity.tolist(), strict=True
    )
