"""Find pairs: a selection, its count, its facets, its pages. Full text by FTS5 on SQLite, tsvector on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator.errors import UserError
from curator.models import Pair
from curator.pairs import dataset_named
from curator.words import STATUSES


@dataclass(frozen=True)
class Selection:
    """Which pairs: what the list shows, the export writes and the freeze keeps. Nothing set: all outside the trash."""

    dataset: str | None = None
    statuses: tuple[str, ...] = ()
    tag: str | None = None
    source: str | None = None
    query: str | None = None
    trash: bool = False

    def __post_init__(self) -> None:
        for status in self.statuses:
            if status not in STATUSES:
                raise UserError(f"{status!r} is no status. Choose one of: {', '.join(STATUSES)}.")

    @classmethod
    def from_args(cls, args: Any) -> Selection:
        """Read a selection from the arguments of a request (a MultiDict): `status` may stand several times."""
        return cls(
            dataset=args.get("dataset") or None,
            statuses=tuple(dict.fromkeys(s for s in args.getlist("status") if s)),
            tag=args.get("tag") or None,
            source=args.get("source") or None,
            query=(args.get("query") or "").strip() or None,
            trash=args.get("trash") in ("1", "true", "on"),
        )

    def to_args(self) -> dict[str, Any]:
        """Return what is set, named as in a request or as an option of a command."""
        named = {
            "dataset": self.dataset, "status": list(self.statuses), "tag": self.tag,
            "source": self.source, "query": self.query, "trash": "1" if self.trash else None,
        }  # fmt: skip
        return {name: value for name, value in named.items() if value}

    def but(self, **changes: Any) -> Selection:
        """Return the selection with some of it changed."""
        return replace(self, **changes)

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it but the data set."""
        return all(not getattr(self, f.name) for f in fields(self) if f.name != "dataset")


@dataclass(frozen=True)
class Facets:
    """What the pairs of a selection have in common, counted."""

    statuses: dict[str, int]
    tags: list[tuple[str, int]]
    sources: list[tuple[str, int]]
    trashed: int


@dataclass(frozen=True)
class Page:
    """One page of a selection: `first` is the place of its first pair in the whole, from 1."""

    pairs: list[Pair]
    total: int
    first: int
    next: int | None
    previous: int | None


def terms(query: str) -> list[tuple[str, bool]]:
    """Split what a person typed into terms: (text, is_prefix). "Quoted words" are one phrase.

    Every word matches what begins with it, so that a search narrows while it is typed.
    """
    found = []
    for quoted, bare in re.findall(r'"([^"]*)"?|([^\s"]+)', query):
        words = re.findall(r"\w+", quoted or bare, re.UNICODE)
        if words:
            found.append((" ".join(words), not quoted))
    return found


def matching(session: Session, query: str) -> sa.TextClause:
    """Return the condition that a pair holds every term of a query in one of its texts."""
    parts = terms(query)
    if not parts:
        raise UserError(f"The search {query!r} holds no letter and no digit. Search for a word.")
    if session.get_bind().dialect.name == "postgresql":
        expression = " & ".join(" <-> ".join(t.split()) + (":*" if prefix else "") for t, prefix in parts)
        return sa.text("pair.search @@ to_tsquery('simple', :search)").bindparams(search=expression)
    expression = " ".join(f'"{t}"' + ("*" if prefix else "") for t, prefix in parts)
    return sa.text("pair.id IN (SELECT rowid FROM pair_text WHERE pair_text MATCH :search)").bindparams(
        search=expression
    )


def tag_values(session: Session) -> Any:
    """Return the tags of each pair as a table of one column, `value`."""
    if session.get_bind().dialect.name == "postgresql":
        return sa.func.json_array_elements_text(Pair.tags).table_valued("value").lateral("tag")
    return sa.func.json_each(Pair.tags).table_valued("value").alias("tag")


def conditions(session: Session, selection: Selection) -> list[Any]:
    """Return what a pair must meet to be in a selection."""
    found: list[Any] = [Pair.trashed.is_(selection.trash)]
    if selection.dataset:
        found.append(Pair.dataset_id == dataset_named(session, selection.dataset).id)
    if selection.statuses:
        found.append(Pair.status.in_(selection.statuses))
    if selection.source:
        found.append(Pair.source == selection.source)
    if selection.tag:
        tag = tag_values(session)
        found.append(sa.exists(sa.select(1).select_from(tag).where(tag.c.value == selection.tag)))
    if selection.query:
        found.append(matching(session, selection.query))
    return found


def count(session: Session, selection: Selection) -> int:
    """Return how many pairs a selection holds."""
    return session.scalar(sa.select(sa.func.count()).select_from(Pair).where(*conditions(session, selection))) or 0


