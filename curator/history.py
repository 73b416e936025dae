"""Changesets and revisions: the only place that writes pairs, so that every change is seen and can be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import text
from curator.errors import NotFound, UserError
from curator.models import Base, Changeset, Pair, Revision, now, writing
from curator.staging import COLUMNS, Stage

TEXT_FIELDS = ("system", "history", "question", "answer")
INDEXED = "question, answer, system, notes, turns, fields"  # the columns of the full-text index on SQLite
LANDED = 20_000  # rows by one statement, between two looks at whether it is to go on
FIELDS = (*TEXT_FIELDS, "status", "tags", "source", "notes", "rejected", "key", "meta", "trashed", "dataset_id")


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
    chat = text.messages(values["question"], values["answer"], values.get("system", ""), values.get("history", ()))
    return text.fingerprint(chat)


def begin(session: Session, action: str, by: str, reason: str = "", undoes: Changeset | None = None) -> Changeset:
    """Open a changeset: one act, to which the changes that follow belong."""
    changeset = Changeset(
        action=action, by=by, reason=reason, rows=0, undoes_id=undoes.id if undoes else None, at=now()
    )
    session.add(changeset)
    session.flush()
    return changeset


def add(session: Session, changeset: Changeset, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Insert pairs by the thousand, each with its first revision. Return their ids, in the order given.

    A row holds `dataset_id`, `question`, `answer` and any of the other fields of a pair.
    """
    if not rows:
        return []
    stamp = {
        "trashed": False, "revision": 1, "created_at": changeset.at, "created_by": changeset.by,
        "updated_at": changeset.at, "updated_by": changeset.by,
    }  # fmt: skip
    blank = {
        "system": "", "history": [], "status": "draft", "tags": [], "source": "", "notes": "",
        "rejected": "", "key": "", "meta": {},
    }  # fmt: skip
    ids = next_ids(session, len(rows))
    values = [blank | dict(row) | stamp | {"id": i} for i, row in zip(ids, rows, strict=True)]
    for value in values:
        if "fingerprint" not in value:
            value["fingerprint"] = fingerprint_of(value)
    # The tables, not the classes: a quarter of the time, and nothing of an object is needed here.
    session.execute(sa.insert(Base.metadata.tables["pair"]), values)
    session.execute(
        sa.insert(Base.metadata.tables["revision"]),
        [{"pair_id": i, "number": 1, "changeset_id": changeset.id, "before": None} for i in ids],
    )
    if session.get_bind().dialect.name == "sqlite":
        # One statement for all of them; a trigger, which is one a row, made imports take twice as long.
        session.execute(
            sa.text(f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words "
                    "WHERE id BETWEEN :first AND :last"), {"first": ids[0], "last": ids[-1]},
        )  # fmt: skip
    changeset.rows += len(ids)
    return ids


def land(
    session: Session, changeset: Changeset, stage: Stage, dataset_id: int, on_progress: Callable[[int], object]
) -> None:
    """Add the new pairs of a stage. On SQLite they go from file to file, which frees Python for everybody else."""
    if session.get_bind().dialect.name != "sqlite":
        for rows in stage.batches():
            add(session, changeset, [row | {"dataset_id": dataset_id} for row in rows])
            on_progress(changeset.rows)
        return
    connection = session.connection()
    connection.detach()  # what is attached to it goes with it, since the pool does not get it back
    connection.exec_driver_sql("ATTACH ? AS stage", (str(stage.path),))
    columns = ", ".join(COLUMNS)
    last = session.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'pair'")) or 0
    some = "SELECT :last + number AS id FROM stage.pair WHERE number BETWEEN :first AND :first + :rows - 1"
    new_pairs = sa.text(
        f"INSERT INTO pair (id, {columns}, dataset_id, trashed, revision, created_at, created_by, updated_at, "
        f"updated_by) SELECT :last + number, {columns}, :dataset_id, 0, 1, :at, :by, :at, :by FROM stage.pair "
        "WHERE number BETWEEN :first AND :first + :rows - 1"
    ).bindparams(sa.bindparam("at", type_=Pair.created_at.type))
    statements = (
        sa.text(f"INSERT INTO revision (pair_id, number, changeset_id) SELECT id, 1, :changeset_id FROM ({some})"),
        sa.text(f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words WHERE id IN ({some})"),
    )
    for first in range(1, stage.last + 1, LANDED):
        which = {"last": last, "first": first, "rows": LANDED}
        of_all = {"dataset_id": dataset_id, "at": changeset.at, "by": changeset.by}
        changeset.rows += session.execute(new_pairs, which | of_all).rowcount  # type: ignore[attr-defined]
        for statement in statements:
            named = {"changeset_id": changeset.id} if "changeset_id" in statement.text else {}
            session.execute(statement, which | named)
        on_progress(changeset.rows)


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
        if is_undone(session, changeset_id):
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


def is_undone(session: Session, changeset_id: int) -> bool:
    """Return whether a changeset was taken back."""
    return session.scalar(sa.select(Changeset.id).where(Changeset.undoes_id == changeset_id)) is not None


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
