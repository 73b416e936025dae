"""What a person said is no duplicate: remembered with name and date, as long as both pairs say what they said then."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.errors import NotFound
from curator.models import NotDuplicate, Pair, now, writing
from curator.pairs import get


def dismiss(session: Session, pair_ids: Sequence[int], by: str) -> list[NotDuplicate]:
    """Remember that no two of these pairs are duplicates. Raises NotFound where one is gone."""
    with writing(session):
        pairs = [get(session, pair_id) for pair_id in sorted(set(pair_ids))]
        said = [
            session.merge(NotDuplicate(
                one_id=one.id, other_id=other.id, one_fingerprint=one.fingerprint,
                other_fingerprint=other.fingerprint, by=by, at=now(),
            ))
            for one, other in combinations(pairs, 2)
        ]  # fmt: skip
    return said


def take_back(session: Session, pair_ids: Sequence[int]) -> int:
    """Forget what was said of these pairs, each with another of them. Return how many judgements that were."""
    ids = list(pair_ids)
    with writing(session):
        gone = sa.delete(NotDuplicate).where(NotDuplicate.one_id.in_(ids), NotDuplicate.other_id.in_(ids))
        count = int(session.execute(gone).rowcount)  # type: ignore[attr-defined]
        if not count:
            raise NotFound("Nobody said of these pairs that they are no duplicates, or it was taken back already.")
    return count


def dismissed(session: Session, limit: int = 100) -> list[NotDuplicate]:
    """Return what people said is no duplicate and is still as it was, the latest first."""
    return list(session.scalars(standing().order_by(NotDuplicate.at.desc()).limit(limit)))


def standing() -> Any:
    """Return the selection of the judgements whose pairs say what they said then."""
    one, other = sa.orm.aliased(Pair), sa.orm.aliased(Pair)
    return (
        sa.select(NotDuplicate)
        .join(one, sa.and_(one.id == NotDuplicate.one_id, one.fingerprint == NotDuplicate.one_fingerprint))
        .join(other, sa.and_(other.id == NotDuplicate.other_id, other.fingerprint == NotDuplicate.other_fingerprint))
    )


def dismissed_now(session: Session, ids: Any) -> set[tuple[int, int]]:
    """Return which two are no duplicates, by their places in `ids`, which ascend."""
    import numpy as np

    rows = session.execute(standing().with_only_columns(NotDuplicate.one_id, NotDuplicate.other_id)).all()
    both = np.array([tuple(row) for row in rows], np.int64).reshape(-1, 2)
    place = np.minimum(np.searchsorted(ids, both), max(len(ids) - 1, 0))
    there = (ids[place] == both).all(axis=1) if len(ids) else np.zeros(len(both), bool)
    return {(int(a), int(b)) for a, b in place[there]}
