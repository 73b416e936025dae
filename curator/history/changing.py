"""Pairs written: added and changed, each with its revision and its place in the indexes. Knows no undo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import checking, neighbours, text
from curator.history.indexing import Words, enter_words
from curator.models import Changeset, Pair, Revision, now, to_json

TEXT_FIELDS = ("system", "history", "question", "answer")
SAID = frozenset(TEXT_FIELDS)
COMPARED = frozenset(("question", "answer", "trashed"))  # what decides which near-duplicates a pair has
JSON_FIELDS = ("history", "tags", "meta")
# What makes JSON of a field that is no text, on SQLite. JSON stays as it is: SQLite would refuse Python's NaN.
QUOTED = dict.fromkeys(JSON_FIELDS, "{}") | {"trashed": "iif({}, 'true', 'false')", "dataset_id": "{}"}
FIELDS = (*TEXT_FIELDS, "status", "tags", "source", "notes", "rejected", "key", "meta", "trashed", "dataset_id")
KNOWN = frozenset(FIELDS)
# FTS5 writes a piece for each statement, and merges them: 20,000 pairs each take two thirds of what 5,000 do.
FIRST, AT_ONCE, CHARACTERS = 5000, 20_000, 10_000_000  # pairs by the first statement, by any, and what they may say
# All columns of a pair, in the order in which `add` gives their values.
PAIR_COLUMNS = (
    "id", "dataset_id", "system", "history", "question", "answer", "status", "tags", "source", "notes", "rejected",
    "key", "meta", "fingerprint", "trashed", "revision", "created_at", "created_by", "updated_at", "updated_by",
)  # fmt: skip
# What `change_many` may read of a pair. Moments and names, which nobody asks for, take as long to read as all of it.
CHANGEABLE = (Pair.id, Pair.revision, Pair.fingerprint, *(getattr(Pair, name) for name in FIELDS))

Wanted = tuple[Pair | sa.Row[Any], Mapping[str, Any]]  # a pair, and the values it is to have


def changeable(fields: Sequence[str]) -> list[Any]:
    """Return the columns that `change_many` reads of pairs of which only some fields change."""
    return [Pair.id, *(getattr(Pair, name) for name in dict.fromkeys(("trashed", *TEXT_FIELDS, *fields)))]


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
        enter_words(session.connection(), ids[0], ids[-1])
    text_of = neighbours.text_of
    neighbours.note(session, [(i, None, text_of(r["question"], r["answer"])) for i, r in zip(ids, rows, strict=True)])
    changeset.rows += len(ids)
    checking.note(session, changeset, ids)
    return ids


def compared(pair: Pair | sa.Row[Any], values: Mapping[str, Any]) -> str | None:
    """Return what of a pair, once some values are others, is compared with other pairs; None where it is trash."""
    get = values.get
    if get("trashed", pair.trashed):
        return None
    return neighbours.text_of(get("question", pair.question), get("answer", pair.answer))


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
    if not COMPARED.isdisjoint(before):
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


@dataclass
class Ready:
    """Changes of pairs, ready to be written: nothing of them has to be worked out any more."""

    # By the fields that differ: rows of an id, the values as stored, and a fingerprint if texts changed.
    groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = field(default_factory=dict)
    texts: list[neighbours.Change] = field(default_factory=list)
    told: list[int] = field(default_factory=list)  # pairs whose flags may be others now


def change_many(session: Session, changeset: Changeset, changes: Iterable[Wanted]) -> None:
    """Give pairs new values as `change` does, by two statements for all of which the same fields differ.

    A pair may be a row of `changeable` columns, which is read in a quarter of the time; none may come twice.
    """
    ready = made_ready(changes)
    lay_down(session, ready)
    write_down(session, changeset, ready)


def made_ready(changes: Iterable[Wanted]) -> Ready:
    """Return what is to be written so that pairs have new values. Asks no database."""
    ready = Ready()
    names: tuple[str, ...] = ()
    group: list[tuple[Any, ...]] = []
    is_said = is_compared = False
    for pair, values in changes:
        differing = tuple([name for name in values if name in KNOWN and getattr(pair, name) != values[name]])
        if not differing:
            continue
        if differing != names:  # mostly the same fields differ in all
            names, is_said, is_compared = differing, not SAID.isdisjoint(differing), not COMPARED.isdisjoint(differing)
            group = ready.groups.setdefault(names, [])
        new = [to_json(values[name]) if name in JSON_FIELDS else values[name] for name in names]
        if is_said or is_compared:
            get = values.get
            question, answer = get("question", pair.question), get("answer", pair.answer)
        if is_said:
            new.append(text.fingerprint_of(question, answer, get("system", pair.system), get("history", pair.history)))
        if is_compared:
            before = None if pair.trashed else neighbours.text_of(pair.question, pair.answer)
            after = None if get("trashed", pair.trashed) else neighbours.text_of(question, answer)
            ready.texts.append((pair.id, before, after))
        group.append((pair.id, *new))
    for names, rows in ready.groups.items():
        rows.sort(key=itemgetter(0))
        if checking.concerns(names):
            ready.told += [row[0] for row in rows]
    return ready


def lay_down(session: Session, ready: Ready) -> None:
    """Put the new values into tables that go with the connection, where the database has them at hand.

    The driver comes back to Python for each row, which takes long where another thread keeps Python busy.
    """
    session.flush()
    for number, (names, rows) in enumerate(ready.groups.items()):
        columns = ("id", *columns_of(names))
        made = f"CREATE TEMPORARY TABLE changed_{number} AS SELECT {', '.join(columns)} FROM pair WHERE false"
        session.execute(sa.text(made))
        insert(session, f"changed_{number}", columns, rows)


def write_down(session: Session, changeset: Changeset, ready: Ready) -> None:
    """Give pairs the values that were laid down, by statements that leave Python alone."""
    words: Words | None = session.info.get("words")
    if words and ready.groups:
        words.follow(min(rows[0][0] for rows in ready.groups.values()))
    for number, (names, rows) in enumerate(ready.groups.items()):
        update(session, changeset, names, f"changed_{number}")
        changeset.rows += len(rows)
    neighbours.note(session, ready.texts)
    checking.note(session, changeset, ready.told)
    for kept in list(session.identity_map.values()):  # it was read before, and is no longer so
        if isinstance(kept, Pair):
            session.expire(kept)


def at_once(pairs: Sequence[Any]) -> int:
    """Return how many pairs to give `change_many` after some, going by how long these are."""
    some = pairs[:: len(pairs) // 1000 + 1]
    characters = sum(len(pair.question) + len(pair.answer) for pair in some)
    return max(1000, min(AT_ONCE, CHARACTERS * len(some) // max(characters, 1)))


def differing(pair: Pair | sa.Row[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the old values of the fields that differ from the new."""
    return {name: old for name in FIELDS if name in values and (old := getattr(pair, name)) != values[name]}


