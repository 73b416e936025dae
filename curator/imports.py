"""Files of pairs in: plan what would happen, show it, then do all of it in one changeset or nothing."""

from __future__ import annotations

import csv
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import duplicates, formats, history, neighbours, text
from curator.errors import UserError
from curator.formats import Columns, Reading, Refusal, Row, find_columns, mended, to_rows
from curator.formats.records import shorten
from curator.models import Changeset, Dataset, Pair, Revision, to_json, writing
from curator.pairs import DEFAULT_DATASET, dataset_named
from curator.staging import Stage

BATCH = 5000  # rows inserted by one statement; the full-text index takes many at once with less work
BATCH_CHARACTERS = 2**22  # of texts in a batch, so that long ones don't fill the memory
SHOWN = 20
SHOWN_REFUSALS = 200
SHOWN_CHARACTERS = 2000
OnProgress = Callable[..., object]  # told how many rows, of how many if that can be told, and what is done
OF_ONE_SHAPE = frozenset(("messages", "conversations", "conversation", "chosen", "rejected"))


@dataclass(frozen=True)
class Change:
    """A pair that a row of the same key would change: the old values and the new of what differs."""

    line: int
    pair: sa.Row[Any]  # its columns
    before: dict[str, Any]
    after: dict[str, Any]  # nothing where the row is as the pair


@dataclass(frozen=True)
class Near:
    """A new row that says nearly the same as a pair that is there."""

    line: int
    pair_id: int
    similarity: float


@dataclass
class Plan:
    """What importing a file would do, and what it did."""

    name: str
    dataset: str
    kind: str  # "CSV, comma, UTF-8"
    shape: str  # where question, answer and the rest were found, for each shape that the file holds
    headers: list[str] = field(default_factory=list)
    delimiter: str = ""  # of a table, as it was found or named
    encoding: str = ""  # of a text, as it was found or named
    new: int = 0
    changed: int = 0  # there by their key, with other values
    identical: int = 0  # there already, or earlier in the same file
    refused: list[Refusal] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # the first SHOWN that are new, as they will land
    changes: list[Change] = field(default_factory=list)  # the first of those that are changed
    ids: str = ""  # "update" or "ignore", once somebody said what becomes of the pairs that they name
    named: int = 0  # rows whose key names a pair
    strangers: int = 0  # of those, the ones that have nothing in common with it, which came from another source
    stranger: str = ""  # the first of them, in words
    near: list[Near] = field(default_factory=list)  # the most alike first
    near_bound: str = ""  # what was not compared, if anything
    changeset: Changeset | None = None  # once it is applied

    @property
    def total(self) -> int:
        """How many rows the file holds."""
        return self.new + self.changed + self.identical + len(self.refused)

    @property
    def clash(self) -> str:
        """What tells that the ids of the file are not those of the pairs that they name; "" where nothing does."""
        if self.ids or 2 * self.strangers <= self.named:
            return ""
        return (
            f"{self.name} seems to have ids of its own: of {self.named:,} that name pairs in {self.dataset}, "
            f"{self.strangers:,} name one of another source with another question and answer, as {self.stranger}."
        )

    @property
    def told(self) -> str:
        """What was done, in a sentence or two."""
        parts = [f"Imported {self.new:,} pair{'' if self.new == 1 else 's'} from {self.name}."]
        parts += [f"{self.changed:,} changed."] if self.changed else []
        parts += [f"{self.identical:,} were there already."] if self.identical else []
        parts += [f"{len(self.refused):,} refused."] if self.refused else []
        return " ".join(parts)

    def summary(self) -> dict[str, Any]:
        """Return what a page shows of it, fit for JSON: every count, and the first of the rows behind each."""
        changes = [{"line": c.line, "pair_id": c.pair.id, "before": c.before, "after": c.after} for c in self.changes]
        return {
            "name": self.name, "dataset": self.dataset, "kind": self.kind, "shape": self.shape, "headers": self.headers,
            "delimiter": self.delimiter, "encoding": self.encoding, "new": self.new, "changed": self.changed,
            "identical": self.identical, "refused": len(self.refused), "near": len(self.near),
            "near_bound": self.near_bound, "clash": self.clash,
            "first_rows": [as_shown(row) for row in self.rows[:SHOWN]], "first_changes": changes,
            "first_refused": [{"line": r.line, "reason": r.reason} for r in self.refused[:SHOWN_REFUSALS]],
            "first_near": [asdict(near) for near in self.near[:SHOWN]],
        }  # fmt: skip

    def count(self, row: Row, fate: str | Change | Refusal) -> None:
        """Count a row as new, identical, changed or refused, and keep the first that are worth a look."""
        if isinstance(fate, Change):
            self.count_named(row, fate)
        elif isinstance(fate, Refusal):
            self.refused.append(fate)
        elif fate == "new":
            self.new += 1
            if len(self.rows) < SHOWN:
                self.rows.append(row)
        else:
            self.identical += 1

    def count_named(self, row: Row, change: Change) -> None:
        """Count a row that names a pair by its key, and whether the two have anything to do with each other."""
        pair = change.pair
        self.named += 1
        self.changed += bool(change.after)
        self.identical += not change.after
        if change.after and len(self.changes) < SHOWN:
            self.changes.append(change)
        if pair.source != (row.source or self.name) and pair.question != row.question and pair.answer != row.answer:
            self.strangers += 1
            self.stranger = self.stranger or (
                f"line {row.line} with the id {shorten(row.key)}: {shorten(row.question)!r} here, "
                f"{shorten(pair.question)!r} from {shorten(pair.source) or 'another source'}"
            )


