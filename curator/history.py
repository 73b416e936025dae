"""Changesets and revisions: the only place that writes pairs, so that every change is seen and can be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking, neighbours, text
from curator.errors import NotFound, UserError
from curator.models import Changeset, Pair, Revision, now, to_json, writing
from curator.staging import COLUMNS, Stage

TEXT_FIELDS = ("system", "history", "question", "answer")
JSON_FIELDS = ("history", "tags", "meta")
INDEXED = "question, answer, system, notes, turns, fields"  # the columns of the full-text index on SQLite
LANDED = 20_000  # rows by one statement, between two looks at whether it is to go on
INDEXED_AT_ONCE = 5 * LANDED  # rows that FTS5 sorts together: a million are ten pieces, too few to be merged
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
    """Take many rows: the index of near-duplicates once for all, and on SQLite larger pieces of full-text entries.

    These, sorted and merged with more memory, halve the time of the full text of a million pairs. The block belongs
    inside `writing`.
    """
    with in_large_pieces(session), neighbours.holding(session):
        yield


@contextmanager
def in_large_pieces(session: Session) -> Iterator[None]:
    """Give the full-text index of SQLite longer lists to sort."""
    if session.get_bind().dialect.name != "sqlite":
        yield
        return
    tune_index(session, hashsize=2**25, automerge=16)
    yield
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
    text_of = neighbours.text_of
    neighbours.note(session, [(i, None, text_of(r["question"], r["answer"])) for i, r in zip(ids, rows, strict=True)])
    changeset.rows += len(ids)
    checking.note(session, changeset, ids)
    return ids


def compared(pair: Pair | sa.Row[Any], values: Mapping[str, Any]) -> str | None:
    """Return what of a pair, once some values are others, is compared with other pairs; None where it is trash."""
    if values.get("trashed", pair.trashed):
        return None
    return neighbours.text_of(values.get("question", pair.question), values.get("answer", pair.answer))


def land(
    session: Session, changeset: Changeset, stage: Stage, dataset_id: int, on_progress: Callable[[int], object]
) -> None:
    """Add the new pairs of a stage. On SQLite they go from file to file, which frees Python for everybody else.

    Fingerprints come in no order. Where most of them are new, sorting all for a new index takes a quarter of the
    time of entering one after the other.
    """
    if session.get_bind().dialect.name != "sqlite":
        for rows in stage.batches():
            add(session, changeset, [row | {"dataset_id": dataset_id} for row in rows])
            on_progress(changeset.rows)
        return
    connection = session.connection()
    connection.detach()  # what is attached to it goes with it, since the pool does not get it back
    connection.exec_driver_sql("ATTACH ? AS stage", (str(stage.path),))
    last = session.scalar(sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'pair'")) or 0
    columns = ", ".join(COLUMNS)
    statements = [
        f"INSERT INTO pair (id, {columns}, dataset_id, trashed, revision, created_at, created_by, updated_at, "
        f"updated_by) SELECT :last + number, {columns}, :dataset_id, 0, 1, :at, :by, :at, :by FROM stage.pair "
        "WHERE number BETWEEN :first - :last AND :end - :last",
        "INSERT INTO revision (pair_id, number, changeset_id) "
        "SELECT id, 1, :changeset_id FROM pair WHERE id BETWEEN :first AND :end",
    ]
    into_index = (
        f"INSERT INTO pair_text (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words "
        "WHERE id BETWEEN :first AND :end"
    )
    of_all = {
        "last": last, "dataset_id": dataset_id, "changeset_id": changeset.id,
        "at": stored(session, Pair.created_at, changeset.at), "by": changeset.by,
    }  # fmt: skip
    fingerprints = next(index for index in Pair.metadata.tables["pair"].indexes if index.name == "ix_pair_fingerprint")
    is_mostly_new = stage.last > max(last, LANDED)
    if is_mostly_new:
        fingerprints.drop(connection)
    end, is_indexed = last + stage.last, last
    for first in range(last + 1, end + 1, LANDED):
        some = of_all | {"first": first, "end": min(first + LANDED - 1, end)}
        landed = [connection.exec_driver_sql(statement, some).rowcount for statement in statements]
        changeset.rows += landed[0]
        if some["end"] == end or some["end"] - is_indexed >= INDEXED_AT_ONCE:
            connection.exec_driver_sql(into_index, some | {"first": is_indexed + 1})
            is_indexed = some["end"]
        on_progress(changeset.rows)
    neighbours.land(session, stage.bands, last, stage.removed)
    checking.note(session, changeset, range(last + 1, end + 1))
    if is_mostly_new:
        fingerprints.create(connection)


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
    before = differing(pair, values)
    if not before:
        return False
    old_fingerprint = pair.fingerprint if any(name in before for name in TEXT_FIELDS) else None
    neighbours.note(session, [(pair.id, compared(pair, {}), compared(pair, values))])
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
    checking.note(session, changeset, [pair.id] if checking.concerns(before) else [])
    return True


def change_many(
    session: Session, changeset: Changeset, changes: Iterable[tuple[Pair | sa.Row[Any], Mapping[str, Any]]]
) -> None:
    """Give pairs new values as `change` does, by one statement for all of which the same fields differ.

    A pair may be a row of its table, which is read in a quarter of the time; none may come twice.
    """
    session.flush()
    moment = stored(session, Pair.updated_at, changeset.at)
    revisions: list[tuple[Any, ...]] = []
    updates: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    texts: list[neighbours.Change] = []
    told: list[int] = []
    for pair, values in changes:
        before = differing(pair, values)
        if not before:
            continue
        after = {name: to_json(values[name]) if name in JSON_FIELDS else values[name] for name in before}
        old_fingerprint = None
        if any(name in before for name in TEXT_FIELDS):
            old_fingerprint = pair.fingerprint
            now_said = {name: values[name] if name in before else getattr(pair, name) for name in TEXT_FIELDS}
            after["fingerprint"] = fingerprint_of(now_said)
        after |= {"revision": pair.revision + 1, "updated_at": moment, "updated_by": changeset.by}
        updates.setdefault(tuple(after), []).append((pair.id, *after.values()))
        revisions.append((pair.id, pair.revision + 1, changeset.id, to_json(before), old_fingerprint))
        texts.append((pair.id, compared(pair, {}), compared(pair, values)))
        if checking.concerns(before):
            told.append(pair.id)
    for names, rows in updates.items():
        update(session, names, sorted(rows, key=itemgetter(0)))
    if revisions:
        insert(session, "revision", ("pair_id", "number", "changeset_id", "before", "fingerprint"), revisions)
    neighbours.note(session, texts)
    changeset.rows += len(revisions)
    checking.note(session, changeset, told)
    for kept in list(session.identity_map.values()):  # it was read before, and is no longer so
        if isinstance(kept, Pair):
            session.expire(kept)


def differing(pair: Pair | sa.Row[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the old values of the fields that differ from the new."""
    return {name: getattr(pair, name) for name in FIELDS if name in values and getattr(pair, name) != values[name]}


