"""Splits: what was asked of them, and which whole groups are dealt to which. Knows numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curator.errors import UserError
from curator.words import SPLITS, plural

TRAIN, VALIDATION, TEST = range(3)
HELD_OUT = (TEST, VALIDATION)
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
REST = "rest"
Shares = Mapping[str, float | None]  # parts of 1, or numbers of pairs; None for what the other splits leave


def parse(text: str) -> dict[str, float | None]:
    """Return what "80/10/10", "800/100/100" or "rest/100/100" asks: parts of 1 where it makes 100, else pairs.

    Raises UserError where it is no list of three numbers.
    """
    parts = [part.strip() for part in text.split("/")]
    try:
        numbers = [None if part == REST else float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != len(SPLITS) or any(n is not None and not 0 <= n < 1e15 for n in numbers):
        raise UserError(f"The split {text!r} is no list of three numbers. For example: --split 80/10/10")
    if None not in numbers and abs(sum(filter(None, numbers)) - 100) < 1e-9:
        numbers = [(n or 0) / 100 for n in numbers]
    return dict(zip(SPLITS, numbers, strict=True))


def checked(shares: Shares) -> dict[str, float | None]:
    """Return what is asked of each split. Raises UserError where it is neither parts of 1 nor numbers of pairs."""
    asked = {side: shares.get(side, 0) for side in SPLITS}
    numbers = [n for n in asked.values() if n is not None]
    given = spoken(asked)
    if are_parts(asked):
        if min(numbers) < 0 or not asked["train"]:
            raise UserError(f"The shares {given} leave nothing to train on. For example: 80/10/10.")
        return {side: float(n or 0) for side, n in asked.items()}
    if any(n != int(n) or n < 0 for n in numbers):
        raise UserError(f"The shares {given} make {sum(numbers):g}, not 1. For example: 80/10/10.")
    if list(asked.values()).count(None) > 1:
        raise UserError(f"The split {given} has two rests. One split can have what the others leave.")
    if asked["train"] == 0:
        raise UserError(f"The split {given} leaves nothing to train on. For example: rest/100/100.")
    return {side: n if n is None else int(n) for side, n in asked.items()}


def are_parts(shares: Shares) -> bool:
    """Whether shares are parts of one whole rather than numbers of pairs."""
    return None not in shares.values() and abs(sum(n or 0 for n in shares.values()) - 1) < 1e-9


def spoken(shares: Shares) -> str:
    """Return shares as they are typed: 80/10/10, rest/100/100."""
    times = 100 if are_parts(shares) else 1
    return "/".join(REST if n is None else f"{n * times:.10g}" for n in (shares.get(side, 0) for side in SPLITS))


def sizes(shares: Shares, total: int) -> list[float]:
    """Return how many of so many pairs each split should have. Raises UserError where numbers don't make that."""
    if are_parts(shares):
        return [(shares[side] or 0) * total for side in SPLITS]
    given = sum(n for n in shares.values() if n is not None)
    rest = total - given
    if rest < 0 or (rest and None not in shares.values()):
        raise UserError(
            f"The split {spoken(shares)} makes {given:,.0f}, which is neither 100 per cent nor the {total:,} pairs "
            "there are. What is left over can go to one split, as in: --split rest/100/100"
        )
    return [rest if (n := shares[side]) is None else n for side in SPLITS]


def whole(sizes: Sequence[float]) -> list[int]:
    """Return sizes as whole numbers that make the same sum: those with most behind the point are rounded up."""
    rounded = [int(size) for size in sizes]
    places = sorted(range(len(sizes)), key=lambda place: rounded[place] - sizes[place])
    for place in places[: round(sum(sizes)) - sum(rounded)]:
        rounded[place] += 1
    return rounded


def deal(groups: Any, strata: Any, marks: Any, filled: Any, wanted: list[float]) -> Any:
    """Return of each group its side: int8, a place in SPLITS.

    `groups` has the size of each, `strata` what it is balanced by, from 0, and `marks` where it stands in the order of
    dealing. `filled` has of each stratum how many pairs are on each side already: shape (strata, 3). Sizes come as near
    to those `wanted` as whole groups allow, in each stratum and in all. Raises UserError where a split that is wanted
    would be empty.
    """
    import numpy as np

    filled = np.asarray(filled)
    total = filled.sum() + groups.sum()
    parts = [size / total for size in wanted]
    sides = np.zeros(len(groups), np.int8)
    order = np.lexsort((marks, strata))
    edges = np.searchsorted(strata[order], np.arange(len(filled) + 1))
    room = [0.0] * len(SPLITS)  # what a stratum leaves over, the next one has more
    for stratum, there in enumerate(filled.tolist()):
        some = order[edges[stratum] : edges[stratum + 1]]
        size = int(groups[some].sum()) + sum(there)
        room = [left + part * size - n for left, part, n in zip(room, parts, there, strict=True)]
        for group, pairs in zip(some.tolist(), groups[some].tolist(), strict=True):
            # A held-out side takes a group that brings it nearer to its size.
            side = next((side for side in HELD_OUT if pairs / 2 < room[side]), TRAIN)
            room[side] -= pairs
            sides[group] = side
    fill_empty(sides, groups, marks, filled, wanted)
    return sides


def fill_empty(sides: Any, groups: Any, marks: Any, filled: Any, wanted: list[float]) -> None:
    """Give a split that is wanted and has nothing the smallest group of the largest split. Raises UserError."""
    import numpy as np

    for side in (*HELD_OUT, TRAIN):
        counts = np.bincount(sides, groups, 3) + filled.sum(axis=0)
        if not wanted[side] or counts[side]:
            continue
        donor = int(np.argmax(counts))
        theirs = np.flatnonzero(sides == donor)
        if not len(theirs) or (len(theirs) == 1 and not filled[:, donor].any()):
            total, splits = int(counts.sum()), sum(map(bool, wanted))
            together = len(groups) + int((filled.sum(axis=0) > 0).sum())
            groups_of_it = f"{plural(together, 'group')} of what belongs together"
            are = "1 pair is" if total == 1 else f"{total:,} pairs in {groups_of_it} are"
            raise UserError(
                f"{are} too few for {splits} splits: {SPLITS[side]} would be empty. Add pairs, or freeze with "
                f"--split {'90/0/10' if splits == 3 and len(groups) > 1 else '100/0/0'}."
            )
        sides[theirs[np.lexsort((marks[theirs], groups[theirs]))[0]]] = side