def plan(
    session: Session,
    path: Path | str,
    *,
    name: str | None = None,
    dataset: str = DEFAULT_DATASET,
    mapping: Mapping[str, str] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    split: str | None = None,
    shape: str | None = None,
    each_turn: bool = False,
    ids: str = "",
    rejects: Path | None = None,
    on_progress: OnProgress = lambda rows, total, message="": None,
) -> Plan:
    """Read a file and compare it with what is there, changing nothing.

    `encoding`, `delimiter` and `split` are for `formats.read`, which finds them where they are not given.
    `mapping` ({"answer": "Reply"}) and `shape` (a key of `formats.SHAPES`) say what the columns are where
    their names don't; `each_turn` makes a pair of every answer of a conversation, not of the last alone.
    Keys change the pairs that they name; where those are of another source and most have nothing in common
    with the rows, `clash` says so, unless `ids` is "update" or, for rows that are new whatever their key, "ignore".
    `rejects` names a file for what is refused, to be mended and imported again. `on_progress` is as
    in `apply`. Raises UserError where the file as a whole can't be used: missing, empty, not text, no column
    for the question or the answer, not one usable row.
    """
    reading = formats.read(path, name, encoding=encoding, delimiter=delimiter, split=split)
    found, rows = begin(reading, dataset, mapping, shape, each_turn, ids)
    place = session.scalar(sa.select(Dataset.id).where(Dataset.name == dataset))
    seen: dict[str, int] = {}
    for batch in batches(rows):
        new = []
        for row, fingerprint, fate in compare(session, place, batch, seen):
            seen.setdefault(fingerprint, hash(row.rejected))
            found.count(row, fate)
            if fate == "new":
                new.append(row)
        find_near(session, place, found, new)
        on_progress(found.total, reading.estimate(found.total))
    found.near.sort(key=lambda near: (-near.similarity, near.line))
    if rejects:
        write_rejects(found, rejects)
    return usable(found)