def update(session: Session, names: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
    """Give some columns of pairs new values; a row is an id and the values as the database stores them.

    One statement for all of them, in the order of the ids: the full-text index of SQLite writes down what it
    has after each statement, and wherever an id is lower than the last.
    """
    columns = ("id", *names)
    session.execute(sa.text(f"CREATE TEMPORARY TABLE changed AS SELECT {', '.join(columns)} FROM pair WHERE false"))
    insert(session, "changed", columns, rows)
    given = ", ".join(f"{name} = changed.{name}" for name in names)
    session.execute(sa.text(f"UPDATE pair SET {given} FROM changed WHERE pair.id = changed.id"))
    session.execute(sa.text("DROP TABLE changed"))


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
        with in_bulk(session):
            for pairs in pairs_of(session, changeset):
                changed = changed_since(session, changeset, pairs)
                left += sorted(changed)
                restored = [pair for pair in pairs if pair.id not in changed]
                change_many(
                    session, undoing, [(p, {"trashed": True} if p.before is None else p.before) for p in restored]
                )
        if not undoing.rows:
            raise UserError(
                f"Change {changeset_id} can't be undone: each of its pairs changed since. Undo the later changes first."
            )
    return Undone(undoing, left)


def is_undone(session: Session, changeset_id: int) -> bool:
    """Return whether a changeset was taken back."""
    return session.scalar(sa.select(Changeset.id).where(Changeset.undoes_id == changeset_id)) is not None


def pairs_of(session: Session, changeset: Changeset, size: int = 5000) -> Iterator[Sequence[Any]]:
    """Yield the pairs that a changeset changed in batches: all columns, and `number` and `before` of its revision."""
    place = sa.tuple_(Revision.pair_id, Revision.number)
    last = (0, 0)
    found = sa.select(*Pair.__table__.columns, Revision.number, Revision.before).join(Revision.pair)
    found = found.where(Revision.changeset_id == changeset.id).order_by(Revision.pair_id, Revision.number)
    while pairs := session.execute(found.where(place > last).limit(size)).all():
        yield pairs
        last = (pairs[-1].id, pairs[-1].number)


def changed_since(session: Session, changeset: Changeset, pairs: Sequence[sa.Row[Any]]) -> set[int]:
    """Return which pairs of a changeset differ from what it made of them: changes that were undone don't count."""
    today = {pair.id: {name: getattr(pair, name) for name in FIELDS} for pair in pairs if pair.revision != pair.number}
    if not today:
        return set()
    then = dict(today)
    later = sa.orm.aliased(Revision)
    since = (
        sa.select(later.pair_id, later.before)
        .join(Revision, sa.and_(later.pair_id == Revision.pair_id, later.number > Revision.number))
        .where(Revision.changeset_id == changeset.id, Revision.pair_id.between(min(today), max(today)))
        .order_by(later.pair_id, later.number.desc())
    )
    for pair_id, before in session.execute(since):
        if pair_id in then:
            then[pair_id] = then[pair_id] | (before or {})
    return {pair_id for pair_id, values in then.items() if values != today[pair_id]}


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
