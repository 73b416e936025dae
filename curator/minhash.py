"""Sets that are nearly the same, found by MinHash and proved by counting. Knows no database."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

PERMUTATIONS = 128
Key = TypeVar("Key", bound=Hashable)


def bands(threshold: float, permutations: int = PERMUTATIONS, miss: float = 1e-4) -> tuple[int, int]:
    """Return how many bands of how many rows find a pair of that similarity, but for one in `1 / miss`.

    Two sets of similarity J agree in a band of r rows with probability J^r, so b bands miss them with
    (1 - J^r)^b. The most rows are chosen that keep this below `miss`: they give the fewest candidates.
    Source: J. Leskovec, A. Rajaraman, J. Ullman, Mining of Massive Datasets, 3.4.
    """
    for rows in range(permutations, 0, -1):
        agree = threshold**rows
        needed = 1 if agree >= 1 else math.ceil(math.log(miss) / math.log1p(-agree)) if agree > 0 else math.inf
        if needed * rows <= permutations:
            return int(needed), rows
    return permutations, 1


def jaccard(one: set[str], other: set[str]) -> float:
    """Return the share of what two sets have together that both of them have; 0 where both are empty."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


def similar(sets: Sequence[set[str]], threshold: float) -> list[tuple[int, int, float]]:
    """Return each (i, j, similarity), i < j, whose Jaccard similarity is at least `threshold`.

    MinHash only proposes; every pair returned was counted. Empty sets are like nothing.
    """
    from datasketch import MinHash, MinHashLSH  # half a second, with scipy: only who searches pays for it

    filled = [i for i, items in enumerate(sets) if items]
    if len(filled) < 2:
        return []
    index = MinHashLSH(num_perm=PERMUTATIONS, params=bands(threshold))
    hashes = MinHash.bulk([[s.encode("utf-8", "surrogatepass") for s in sets[i]] for i in filled],
                          num_perm=PERMUTATIONS)  # fmt: skip
    found = []
    for i, signature in zip(filled, hashes, strict=True):
        for j in index.query(signature):
            score = jaccard(sets[i], sets[j])
            if score >= threshold:
                found.append((j, i, score))
        index.insert(i, signature, check_duplication=False)
    return sorted(found)


def stars(
    best_first: Iterable[Key], likeness: Mapping[tuple[Key, Key], float]
) -> list[tuple[Key, list[tuple[Key, float]]]]:
    """Cut a net of similar pairs into stars: one kept, and those that are like *it*.

    Chains never form: where a is like b and b like c but a not like c, c is not lost with a.
    `likeness` holds each pair once, in either order.
    """
    near: dict[Key, dict[Key, float]] = {}
    for (a, b), score in likeness.items():
        near.setdefault(a, {})[b] = score
        near.setdefault(b, {})[a] = score
    taken: set[Key] = set()
    found = []
    for centre in best_first:
        if centre in taken or centre not in near:
            continue
        members = sorted(((key, score) for key, score in near[centre].items() if key not in taken), key=lambda m: -m[1])
        taken.update([centre, *(key for key, _ in members)])
        if members:
            found.append((centre, members))
    return found