def apply(
    session: Session,
    path: Path | str,
    *,
    by: str,
    name: str | None = None,
    dataset: str = DEFAULT_DATASET,
    mapping: Mapping[str, str] | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    split: str | None = None,
    shape: str | None = None,
    each_turn: bool = False,
    ids: str = "",
    skip_refused: bool = False,
    rejects: Path | None = None,
    on_progress: OnProgress = lambda rows, total, message="": None,
) -> Plan:
    """Add the new pairs of a file, and change those that it names by their key, as one changeset or not at all.

    `on_progress` is told, now and then, how many rows were read and about how many there are, None where
    that can't be told; what it raises stops the import, and nothing is imported. Raises UserError as
    `plan` does, where rows are refused unless `skip_refused` leaves them out, and where its ids clash.
    """
    reading = formats.read(path, name, encoding=encoding, delimiter=delimiter, split=split)
    found, rows = begin(reading, dataset, mapping, shape, each_turn, ids)
    # The writer's turn is taken only once all is read and compared: see `staging`.
    with Stage() as stage, frozen_heap():
        latest = session.scalar(sa.select(sa.func.max(Changeset.id))) or 0
        place_id = session.scalar(sa.select(Dataset.id).where(Dataset.name == found.dataset))
        seen: dict[str, int] = {}
        for batch in batches(rows):
            values = []
            for row, fingerprint, fate in compare(session, place_id, batch, seen):
                seen.setdefault(fingerprint, hash(row.rejected))
                found.count(row, fate)
                if fate == "new":
                    values.append(as_values(row, fingerprint, reading.name))
                elif isinstance(fate, Change) and fate.after:
                    stage.change(fate.pair.id, fate.after)
            stage.add(values)
            on_progress(found.total, reading.estimate(found.total))
        stage.close()
        if rejects:
            write_rejects(found, rejects)
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


