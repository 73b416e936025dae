"""The rows of a file beside the pairs that are there: what becomes of each, and what it is nearly. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import duplicates, neighbours, text
from curator.formats import Refusal, Row
from curator.imports.plans import Change, Near, Plan
from curator.models import Pair, to_json


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
