"""Two versions side by side: what was added, removed, changed and moved, and how their texts and tags are spread.

A pair is the same where its number is; its text is the same where its line is. Rows come as arrays, and texts only of
what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import text
from curator.duplicates import reading
from curator.errors import UserError
from curator.models import Line, Pair, Version, VersionLine
from curator.versions.frozen import get, places

SHOWN = 20  # rows of one kind
LENGTHS = (50, 100, 200, 400, 800, 1600, 3200)  # characters of an answer, where one bar ends and the next begins
TAGS = 20


@dataclass(frozen=True)
class Row:
    """A pair that differs: what it says in the older and in the newer version, and on which side."""

    pair_id: int
    old: list[dict[str, str]] | None
    new: list[dict[str, str]] | None
    old_side: str
    new_side: str

    def diffs(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Return each message that differs, with who says it, word by word."""
        old, new = self.old or [], self.new or []
        longest = max(len(old), len(new))
        both = zip(padded(old, longest), padded(new, longest), strict=True)
        return [(one["role"] or other["role"], text.diff(one["content"], other["content"]))
                for one, other in both if one["content"] != other["content"]]  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What lies between two versions. The lists hold the first rows of each kind, the numbers all of them."""

    old: Version
    new: Version
    added: int
    removed: int
    changed: int
    moved: int
    rows: dict[str, list[Row]]
    lengths: list[tuple[str, int, int]]  # of answers, in characters: from–to, old, new
    tags: list[tuple[str, int, int]]  # of the pairs as they are tagged today

    @property
    def is_same(self) -> bool:
        return not (self.added or self.removed or self.changed or self.moved)


def padded(messages: list[dict[str, str]], length: int) -> list[dict[str, str]]:
    """Return messages with empty ones before them, so that question and answer stand beside those of a longer chat."""
    return [{"role": "", "content": ""}] * (length - len(messages)) + messages


def compare(session: Session, old: int, new: int, shown: int = SHOWN) -> Comparison:
    """Return what differs between two versions. Raises NotFound, and UserError where both are one."""
    import numpy as np

    if old == new:
        raise UserError(f"Version {old} is the same as itself. Name two versions, as in: flask versions compare 1 2")
    versions = get(session, old), get(session, new)
    (ids, lines, sides), (new_ids, new_lines, new_sides) = (places(session, number) for number in (old, new))
    _, here, there = np.intersect1d(ids, new_ids, assume_unique=True, return_indices=True)
    changed = lines[here] != new_lines[there]
    moved = sides[here] != new_sides[there]
    gone, come = np.ones(len(ids), bool), np.ones(len(new_ids), bool)
    gone[here], come[there] = False, False
    kinds = {"added": new_ids[come], "removed": ids[gone], "changed": ids[here][changed], "moved": ids[here][moved]}
    return Comparison(
        old=versions[0],
        new=versions[1],
        added=len(kinds["added"]),
        removed=len(kinds["removed"]),
        changed=len(kinds["changed"]),
        moved=len(kinds["moved"]),
        rows={kind: rows_of(session, old, new, some[:shown].tolist()) for kind, some in kinds.items()},
        lengths=lengths(session, lines, new_lines),
        tags=tags(session, ids, new_ids),
    )


def rows_of(session: Session, old: int, new: int, ids: Sequence[int]) -> list[Row]:
    """Return what pairs say in two versions."""
    statement = (
        sa.select(VersionLine.version_id, VersionLine.pair_id, VersionLine.split, Line.messages)
        .join_from(VersionLine, Line, Line.id == VersionLine.line_id)
        .where(VersionLine.version_id.in_((old, new)), VersionLine.pair_id.in_(ids))
    )
    found = {(version, pair_id): (split, messages) for version, pair_id, split, messages in session.execute(statement)}
    none = ("", None)
    both = [(pair_id, found.get((old, pair_id), none), found.get((new, pair_id), none)) for pair_id in ids]
    return [Row(pair_id, before[1], after[1], before[0], after[0]) for pair_id, before, after in both]


def lengths(session: Session, old: Any, new: Any) -> list[tuple[str, int, int]]:
    """Return how many answers of two versions are how long, without lengths that none has. Each line is read once."""
    import numpy as np

    longest = max(int(old.max(initial=0)), int(new.max(initial=0))) + 1
    wanted = np.zeros(longest, bool)
    wanted[old] = wanted[new] = True
    bar = np.zeros(longest, np.int8)
    edges = np.array(LENGTHS)
    for part in reading.lists(session, answers_of(session)):
        ids, characters = np.array(part, np.int64).T
        some = (ids < longest) & wanted[np.minimum(ids, longest - 1)]
        bar[ids[some]] = np.searchsorted(edges, characters[some], side="right")
    counts = [np.bincount(bar[lines], minlength=len(LENGTHS) + 1).tolist() for lines in (old, new)]
    named = [f"{low:,}–{high - 1:,}" for low, high in zip((0, *LENGTHS), LENGTHS, strict=False)]
    rows = zip([*named, f"{LENGTHS[-1]:,} and more"], *counts, strict=True)
    return [row for row in rows if row[1] or row[2]]


def answers_of(session: Session) -> str:
    """Return what asks for the length of the last message of each line."""
    if session.get_bind().dialect.name == "postgresql":
        return "SELECT id, length(messages -> -1 ->> 'content') FROM line"
    return "SELECT id, length(json_extract(messages, '$[#-1].content')) FROM line"


def tags(session: Session, old: Any, new: Any) -> list[tuple[str, int, int]]:
    """Return how many pairs of two versions have a tag today, the most frequent first."""
    from collections import Counter

    import numpy as np

    statement = sa.select(Pair.id, sa.cast(Pair.tags, sa.Text)).where(sa.cast(Pair.tags, sa.Text) != "[]")
    rows = session.connection().execute(statement, execution_options={"yield_per": 50_000})
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for part in rows.partitions():
        ids = np.array([row[0] for row in part])
        there = [np.isin(ids, some, assume_unique=True).tolist() for some in (old, new)]
        for (_, said), in_old, in_new in zip(part, *there, strict=True):
            for tag in orjson.loads(said):
                counts[0][tag] += in_old
                counts[1][tag] += in_new
    both = counts[0] + counts[1]
    return [(tag, counts[0][tag], counts[1][tag]) for tag, _ in both.most_common(TAGS)]
