"""The terms of a query as SQL: full text by FTS5 on SQLite, tsvector on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.models import Dataset, Pair, PairFlag, Rating, Sample, VersionLine
from curator.search.query import Between, OneOf, Term, Words

COLUMNS = {"history": "turns"}  # of the full-text index, where they are named otherwise
WORD = re.compile(r"[^\W_]+")


def condition(session: Session, terms: Sequence[Term]) -> list[sa.ColumnElement[bool]]:
    """Return what a pair must meet to answer to every term."""
    texts = [term for term in terms if isinstance(term, Words)]
    found = [wording(session, texts)] if texts else []
    for term in terms:
        if isinstance(term, Words):
            continue
        met = of_values(session, term) if isinstance(term, OneOf) else of_spans(session, term)  # type: ignore[arg-type]
        found.append(sa.not_(met) if term.excluded else met)
    return found


def wording(session: Session, texts: Sequence[Words]) -> sa.ColumnElement[bool]:
    """Return the condition that the words of a query stand in a pair, and those with a minus don't."""
    if session.get_bind().dialect.name == "postgresql":
        return sa.and_(*(sa.not_(in_vector(term)) if term.excluded else in_vector(term) for term in texts))
    wanted, unwanted = expressions(texts)
    if wanted:
        return matching(f"({wanted}) NOT ({unwanted})" if unwanted else wanted)
    return sa.not_(matching(unwanted))


def expressions(texts: Sequence[Words]) -> tuple[str, str]:
    """Return what FTS5 is to find, and what it is to leave out."""
    wanted = " AND ".join(expression(term) for term in texts if not term.excluded)
    return wanted, " OR ".join(expression(term) for term in texts if term.excluded)


def expression(term: Words) -> str:
    """Return one term in the language of FTS5, which takes the words of a string apart as it did those of the pairs."""
    column = f"{COLUMNS.get(term.field, term.field)} : " if term.field else ""
    text = term.text.replace('"', " ")
    return f'{column}"{text}"' + (" *" if term.is_prefix else "")


def matching(wanted: str) -> sa.ColumnElement[bool]:
    """Return the condition that FTS5 finds a pair."""
    rows = sa.text("SELECT rowid FROM pair_text WHERE pair_text MATCH :wanted").bindparams(
        sa.bindparam("wanted", wanted, unique=True)
    )
    return Pair.id.in_(rows.columns(sa.column("rowid", sa.Integer)))


def in_vector(term: Words) -> sa.ColumnElement[bool]:
    """Return the condition that PostgreSQL finds a term; in one field by looking again at what it found in all."""
    words = [f"'{word}'" for word in WORD.findall(term.text)]
    wanted: sa.ColumnElement[Any] = sa.func.to_tsquery("simple", " <-> ".join(words) + (":*" if term.is_prefix else ""))
    if len(words) > 1 and not WORD.fullmatch(term.text.replace(" ", "")):
        # "example.com" is one word to PostgreSQL where it stands in a text.
        wanted = wanted.op("||")(sa.func.phraseto_tsquery("simple", term.text))
    found: sa.ColumnElement[bool] = sa.literal_column("pair.search").op("@@")(wanted)
    if term.field:
        text: Any = getattr(Pair, term.field)
        if term.field == "history":
            turn = sa.func.json_array_elements(Pair.history).table_valued("value").alias("turn")
            said = sa.func.string_agg(turn.c.value.op("->>")("content"), "\n")
            text = sa.func.coalesce(sa.select(said).select_from(turn).scalar_subquery(), "")
        vector = sa.func.to_tsvector("simple", sa.func.left(text, 100_000))
        found = sa.and_(found, vector.op("@@")(wanted))
    return sa.func.coalesce(found, sa.false())


def of_values(session: Session, term: OneOf) -> sa.ColumnElement[bool]:
    """Return the condition that a field has one of some values."""

    def one_of(column: Any) -> sa.ColumnElement[bool]:
        return sa.or_(*(begins(column, value) if is_prefix else column == value for value, is_prefix in term.values))

    if term.field == "has":
        return sa.or_(*(has(name) for name, _ in term.values))
    if term.field == "tag":
        tag = tag_values(session)
        return sa.exists(sa.select(1).select_from(tag).where(one_of(tag.c.value)))
    if term.field == "dataset":
        return Pair.dataset_id.in_(sa.select(Dataset.id).where(one_of(Dataset.name)))
    if term.field == "flag":
        return Pair.id.in_(sa.select(PairFlag.pair_id).where(one_of(PairFlag.flag)))
    if term.field == "split":
        of_pair = sa.select(sa.func.max(VersionLine.version_id)).where(VersionLine.pair_id == Pair.id)
        newest = VersionLine.version_id == of_pair.correlate(Pair).scalar_subquery()
        return sa.exists(sa.select(1).where(VersionLine.pair_id == Pair.id, newest, one_of(VersionLine.split)))
    return one_of({"source": Pair.source, "status": Pair.status, "author": Pair.created_by}[str(term.field)])


def begins(column: Any, value: str) -> sa.ColumnElement[bool]:
    """Return the condition that a text begins with a value; LIKE folds case on SQLite alone."""
    return sa.func.substr(column, 1, len(value)) == value


def has(name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a pair has something at all."""
    if name in ("duplicate", "contradiction"):
        return Pair.id.in_(sa.select(PairFlag.pair_id).where(PairFlag.flag == name))
    if name == "flag":
        return Pair.id.in_(sa.select(PairFlag.pair_id))
    if name == "rating":
        return Pair.id.in_(sa.select(Sample.pair_id).join(Rating).where(Sample.pair_id.is_not(None)))
    if name in ("history", "tag", "meta"):
        column = {"history": Pair.history, "tag": Pair.tags, "meta": Pair.meta}[name]
        return sa.cast(column, sa.Text) != ("{}" if name == "meta" else "[]")
    column = {"system": Pair.system, "notes": Pair.notes, "source": Pair.source, "rejected": Pair.rejected}[name]
    return column != ""


def of_spans(session: Session, term: Between) -> sa.ColumnElement[bool]:
    """Return the condition that a number or a moment lies in one of some spans."""
    columns: dict[str, Any] = {
        "len": sa.func.length(Pair.answer), "qlen": sa.func.length(Pair.question), "tokens": tokens(session),
        "added": Pair.created_at, "updated": Pair.updated_at, "id": Pair.id,
    }  # fmt: skip
    column = columns[str(term.field)]
    return sa.or_(*(
        sa.and_(*([column >= low] if low is not None else []), *([column < high] if high is not None else []))
        for low, high in term.spans
    ))  # fmt: skip


def tokens(session: Session) -> sa.ColumnElement[int]:
    """Return an estimate of the tokens of a pair: a quarter of its bytes, rounded up."""
    if session.get_bind().dialect.name == "postgresql":
        octets = [sa.func.octet_length(text) for text in (Pair.question, Pair.answer, Pair.system)]
    else:
        octets = [sa.func.length(sa.cast(text, sa.LargeBinary)) for text in (Pair.question, Pair.answer, Pair.system)]
    return (octets[0] + octets[1] + octets[2] + 3) // 4


def tag_values(session: Session) -> Any:
    """Return the tags of each pair as a table of one column, `value`."""
    if session.get_bind().dialect.name == "postgresql":
        return sa.func.json_array_elements_text(Pair.tags).table_valued("value").lateral("tag")
    return sa.func.json_each(Pair.tags).table_valued("value").alias("tag")
