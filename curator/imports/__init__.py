"""Files of pairs in: plan what would happen, show it, then do all of it in one changeset or nothing."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import history, settings
from curator.disk import with_room
from curator.errors import UserError
from curator.imports.comparing import compare, find_near
from curator.imports.landing import OnProgress, as_values, land
from curator.imports.plans import Change, Near, Plan
from curator.imports.reading import AS_FOUND, Reading, batches, begin
from curator.imports.rejects import Rejects, explain_refusals
from curator.models import Changeset, Dataset
from curator.staging import Stage, sweep

__all__ = ["Change", "Near", "Plan", "Reading", "apply", "plan"]


def plan(
    session: Session,
    path: Path | str,
    reading: Reading = AS_FOUND,
    *,
    name: str | None = None,
    rejects: Path | None = None,
    on_progress: OnProgress = lambda rows, total, message="": None,
) -> Plan:
    """Read a file and compare it with what is there, changing nothing.

    Keys change the pairs that they name; where those are of another source and most have nothing in common
    with the rows, `clash` says so, unless `reading.ids` says what is meant. `name` is that of the file, where its
    path has another. `rejects` names a file for what is refused, to be mended and imported again. `on_progress` is
    as in `apply`. Raises UserError where the file as a whole can't be used: missing, empty, not text, no column
    for the question or the answer, not one usable row.
    """
    file = reading.opened(path, name)
    found, rows = begin(file, reading)
    place = session.scalar(sa.select(Dataset.id).where(Dataset.name == found.dataset))
    seen: dict[str, int] = {}
    with with_room(), Rejects(found, rejects) as left_out:
        for batch in batches(rows):
            new = []
            for row, fingerprint, fate in compare(session, place, batch, seen):
                seen.setdefault(fingerprint, hash(row.rejected))
                found.count(row, fate)
                if fate == "new":
                    new.append(row)
            find_near(session, place, found, new)
            on_progress(found.total, file.estimate(found.total))
        left_out.write()
    found.near.sort(key=lambda near: (-near.similarity, near.line))
    return usable(found)


def apply(
    session: Session,
    path: Path | str,
    reading: Reading = AS_FOUND,
    *,
    by: str,
    name: str | None = None,
    skip_refused: bool = False,
    rejects: Path | None = None,
    on_progress: OnProgress = lambda rows, total, message="": None,
) -> Plan:
    """Add the new pairs of a file, and change those that it names by their key, as one changeset or not at all.

    `on_progress` is told, now and then, how many rows were read and about how many there are, None where
    that can't be told; what it raises stops the import, and nothing is imported. Raises UserError as
    `plan` does, where rows are refused unless `skip_refused` leaves them out, where its ids clash, and
    where the disk gets full.
    """
    file = reading.opened(path, name)
    found, rows = begin(file, reading)
    # The writer's turn is taken only once all is read and compared: see `staging`.
    home = session.info.get("home") or settings.home()
    sweep(home, lambda left: history.withdraw(session, left))
    with with_room(), Stage(home) as stage, Rejects(found, rejects) as left_out, history.frozen_heap():
        latest = session.scalar(sa.select(sa.func.max(Changeset.id))) or 0
        place_id = session.scalar(sa.select(Dataset.id).where(Dataset.name == found.dataset))
        seen: dict[str, int] = {}
        for batch in batches(rows):
            values = []
            for row, fingerprint, fate in compare(session, place_id, batch, seen):
                seen.setdefault(fingerprint, hash(row.rejected))
                found.count(row, fate)
                if fate == "new":
                    values.append(as_values(row, fingerprint, file.name))
                elif isinstance(fate, Change) and fate.after:
                    stage.change(fate.pair.id, fate.after)
            stage.add(values)
            on_progress(found.total, file.estimate(found.total))
        stage.close()
        seen.clear()  # a fifth of a gigabyte for a million rows, and landing needs some
        left_out.write()
        usable(found)
        if found.clash:
            raise UserError(
                f"{found.clash} Say what is meant: --ids update changes those pairs, "
                "--ids ignore adds the rows as new ones and keeps their ids as another field."
            )
        if found.refused and not skip_refused:
            raise UserError(explain_refusals(found))
        if found.new or found.changed:
            land(session, found, stage, by, latest, on_progress)
    return found


def usable(found: Plan) -> Plan:
    """Return the plan, or raise UserError where the file gave not one pair."""
    if found.new or found.changed or found.identical:
        return found
    if not found.refused:
        raise UserError(f"{found.name} has a header and no rows. Add a row below it.")
    raise UserError(explain_refusals(found))
