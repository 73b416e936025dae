"""What `kernels` does, in whole arrays of NumPy and SciPy, for where numba can't be had. The same answers, slower."""

from __future__ import annotations

from functools import cache

import numpy as np

from curator.minhash.shingles import DENSE, DENSE_WINDOW, NARROW, Array
from curator.minhash.signatures import BYTE, FIELD, FMIX32, FMIX64, NEXT, WORD

U32, U64 = np.uint32, np.uint64
fold = None  # shingles.pack folds in Python what is not ASCII
SIGNED_AT_ONCE = 1 << 15  # shingles, so that the permutations of a block stay in the cache


def mix(h: Array) -> Array:
    """The 64-bit finalizer of MurmurHash3."""
    h = (h ^ (h >> U64(33))) * U64(FMIX64[0])
    h = (h ^ (h >> U64(33))) * U64(FMIX64[1])
    return h ^ (h >> U64(33))


@cache
def powers(base: int, count: int) -> Array:
    """Return base ** 0, 1, … modulo 2**64; `count` is a power of two, so that few are kept."""
    out = np.full(count, base, U64)
    out[0] = 1
    return np.multiply.accumulate(out)


def word_hashes(data: Array, starts: Array, bytewise: Array, size: int) -> tuple[Array, Array]:
    """Return the hashes of the runs of words of all texts, and of which text each is."""
    folded = bytewise[data]
    room = 1 << len(folded).bit_length()
    inside = folded != 0
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    # Prefix sums of a polynomial: any word's hash is a difference of two, times a power.
    sums = np.zeros(len(folded) + 1, U64)
    np.cumsum(folded * powers(pow(BYTE, -1, 1 << 64), room)[: len(folded)], out=sums[1:])
    word = (sums[ends] - sums[begins]) * powers(BYTE, room)[ends - 1]
    owner = np.searchsorted(starts, begins, side="right") - 1
    first = np.searchsorted(owner, np.arange(len(starts) - 1))
    left = np.append(first[1:], len(owner))[owner] - np.arange(len(owner))  # words from here to the text's end
    h = word.copy()
    for x in range(1, size):
        longer = left > x
        h[longer] = (h[longer] * U64(WORD)) ^ (word[np.flatnonzero(longer) + x] + U64(NEXT))
    kept = (left >= size) | (np.arange(len(owner)) == first[owner])
    return mix(h[kept]), owner[kept]


def character_hashes(data: Array, starts: Array, bytewise: Array, size: int) -> tuple[Array, Array]:
    """Return the hashes of the windows of characters of all texts, and of which text each is."""
    folded = bytewise[data]
    ends_text = np.zeros(len(folded), bool)
    ends_text[starts[1:] - 1] = True
    separates = folded == 0
    # One space between words, none at either end of a text; the zero that ends a text stays, to be cut at.
    kept = ~separates | ends_text
    kept[1:] |= separates[1:] & ~separates[:-1]
    folded, ends_text = folded[kept], ends_text[kept]
    folded[(folded == 0) & ~ends_text] = 32
    before_end = np.flatnonzero(ends_text[1:])
    trailing = np.zeros(len(folded), bool)
    trailing[before_end[folded[before_end] == 32]] = True
    leading = np.zeros(len(folded), bool)
    heads = np.concatenate([[0], np.flatnonzero(ends_text)[:-1] + 1])
    leading[heads[folded[heads] == 32]] = True
    folded = folded[~(trailing | leading)]
    code = folded if folded.max() < 0x80 else np.frombuffer(folded.tobytes().decode().encode("utf-32-le"), U32)
    code = code.astype(U64)
    stops = np.flatnonzero(code == 0)
    begins = np.concatenate([[0], stops[:-1] + 1])
    owner = np.repeat(np.arange(len(stops)), stops - begins)
    place = np.flatnonzero(code)  # of each character in `code`
    code_at = code[place]
    k = place - begins[owner] + 1  # which character of its text it is, from 1 on
    v = np.zeros(len(place), U64)
    wide = np.zeros(len(place), bool)
    late, early, dense_late = np.zeros_like(v), np.zeros_like(v), np.zeros_like(v)
    any_wide = bool(code_at.max(initial=0) >= NARROW)
    for back in range(size):
        there = k > back
        c = np.where(there, code[place - np.minimum(back, k - 1)], U64(0))
        v |= (c & U64(NARROW - 1)) << U64(12 * back)
        if any_wide:
            wide |= c >= NARROW
            if back < 3:
                late |= c << U64(21 * back)
            else:
                early |= c << U64(21 * (back - 3))
            if back < min(size, DENSE_WINDOW):
                dense_late |= c << U64(21 * back)
    h = mix(v)
    whole: Array = k >= size
    if any_wide:
        tag = U64(1 << 63)
        h = np.where(wide, mix(late ^ mix(early | tag)) if size > 3 else mix(late | tag), h)
        dense = np.zeros(len(place), bool)
        for low, high in DENSE:
            dense |= (code_at >= low) & (code_at <= high)
        whole_dense = dense & (k >= min(size, DENSE_WINDOW))
        h = np.where(whole_dense, mix(dense_late | tag), h)
        whole = whole | whole_dense
    some = np.zeros(len(stops), bool)
    some[owner[whole]] = True
    last = np.append(owner[1:] != owner[:-1], True) if len(owner) else np.zeros(0, bool)
    kept = whole | (last & ~some[owner])
    return h[kept], owner[kept]


