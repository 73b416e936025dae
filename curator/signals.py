"""What the losses of a run's lines, pass by pass, tell of its data: lines to look at. Judges nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator.errors import NotFound
from curator.models import FlagFine, Pair, Run, Signal, now, writing
from curator.pairs import get

# Each kind of line to look at: what it is called, and what it means.
KINDS = {
    "suspicious": ("Suspicious", "Late in training their loss is still far above that of lines as long. Often the "
                   "answer is wrong or fits no other; it may be right and rare, too."),
    "memorised": ("Memorised at once", "Their loss fell to nearly nothing after the first pass. Often the same "
                  "stands elsewhere in the data, so that they teach little."),
    "forgotten": ("Forgotten", "They were learnt and lost again, most often first. Often another line says "
                  "the opposite."),
}  # fmt: skip
FINE = "losses"  # the flag by which a person's word on a line is kept; no check has it
FAR = 3.0  # spreads above the median of like lines: one in 700 lies there by chance
SHOWN = 20


@dataclass(frozen=True)
class Look:
    """The lines of one kind: how many there are in all kinds, and the first of this one."""

    kind: str
    numbers: dict[str, int]
    lines: list[Signal]


def keep(
    session: Session,
    run: Run,
    losses: Iterable[dict[str, Any]],
    told: Iterable[dict[str, Any]],
    pairs: Mapping[str, int],
) -> None:
    """Replace the signals of a run by those of its train_losses.jsonl and signals.jsonl, each tied to its pair."""
    session.execute(sa.delete(Signal).where(Signal.run_id == run.id))
    signals = {row["fingerprint"]: row for row in told}
    values = {}
    for row in losses:
        found = signals.get(row["fingerprint"], {})
        values[row["fingerprint"]] = {
            "run_id": run.id, "fingerprint": row["fingerprint"], "pair_id": pairs.get(row["fingerprint"]),
            "losses": row["losses"], "suspicious": found.get("suspicious"),
            "memorised": bool(found.get("memorised")), "forgotten": int(found.get("forgotten", 0)),
        }  # fmt: skip
    if values:
        session.execute(sa.insert(Signal), list(values.values()))


def look(session: Session, run_id: int, kind: str | None = None, *, everything: bool = False) -> Look | None:
    """Return the lines of a run to look at, of one kind or of the first there is; None where there are none.

    Only lines whose pair says what was trained are meant, is neither rejected nor in the trash, and was not called
    fine: what was dealt with is gone.
    """
    counts = {name: session.scalar(meant(sa.select(sa.func.count(Signal.run_id)), run_id, name)) or 0 for name in KINDS}
    numbers = {name: count for name, count in counts.items() if count}
    if not numbers:
        return None
    chosen = kind if kind in numbers else next(iter(numbers))
    lines = meant(sa.select(Signal), run_id, chosen).options(joinedload(Signal.pair))
    if chosen != "memorised":
        lines = lines.order_by((Signal.suspicious if chosen == "suspicious" else Signal.forgotten).desc())
    lines = lines.order_by(Signal.pair_id)
    return Look(chosen, numbers, list(session.scalars(lines if everything else lines.limit(SHOWN))))


def meant(query: sa.Select[Any], run_id: int, kind: str) -> sa.Select[Any]:
    """Narrow a query of signals to the lines of a kind that still want a look."""
    is_of = {"suspicious": Signal.suspicious >= FAR, "memorised": Signal.memorised, "forgotten": Signal.forgotten > 0}
    still = sa.and_(Pair.id == Signal.pair_id, Pair.fingerprint == Signal.fingerprint)
    fine = sa.exists().where(
        FlagFine.pair_id == Pair.id, FlagFine.flag == FINE, FlagFine.fingerprint == Pair.fingerprint
    )
    return query.join(Pair, still).where(
        Signal.run_id == run_id, is_of[kind], ~Pair.trashed, Pair.status != "rejected", ~fine
    )


def call_fine(session: Session, pair_id: int, by: str) -> None:
    """Take a line from the lists of this run and of all others, until its text changes. Raises NotFound."""
    with writing(session):
        fingerprint = get(session, pair_id).fingerprint
        session.merge(FlagFine(pair_id=pair_id, flag=FINE, fingerprint=fingerprint, by=by, at=now()))


def not_fine(session: Session, pair_id: int) -> None:
    """Forget that a line was called fine. Raises NotFound where nobody said so."""
    with writing(session):
        gone = sa.delete(FlagFine).where(FlagFine.pair_id == pair_id, FlagFine.flag == FINE)
        if not session.execute(gone).rowcount:  # type: ignore[attr-defined]
            raise NotFound(
                f"Nobody said that pair {pair_id} is fine as a line to train on, or it was taken back already."
            )


def fine_one(session: Session, pair: Pair) -> FlagFine | None:
    """Return who called a line fine, and when, as it says now."""
    said = session.get(FlagFine, (pair.id, FINE))
    return said if said and said.fingerprint == pair.fingerprint else None
