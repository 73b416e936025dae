"""The second look: that nothing straddles a split, found out from the frozen texts alone, by other permutations.

It knows nothing of the groups that `grouping` made, so it can tell that they were wrong.
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
from curator.versions.frozen import digest_of, get
from curator.words import SPLITS

Progress = Callable[[int, int | None, str], object]
SEED = 2  # of the permutations: those that made the groups have another
NAMED = 20  # pairs of one kind that a report names


@dataclass(frozen=True)
class Proof:
    """What was looked for on two sides of a split, and what was found there: places, two by two."""

    compared: int
    near: list[tuple[int, int]]  # near-duplicates
    equal: list[tuple[int, int]]  # equal questions
    complete: bool

    @property
    def holds(self) -> bool:
        return not self.near and not self.equal

    def told(self) -> dict[str, Any]:
        """Return it for the report of a version."""
        return {"compared": self.compared, "threshold": REVIEW, "near": len(self.near), "equal": len(self.equal),
                "complete": self.complete}  # fmt: skip


def prove(
    texts: Iterable[tuple[str, str, bool]], sides: Any, take: Callable[[Sequence[int]], Sequence[Any]],
    on_progress: Progress,
) -> Proof:  # fmt: skip
    """Look for near-duplicates and equal questions on two sides.

    `texts` yields question, answer, and whether the question opens its conversation; `take` gives what is compared of
    some places again: question and answer with a line end between.
    """
    import numpy as np

    asked = array("q")

    def read() -> Iterator[str]:
        for question, answer, opens in texts:
            # Python's own hash has its seed from the process, so it is another one than the groups were made by.
            asked.append(hash(text.normalise(question) or question) if opens else 0)
            yield f"{question}\n{answer}"

    def tell(stage: str, done: int, of: int) -> None:
        on_progress(done, of or len(sides), "Proving")

    scheme = replace(minhash.choose(REVIEW, SHINGLE, minhash.nearest_size(len(sides))), seed=SEED)
    similar = minhash.find_similar(
        read(), REVIEW, SHINGLE, take=take, scheme=scheme,
        on_progress=tell,
    )  # fmt: skip
    across = sides[similar.left] != sides[similar.right]
    near = list(zip(similar.left[across].tolist(), similar.right[across].tolist(), strict=True))
    keys = np.frombuffer(asked, np.int64)
    order = np.lexsort((sides, keys))
    one, other = order[:-1], order[1:]
    same = (keys[one] == keys[other]) & (keys[one] != 0) & (sides[one] != sides[other])
    equal = list(zip(one[same].tolist(), other[same].tolist(), strict=True))
    return Proof(len(asked), near, equal, similar.complete)


@dataclass(frozen=True)
class Checked:
    """What a version is found to be, now: whether its texts are those that were frozen, and its splits apart."""

    lines: int
    altered: list[int]  # pairs whose frozen text is not that of its fingerprint
    is_whole: bool  # whether all lines together make the version's fingerprint
    near: list[tuple[int, int]]  # pairs
    equal: list[tuple[int, int]]
    complete: bool

    @property
    def holds(self) -> bool:
        return self.is_whole and not (self.altered or self.near or self.equal)


def check(session: Session, number: int, on_progress: Progress = lambda done, total, message: None) -> Checked:
    """Look at all lines of a version again: every fingerprint, and every two sides. Raises NotFound."""
    import numpy as np

    version = get(session, number)
    total = sum(version.counts.values())
    ids, line_ids, sides, altered = array("q"), array("q"), array("b"), array("q")
    prints = bytearray()
    columns = (VersionLine.pair_id, VersionLine.line_id, VersionLine.split, Line.fingerprint,
               sa.cast(Line.messages, sa.Text))  # fmt: skip
    statement = (
        sa.select(*columns)
        .join_from(VersionLine, Line, Line.id == VersionLine.line_id)
        .where(VersionLine.version_id == number)
        .order_by(VersionLine.pair_id)
    )

    def texts() -> Iterator[tuple[str, str, bool]]:
        rows = session.connection().execute(statement, execution_options={"yield_per": 5000})
        for pair_id, line_id, split, fingerprint, stored in rows:
            messages = [{"role": turn["role"], "content": turn["content"]} for turn in orjson.loads(stored)]
            if text.fingerprint(messages) != fingerprint:
                altered.append(pair_id)
            ids.append(pair_id)
            line_ids.append(line_id)
            sides.append(SPLITS.index(split))
            prints.extend(bytes.fromhex(fingerprint))
            is_first = all(turn["role"] == "system" for turn in messages[:-2])
            yield messages[-2]["content"], messages[-1]["content"], is_first

    def take(places: Sequence[int]) -> list[str]:
        wanted = [line_ids[place] for place in places]
        found: dict[int, str] = {}
        for start in range(0, len(wanted), 500):
            some = sa.select(Line.id, sa.cast(Line.messages, sa.Text)).where(Line.id.in_(wanted[start : start + 500]))
            for line_id, stored in session.connection().execute(some):
                *_, question, answer = orjson.loads(stored)
                found[line_id] = f"{question['content']}\n{answer['content']}"
        return [found[line_id] for line_id in wanted]

    # The sides are known only when all was read, and are asked for then.
    found = prove(texts(), Late(sides, total), take, on_progress)
    near, equal = ([(ids[one], ids[other]) for one, other in some] for some in (found.near, found.equal))
    whole = digest_of(np.array(sides), np.frombuffer(bytes(prints), np.uint8).reshape(-1, 32))
    return Checked(len(ids), list(altered), whole == version.fingerprint, near, equal, found.complete)


class Late:
    """The sides of lines that are still being read."""

    def __init__(self, sides: array[int], total: int) -> None:
        self.sides, self.total = sides, total

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, places: Any) -> Any:
        import numpy as np

        return np.array(self.sides, np.int8)[places]


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