def columns_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that change with some fields."""
    return tuple(names) if SAID.isdisjoint(names) else (*names, "fingerprint")


def update(session: Session, changeset: Changeset, names: Sequence[str], table: str) -> None:
    """Give some fields of pairs the values in a table of their ids and new values, which goes then.

    One statement writes the revisions of all, from what still stands there, and one the values, in the order of
    the ids: the full-text index of SQLite writes down what it has after each statement, and wherever an id is lower
    than the last.
    """
    said = "NULL" if SAID.isdisjoint(names) else "pair.fingerprint"
    session.execute(
        sa.text("INSERT INTO revision (pair_id, number, changeset_id, before, fingerprint) "
                f"SELECT pair.id, pair.revision + 1, :changeset, {as_object(session, names)}, {said} FROM {table} "
                "AS changed JOIN pair ON pair.id = changed.id ORDER BY changed.id"),
        {"changeset": changeset.id},
    )  # fmt: skip
    new = "".join(f"{name} = changed.{name}, " for name in columns_of(names))
    session.execute(
        sa.text(f"UPDATE pair SET {new}revision = pair.revision + 1, updated_at = :at, updated_by = :by "
                f"FROM {table} AS changed WHERE pair.id = changed.id"),
        {"at": stored(session, Pair.updated_at, changeset.at), "by": changeset.by},
    )  # fmt: skip
    session.execute(sa.text(f"DROP TABLE {table}"))


def as_object(session: Session, names: Sequence[str]) -> str:
    """Return what makes a JSON object of some fields of a pair as they stand in the database."""
    if session.get_bind().dialect.name == "postgresql":
        named = ", ".join(f"'{name}', pair.{name}" for name in names)
        return f"json_build_object({named})"
    quoted = [QUOTED.get(name, "json_quote({})").format(f"pair.{name}") for name in names]
    fields = " || ', ' || ".join(f"'\"{name}\": ' || {value}" for name, value in zip(names, quoted, strict=True))
    return f"'{{' || {fields} || '}}'"