def land(session: Session, found: Plan, stage: Stage, by: str, latest: int, on_progress: OnProgress) -> None:
    """Write down what was read, as one changeset; what others wrote since the changeset `latest` is not added again."""
    total = found.new + found.changed
    with writing(session), history.in_bulk(session):
        place = dataset_named(session, found.dataset, create=True)
        since = sa.select(Pair.fingerprint, Pair.key).join(Revision, Revision.pair_id == Pair.id)
        since = since.where(Revision.changeset_id > latest, Pair.dataset_id == place.id, ~Pair.trashed)
        others = session.execute(since).all()
        stage.remove({fingerprint for fingerprint, _ in others})
        if stage.holds_key({key for _, key in others if key}):
            raise UserError(f"Rows with ids of {found.name} were added meanwhile. Import it again, and they change.")
        changeset = history.begin(session, "imported", by, f"{found.name} into {place.name}")
        history.land(session, changeset, stage, place.id, lambda rows: on_progress(rows, total, "Saving"))
        new = changeset.rows
        for changes in stage.changes():
            named = sa.select(*Pair.__table__.columns).where(Pair.id.in_(changes))
            pairs = session.execute(named).all()
            history.change_many(session, changeset, [(pair, changes[pair.id]) for pair in pairs])
            on_progress(changeset.rows, total, "Saving")
        if changeset.rows:
            found.changeset = changeset
        else:
            session.delete(changeset)
    found.new, found.changed = new, changeset.rows - new
    found.identical += total - changeset.rows


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Spare the garbage collector all that is there: it would go through it again for every few thousand rows."""
    is_mine = gc.get_freeze_count() == 0
    if is_mine:
        gc.freeze()
    try:
        yield
    finally:
        if is_mine:
            gc.unfreeze()


def begin(
    reading: Reading, dataset: str, mapping: Mapping[str, str] | None, shape: str | None, each_turn: bool, ids: str
) -> tuple[Plan, Iterator[Row]]:
    """Return an empty plan for a file, and its rows; what is refused goes to the plan as the rows are read."""
    found = Plan(reading.name, " ".join(dataset.split()), reading.kind, "", list(reading.headers), ids=ids)
    found.delimiter, found.encoding = reading.delimiter, reading.encoding
    columns_of: dict[tuple[str, ...], Columns] = {}
    shapes: dict[str, str] = {}  # the columns of the first record of each shape
    keys: set[int] = set()  # hashes, as there may be millions

    def columns(names: tuple[str, ...]) -> Columns:
        if names not in columns_of:
            columns_of[names] = found_here = find_columns(names, mapping, shape)
            shapes.setdefault(found_here.shape, str(found_here))
            found.shape = "; also ".join(shapes.values())
        return columns_of[names]

    if reading.headers:
        try:
            columns(tuple(reading.headers))
        except UserError as error:
            raise UserError(f"{reading.name} {error}") from error

    def rows() -> Iterator[Row]:
        for record in map(mended, reading):
            if isinstance(record, Refusal):
                found.refused.append(record)
                continue
            found.headers = found.headers or list(record.fields)
            names = tuple(record.fields)
            if not OF_ONE_SHAPE.isdisjoint(names):
                # Where records of several shapes were put into one table, the fields of the others are null.
                names = tuple(n for n, v in record.fields.items() if v is not None or n not in OF_ONE_SHAPE)
            try:
                read = to_rows(record, columns(names), each_turn)
            except UserError as error:
                read = Refusal(record.line, str(error))
            if isinstance(read, Refusal):
                found.refused.append(replace(read, fields=record.fields))
                continue
            for row in read:
                if row.key:
                    # A name that several rows share names none of them but the first.
                    if ids == "ignore" or hash(row.key) in keys:
                        row = replace(row, key="", meta=row.meta | {columns(names).named["key"]: row.key})
                    else:
                        keys.add(hash(row.key))
                yield row

    return found, rows()


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut rows into batches that a statement and the memory can take."""
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row.question) + len(row.answer)
        if len(batch) == BATCH or characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def compare(
    session: Session, dataset_id: int | None, rows: list[Row], seen: Mapping[str, int]
) -> Iterator[tuple[Row, str, str | Change | Refusal]]:
    """Yield each row with its fingerprint and its fate: "new", "identical", refused, or what it makes of a pair.

    A row changes the pair outside the trash that has its key; a text that is there already, in the data
    set or in `seen`, is never there twice, and gets the rejected answer that it lacks. `seen` has the hash
    of the rejected answer for each fingerprint, and is read as it grows.
    """
    prints = [text.fingerprint_of(r.question, r.answer, r.system, r.history) for r in rows]
    keys = [row.key for row in rows if row.key]
    there: set[str] = set()
    by_key: dict[str, sa.Row[Any]] = {}
    by_print: dict[str, sa.Row[Any]] = {}
    if dataset_id is not None:
        live = (Pair.dataset_id == dataset_id, ~Pair.trashed)
        there = set(session.scalars(sa.select(Pair.fingerprint).where(*live, among(session, Pair.fingerprint, prints))))
        # Rows of the table, not objects: a quarter of the time.
        pairs = sa.select(*Pair.__table__.columns).where(*live).order_by(Pair.id.desc())
        if keys:
            named = session.execute(pairs.where(Pair.key != "", among(session, Pair.key, keys)))
            by_key = {pair.key: pair for pair in named}
        if preferring := [one for one, row in zip(prints, rows, strict=True) if row.rejected and one in there]:
            said = session.execute(pairs.where(among(session, Pair.fingerprint, preferring)))
            by_print = {pair.fingerprint: pair for pair in said}
    for row, fingerprint in zip(rows, prints, strict=True):
        pair = by_key.get(row.key)
        is_there = fingerprint in there or fingerprint in seen
        if pair is not None and (fingerprint == pair.fingerprint or not is_there):
            after = {name: value for name, value in given(row).items() if getattr(pair, name) != value}
            yield row, fingerprint, change_of(row, pair, after)
        elif is_there and row.rejected:
            yield row, fingerprint, prefer(row, by_print.get(fingerprint), seen.get(fingerprint))
        else:
            yield row, fingerprint, "identical" if is_there else "new"


def change_of(row: Row, pair: sa.Row[Any], after: dict[str, Any]) -> Change:
    """Return what a row makes of a pair."""
    return Change(row.line, pair, {name: getattr(pair, name) for name in after}, after)


def prefer(row: Row, pair: sa.Row[Any] | None, earlier: int | None) -> str | Change | Refusal:
    """Return what becomes of a rejected answer whose pair is there, or came earlier with one of that hash."""
    if earlier == hash(row.rejected) or (pair is not None and pair.rejected == row.rejected):
        return "identical"
    if pair is not None and not pair.rejected and earlier is None:
        return change_of(row, pair, {"rejected": row.rejected})
    return Refusal(row.line, "has the text of another row or pair with another rejected answer. A pair keeps one.")


