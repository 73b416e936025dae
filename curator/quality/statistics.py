"""What the pairs are like in numbers: lengths, tokens, days, statuses, tags, sources. Draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import bitmaps, checking, search
from curator.duplicates.remembering import once
from curator.flags import Rules, count_tokens
from curator.models import Pair
from curator.search import Selection

LENGTHS = (0, 20, 50, 100, 150, 200, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 5000, 10_000, 30_000)
TOKENS = (0, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 32_768)
SAMPLE = 1000  # pairs whose tokens are counted by a tokenizer: all would take minutes
MOST_DAYS = 60
EPOCH, DAY = date(1970, 1, 1), 24 * 3600 * 1_000_000  # microseconds
SHOWN = 12  # tags, and sources


class Bar(NamedTuple):
    """So many pairs have something in common: a label, and the query that opens them, if there is one."""

    label: str
    number: int
    query: str = ""
    other: int = 0  # of something else on the same day
    others: str = ""  # the query that opens these


@dataclass(frozen=True)
class Statistics:
    """What the pairs of a data set outside the trash are like."""

    pairs: int
    questions: list[Bar]  # by length in characters
    answers: list[Bar]
    tokens: list[Bar]  # of whole pairs
    sampled: int  # pairs whose tokens were counted; 0: they are an estimate of all
    days: list[Bar]  # added, and the approved by the day of their last change
    statuses: list[Bar]
    tags: list[Bar]
    sources: list[Bar]


def statistics(session: Session, dataset: str | None, rules: Rules) -> Statistics:
    """Count what the pairs are like; remembered until somebody writes."""
    return once(session, ("statistics", dataset, rules.tokenizer), lambda: count(session, dataset, rules))


def count(session: Session, dataset: str | None, rules: Rules) -> Statistics:
    """Count what the pairs are like: from the measures in memory, since reading a million texts takes seconds."""
    index = bitmaps.of(session)
    with index.lock:
        pairs = search.members(session, bitmaps.now(session), Selection(dataset=dataset))
        approved = search.members(session, index, Selection(dataset=dataset, statuses=("approved",)))
        questions, answers = (of_edges(index.measured(name, pairs), LENGTHS) for name in ("asked", "length"))
        tokens = of_edges((index.measured("size", pairs) + 3) // 4, TOKENS)
        added_on, approved_on = of_days(index.measured("added", pairs)), of_days(index.measured("edited", approved))
    sampled = 0
    if rules.tokenizer:
        tokens, sampled = of_sample(session, dataset, len(pairs), rules.tokenizer)
    facets = search.facets(session, Selection(dataset=dataset))
    return Statistics(
        len(pairs), bars(questions, LENGTHS, "qlen"), bars(answers, LENGTHS, "len"),
        bars(tokens, TOKENS, "" if sampled else "tokens"), sampled, by_day(added_on, approved_on),
        [Bar(name, number, f"status:{name}") for name, number in facets.statuses.items()],
        [Bar(name, number, f"tag:{as_value(name)}") for name, number in facets.tags[:SHOWN]],
        [Bar(name, number, f"source:{as_value(name)}") for name, number in facets.sources[:SHOWN]],
    )  # fmt: skip


def of_edges(values: Any, edges: Sequence[int]) -> Counter[Any]:
    """Count numbers by the place of the last edge that none of them is below."""
    import numpy as np

    places = np.searchsorted(np.array(edges), values, side="right") - 1
    return Counter(dict(enumerate(np.bincount(places, minlength=len(edges)).tolist())))


def of_days(moments: Any) -> Counter[Any]:
    """Count microseconds since 1970 by their day."""
    import numpy as np

    days, numbers = np.unique(moments // DAY, return_counts=True)
    return Counter(
        {EPOCH + timedelta(day): number for day, number in zip(days.tolist(), numbers.tolist(), strict=True)}
    )


def bars(counts: Counter[Any], edges: Sequence[int], field: str = "") -> list[Bar]:
    """Return a bar for each two edges, as far as there is something."""
    last = max((place for place, number in counts.items() if number), default=-1)
    found = []
    for place in range(last + 1):
        low = edges[place]
        high = edges[place + 1] - 1 if place + 1 < len(edges) else None
        label = f"{low:,}–{high:,}" if high is not None else f"{low:,} and more"
        query = (f"{field}:{low}..{high}" if high is not None else f"{field}:>={low}") if field else ""
        found.append(Bar(label, counts[place], query))
    return found


def of_sample(session: Session, dataset: str | None, pairs: int, tokenizer: str) -> tuple[Counter[Any], int]:
    """Count the tokens of some pairs from all over, scaled to all of them."""
    low, high = session.execute(sa.select(sa.func.min(Pair.id), sa.func.max(Pair.id))).one()
    if low is None:
        return Counter(), 0
    step = max((high - low + 1) // SAMPLE, 1)
    places = checking.numbers(range(low, high + 1, step))
    some = sa.select(Pair.question, Pair.answer, Pair.system).where(sa.text(f"pair.id IN ({places})"))
    rows = session.execute(some.where(*search.conditions(session, Selection(dataset=dataset)))).all()
    counts: Counter[Any] = Counter()
    for row in rows:
        number = sum(count_tokens(said, tokenizer) for said in row if said)
        counts[next((place for place, edge in enumerate(TOKENS[1:]) if number < edge), len(TOKENS) - 1)] += 1
    scale = pairs / len(rows) if rows else 0
    return Counter({place: round(number * scale) for place, number in counts.items()}), len(rows)


def by_day(added: Counter[Any], approved: Counter[Any]) -> list[Bar]:
    """Return a bar for each day from the first on, or for each week or month where these are many days."""
    there = [day for day in (*added, *approved)]
    if not there:
        return []
    first, last = min(there), max(there)
    days = (last - first).days + 1
    step = 1 if days <= MOST_DAYS else 7 if days <= 7 * MOST_DAYS else 30
    found = []
    for start in range(0, days, step):
        low = first + timedelta(start)
        high = min(low + timedelta(step - 1), last)
        some = [low + timedelta(more) for more in range((high - low).days + 1)]
        label = low.isoformat() if step == 1 else f"{low.isoformat()} to {high.isoformat()}"
        number, other = (sum(counts.get(day, 0) for day in some) for counts in (added, approved))
        found.append(Bar(label, number, f"added:{low}..{high}", other, f"status:approved updated:{low}..{high}"))
    return found


def as_value(name: str) -> str:
    """Return a value as the search field takes it."""
    return '"' + name.replace('"', "") + '"' if not name.isalnum() else name