def shingle_hashes(
    data: Array, starts: Array, bytewise: Array, by_words: bool, size: int, fields: int, salted: bool
) -> tuple[Array, Array]:
    """Return the hashes of the shingles of packed texts, and of which text each is, in order."""
    hashes, owner = (word_hashes if by_words else character_hashes)(data, starts, bytewise, size)
    if fields > 1 and salted:
        hashes = hashes ^ ((owner % fields).astype(U64) * U64(FIELD))
    return hashes, owner


def sketch(
    data: Array, starts: Array, bytewise: Array, by_words: bool, size: int, fields: int,
    a: Array, b: Array, rows: int, keys: Array, counts: Array, sums: Array,
) -> None:  # fmt: skip
    """Write of each text its band keys, how many shingles it has, and the sum of their hashes."""
    n = len(counts)
    hashes, owner = shingle_hashes(data, starts, bytewise, by_words, size, fields, True)
    if fields > 1:
        each = np.bincount(owner, minlength=n * fields).reshape(n, fields)
        kept = each.min(axis=1)[owner // fields] > 0
        hashes, owner = hashes[kept], owner[kept] // fields
    counts[:] = np.bincount(owner, minlength=n)
    first = np.cumsum(counts) - counts
    totals = np.zeros(len(hashes) + 1, U64)
    np.cumsum(hashes, out=totals[1:])
    sums[:] = totals[first + counts] - totals[first]
    filled = np.flatnonzero(counts)
    h = (hashes >> U64(32)).astype(U32)
    h = (h ^ (h >> U32(16))) * U32(FMIX32[0])
    h = (h ^ (h >> U32(13))) * U32(FMIX32[1])
    h ^= h >> U32(16)
    signature = np.empty((len(a), n), U32)
    at = 0
    while at < len(filled):
        some = at + 1 + int(np.searchsorted(first[filled[at + 1 :]], first[filled[at]] + SIGNED_AT_ONCE))
        texts = filled[at:some]
        block = h[first[texts[0]] : first[texts[-1]] + counts[texts[-1]]]
        cuts = first[texts] - first[texts[0]]
        for k in range(len(a)):
            signature[k, texts] = np.minimum.reduceat(block * a[k] + b[k], cuts)
        at = some
    for j in range(keys.shape[1]):
        key = np.full(n, ((j + 1) * NEXT) & ((1 << 64) - 1), U64)
        for k in range(j * rows, (j + 1) * rows):
            key = (key ^ signature[k]) * U64(WORD)
            key ^= key >> U64(32)
        key = (key >> U64(32)).astype(U32) ^ (key & U64(0xFFFFFFFF)).astype(U32)
        keys[filled, j] = key[filled]


def meet(order: Array, begins: Array, ends: Array, keys: Array, band: int, hits: int, reach: int) -> Array:
    """Return the candidates of one band, first * 2**32 + second: those no earlier band brings."""
    texts = (order & U64(0xFFFFFFFF)).astype(np.int64)
    found = [np.empty(0, U64)]
    for step in range(1, min(reach, int((ends - begins).max(initial=1)) - 1) + 1):
        long = ends - begins > step
        lengths = ends[long] - begins[long] - step
        x = np.repeat(begins[long] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        x, y = texts[x], texts[x + step]
        for some in range(0, len(x), 1 << 16):
            u, w = x[some : some + (1 << 16)], y[some : some + (1 << 16)]
            met = keys[u] == keys[w]
            new = ~met[:, :band].any(axis=1) & (met.sum(axis=1) >= hits)
            found.append(u[new].astype(U64) << U64(32) | w[new].astype(U64))
    return np.concatenate(found)


def verify(
    data: Array, starts: Array, bytewise: Array, by_words: bool, size: int, fields: int,
    left: Array, right: Array, threshold: float,
) -> Array:  # fmt: skip
    """Return the exact Jaccard similarity of texts, two by two: the least of any field, -1 below the threshold."""
    from scipy.sparse import csr_matrix

    texts = len(starts) - 1
    hashes, owner = shingle_hashes(data, starts, bytewise, by_words, size, fields, False)
    # One bit less, as columns of a matrix are signed.
    ordered = np.lexsort((hashes >> U64(1), owner))
    column, owner = (hashes >> U64(1))[ordered].astype(np.int64), owner[ordered]
    new = np.ones(len(column), bool)
    new[1:] = (column[1:] != column[:-1]) | (owner[1:] != owner[:-1])
    column, owner = column[new], owner[new]
    sizes = np.bincount(owner, minlength=texts)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    table = csr_matrix((np.ones(len(column), np.int32), column, bounds), shape=(texts, (1 << 63) - 1))
    table.has_canonical_format = True
    scores = np.full(len(left), np.inf)
    for f in range(fields):
        x, y = left * fields + f, right * fields + f
        shared = np.zeros(len(x), np.int64)
        for some in range(0, len(x), 4096):
            part = slice(some, some + 4096)
            one, other = table[x[part]], table[y[part]]
            one.has_canonical_format = other.has_canonical_format = True
            shared[part] = np.diff(one.multiply(other).indptr)
        union = np.maximum(sizes[x] + sizes[y] - shared, 1)
        scores = np.minimum(scores, shared / union)
    scores[scores < threshold] = -1.0
    return scores
