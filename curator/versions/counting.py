"""The look that needs no signature: which texts are like some others, told by the pieces they share and nothing else.

Pieces are those that similarity is counted in: runs of five characters, three in scripts that say as much in three. A
text that is at least as similar as the threshold t holds t of the pieces of the other one. So of any 1 - t of them and
some more it holds as many as those more: the rarest are looked for, and who has enough of them is counted in full.
Nothing can be missed, which no scheme of bands may say. Loaded by a freeze and a check only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from curator import text

WIDTH, DENSE_WIDTH = 5, 3
DENSE = (0x2E80, 0xD7FF), (0x20000, 0x3FFFF)  # Chinese, Japanese, Korean
SURE = 0.1  # of the pieces of a text, beyond those that a similar one may lack
TEXTS = 2000  # at once
EFFORT = 1000  # meetings of two texts, for each that is read: where there are more, fewer texts are looked for
FACTOR, SPREAD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
Array = np.ndarray[Any, np.dtype[Any]]


class Sought:
    """Texts that others are compared with, in an order that chance made; the first `count` of them still are."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self.threshold = threshold
        hashes, owner = each_once(*pieces(texts))
        self.sets = np.split(hashes, np.searchsorted(owner, np.arange(1, len(texts)))) if len(texts) else []
        self.seek(len(texts))

    def seek(self, count: int) -> None:
        """Look for the first so many texts from now on."""
        self.count = count
        sizes = np.array([len(one) for one in self.sets[:count]], np.int64)
        owner = np.repeat(np.arange(count), sizes)
        hashes = np.concatenate([np.empty(0, np.uint64), *self.sets[:count]])
        _, place, number = np.unique(hashes, return_inverse=True, return_counts=True)
        order = np.lexsort((number[place], owner))  # of each text its rarest pieces first
        shared = np.ceil(self.threshold * sizes - 1e-9).astype(np.int64)  # that a similar text has at least
        self.least = np.minimum(np.maximum(1, (SURE * sizes).astype(np.int64)), shared)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen = order[rank < (sizes - shared + self.least)[owner]]
        chosen = chosen[np.argsort(hashes[chosen], kind="stable")]
        self.holders = owner[chosen]
        self.keys, self.first, self.number = np.unique(hashes[chosen], return_index=True, return_counts=True)
        self.bits = max(10, (16 * len(self.keys)).bit_length())
        self.may = np.zeros(1 << self.bits, bool)
        self.may[self.cell(self.keys)] = True

    def cell(self, hashes: Array) -> Array:
        """Return where a table says whether a piece may be one of those looked for: most are not, and are let go."""
        return (hashes * SPREAD) >> np.uint64(64 - self.bits)

    def like(self, texts: Sequence[str], matters: Callable[[Array, Array], Array]) -> Iterator[tuple[int, int]]:
        """Yield which of some texts is similar to which of those sought, by their places.

        `matters` tells of two arrays of places which of these meetings do. Where there is too much to count, fewer
        texts are sought from now on.
        """
        hashes, owner = pieces(texts)
        one, other = self.meetings(hashes, owner)
        if not len(one):
            return
        both, number = np.unique(packed(one, other), return_counts=True)
        one, other = unpacked(both)
        near = number >= self.least[other]
        one, other = one[near], other[near]
        near = matters(one, other)
        one, other = one[near], other[near]
        begins, ends = (np.searchsorted(owner, one, side=side).tolist() for side in ("left", "right"))
        for left, right, begin, end in zip(one.tolist(), other.tolist(), begins, ends, strict=True):
            if jaccard(np.unique(hashes[begin:end]), self.sets[right]) >= self.threshold:
                yield left, right

    def meetings(self, hashes: Array, owner: Array) -> tuple[Array, Array]:
        """Return which text has a piece that is looked for, and whose that is, once for each such piece."""
        if not len(self.keys) or not len(owner):
            return owner[:0], owner[:0]
        some = np.flatnonzero(self.may[self.cell(hashes)])
        place = np.minimum(np.searchsorted(self.keys, hashes[some]), len(self.keys) - 1)
        there = self.keys[place] == hashes[some]
        one, key = unpacked(once(packed(owner[some[there]], place[there])))
        number = self.number[key]
        if number.sum() > EFFORT * (owner[-1] + 1) and self.count > 1:
            self.seek(self.count // 2)
            return self.meetings(hashes, owner)
        return np.repeat(one, number), self.holders[ranges(self.first[key], number)]


def through(
    texts: Iterable[str], sought: Sought, places: Array, sides: Any, found: set[tuple[int, int]]
) -> Iterator[str]:  # fmt: skip
    """Yield texts as they come, and gather which are similar to one of those sought that is on another side.

    `places` are those of what is sought, and `sides` the side at each place.
    """
    if not sought.count:
        yield from texts
        return
    start = 0
    for some in chunks(texts):
        near = sought.like(some, partial(are_across, sides[start : start + len(some)], sides[places]))
        found.update(tuple(sorted((start + one, int(places[other])))) for one, other in near)  # type: ignore[misc]
        start += len(some)
        yield from some


def are_across(here: Array, there: Array, one: Array, other: Array) -> Array:
    """Return which meetings are of two sides."""
    across: Array = here[one] != there[other]
    return across


def once(numbers: Array) -> Array:
    """Return the different numbers, ascending: a fifth of the time of `np.unique`, which hashes them first."""
    ordered = np.sort(numbers)
    different: Array = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return different


def chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts, some at a time."""
    source = iter(texts)
    while some := list(islice(source, TEXTS)):
        yield some


def pieces(texts: Sequence[str]) -> tuple[Array, Array]:
    """Return every piece of some texts as 64 bits, uint64, and whose it is: as often as it stands there, in order."""
    # What is no letter stands before each text, so that no piece reaches from one into another.
    before = "\0" * (WIDTH - 1)
    folded = [text.normalise(one) for one in texts]
    data = "".join([before + one for one in folded]).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(data, np.uint32).astype(np.uint64)
    lengths = np.array([len(one) for one in folded], np.int64)
    owner = np.repeat(np.arange(len(texts)), lengths + len(before))
    hashes, is_letter = rolled(codes, WIDTH), codes != 0
    whole = within(is_letter, WIDTH)
    if len(codes) and codes.max() >= DENSE[0][0]:
        dense = np.logical_or.reduce([(codes >= low) & (codes <= high) for low, high in DENSE])
        hashes[dense] = rolled(codes, DENSE_WIDTH)[dense]
        whole[dense] = within(is_letter, DENSE_WIDTH)[dense]
    # A text that is shorter than any piece is its own only one.
    has_none = (np.bincount(owner[whole], minlength=len(texts)) == 0) & (lengths > 0)
    whole[np.cumsum(lengths + len(before))[has_none] - 1] = True
    return hashes[whole], owner[whole]


def each_once(hashes: Array, owner: Array) -> tuple[Array, Array]:
    """Return the pieces of each text as a set, by text and size, and whose they are."""
    order = np.lexsort((hashes, owner))
    hashes, owner = hashes[order], owner[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
    return hashes[new], owner[new]


def rolled(codes: Array, width: int) -> Array:
    """Return of each place a number for the characters that end there."""
    found = codes.copy()
    found[width - 1 :] = codes[: len(codes) - width + 1]
    for back in range(width - 2, -1, -1):
        found[width - 1 :] = found[width - 1 :] * FACTOR + codes[width - 1 - back : len(codes) - back]
    return found


def within(is_letter: Array, width: int) -> Array:
    """Return at which places so many characters of one text end. There are no fewer than that between two texts."""
    found = is_letter.copy()
    found[: width - 1] = False
    found[width - 1 :] &= is_letter[: len(is_letter) - width + 1]
    return found


def jaccard(one: Array, other: Array) -> float:
    """Return how much of what two sets of pieces have together both have."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(len(one) + len(other) - shared, 1)


def packed(high: Array, low: Array) -> Array:
    return high.astype(np.int64) << 32 | low


def unpacked(both: Array) -> tuple[Array, Array]:
    return both >> 32, both & 0xFFFFFFFF


def ranges(first: Array, number: Array) -> Array:
    """Return the places from each first one on, so many of each."""
    ends = np.cumsum(number)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + number, number)
