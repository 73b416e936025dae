"""Files of pairs in: plan what would happen, show it, then do all of it in one changeset or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import formats, history, text
from curator.errors import UserError
from curator.formats import Columns, Reading, Refusal, Row, find_columns, to_rows
from curator.models import Changeset, Dataset, Pair, writing
from curator.pairs import DEFAULT_DATASET, dataset_named

BATCH = 1000  # rows inserted by one statement; more gains nothing
SHOWN = 20
OF_ONE_SHAPE = ("messages", "conversations", "conversation", "chosen", "rejected")


@dataclass
class Plan:
    """What importing a file would do, and what it did."""

    name: str
    dataset: str
    kind: str  # "CSV, comma, UTF-8"
    shape: str  # where question, answer and the rest were found
    headers: list[str] = field(default_factory=list)
    new: int = 0
    identical: int = 0  # there already, or earlier in the same file
    refused: list[Refusal] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # the first that are new, as they will land
    changeset: Changeset | None = None  # once it is applied

    @property
    def total(self) -> int:
        """How many records the file holds."""
        return self.new + self.identical + len(self.refused)


def plan(
    session: Session,
    path: Path | str,
    *,
    name: str | None = None,
    dataset: str = DEFAULT_DATASET,
    mapping: Mapping[str, str] | None = None,
    shape: str | None = None,
    each_turn: bool = False,
) -> Plan:
    """Read a file and compare it with what is there, changing nothing.

    `mapping` ({"answer": "Reply"}) and `shape` (a key of `formats.SHAPES`) say what the columns are where
    their names don't; `each_turn` makes a pair of every answer of a conversation, not of the last alone.
    Raises UserError where the file as a whole can't be used: missing, empty, not text, no column
    for the question or the answer, not one usable row.
    """
    reading = formats.read(path, name)
    found, rows = begin(reading, dataset, mapping, shape, each_turn)
    place = session.scalar(sa.select(Dataset.id).where(Dataset.name == dataset))
    seen: set[str] = set()
    for batch in iter(lambda: tuple(islice(rows, BATCH)), ()):
        for row, fingerprint, is_new in compare(session, place, batch, seen):
            seen.add(fingerprint)
            if is_new and len(found.rows) < SHOWN:
                found.rows.append(row)
            found.new += is_new
            found.identical += not is_new
    return usable(found)


def apply(
    session: Session,
    path: Path | str,
    *,
    by: str,
    name: str | None = None,
    dataset: str = DEFAULT_DATASET,
    mapping: Mapping[str, str] | None = None,
    shape: str | None = None,
    each_turn: bool = False,
    skip_refused: bool = False,
    on_progress: Callable[[int], object] = lambda rows: None,
) -> Plan:
    """Add the new pairs of a file as one changeset: all of them, or none when anything fails.

    `on_progress` is told the number of rows read so far, now and then. Raises UserError as `plan`
    does, and where rows are refused unless `skip_refused` leaves them out.
    """
    reading = formats.read(path, name)
    found, rows = begin(reading, dataset, mapping, shape, each_turn)
    with writing(session):
        place = dataset_named(session, dataset, create=True)
        changeset = history.begin(session, "imported", by, f"{reading.name} into {place.name}")
        for batch in iter(lambda: tuple(islice(rows, BATCH)), ()):
            values: list[dict[str, object]] = []
            taken: set[str] = set()
            for row, fingerprint, is_new in compare(session, place.id, batch, taken):
                taken.add(fingerprint)
                if is_new:
                    values.append(as_values(row, fingerprint, place.id, reading.name))
                    if len(found.rows) < SHOWN:
                        found.rows.append(row)
                found.new += is_new
                found.identical += not is_new
            history.add(session, changeset, values)
            on_progress(found.total)
        usable(found)
        if found.refused and not skip_refused:
            raise UserError(explain_refusals(found))
        if found.new:
            found.changeset = changeset
        else:
            session.delete(changeset)
    return found


def begin(
    reading: Reading, dataset: str, mapping: Mapping[str, str] | None, shape: str | None, each_turn: bool
) -> tuple[Plan, Iterator[Row]]:
    """Return an empty plan for a file, and its rows; what is refused goes to the plan as the rows are read."""
    found = Plan(reading.name, " ".join(dataset.split()), reading.kind, "", list(reading.headers))
    columns_of: dict[tuple[str, ...], Columns] = {}

    def columns(names: tuple[str, ...]) -> Columns:
        if names not in columns_of:
            columns_of[names] = find_columns(names, mapping, shape)
            found.shape = found.shape or str(columns_of[names])
        return columns_of[names]

    if reading.headers:
        try:
            columns(tuple(reading.headers))
        except UserError as error:
            raise UserError(f"{reading.name} {error}") from error

    def rows() -> Iterator[Row]:
        for record in reading:
            if isinstance(record, Refusal):
                found.refused.append(record)
                continue
            found.headers = found.headers or list(record.fields)
            # Where records of several shapes were put into one table, the fields of the others are null.
            names = tuple(n for n, v in record.fields.items() if v is not None or n not in OF_ONE_SHAPE)
            try:
                read = to_rows(record, columns(names), each_turn)
            except UserError as error:
                read = Refusal(record.line, str(error))
            if isinstance(read, Refusal):
                found.refused.append(read)
            else:
                yield from read

    return found, rows()


def compare(
    session: Session, dataset_id: int | None, rows: tuple[Row, ...], seen: set[str]
) -> Iterator[tuple[Row, str, bool]]:
    """Yield each row with its fingerprint and whether it is new: in neither the data set nor `seen`.

    `seen` is read as it grows, so that the second of two equal rows is not new.
    """
    prints = [text.fingerprint(text.messages(r.question, r.answer, r.system, r.history)) for r in rows]
    there = set()
    if dataset_id is not None:
        there = set(
            session.scalars(
                sa.select(Pair.fingerprint).where(
                    Pair.dataset_id == dataset_id, ~Pair.trashed, Pair.fingerprint.in_(prints)
                )
            )
        )
    for row, fingerprint in zip(rows, prints, strict=True):
        yield row, fingerprint, fingerprint not in there and fingerprint not in seen


def as_values(row: Row, fingerprint: str, dataset_id: int, file: str) -> dict[str, object]:
    """Return the columns of a pair for a row; its source is the file where the row names none."""
    return {
        "dataset_id": dataset_id, "question": row.question, "answer": row.answer, "system": row.system,
        "history": list(row.history), "status": row.status, "tags": list(row.tags),
        "source": row.source or file, "notes": row.notes, "rejected": row.rejected, "key": row.key,
        "meta": row.meta, "fingerprint": fingerprint,
    }  # fmt: skip


def usable(found: Plan) -> Plan:
    """Return the plan, or raise UserError where the file gave not one pair."""
    if found.new or found.identical:
        return found
    if not found.refused:
        raise UserError(f"{found.name} has a header and no rows. Add a row below it.")
    raise UserError(explain_refusals(found))


def explain_refusals(found: Plan, limit: int = 10) -> str:
    """Say which rows were refused and why, and how to go on."""
    lines = [f"{found.name} line {r.line} {r.reason}" for r in found.refused[:limit]]
    if len(found.refused) > limit:
        lines.append(f"… and {len(found.refused) - limit:,} more.")
    count = f"{len(found.refused):,} of {found.total:,} rows refused" if found.total > 1 else "Refused"
    if found.new or found.identical:
        lines.append(f"{count}, so nothing was imported. Mend them, or leave them out with --skip-refused.")
    else:
        lines.append(f"{count}; not one row can be used, so nothing was imported.")
    return "\n".join(lines)
