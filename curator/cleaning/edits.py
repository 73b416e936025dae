"""A rule made of an edit: the find-and-replace that it amounts to, and how many other pairs that would fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import history, search, text
from curator.cleaning.cleaner import Cleaner
from curator.cleaning.passes import columns_of
from curator.cleaning.steps import TEXTS, Step
from curator.errors import NotFound
from curator.models import Pair
from curator.search import Selection

MOST_OFFERS = 6  # an edit in more places is no slip but another text
LONGEST = 300  # characters; who replaces more than that rewrites
LETTERS = 3  # fewer, and a text stands everywhere: words beside it belong to it
MOST_COUNTED = 500
Part = tuple[str, str]


@dataclass(frozen=True)
class Offer:
    """A step that does to all pairs what an edit did to one, and how many others it would change now."""

    step: Step
    others: int
    is_more: bool  # there are more than were counted


def offers(session: Session, pair_id: int, number: int, selection: Selection) -> list[Offer]:
    """Return the rules that one change of a pair amounts to, those that fit most of the selection first.

    `number` is the pair's revision after it. Raises NotFound where there is no such change.
    """
    for step in history.timeline(session, pair_id):
        if step.number == number:
            found = [counted(session, one, selection, pair_id) for one in steps_of_edit(step.before or {}, step.after)]
            return sorted(found, key=lambda offer: -offer.others)
    raise NotFound(f"Pair {pair_id} has no change number {number}.")


def best_offer(session: Session, pair_id: int, number: int, selection: Selection) -> Offer | None:
    """Return the rule that a change amounts to and that fits most other pairs; None where none fits any."""
    return next((offer for offer in offers(session, pair_id, number, selection) if offer.others), None)


def steps_of_edit(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Step]:
    """Return the replacements that lead from some values of a pair to others, each once."""
    found: dict[tuple[str, str], Step] = {}
    for old, new in changed_texts(before, after):
        for find, with_ in replacements(old, new):
            words = bool(re.match(r"\w", find) and re.search(r"\w\Z", find))
            found[find, with_] = Step("replace", {"find": find, **({"with": with_} if with_ else {}),
                                                  **({"words": True} if words else {})})  # fmt: skip
    return list(found.values()) if len(found) <= MOST_OFFERS else []


def changed_texts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the texts that differ, old and new; turns where none came or went."""
    for name in TEXTS:
        old, new = before.get(name), after.get(name)
        if name == "history" and old and new and len(old) == len(new):
            yield from ((a["content"], b["content"]) for a, b in zip(old, new, strict=True) if a != b)
        elif isinstance(old, str) and isinstance(new, str) and old and new and old != new:
            yield old, new


def replacements(old: str, new: str) -> list[tuple[str, str]]:
    """Return (find, replace with) of each place where a text changed, with the words beside it that make it plain."""
    found = []
    for left, removed, added, right in places(text.diff(old, new)):
        find, with_ = removed, added
        if not find and not left and not right:
            continue
        before, after = re.findall(r"\s+|\w+|[^\w\s]", left), re.findall(r"\s+|\w+|[^\w\s]", right)
        is_added = not removed.strip()  # what was put between two words needs both of them
        while (before or after) and (is_added or len(re.sub(r"\W", "", find)) < LETTERS):
            # A word, and the white space between, first on the left, then on the right.
            for side, place in ((before, -1), (after, 0)):
                taken = ""
                while side and not taken.strip():
                    taken = side.pop(place) + taken if place else taken + side.pop(place)
                find, with_ = (taken + find, taken + with_) if place else (find + taken, with_ + taken)
                if not is_added and len(re.sub(r"\W", "", find)) >= LETTERS:
                    break
            is_added = False
        if find.strip() and len(find) <= LONGEST and len(with_) <= LONGEST and find != with_:
            found.append((find, with_))
    return found


def places(parts: list[Part]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (what stands before, removed, added, what stands after); what only white space divides is one place."""
    left = removed = added = gap = ""
    for op, part in [*parts, ("same", "")]:
        if op == "delete":
            removed, added, gap = removed + gap + part, added + gap, ""
        elif op == "insert":
            removed, added, gap = removed + gap, added + gap + part, ""
        elif (removed or added) and part and not part.strip() and "\n" not in part:
            gap = part
        else:
            if removed or added:
                yield left, removed, added, gap + part
            left, removed, added, gap = part, "", "", ""


def counted(session: Session, step: Step, selection: Selection, but: int) -> Offer:
    """Return a step with the number of other pairs of a selection that it would change."""
    cleaner = Cleaner([step])
    number = 0
    found = sa.select(Pair.id, *columns_of(cleaner.fields)).where(*search.conditions(session, selection))
    for row in session.execute(found.where(Pair.id != but, mentions(session, step)).limit(2 * MOST_COUNTED)):
        number += bool(cleaner.clean(row))
        if number > MOST_COUNTED:
            return Offer(step, MOST_COUNTED, True)
    return Offer(step, number, False)


def mentions(session: Session, step: Step) -> sa.ColumnElement[bool]:
    """Return the condition that a pair may hold what a step looks for: by the full-text index, which is quick."""
    words = re.findall(r"\w+", step.option("find"))
    if not words:  # signs alone are in no index
        return sa.or_(*(sa.cast(column, sa.Text).contains(step.option("find"), autoescape=True)
                        for column in columns_of(step.fields)))  # fmt: skip
    phrase = " ".join(words)
    if session.get_bind().dialect.name == "postgresql":
        return sa.text("pair.search @@ phraseto_tsquery('simple', :phrase)").bindparams(phrase=phrase)  # type: ignore[return-value]
    # A common word is in every pair: some of them are enough to say that there are many.
    found = "SELECT rowid FROM pair_text WHERE pair_text MATCH :phrase LIMIT :most"
    matching = sa.text(f"pair.id IN ({found})").bindparams(phrase=f'"{phrase}"', most=4 * MOST_COUNTED)
    return matching  # type: ignore[return-value]
