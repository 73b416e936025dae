"""The second look: that nothing straddles a split, found out from the frozen texts alone.

By other permutations than those that made the groups, and by `counting`, which shares nothing with that search but what
a piece of a text is. It knows nothing of the groups that `grouping` made, so it can tell that they were wrong.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import minhash, text
from curator.duplicates import REVIEW, SHINGLE
from curator.errors import UserError
from curator.models import Line, VersionLine
from curator.versions.frozen import digest_of, frozen, get, places
from curator.versions.splits import TRAIN

Progress = Callable[[int, int | None, str], object]
SEED = 2  # of the permutations: those that made the groups have another
COUNTED = 20_000  # lines: of so many, a freeze compares every held-out one with all others by counting, too
SAMPLE = 2_000  # held-out lines that a check compares so where there are more lines


@dataclass(frozen=True)
class Proof:
    """What was looked for on two sides of a split, and what was found there: places, two by two."""

    compared: int
    near: list[tuple[int, int]]  # near-duplicates
    equal: list[tuple[int, int]]  # equal questions
    complete: bool
    held_out: int = 0  # lines
    counted: int = 0  # of these, how many were compared with all lines by counting

    @property
    def holds(self) -> bool:
        return not self.near and not self.equal

    def told(self) -> dict[str, Any]:
        """Return it for the report of a version."""
        return {"compared": self.compared, "threshold": REVIEW, "near": len(self.near), "equal": len(self.equal),
                "complete": self.complete, "held_out": self.held_out, "counted": self.counted}  # fmt: skip


def prove(
    texts: Iterable[tuple[str, str, bool]], sides: Any, take: Callable[[Sequence[int]], Sequence[Any]],
    on_progress: Progress, sample: int = 0,
) -> Proof:  # fmt: skip
    """Look for near-duplicates and equal questions on two sides.

    `texts` yields question, answer, and whether the question opens its conversation; `take` gives what is compared of
    some places again: question and answer with a line end between. Of more than COUNTED lines, `sample` held-out ones
    are compared by counting.
    """
    import numpy as np

    from curator.versions import counting

    asked = array("q")
    held_out = np.flatnonzero(sides != TRAIN)
    chosen = np.random.default_rng(SEED).permutation(held_out)[: None if len(sides) <= COUNTED else sample]
    sought = counting.Sought(said_at(chosen, take), REVIEW)
    near: set[tuple[int, int]] = set()

    def read() -> Iterator[str]:
        for question, answer, opens in texts:
            # Python's own hash has its seed from the process, so it is another one than the groups were made by.
            asked.append(hash(text.normalise(question) or question) if opens else 0)
            yield f"{question}\n{answer}"

    def tell(stage: str, done: int, of: int) -> None:
        on_progress(done, of or len(sides), "Proving")

    scheme = replace(minhash.choose(REVIEW, SHINGLE, minhash.nearest_size(len(sides))), seed=SEED)
    similar = minhash.find_similar(
        counting.through(read(), sought, chosen, sides, near), REVIEW, SHINGLE, take=take, scheme=scheme,
        on_progress=tell,
    )  # fmt: skip
    across = sides[similar.left] != sides[similar.right]
    near.update(zip(similar.left[across].tolist(), similar.right[across].tolist(), strict=True))
    keys = np.frombuffer(asked, np.int64)
    order = np.lexsort((sides, keys))
    one, other = order[:-1], order[1:]
    same = (keys[one] == keys[other]) & (keys[one] != 0) & (sides[one] != sides[other])
    equal = list(zip(one[same].tolist(), other[same].tolist(), strict=True))
    return Proof(len(asked), sorted(near), equal, similar.complete, len(held_out), sought.count)


def said_at(places: Any, take: Callable[[Sequence[int]], Sequence[Any]]) -> list[str]:
    """Return what is compared of places in any order."""
    ascending = sorted(places.tolist())
    said = dict(zip(ascending, take(ascending), strict=True))
    return [one.decode() if isinstance(one := said[place], bytes) else one for place in places.tolist()]


@dataclass(frozen=True)
class Checked:
    """What a version is found to be, now: whether its texts are those that were frozen, and its splits apart."""

    lines: int
    altered: list[int]  # pairs whose frozen text is not that of its fingerprint
    is_whole: bool  # whether all lines together make the version's fingerprint
    near: list[tuple[int, int]]  # pairs
    equal: list[tuple[int, int]]
    complete: bool
    held_out: int  # lines
    counted: int  # of these, how many were compared with all lines by counting

    @property
    def holds(self) -> bool:
        return self.is_whole and not (self.altered or self.near or self.equal)


def check(session: Session, number: int, on_progress: Progress = lambda done, total, message: None) -> Checked:
    """Look at all lines of a version again: every fingerprint, and every two sides. Raises NotFound."""
    import numpy as np

    version = get(session, number)
    ids, line_ids, sides = places(session, number)
    altered: list[int] = []
    prints = bytearray()
    columns = VersionLine.pair_id, Line.fingerprint, sa.cast(Line.messages, sa.Text)

    def texts() -> Iterator[tuple[str, str, bool]]:
        rows = session.connection().execute(frozen(session, number, None, *columns).execution_options(yield_per=5000))
        for pair_id, fingerprint, stored in rows:
            messages = [{"role": turn["role"], "content": turn["content"]} for turn in orjson.loads(stored)]
            if text.fingerprint(messages) != fingerprint:
                altered.append(pair_id)
            prints.extend(bytes.fromhex(fingerprint))
            is_first = all(turn["role"] == "system" for turn in messages[:-2])
            yield messages[-2]["content"], messages[-1]["content"], is_first

    def take(some: Sequence[int]) -> list[str]:
        wanted = line_ids[list(some)].tolist()
        found: dict[int, str] = {}
        for start in range(0, len(wanted), 500):
            lines = sa.select(Line.id, sa.cast(Line.messages, sa.Text)).where(Line.id.in_(wanted[start : start + 500]))
            for line_id, stored in session.connection().execute(lines):
                *_, question, answer = orjson.loads(stored)
                found[line_id] = f"{question['content']}\n{answer['content']}"
        return [found[line_id] for line_id in wanted]

    found = prove(texts(), sides, take, on_progress, SAMPLE)
    near, equal = ([(int(ids[one]), int(ids[other])) for one, other in some] for some in (found.near, found.equal))
    whole = digest_of(sides, np.frombuffer(bytes(prints), np.uint8).reshape(-1, 32)) == version.fingerprint
    return Checked(len(ids), altered, whole, near, equal, found.complete, found.held_out, found.counted)


def required(checked: Checked, number: int) -> Checked:
    """Return what was found. Raises UserError naming the first thing that is not as it must be."""
    if checked.altered or not checked.is_whole:
        which = f", first the one of pair {checked.altered[0]}" if checked.altered else ""
        raise UserError(f"Version {number} is not what was frozen: lines were altered in the database{which}. "
                        "Restore a backup.")  # fmt: skip
    for what, pairs in (("nearly the same", checked.near), ("the same question", checked.equal)):
        if pairs:
            raise UserError(f"Version {number} leaks: {len(pairs):,} times {what} is on two sides, first in pairs "
                            f"{pairs[0][0]} and {pairs[0][1]}. Freeze again.")  # fmt: skip
    return checked
