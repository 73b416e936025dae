"""Flags that a person found to be none: remembered with name and date, as long as the pair says what it said then."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking
from curator.errors import NotFound
from curator.flags import FLAGS
from curator.models import Checked, FlagFine, PairFlag, now, writing
from curator.pairs import get


def call_fine(session: Session, pair_id: int, flag: str, by: str) -> None:
    """Take a flag from a pair until its text changes. Raises NotFound where the pair has no such flag."""
    with writing(session):
        pair = get(session, pair_id)
        gone = sa.delete(PairFlag).where(PairFlag.pair_id == pair_id, PairFlag.flag == flag)
        if not session.execute(gone).rowcount:  # type: ignore[attr-defined]
            raise NotFound(f"Pair {pair_id} is not flagged as {flag!r}, or not any more.")
        session.merge(FlagFine(pair_id=pair_id, flag=flag, fingerprint=pair.fingerprint, by=by, at=now()))
        stamp(session)


def not_fine(session: Session, pair_id: int, flag: str) -> None:
    """Forget that a flag was found to be none, and look at the pair again. Raises NotFound where nobody said so."""
    with writing(session):
        get(session, pair_id)
        gone = sa.delete(FlagFine).where(FlagFine.pair_id == pair_id, FlagFine.flag == flag)
        if not session.execute(gone).rowcount:  # type: ignore[attr-defined]
            raise NotFound(f"Nobody said of pair {pair_id} that {flag!r} is fine, or it was taken back already.")
        checking.look_again(session, [pair_id])
        stamp(session)


def fine_ones(session: Session, pair_id: int) -> list[FlagFine]:
    """Return which flags of a pair were found to be none, as it says now."""
    pair = get(session, pair_id)
    said = sa.select(FlagFine).where(FlagFine.pair_id == pair_id, FlagFine.fingerprint == pair.fingerprint)
    return [one for one in session.scalars(said.order_by(FlagFine.flag)) if one.flag in FLAGS]


def stamp(session: Session) -> None:
    """Let caches notice that flags changed."""
    session.execute(sa.update(Checked).values(stamp=Checked.stamp + 1))
