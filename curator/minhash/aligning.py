"""Which parts of two rows of numbers differ, compiled: what `difflib.SequenceMatcher` says, number for number."""

from __future__ import annotations

import numpy as np

from curator.minhash.kernels.compiling import compiled


@compiled
def differing(a, b, first):  # type: ignore[no-untyped-def]
    """Return (from, to) in `a` and (from, to) in `b` of each part that differs, in order: shape (parts, 4).

    As difflib does it, without its heuristic of junk: the longest run that both have in common, of several the
    earliest in `a` and then in `b`; and so again on either side of it. `first` has room for each number that occurs,
    and holds -1 everywhere before and after.
    """
    n, m = len(a), len(b)
    following = np.empty(m, np.int32)  # of each place in b, the next one with the same number
    for j in range(m - 1, -1, -1):
        following[j] = first[b[j]]
        first[b[j]] = j
    runs = np.zeros((2, m + 1), np.int32)  # how long the run before this place is, in this row or the last
    rows = np.full((2, m + 1), -2, np.int32)  # and of which row that was said
    left = np.empty((n + m + 2, 4), np.int32)  # parts to be looked at
    left[0, 0], left[0, 1], left[0, 2], left[0, 3] = 0, n, 0, m
    waiting, count = 1, 0
    blocks = np.empty((min(n, m) + 1, 3), np.int32)
    while waiting:
        waiting -= 1
        alo, ahi, blo, bhi = left[waiting, 0], left[waiting, 1], left[waiting, 2], left[waiting, 3]
        best, besti, bestj = 0, alo, blo
        rows[:, blo : bhi + 1] = -2
        for i in range(alo, ahi):
            now, before = i & 1, (i + 1) & 1
            j = first[a[i]]
            while 0 <= j < bhi:
                if j >= blo:
                    size = runs[before, j] + 1 if rows[before, j] == i - 1 else 1
                    runs[now, j + 1], rows[now, j + 1] = size, i
                    if size > best:
                        best, besti, bestj = size, i - size + 1, j - size + 1
                j = following[j]
        if best == 0:
            continue
        blocks[count, 0], blocks[count, 1], blocks[count, 2] = besti, bestj, best
        count += 1
        if alo < besti and blo < bestj:
            left[waiting, 0], left[waiting, 1], left[waiting, 2], left[waiting, 3] = alo, besti, blo, bestj
            waiting += 1
        if besti + best < ahi and bestj + best < bhi:
            left[waiting, 0], left[waiting, 1] = besti + best, ahi
            left[waiting, 2], left[waiting, 3] = bestj + best, bhi
            waiting += 1
    for j in range(m):
        first[b[j]] = -1
    order = np.argsort(blocks[:count, 0])
    parts = np.empty((count + 1, 4), np.int32)
    i, j, found = 0, 0, 0
    for k in range(count + 1):
        starti, startj, size = n, m, 0
        if k < count:
            starti, startj, size = blocks[order[k], 0], blocks[order[k], 1], blocks[order[k], 2]
        if i < starti or j < startj:
            parts[found, 0], parts[found, 1], parts[found, 2], parts[found, 3] = i, starti, j, startj
            found += 1
        i, j = starti + size, startj + size
    return parts[:found]