def ids(session: Session, selection: Selection) -> list[int]:
    """Return the ids of a selection, in order."""
    return list(session.scalars(sa.select(Pair.id).where(*conditions(session, selection)).order_by(Pair.id)))


def facets(session: Session, selection: Selection) -> Facets:
    """Count the pairs of a selection by status, tag and source; each facet ignores its own filter."""

    def where(**without: Any) -> list[Any]:
        return conditions(session, selection.but(**without))

    n = sa.func.count()
    statuses = dict(session.execute(sa.select(Pair.status, n).where(*where(statuses=())).group_by(Pair.status)).all())
    tag = tag_values(session)
    joined = sa.select(tag.c.value, n).select_from(Pair).join(tag, sa.true()).where(*where(tag=None))
    tags = session.execute(joined.group_by(tag.c.value).order_by(n.desc(), tag.c.value).limit(20)).all()
    by_source = sa.select(Pair.source, n).where(Pair.source != "", *where(source=None)).group_by(Pair.source)
    sources = session.execute(by_source.order_by(n.desc(), Pair.source).limit(10)).all()
    return Facets(
        {status: statuses.get(status, 0) for status in STATUSES},
        [(name, number) for name, number in tags],
        [(name, number) for name, number in sources],
        count(session, Selection(dataset=selection.dataset, trash=True)),
    )


def page(
    session: Session,
    selection: Selection,
    after: int | None = None,
    before: int | None = None,
    size: int = 50,
    newest: bool = False,
) -> Page:
    """Return one page, found by the id of the pair before or after it: the last is as quick as the first."""
    where = conditions(session, selection)
    total = count(session, selection)
    # In the order of reading, `beyond(x)` is what comes after x; turned round, what comes before it.
    onward, back = (Pair.id.desc(), Pair.id.asc()) if newest else (Pair.id.asc(), Pair.id.desc())

    def beyond(mark: int, forward: bool) -> sa.ColumnElement[bool]:
        return Pair.id < mark if newest == forward else Pair.id > mark

    query = sa.select(Pair).options(joinedload(Pair.dataset)).limit(size + 1)
    if before is not None:
        rows = list(session.scalars(query.where(*where, beyond(before, False)).order_by(back)))
        pairs, more_before = rows[:size][::-1], len(rows) > size
        more_after = True
    else:
        mark = [] if after is None else [beyond(after, True)]
        rows = list(session.scalars(query.where(*where, *mark).order_by(onward)))
        pairs, more_after = rows[:size], len(rows) > size
        more_before = after is not None
    if not pairs:
        if total and (before is not None or after is not None):  # the mark lies beyond an end: begin again
            return page(session, selection, size=size, newest=newest)
        return Page([], total, 0, None, None)
    earlier = session.scalar(sa.select(sa.func.count()).select_from(Pair).where(*where, beyond(pairs[0].id, False)))
    first = (earlier or 0) + 1
    return Page(
        pairs,
        total,
        first,
        pairs[-1].id if more_after and first + len(pairs) <= total else None,
        pairs[0].id if more_before and first > 1 else None,
    )


def neighbours(session: Session, selection: Selection, pair_id: int) -> tuple[int | None, int | None, int, int]:
    """Return the ids before and after a pair in a selection, its place from 1, and how many there are."""
    where = conditions(session, selection)
    previous = session.scalar(sa.select(sa.func.max(Pair.id)).where(*where, Pair.id < pair_id))
    following = session.scalar(sa.select(sa.func.min(Pair.id)).where(*where, Pair.id > pair_id))
    place = session.scalar(sa.select(sa.func.count()).select_from(Pair).where(*where, Pair.id <= pair_id))
    return previous, following, place or 0, count(session, selection)


def highlight(text: str, query: str | None) -> list[tuple[bool, str]]:
    """Cut a text into (is_match, part), so that a page can mark what a search found."""
    patterns = [
        r"\b" + r"\W+".join(map(re.escape, term.split())) + (r"\w*" if prefix else r"\b")
        for term, prefix in terms(query or "")
    ]
    if not patterns:
        return [(False, text)]
    parts = re.split(f"({'|'.join(patterns)})", text, flags=re.IGNORECASE)
    return [(i % 2 == 1, part) for i, part in enumerate(parts) if part]


def describe(args: Mapping[str, Any]) -> list[str]:
    """Return the options that say the same to a command: ["--status", "draft", "--query", "late fee"]."""
    words = []
    for name, value in args.items():
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name}"] if name == "trash" else [f"--{name}", one]
    return words
