"""The language of the search field: what a person typed, as terms. Knows words and signs; knows no database."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from curator.errors import UserError
from curator.words import SPLITS, STATUSES

TEXTS = ("question", "answer", "system", "history", "notes")  # fields that hold words
VALUES = ("tag", "source", "status", "dataset", "author", "split", "flag", "has")  # fields that hold one of a few
MOMENTS = ("added", "updated")
LENGTHS = {"len": "an answer", "qlen": "a question"}  # of which text
RANGES = (*LENGTHS, "tokens", *MOMENTS, "id")  # fields that are more or less
FIELDS = TEXTS + VALUES + RANGES
FOUND = ("duplicate", "contradiction", "flag", "rating")  # what others say of a pair
HAS = (*FOUND, "history", "system", "notes", "tag", "source", "rejected", "meta")
CHOICES = {"status": STATUSES, "split": SPLITS, "has": HAS}

# A minus; then a field with its values, or perhaps a field, and a quoted text (the end closes a forgotten quote) or a
# word, which is all up to the next blank or quote.
TERM = re.compile(
    r"(?P<minus>-?)(?:(?P<of>" + "|".join(VALUES + RANGES) + r'):(?P<values>(?:"[^"]*(?:"|$)|[^\s"])+)'
    r'|(?:(?P<field>[A-Za-z_]{2,}):)?(?:"(?P<quoted>[^"]*)(?:"(?P<star>\*?)|$)|(?P<bare>[^\s"]+)))',
    re.IGNORECASE,
)
VALUE = re.compile(r'"([^"]*)"?(\*?)|([^,"]+)')
WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Term:
    """One condition of a query: `typed` is how it stands there, `excluded` whether a minus precedes it."""

    typed: str
    field: str | None
    excluded: bool


@dataclass(frozen=True)
class Words(Term):
    """A word or a phrase in one text, or in any of them; `is_prefix` where its last word may go on."""

    text: str
    is_prefix: bool


@dataclass(frozen=True)
class OneOf(Term):
    """A value of a field: one of these, each with whether it is only the beginning of the value."""

    values: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Between(Term):
    """Whole numbers or moments: in one of these spans, from the first on and before the second; None is no bound."""

    spans: tuple[tuple[int | None, int | None], ...] | tuple[tuple[datetime | None, datetime | None], ...]


def parse(query: str) -> tuple[Term, ...]:
    """Read what a person typed.

    Every word matches what begins with it, so that a search narrows while it is typed; quoted words are
    one phrase. A word with a sign before or in it is a phrase too: `o'clock`, `http://x`. Raises UserError where a
    value makes no sense, where a field is no field, and where nothing is left that could be searched.
    """
    found = []
    for part in TERM.finditer(query):
        term = read(part)
        if term is not None:
            found.append(term)
    if query.strip() and not found:
        raise UserError(f"The search {query.strip()!r} holds no letter and no digit. Search for a word.")
    return tuple(found)


def read(part: re.Match[str]) -> Term | None:
    """Return one term, None where it holds nothing that could be searched."""
    typed, excluded = part[0], part["minus"] == "-"
    if part["of"]:
        field = part["of"].lower()
        if field in VALUES:
            return OneOf(typed, field, excluded, values_of(field, part["values"]))
        return Between(typed, field, excluded, spans_of(field, part["values"].strip('"')))
    field, is_quoted = (part["field"] or "").lower(), part["bare"] is None
    value = part["quoted"] if is_quoted else part["bare"]
    if field and field not in TEXTS:
        if is_quoted or WORD.match(value):
            raise unknown(typed, part["field"])
        field, value = "", f"{part['field']}:{value}"  # a word with a colon in it: http://x
    if not WORD.search(value):
        return None
    is_prefix = part["star"] == "*" if is_quoted else True
    return Words(typed, field or None, excluded, " ".join(value.rstrip("*").split()), is_prefix)


def unknown(typed: str, field: str) -> UserError:
    """Return what to say of a field that there isn't."""
    plain = typed.lstrip("-").replace('"', "")
    near = difflib.get_close_matches(field.lower(), FIELDS, 1)
    meant = f"Did you mean {near[0]}:? " if near else f"The fields are {', '.join(FIELDS)}. "
    return UserError(
        f'There is no field {field}: to search in. {meant}If you meant the text, put it in quotes: "{plain}"'
    )


