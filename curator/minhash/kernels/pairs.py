"""From bands to candidates, and from pairs to what hangs together. Knows arrays only, and no text."""

from __future__ import annotations

import numpy as np

from curator.minhash.kernels.compiling import compiled
from curator.minhash.signatures import LOWER

U64 = np.uint64
_LOWER, _PAIRS, _FOURS, _ONES = (U64(x) for x in (LOWER, LOWER // 5 * 3, LOWER // 85 * 15, LOWER // 85))


@compiled
def ordered(keys, texts, band):  # type: ignore[no-untyped-def]
    """Return key * 2**32 + text of one band, sorted; `texts` ascend. Three passes of 11 bits, each in order."""
    n = len(texts)
    order = np.empty(n, U64)
    other = np.empty(n, U64)
    places = np.zeros((3, 2048), np.int64)
    for i in range(n):
        key = U64(keys[texts[i], band])
        order[i] = key << U64(32) | U64(texts[i])
        for digit in range(3):
            places[digit, (key >> U64(11 * digit)) & U64(2047)] += 1
    for digit in range(3):
        at = 0
        for value in range(2048):
            at, places[digit, value] = at + places[digit, value], at
        for i in range(n):
            value = (order[i] >> U64(32 + 11 * digit)) & U64(2047)
            other[places[digit, value]] = order[i]
            places[digit, value] += 1
        order, other = other, order
    return order


@compiled
def meet(order, begins, ends, keys, looks, most, band, reach):  # type: ignore[no-untyped-def]
    """Return the candidates of one band, first * 2**32 + second: those no earlier band brings.

    `order` holds key * 2**32 + text, sorted; `begins` and `ends` are its runs of one key. Each text meets at
    most `reach` texts before it. Their signatures differ in `most` permutations at most, as far as a look tells.
    """
    out = np.empty(1024, U64)
    m = 0
    for r in range(len(begins)):
        for q in range(begins[r] + 1, ends[r]):
            y = order[q] & U64(0xFFFFFFFF)
            for e in range(max(begins[r], q - reach), q):
                x = order[e] & U64(0xFFFFFFFF)
                differing = U64(0)
                for j in range(looks.shape[1]):
                    d = looks[x, j] ^ looks[y, j]
                    d = (d | d >> U64(1)) & _LOWER
                    d = (d & _PAIRS) + (d >> U64(2) & _PAIRS)
                    differing += U64((d + (d >> U64(4)) & _FOURS) * _ONES) >> U64(56)
                new = differing <= most
                for j in range(band if new else 0):
                    if keys[x, j] == keys[y, j]:
                        new = False
                        break
                if new:
                    if m == len(out):
                        wider = np.empty(2 * m, U64)
                        for place in range(m):
                            wider[place] = out[place]
                        out = wider
                    out[m] = x << U64(32) | y
                    m += 1
    return out[:m]


@compiled
def components(count, left, right):  # type: ignore[no-untyped-def]
    """Return of each of `count` texts the first of the net of pairs it hangs in."""
    leader = np.arange(count)
    for i in range(len(left)):
        x, y = left[i], right[i]
        while leader[x] != x:
            leader[x] = leader[leader[x]]
            x = leader[x]
        while leader[y] != y:
            leader[y] = leader[leader[y]]
            y = leader[y]
        if x < y:
            leader[y] = x
        else:
            leader[x] = y
    for x in range(count):  # the leader of each lies before it, so it is done already
        leader[x] = leader[leader[x]]
    return leader
