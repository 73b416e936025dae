"""What a search is asked and what it finds, and how it is cut into stars, so that nothing goes unlike the one kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Array = Any  # numpy.ndarray, which only searches load
# What is going on, one of `minhash.STAGES`, how much of it is done, and of how much; 0 where nobody knows.
Progress = Callable[[str, int, int], None]
Text = str | bytes


@dataclass(frozen=True)
class Joined:
    """Many texts in one piece, as a database joins them: UTF-8, each ended by a zero, and none has a zero inside.

    None of them is ever made an object, which would take longer than reading it. Of several fields one follows the
    other, text by text.
    """

    data: bytes
    texts: int
    fields: int = 1

    def is_whole(self) -> bool:
        """Return whether there are as many zeros as there have to be; bytes.count takes eight times as long."""
        import numpy as np

        zeros = len(self.data) - np.count_nonzero(np.frombuffer(self.data, np.uint8))
        return bool(zeros == self.texts * self.fields)

    def apart(self) -> list[bytes] | list[tuple[bytes, ...]]:
        """Return the texts one by one, as bytes, or as tuples of their fields."""
        pieces = self.data.split(b"\0")[:-1]
        return pieces if self.fields == 1 else list(zip(*[iter(pieces)] * self.fields, strict=True))


Texts = Iterable[Text | tuple[Text, ...]] | Iterable[Joined]
# The texts at some places, as many and in that order; an empty one for what is gone by now.
Take = Callable[[Sequence[int]], Sequence[Text | tuple[Text, ...]] | Joined]


@dataclass(frozen=True)
class Similar:
    """Every two texts that are similar enough: the text at `left` comes before the one at `right`.

    Texts that are copies of an earlier one, shingle for shingle, are joined to the first of them, with 1.0, and
    to nothing else: a text that comes 100,000 times makes 99,999 rows. `copy_of` has the place of that first one,
    and each other text's own place. Not `complete`: so many texts say nearly the same that each was compared with
    the nearest before it only; what is here is right, and more would be found when these are gone.
    """

    left: Array  # int64, places in the order of reading
    right: Array
    jaccard: Array  # float64
    copy_of: Array
    complete: bool

    def pairs(self) -> Iterator[tuple[int, int, float]]:
        """Yield every two similar texts in order, copies too: by their square where there are many."""
        groups: dict[int, list[int]] = {}
        rows = zip(self.left.tolist(), self.right.tolist(), self.jaccard.tolist(), strict=True)
        near: list[tuple[int, int, float]] = []
        for one, other, score in rows:
            if self.copy_of[other] == one:
                groups.setdefault(one, [one]).append(other)
            else:
                near.append((one, other, score))
        found = [(a, b, 1.0) for group in groups.values() for i, a in enumerate(group) for b in group[i + 1 :]]
        for one, other, score in near:
            found += [(min(a, b), max(a, b), score) for a in groups.get(one, [one]) for b in groups.get(other, [other])]
        yield from sorted(found)


def stars(best_first: Iterable[int], similar: Similar) -> list[tuple[int, list[tuple[int, float]]]]:
    """Cut the net of similar texts into stars: one kept, and those that are like *it*, the most alike first.

    Chains never form: where a is like b and b like c but a not like c, c is not lost with a. Copies are like all
    that the first of them is like. Time grows with the pairs, not with what copies would make of them.
    """
    members: dict[int, list[int]] = {}
    near: dict[int, dict[int, float]] = {}
    # Copies share all they are like, so the first of them stands for all: it is taken when they are.
    first_of: dict[int, int] = {}
    for one, other, score in zip(similar.left.tolist(), similar.right.tolist(), similar.jaccard.tolist(), strict=True):
        first_of[one] = one
        if similar.copy_of[other] == one:
            first_of[other] = one
            members.setdefault(one, [one]).append(other)
        else:
            first_of[other] = other
            near.setdefault(one, {})[other] = score
            near.setdefault(other, {})[one] = score
    taken: set[int] = set()
    found = []
    for centre in best_first:
        first = first_of.get(centre)
        if first is None or first in taken:
            continue
        taken.add(first)
        points = [(text, 1.0) for text in members.get(first, ()) if text != centre]
        for other, score in near.get(first, {}).items():
            if other not in taken:
                taken.add(other)
                points += [(text, score) for text in members.get(other, (other,))]
        if points:
            found.append((centre, sorted(points, key=lambda point: (-point[1], point[0]))))
    return found