def values_of(field: str, text: str) -> tuple[tuple[str, bool], ...]:
    """Read values with commas between them; each may be quoted, and end with a star for what begins with it."""
    values = []
    for quoted, star, bare in VALUE.findall(text):
        value = " ".join((quoted or bare.rstrip("*")).split())
        if value or star or bare:
            values.append((value, star == "*" or bare.endswith("*")))
    for value, _ in values:
        choices = CHOICES.get(field)
        if choices and value not in choices:
            raise UserError(f"There is no {field}:{value}. Choose one of: {', '.join(choices)}.")
    if not values:
        raise UserError(f"{field}: names no value. Write one after the colon, in quotes if it holds a blank.")
    return tuple(values)


def spans_of(field: str, text: str) -> Any:
    """Read "400", ">400", "<=400", "100..400", "100.." and, with commas between them, several of these."""
    unit = unit_of_time if field in MOMENTS else unit_of_count
    spans = [span_of(piece.strip(), unit) for piece in text.split(",")]
    if None in spans:
        raise unreadable(field, text)
    return tuple(spans)


def span_of(text: str, unit: Callable[[str], tuple[Any, Any] | None]) -> tuple[Any, Any] | None:
    """Return from where on and before what a span is, None where it can't be read."""
    if sign := re.match("[<>]=?", text):
        of = unit(text[sign.end() :])
        ways = {">": lambda one, end: (end, None), ">=": lambda one, end: (one, None),
                "<": lambda one, end: (None, one), "<=": lambda one, end: (None, end)}  # fmt: skip
        return ways[sign[0]](*of) if of else None
    low, dots, high = text.partition("..")
    first, last = unit(low), unit(high if dots else low)
    if (low and not first) or (high and not last) or not (first or last):
        return None
    return (first[0] if first else None), (last[1] if last else None)


def unreadable(field: str, text: str) -> UserError:
    """Return what to say of a bound that is none."""
    if field in MOMENTS:
        return UserError(
            f"{field}:{text} names no day. Write it as {field}:2026-11-01, {field}:>2026-11-01 or "
            f"{field}:2026-10..2026-11"
        )
    what = {"id": "number of a pair", "tokens": "number of tokens"}.get(field)
    what = what or f"length of {LENGTHS[field]} in characters"
    return UserError(f"{field}:{text} names no {what}. Write it as {field}:400, {field}:>400 or {field}:100..400")


def unit_of_count(text: str) -> tuple[int, int] | None:
    """Return a whole number and the one after it."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        return None
    return int(text), int(text) + 1


def unit_of_time(text: str) -> tuple[datetime, datetime] | None:
    """Return when a day, a month or a year begins and ends, in UTC."""
    match = re.fullmatch(r"([0-9]{4})(?:-([0-9]{1,2}))?(?:-([0-9]{1,2}))?", text)
    if not match:
        return None
    year, month, day = (int(part) if part else None for part in match.groups())
    try:
        begin = date(year or 0, month or 1, day or 1)
        end = (
            begin + timedelta(days=1) if day
            else date(begin.year + begin.month // 12, begin.month % 12 + 1, 1) if month
            else date(begin.year + 1, 1, 1)
        )  # fmt: skip
    except (ValueError, OverflowError):
        return None
    midnight = datetime.min.time()
    return datetime.combine(begin, midnight, UTC), datetime.combine(end, midnight, UTC)


def without(terms: Sequence[Term], field: str) -> tuple[Term, ...]:
    """Return the terms of a query but for those that ask for a field."""
    return tuple(term for term in terms if term.field != field or term.excluded)


def as_typed(terms: Sequence[Term]) -> str:
    """Write terms as a query."""
    return " ".join(term.typed for term in terms)


def asking(field: str, value: str) -> str:
    """Write that a field has a value."""
    return f"{field}:{value}" if re.fullmatch(r"[\w.<>/@+-]+", value) else f'{field}:"{value}"'
