"""Changesets and revisions: the only place that writes pairs, so that every change is seen and can be undone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import text
from curator.errors import NotFound, UserError
from curator.models import Changeset, Pair, Revision, now, to_json, writing

TEXT_FIELDS = ("system", "history", "question", "answer")
INDEXED = "question, answer, system, notes, turns, fields"  # the columns of the full-text index on SQLite
FIELDS = (*TEXT_FIELDS, "status", "tags", "source", "notes", "rejected", "key", "meta", "trashed", "dataset_id")
# All columns of a pair, in the order in which `add` gives their values.
PAIR_COLUMNS = (
    "id", "dataset_id", "system", "history", "question", "answer", "status", "tags", "source", "notes", "rejected",
    "key", "meta", "fingerprint", "trashed", "revision", "created_at", "created_by", "updated_at", "updated_by",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One change of one pair. `before` is None where the pair was added by it."""

    changeset: Changeset
    number: int
    before: dict[str, Any] | None
    after: dict[str, Any]


@dataclass(frozen=True)
class Undone:
    """What an undo did: its own changeset, and the pairs left alone because they changed since."""

    changeset: Changeset
    left: list[int]


def fingerprint_of(pair: Pair | Mapping[str, Any]) -> str:
    """Return the identity of a pair, from its text as it stands now."""
    values = pair if isinstance(pair, Mapping) else {name: getattr(pair, name) for name in TEXT_FIELDS}
    return text.fingerprint_of(
        values["question"], values["answer"], values.get("system", ""), values.get("history", ())
    )  # fmt: skip


def begin(session: Session, action: str, by: str, reason: str = "", undoes: Changeset | None = None) -> Changeset:
    """Open a changeset: one act, to which the changes that follow belong."""
    changeset = Changeset(
        action=action, by=by, reason=reason, rows=0, undoes_id=undoes.id if undoes else None, at=now()
    )
    session.add(changeset)
    session.flush()
    return changeset


@contextmanager
def in_bulk(session: Session) -> Iterator[None]:
    """Let SQLite take many rows: more of them in memory, full-text entries sorted and merged in larger pieces.

    That halves the time of the index for a million pairs. The block belongs inside `writing`.
    """
    if session.get_bind().dialect.name != "sqlite":
        yield
        return
    tune_index(session, hashsize=2**24, automerge=16)
    (usual,) = session.execute(sa.text("PRAGMA cache_size")).one()
    session.execute(sa.text("PRAGMA cache_size = -131072"))  # KiB
    try:
        yield
    finally:
        session.execute(sa.text(f"PRAGMA cache_size = {usual}"))
    tune_index(session, hashsize=2**20, automerge=4)  # FTS5's own defaults; where the block failed, rolled back


def tune_index(session: Session, **settings: int) -> None:
    """Set options of FTS5: `hashsize` in bytes, `automerge` in pieces that make one."""
    setting = sa.text("INSERT INTO pair_text (pair_text, rank) VALUES (:name, :value)")
    session.execute(setting, [{"name": name, "value": value} for name, value in settings.items()])


