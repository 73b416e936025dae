"""Find pairs: a selection, its count, its facets, its pages, in any order.

A selection has two readings, held to the same answers by tests: as SQL, which commands and large acts use, and as sets
of ids in memory (`bitmaps`), by which a page of a million pairs is counted and cut in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import bitmaps
from curator.errors import UserError
from curator.models import Pair
from curator.pairs import dataset_named
from curator.search.marks import excerpt, highlight
from curator.search.query import VALUES, OneOf, Term, as_typed, asking, parse, without
from curator.search.sql import condition
from curator.words import SPLITS, STATUSES

__all__ = [
    "SORTS", "Facets", "Page", "Selection", "asked", "conditions", "count", "describe", "excerpt", "facets", "found",
    "highlight", "ids", "narrowed", "neighbours", "page", "without_each",
]  # fmt: skip

# How a list may stand, and what it is called then.
SORTS = {
    "oldest": "Oldest first",
    "newest": "Newest first",
    "edited": "Last changed first",
    "longest": "Longest answer first",
    "shortest": "Shortest answer first",
}
MOST_SHOWN = 20  # values of a facet


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
    """What the pairs of a selection have in common, counted; each facet as if nothing were asked of it."""

    statuses: dict[str, int]
    tags: list[tuple[str, int]]
    sources: list[tuple[str, int]]
    trashed: int
    splits: list[tuple[str, int]] = field(default_factory=list)
    flags: list[tuple[str, int]] = field(default_factory=list)
    authors: list[tuple[str, int]] = field(default_factory=list)
    lengths: list[tuple[int, int | None, int]] = field(default_factory=list)  # from, up to, how many


@dataclass(frozen=True)
class Page:
    """One page of a selection: `first` is the place of its first pair in the whole, from 1.

    `next` and `previous` are marks for `after` and `before`: ids, or in other orders numbers that hold one.
    """

    pairs: list[Pair]
    total: int
    first: int
    next: int | None
    previous: int | None


def terms_of(selection: Selection) -> tuple[Term, ...]:
    """Return all that a selection asks of a pair but for data set and trash, as terms of a query."""
    asked = parse(selection.query or "")
    if selection.statuses:
        asked += (OneOf("", "status", False, tuple((status, False) for status in selection.statuses)),)
    for name in ("tag", "source"):
        if value := getattr(selection, name):
            asked += (OneOf("", name, False, ((value, False),)),)
    return asked


def conditions(session: Session, selection: Selection) -> list[Any]:
    """Return what a pair must meet to be in a selection."""
    found: list[Any] = [Pair.trashed.is_(selection.trash)]
    if selection.dataset:
        found.append(Pair.dataset_id == dataset_named(session, selection.dataset).id)
    return found + condition(session, terms_of(selection))


def chosen(session: Session, index: Any, selection: Selection) -> tuple[Any, dict[str, Any]]:
    """Return a selection as sets: what meets all that is no facet, and what meets each facet."""
    from curator.search import sets

    dataset = dataset_named(session, selection.dataset).id if selection.dataset else None
    return sets.chosen(session, index, selection.trash, dataset, terms_of(selection))


def members(session: Session, index: Any, selection: Selection) -> Any:
    """Return the pairs of a selection as one set."""
    from curator.search import sets

    return sets.all_of(*chosen(session, index, selection))


def found(session: Session, selection: Selection) -> Any:
    """Return the pairs of a selection as one set, for who asks it more than once; nothing changes it any more."""
    with bitmaps.of(session).lock:
        return members(session, bitmaps.now(session), selection).copy()


def count(session: Session, selection: Selection) -> int:
    """Return how many pairs a selection holds."""
    if index := bitmaps.ready(session):
        with index.lock:
            return len(members(session, bitmaps.now(session), selection))
    return session.scalar(sa.select(sa.func.count()).select_from(Pair).where(*conditions(session, selection))) or 0


def ids(session: Session, selection: Selection) -> list[int]:
    """Return the ids of a selection, in order."""
    if index := bitmaps.ready(session):
        with index.lock:
            return list(members(session, bitmaps.now(session), selection))
    return list(session.scalars(sa.select(Pair.id).where(*conditions(session, selection)).order_by(Pair.id)))


def facets(session: Session, selection: Selection) -> Facets:
    """Count the pairs of a selection by what they have; each facet ignores what is asked of it itself."""
    from curator.bitmaps.index import LENGTHS
    from curator.search import sets

    index = bitmaps.of(session)
    with index.lock:
        base, of_facet = chosen(session, bitmaps.now(session), selection)

        def counts(name: str, asked: str) -> dict[Any, int]:
            return index.fields[name].counts(sets.all_of(base, of_facet, asked))

        def most(name: str) -> list[tuple[str, int]]:
            found = [(value, number) for value, number in counts(name, name).items() if value]
            return sorted(found, key=lambda each: (-each[1], each[0]))[:MOST_SHOWN]

        statuses, splits, bars = counts("status", "status"), counts("split", "split"), counts("length", "len")
        ends: list[int | None] = [low - 1 for low in LENGTHS[1:]] + [None]
        shown = range(min(bars, default=0), max(bars, default=-1) + 1)
        trashed = index.trash
        if selection.dataset:
            trashed = members(session, index, Selection(dataset=selection.dataset, trash=True))
        return Facets(
            {status: statuses.get(status, 0) for status in STATUSES},
            most("tag"), most("source"), len(trashed),
            [(split, splits[split]) for split in SPLITS if split in splits], most("flag"), most("author"),
            [(LENGTHS[bar], ends[bar], bars.get(bar, 0)) for bar in shown],
        )  # fmt: skip


def page(
    session: Session,
    selection: Selection,
    after: int | None = None,
    before: int | None = None,
    size: int = 50,
    sort: str = "oldest",
    last: bool = False,
) -> Page:
    """Return one page, found by the mark of the pair before or after it, or the last: none is slower than the first."""
    from curator.search.lines import Line

    checked_sort(sort)
    index = bitmaps.of(session)
    with index.lock:
        line = Line(index, members(session, bitmaps.now(session), selection), sort)
        total = len(line.ids)
        end = max(total - 1, 0) // size * size
        if last:
            first = end
        elif before is not None:
            first = max(line.before(before) - size, 0)
        else:
            first = 0 if after is None else line.before(after) + line.holds(after)
        if first >= total:  # what stood behind the mark is gone: the last page that there is
            first = end
        marks = line.marks_at(first, first + size)
        wanted = [line.id_of(mark) for mark in marks]
    rows = sa.select(Pair).options(joinedload(Pair.dataset)).where(Pair.id.in_(wanted))
    found = {pair.id: pair for pair in session.scalars(rows)}
    return Page(
        [found[pair_id] for pair_id in wanted if pair_id in found],
        total,
        first + 1 if wanted else 0,
        marks[-1] if first + size < total else None,
        marks[0] if first and marks else None,
    )


def neighbours(
    session: Session, selection: Selection, pair_id: int, sort: str = "oldest"
) -> tuple[int | None, int | None, int, int]:
    """Return the ids before and after a pair in a selection, its place from 1, and how many there are.

    A pair that left the selection, as a draft that was approved, has the neighbours it had, and the place 0.
    """
    from curator.search.lines import Line

    checked_sort(sort)
    index = bitmaps.of(session)
    with index.lock:
        line = Line(index, members(session, bitmaps.now(session), selection), sort)
        if pair_id >= index.end:
            return None, None, 0, len(line.ids)
        mark = line.mark_of(pair_id)
        place, is_there = line.before(mark), pair_id in line.ids
        previous, following = line.marks_at(place - 1, place), line.marks_at(place + is_there, place + is_there + 1)
        return (
            line.id_of(previous[0]) if previous else None,
            line.id_of(following[0]) if following else None,
            place + 1 if is_there else 0,
            len(line.ids),
        )


def checked_sort(sort: str) -> None:
    """Raise UserError where there is no such order."""
    if sort not in SORTS:
        raise UserError(f"There is no order {sort!r}. Choose one of: {', '.join(SORTS)}.")


def narrowed(selection: Selection, name: str, value: str | None) -> Selection:
    """Return a selection with something else, or nothing, asked of one field of its query."""
    kept = without(parse(selection.query or ""), name)
    words = [as_typed(kept)] + ([asking(name, value)] if value else [])
    return selection.but(query=" ".join(filter(None, words)) or None)


def asked(selection: Selection) -> dict[str, list[str]]:
    """Return the values that a selection asks of each field, so that a page can mark them."""
    found: dict[str, list[str]] = {name: [] for name in (*VALUES, "len")}
    for term in terms_of(selection):
        if isinstance(term, OneOf) and not term.excluded:
            found[str(term.field)] += [value for value, is_prefix in term.values if not is_prefix]
        elif term.field == "len" and not term.excluded:
            found["len"].append(term.typed.partition(":")[2])
    return found


def without_each(selection: Selection) -> list[tuple[str, Selection]]:
    """Return what a selection asks for, a phrase each, with the selection that asks for all but that."""
    found = [
        (f"{name}: {value}", selection.but(**{name: None}))
        for name in ("tag", "source")
        if (value := getattr(selection, name))
    ]
    terms = parse(selection.query or "")
    for place, term in enumerate(terms):
        rest = as_typed([*terms[:place], *terms[place + 1 :]])
        found.append((term.typed, selection.but(query=rest or None)))
    return found


def describe(args: Mapping[str, Any]) -> list[str]:
    """Return the options that say the same to a command: ["--status", "draft", "--query", "late fee"]."""
    words = []
    for name, value in args.items():
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name}"] if name == "trash" else [f"--{name}", one]
    return words