def among(session: Session, column: sa.orm.InstrumentedAttribute[str], texts: list[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a column holds one of many texts; on SQLite they go as one list, not one by one."""
    if session.get_bind().dialect.name == "postgresql":
        return column.in_(texts)
    return column.in_(sa.select(sa.func.json_each(to_json(texts)).table_valued("value").c.value))


def given(row: Row) -> dict[str, Any]:
    """Return the values that a row gives to the pair of its key: what it leaves blank beside the text stays."""
    words = {"question": row.question, "answer": row.answer, "system": row.system, "history": list(row.history)}
    beside = {"source": row.source, "tags": list(row.tags), "notes": row.notes, "rejected": row.rejected,
              "meta": row.meta, "status": "" if row.status == "draft" else row.status}  # fmt: skip
    return words | {name: value for name, value in beside.items() if value}


def find_near(session: Session, dataset_id: int | None, found: Plan, rows: list[Row]) -> None:
    """Find which new rows are near-duplicates of pairs in the data set."""
    if dataset_id is None or not rows or found.near_bound:
        return
    texts = [neighbours.text_of(row.question, row.answer) for row in rows]
    try:
        likest = duplicates.find_many(session, texts, dataset_id)
    except neighbours.NotIndexed as missing:
        found.near_bound = f"New rows were not compared with pairs that are there. {missing}"
        return
    found.near += [Near(rows[place].line, pair_id, score) for place, (pair_id, score) in likest.items()]


def write_rejects(found: Plan, path: Path) -> None:
    """Write the refused rows as they came, each with `_line` and `_reason`: CSV for a CSV, else JSON lines.

    A row with more fields than the header has the others in `_rest`. An import passes these three over.
    """
    rows = [refusal.fields | {"_line": refusal.line, "_reason": refusal.reason} for refusal in found.refused]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if found.kind.startswith("JSON"):
                # Escaped, so that half of a surrogate pair can be written down too.
                file.writelines(json.dumps(row, default=str) + "\n" for row in rows)
                return
            columns = list(dict.fromkeys([*found.headers, "_line", "_reason", *(name for row in rows for name in row)]))
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}. Name another file.") from error


def as_values(row: Row, fingerprint: str, file: str) -> dict[str, Any]:
    """Return the columns of a pair for a row; its source is the file where the row names none."""
    return {
        "question": row.question, "answer": row.answer, "system": row.system,
        "history": row.history, "status": row.status, "tags": row.tags,
        "source": row.source or file, "notes": row.notes, "rejected": row.rejected, "key": row.key,
        "meta": row.meta, "fingerprint": fingerprint,
    }  # fmt: skip


def as_shown(row: Row) -> dict[str, Any]:
    """Return of a row what a preview shows; a text that nobody would read to its end is cut."""
    texts = {name: getattr(row, name) for name in ("system", "question", "answer")}
    cut = {name: t if len(t) <= SHOWN_CHARACTERS else t[:SHOWN_CHARACTERS] + "…" for name, t in texts.items()}
    beside = {"line": row.line, "turns": len(row.history), "tags": row.tags, "source": row.source, "status": row.status}
    return cut | beside


def usable(found: Plan) -> Plan:
    """Return the plan, or raise UserError where the file gave not one pair."""
    if found.new or found.changed or found.identical:
        return found
    if not found.refused:
        raise UserError(f"{found.name} has a header and no rows. Add a row below it.")
    raise UserError(explain_refusals(found))


def explain_refusals(found: Plan) -> str:
    """Say which rows were refused and why, and how to go on."""
    lines = formats.name_refusals(found.name, found.refused)
    if found.new or found.changed or found.identical:
        count = f"{len(found.refused):,} of {found.total:,} rows were refused"
        lines.append(f"{count}, so nothing was imported. Mend them, or leave them out with --skip-refused.")
    else:
        count = f"All {found.total:,} rows were" if found.total > 1 else "The only row was"
        lines.append(f"{count} refused, so nothing was imported.")
    return "\n".join(lines)
