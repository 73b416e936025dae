"""Cleaning rules: what each does to a text, a preview with every difference, and applying them as one changeset."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import history, search, text
from curator.errors import UserError
from curator.models import Changeset, Pair, writing
from curator.search import Selection

FIELDS = ("question", "answer")
BATCH = 5000  # pairs that are read, and changed, by one statement
BLOCKS = "p|div|br|li|ul|ol|h[1-6]|tr|table|blockquote|pre"
INLINE = "a|b|i|u|em|strong|span|font|small|sup|sub|code|td|th|img|hr"
TAG = re.compile(rf"</?(?:{BLOCKS}|{INLINE})\b[^<>]*>", re.IGNORECASE)
BLOCK = re.compile(rf"\s*</?(?:{BLOCKS})\b[^<>]*>\s*", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z][a-z0-9]+);", re.IGNORECASE)
OPENINGS = re.compile(
    r"^(?:(?:as an ai(?: language)? model|as a large language model)[^.!?\n]*?,\s*"
    r"|(?:thank you|thanks) for (?:contacting|reaching out|your (?:question|message|e-?mail|inquiry))[^.!?\n]*[.!]\s*"
    r"|(?:great|good) question[.!]\s*"
    r"|(?:sure|certainly|of course|absolutely)(?:!|, (?:here|i)\b[^.!?\n]*[.:!])\s*)+",
    re.IGNORECASE,
)
CLOSINGS = re.compile(
    r"(?:\s*(?:i hope (?:this|that) helps[^.!?\n]*[.!]"
    r"|(?:please )?let (?:me|us) know if you (?:have|need) any[^.!?\n]*[.!]"
    r"|if you have any (?:further|other|more|additional) questions?[^.!?\n]*[.!]"
    r"|(?:please )?(?:do not|don't) hesitate to (?:contact|ask|reach out)[^.!?\n]*[.!]))+\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Rule:
    """One rule: how it is named to a command, what it does in words, and what it does to a text."""

    name: str
    title: str
    about: str
    clean: Callable[[str], str]


@dataclass(frozen=True)
class Change:
    """What the rules make of one field of one pair."""

    pair: sa.Row[Any]  # its columns
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Preview:
    """What the rules would do: how many pairs, the first changes, and the pairs each rule touches."""

    rows: int
    changes: list[Change]
    counts: dict[str, int]
    emptied: int  # pairs of which nothing would be left: never changed


def strip_html(value: str) -> str:
    """Return a text without HTML tags and entities; what begins a block begins a line.

    Only the tags of ordinary text are known, so that `a < b` and `List<String>` stay as they are.
    """
    if not TAG.search(value) and not ENTITY.search(value):
        return value
    plain = TAG.sub("", BLOCK.sub("\n", value))
    plain = html.unescape(plain).replace("\xa0", " ")
    return re.sub(r"\n{3,}", "\n\n", plain).strip()


def fold_whitespace(value: str) -> str:
    """Return a text with plain line ends, single spaces inside lines and none at the ends; indents are kept."""
    value = value.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    lines = [re.sub(r"(?<=\S)[ \t]+", " ", line).rstrip() for line in value.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def strip_boilerplate(value: str) -> str:
    """Return a text without the phrases that open and close answers and say nothing."""
    plain = CLOSINGS.sub("", OPENINGS.sub("", value))
    return plain if plain == value else plain[:1].upper() + plain[1:]


RULES = {
    rule.name: rule
    for rule in (
        Rule("html", "HTML to text", "takes out tags and turns &amp; into &", strip_html),
        Rule("whitespace", "White space", "single spaces, plain line ends, nothing at the ends", fold_whitespace),
        Rule("boilerplate", "Boilerplate", "takes out polite openings and closings that say nothing",
             strip_boilerplate),
    )
}  # fmt: skip


def rules_named(names: Sequence[str]) -> list[Rule]:
    """Return the rules of these names; `remove:TEXT` takes out a literal text.

    Raises UserError for an unknown name, and for an empty text.
    """
    if not names:
        raise UserError(f"Choose at least one rule: {', '.join(RULES)}, or remove:TEXT.")
    return [removing(name.partition(":")[2]) if name.startswith("remove:") else known(name) for name in names]


def known(name: str) -> Rule:
    """Return the rule of a name, or raise UserError listing those there are."""
    if name not in RULES:
        raise UserError(f"There is no rule {name!r}. Choose from: {', '.join(RULES)}, or remove:TEXT.")
    return RULES[name]


def removing(wanted: str) -> Rule:
    """Return a rule that takes out one literal text, and the double space that it leaves."""
    wanted = wanted.strip()
    if not wanted:
        raise UserError("The text to remove is empty. Write it after the colon: remove:Best wishes")

    def clean(value: str) -> str:
        if wanted not in value:
            return value
        pieces = [piece.strip(" ") if i else piece.rstrip(" ") for i, piece in enumerate(value.split(wanted))]
        return " ".join(piece for piece in pieces if piece).strip()

    return Rule(f"remove:{wanted}", f"Remove “{wanted}”", "takes out this text wherever it stands", clean)


def changes_of(pair: sa.Row[Any], rules: Sequence[Rule]) -> tuple[dict[str, str], list[str]]:
    """Return the new value of each field that the rules change, and the names of the rules that did it."""
    values, used = {}, []
    for field in FIELDS:
        value = getattr(pair, field)
        for rule in rules:
            cleaned = rule.clean(value)
            if cleaned != value:
                used.append(rule.name)
            value = cleaned
        if value != getattr(pair, field):
            values[field] = value
    return values, list(dict.fromkeys(used))


def candidates(session: Session, selection: Selection) -> Iterator[sa.Row[Any]]:
    """Yield the pairs of a selection, in order: rows of their table, so many in memory at a time.

    Those that were yielded may be changed before the next is asked for.
    """
    found = sa.select(*Pair.__table__.columns).where(*search.conditions(session, selection)).order_by(Pair.id)
    last = 0
    while some := session.execute(found.where(Pair.id > last).limit(BATCH)).all():
        yield from some
        last = some[-1].id


def preview(session: Session, names: Sequence[str], selection: Selection, limit: int = 50) -> Preview:
    """Return what the rules would change, changing nothing."""
    rules = rules_named(names)
    counts: Counter[str] = Counter()
    found: list[Change] = []
    rows = emptied = 0
    for pair in candidates(session, selection):
        values, used = changes_of(pair, rules)
        if not values:
            continue
        if not all(value.strip() for value in values.values()):
            emptied += 1
            continue
        rows += 1
        counts.update(used)
        if len(found) < limit:
            found += [Change(pair, field, getattr(pair, field), value) for field, value in values.items()]
    return Preview(rows, found, {rule.name: counts[rule.name] for rule in rules}, emptied)


def apply(
    session: Session, names: Sequence[str], selection: Selection, by: str, except_ids: Collection[int] = ()
) -> Changeset | None:
    """Clean the pairs of a selection but for those excepted, as one changeset; None where nothing changes.

    A pair of which nothing would be left is not touched.
    """
    rules = rules_named(names)
    with writing(session), history.in_bulk(session):
        changeset = history.begin(session, "cleaned", by, ", ".join(rule.name for rule in rules))
        cleaned = ((pair, changes_of(pair, rules)[0]) for pair in candidates(session, selection))
        changes = (
            (pair, values)
            for pair, values in cleaned
            if values and pair.id not in except_ids and all(value.strip() for value in values.values())
        )
        while some := list(islice(changes, BATCH)):
            history.change_many(session, changeset, some)
        if changeset.rows:
            return changeset
        session.delete(changeset)
    return None


def suggestions(session: Session, selection: Selection, limit: int = 5) -> list[tuple[str, int]]:
    """Return sentences that open or close many answers, most often first: boilerplate, perhaps.

    Many is at least five answers and one in a hundred.
    """
    ends: Counter[str] = Counter()
    total = 0
    for pair in candidates(session, selection):
        total += 1
        parts = [part.strip() for part in text.sentences(pair.answer)]
        if len(parts) > 1:
            ends.update({parts[0], parts[-1]})
    least = max(5, total / 100)
    return [(s, n) for s, n in ends.most_common(limit) if n >= least and len(s) > 10]
