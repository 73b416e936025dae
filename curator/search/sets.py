"""A selection as a set of ids, from the index in memory; what that can't tell is asked of the database."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from pyroaring import BitMap
from sqlalchemy.orm import Session

from curator.bitmaps.index import Index
from curator.models import Pair
from curator.search import query, sql
from curator.search.query import Between, OneOf, Term, Words

WORDS, TOKENS = "question, answer, system, notes, turns, fields", "unicode61 remove_diacritics 2"  # of pair_text


def chosen(
    session: Session, index: Index, trash: bool, dataset: int | None, terms: Sequence[Term]
) -> tuple[BitMap, dict[str, BitMap]]:
    """Return the pairs that meet what is no facet, and for each facet those that meet what is asked of it."""
    base = index.trash if trash else index.live
    if dataset is not None:
        base = base & (index.having("dataset", dataset) or BitMap())
    of_facet: dict[str, BitMap] = {}
    texts = []
    for term in terms:
        if isinstance(term, Words):
            texts.append(term)
            continue
        met = found(session, index, term)
        if term.excluded:
            base = base - met
        elif term.field in query.VALUES or term.field == "len":
            name = str(term.field)
            of_facet[name] = of_facet[name] & met if name in of_facet else met
        else:
            base = base & met
    if texts:
        base = base & worded(session, index, texts)
    return base, of_facet


def all_of(base: BitMap, of_facet: Mapping[str, BitMap], but: str = "") -> BitMap:
    """Return the pairs that meet everything, or everything but what is asked of one facet."""
    for name, ids in of_facet.items():
        if name != but:
            base = base & ids
    return base


def found(session: Session, index: Index, term: Term) -> BitMap:
    """Return the pairs that a term asks for; its minus is not looked at."""
    if isinstance(term, Between):
        return index.within(str(term.field), term.spans)
    assert isinstance(term, OneOf)
    sets = [of_value(index, str(term.field), *value) for value in term.values]
    if any(ids is None for ids in sets):
        with index.engine.connect() as connection:
            return asked(connection, sql.of_values(session, term))
    return BitMap.union(BitMap(), *(ids for ids in sets if ids is not None))


def of_value(index: Index, field: str, value: str, is_prefix: bool) -> BitMap | None:
    """Return the pairs with one value; None where only the database can tell."""
    if field == "has" and value in ("duplicate", "contradiction"):
        return index.having("flag", value)
    if field == "has" and value == "flag":
        return index.having("flag", "", True)
    if field == "dataset" or (field == "has" and value == "rating"):
        return None
    return index.having(field, value, is_prefix)


def worded(session: Session, index: Index, texts: Sequence[Words]) -> BitMap:
    """Return the pairs that hold the words, and not those with a minus."""
    if session.get_bind().dialect.name == "postgresql":
        met = sql.wording(session, texts)
        key = tuple((term.text, term.field, term.excluded, term.is_prefix) for term in texts)
        return index.recalled(key, lambda connection, among: asked(connection, met, among))
    wanted, unwanted = sql.expressions(texts)
    known = matched(index, wanted) if wanted else index.live | index.trash
    return known - matched(index, unwanted) if unwanted else known


def matched(index: Index, expression: str) -> BitMap:
    """Return what FTS5 finds. All in one text, since a row each takes twice as long."""

    def read(connection: sa.Connection, among: BitMap | None) -> BitMap:
        found = "SELECT group_concat(rowid) FROM pair_text WHERE pair_text MATCH ?"
        if among is None:
            text = connection.exec_driver_sql(found, (expression,)).scalar()
        else:  # in a table of these alone: FTS5 gathers all beginnings of a word, however few rows are asked for
            with closing(sqlite3.connect(":memory:")) as few:
                few.execute(f"CREATE VIRTUAL TABLE pair_text USING fts5({WORDS}, tokenize = '{TOKENS}')")
                some = f"SELECT id, {WORDS} FROM pair_words WHERE id IN ({', '.join(map(str, among))})"
                rows = [tuple(row) for row in connection.exec_driver_sql(some)]
                few.executemany(f"INSERT INTO pair_text (rowid, {WORDS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
                (text,) = few.execute(found, (expression,)).fetchone()
        return BitMap(array("I", map(int, text.split(",")))) if text else BitMap()

    return index.recalled(expression, read)


def asked(connection: sa.Connection, met: sa.ColumnElement[bool], among: Iterable[int] | None = None) -> BitMap:
    """Return what the database finds."""
    rows: Any = sa.select(Pair.id).where(met)
    if among is not None:
        rows = rows.where(Pair.id.in_(list(among)))
    return BitMap(array("I", connection.execute(rows).scalars()))