def add(session: Session, changeset: Changeset, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Insert pairs by the thousand, each with its first revision. Return their ids, in the order given.

    A row holds `dataset_id`, `question`, `answer` and any of the other fields of a pair.
    """
    if not rows:
        return []
    ids = next_ids(session, len(rows))
    moment = stored(session, Pair.created_at, changeset.at)
    added = (False, 1, moment, changeset.by, moment, changeset.by)
    values = []
    for pair_id, row in zip(ids, rows, strict=True):
        get = row.get
        values.append((
            pair_id, row["dataset_id"], get("system", ""), as_json(get("history"), "[]"),
            row["question"], row["answer"], get("status", "draft"), as_json(get("tags"), "[]"),
            get("source", ""), get("notes", ""), get("rejected", ""), get("key", ""), as_json(get("meta"), "{}"),
            get("fingerprint") or fingerprint_of(row), *added,
        ))  # fmt: skip
    insert(session, "pair", PAIR_COLUMNS, values)
    insert(session, "revision", ("pair_id", "number", "changeset_id"), [(i, 1, changeset.id) for i in ids])
    if session.get_bind().dialect.name == "sqlite":
        # One statement for all of them; a trigger, which is one a row, made imports take twice as long.
        session.execute(
            sa.text(f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words "
                    "WHERE id BETWEEN :first AND :last"), {"first": ids[0], "last": ids[-1]},
        )  # fmt: skip
    changeset.rows += len(ids)
    return ids


def insert(session: Session, table: str, columns: Sequence[str], values: list[tuple[Any, ...]]) -> None:
    """Insert rows whose values are as the database stores them.

    They go to the driver as they are: what SQLAlchemy does to each value takes as long as SQLite's part.
    """
    connection = session.connection()
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(columns))
    connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)


def stored(session: Session, column: sa.orm.InstrumentedAttribute[Any], value: Any) -> Any:
    """Return a value as the database stores it in a column."""
    dialect = session.get_bind().dialect
    process = column.type.dialect_impl(dialect).bind_processor(dialect)
    return process(value) if process else value


def as_json(value: Any, blank: str) -> str:
    """Return the JSON of a list or of an object; most are empty."""
    return to_json(value) if value else blank


def next_ids(session: Session, count: int) -> list[int]:
    """Return ids for new pairs, never given before. Asked for first, rows go in by the thousand.

    Waiting for each id that the database gives is one statement a row, and twice the time.
    """
    if session.get_bind().dialect.name == "postgresql":
        taken = "SELECT nextval(pg_get_serial_sequence('pair', 'id')) FROM generate_series(1, :count)"
        return list(session.scalars(sa.text(taken), {"count": count}))
    # SQLite writes one at a time, so nobody else can take these before the end of this transaction.
    last = session.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'pair'")) or 0
    return list(range(last + 1, last + 1 + count))


def change(session: Session, changeset: Changeset, pair: Pair, values: Mapping[str, Any]) -> bool:
    """Give a pair new values and keep the old ones as a revision. Return whether anything differed."""
    before = {name: getattr(pair, name) for name in FIELDS if name in values and getattr(pair, name) != values[name]}
    if not before:
        return False
    old_fingerprint = pair.fingerprint if any(name in before for name in TEXT_FIELDS) else None
    for name in before:
        setattr(pair, name, values[name])
    if old_fingerprint:
        pair.fingerprint = fingerprint_of(pair)
    pair.revision += 1
    pair.updated_at, pair.updated_by = changeset.at, changeset.by
    session.add(
        Revision(
            pair_id=pair.id, number=pair.revision, changeset_id=changeset.id, before=before,
            fingerprint=old_fingerprint,
        )
    )  # fmt: skip
    changeset.rows += 1
    return True


def undo(session: Session, changeset_id: int, by: str) -> Undone:
    """Take back one changeset, days later too. A pair that changed since is named and left alone.

    Pairs that the changeset added go to the trash. The undo is a changeset itself and can be undone.
    Raises NotFound where there is no such changeset, UserError where it was undone already or where
    every pair of it changed since.
    """
    with writing(session):
        changeset = session.get(Changeset, changeset_id)
        if changeset is None:
            raise NotFound(f"There is no change number {changeset_id}.")
        if session.scalar(sa.select(Changeset.id).where(Changeset.undoes_id == changeset_id)):
            raise UserError(f"Change {changeset_id} was undone already.")
        undoing = begin(session, "undid", by, f"change {changeset_id}: {changeset.action}", changeset)
        left = []
        rows = session.execute(
            sa.select(Revision, Pair)
            .join(Pair, Pair.id == Revision.pair_id)
            .where(Revision.changeset_id == changeset_id)
            .order_by(Revision.pair_id)
        )
        for revision, pair in rows.all():
            if pair.revision != revision.number and changed_since(session, pair, revision.number):
                left.append(pair.id)
                continue
            change(session, undoing, pair, {"trashed": True} if revision.before is None else revision.before)
        if not undoing.rows:
            raise UserError(
                f"Change {changeset_id} can't be undone: each of its pairs changed since. Undo the later changes first."
            )
    return Undone(undoing, left)


def changed_since(session: Session, pair: Pair, number: int) -> bool:
    """Return whether a pair differs from what it was at a revision: changes that were undone don't count."""
    then = today = {name: getattr(pair, name) for name in FIELDS}
    later = sa.select(Revision).where(Revision.pair_id == pair.id, Revision.number > number)
    for revision in session.scalars(later.order_by(Revision.number.desc())):
        then = then | (revision.before or {})
    return then != today


def timeline(session: Session, pair_id: int) -> list[Step]:
    """Return the changes of a pair, the newest first, each with the values before and after it."""
    pair = session.get(Pair, pair_id)
    if pair is None:
        raise NotFound(f"There is no pair {pair_id}.")
    state = {name: getattr(pair, name) for name in FIELDS}
    steps = []
    rows = session.execute(
        sa.select(Revision, Changeset)
        .join(Changeset, Changeset.id == Revision.changeset_id)
        .where(Revision.pair_id == pair_id)
        .order_by(Revision.number.desc())
    )
    for revision, changeset in rows:
        changed = revision.before
        after = state if changed is None else {name: state[name] for name in changed}
        steps.append(Step(changeset, revision.number, changed, dict(after)))
        state = state | (changed or {})
    return steps


def recent(session: Session, limit: int = 50) -> list[Changeset]:
    """Return the latest changesets, the newest first, each with `undone`: whether it was taken back."""
    undo_of = sa.orm.aliased(Changeset)
    rows = session.execute(
        sa.select(Changeset, undo_of.id)
        .outerjoin(undo_of, undo_of.undoes_id == Changeset.id)
        .order_by(Changeset.id.desc())
        .limit(limit)
    )
    changesets = []
    for changeset, undone_by in rows:
        changeset.undone = undone_by is not None
        changesets.append(changeset)
    return changesets


def find(session: Session, fingerprints: Iterable[str]) -> dict[str, int]:
    """Return the pair that each fingerprint belongs to: as it stands now, else as it once stood."""
    wanted = list(dict.fromkeys(fingerprints))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        for table in (Revision, Pair):  # what stands now wins, so it comes last
            key = Revision.pair_id if table is Revision else Pair.id
            order = [key] if table is Revision else [Pair.trashed.desc(), key.desc()]
            rows = session.execute(
                sa.select(table.fingerprint, key).where(table.fingerprint.in_(some)).order_by(*order)
            )
            found.update({str(fingerprint): pair_id for fingerprint, pair_id in rows})
    return found
