"""What `kernels` does, in whole arrays of NumPy and SciPy, for where numba can't be had. The same answers, slower."""

from __future__ import annotations

import numpy as np

from curator.minhash.shingles import DENSE, DENSE_WINDOW, NARROW, Array
from curator.minhash.signatures import FIELD, FIRST, FMIX32, LETTERS, LOWER, NEXT, SPREAD, WORD

U32, U64 = np.uint32, np.uint64
SPREAD_64 = U64(SPREAD)
fold = None  # shingles.pack folds in Python what is not ASCII
# So many that what is worked on stays in the cache.
TEXTS_AT_ONCE, SIGNED_AT_ONCE = 512, 1 << 15
FEW_PAIRS = 100  # that are compared before SciPy is loaded


def begins(data: Array, texts: int) -> tuple[Array, int, bool]:
    """Return where each of packed texts begins, and the last one ends; how many there are, and whether all is ASCII."""
    starts = np.concatenate([[0], np.flatnonzero(data == 0) + 1])
    return starts, len(starts) - 1, bool(data.max(initial=0) < 0x80)


def word_hashes(data: Array, starts: Array, bytewise: Array, size: int) -> tuple[Array, Array]:
    """Return the hashes of the runs of words of all texts, and of which text each is."""
    folded = bytewise[data]
    inside = folded != 0
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    begins, ends = edges[::2], edges[1::2]
    # Eight letters from each place on, as one number.
    eight = np.ndarray(len(folded), "<u8", np.concatenate([folded, np.zeros(8, np.uint8)]).data, strides=(1,))
    word, first_letters = np.zeros(len(begins), U64), np.array(FIRST, U64)
    for p in range(0, int((ends - begins).max(initial=0)), 8):
        some = np.flatnonzero(ends - begins > p)
        rest = ends[some] - begins[some] - p
        h = (word[some] ^ eight[begins[some] + p] & first_letters[np.minimum(rest, 8)]) * U64(LETTERS)
        word[some] = np.where(rest > 8, h ^ (h >> U64(32)), h)
    owner = np.searchsorted(starts, begins, side="right") - 1
    first = np.searchsorted(owner, np.arange(len(starts) - 1))
    left = np.append(first[1:], len(owner))[owner] - np.arange(len(owner))  # words from here to the text's end
    h = word.copy()
    for x in range(1, size):
        longer = left > x
        h[longer] = (h[longer] * U64(WORD)) ^ (word[np.flatnonzero(longer) + x] + U64(NEXT))
    kept = (left >= size) | (np.arange(len(owner)) == first[owner])
    return h[kept] * SPREAD_64, owner[kept]


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
    lengths = np.diff(stops, prepend=-1) - 1
    owner = np.repeat(np.arange(len(stops)), lengths + 1)
    k = np.arange(len(code)) - (stops - lengths)[owner] + 1  # which character of its text it is, from 1 on
    before = [np.concatenate([np.zeros(x, U64), code])[: len(code)] for x in range(size)]
    whole: Array = (k >= size) & (code != 0)
    h = window_hashes(before)
    if code.max() >= NARROW:
        short = min(size, DENSE_WINDOW)
        dense = np.logical_or.reduce([(code >= low) & (code <= high) for low, high in DENSE]) & (k >= short)
        late = sum((before[x] << U64(21 * x) for x in range(short)), start=np.zeros(1, U64))
        h = np.where(dense, (late | U64(1 << 63)) * SPREAD_64, h)
        whole |= dense
    # A text without a window is its own: what comes before it is cut off.
    alone = np.flatnonzero((np.bincount(owner[whole], minlength=len(stops)) == 0) & (lengths > 0))
    last = stops[alone] - 1
    h[last] = window_hashes([np.where(lengths[alone] > x, before[x][last], U64(0)) for x in range(size)])
    whole[last] = True
    return h[whole], owner[whole]


def window_hashes(before: list[Array]) -> Array:
    """Return the hashes of windows: `before[x]` is the character x places before each window's last one."""
    v, wide = before[0] & U64(NARROW - 1), before[0] >= NARROW
    for x in range(1, len(before)):
        v |= (before[x] & U64(NARROW - 1)) << U64(12 * x)
        wide |= before[x] >= NARROW
    h: Array = v * SPREAD_64
    if wide.any():
        late, early = np.zeros_like(v), np.full_like(v, 1 << 63)
        for x, c in enumerate(before):
            half = late if x < 3 else early
            half |= c << U64(21 * (x % 3))
        other = late ^ (early * SPREAD_64) if len(before) > 3 else late | U64(1 << 63)
        h = np.where(wide, other * SPREAD_64, h)
    return h


def shingle_hashes(
    data: Array, starts: Array, bytewise: Array, by_words: bool, size: int, fields: int, salted: bool
) -> tuple[Array, Array]:
    """Return the hashes of the shingles of packed texts, and of which text each is, in order."""
    parts = []
    for some in range(0, len(starts) - 1, TEXTS_AT_ONCE):
        bounds = starts[some : some + TEXTS_AT_ONCE + 1]
        piece = data[bounds[0] : bounds[-1]]
        h, text = (word_hashes if by_words else character_hashes)(piece, bounds - bounds[0], bytewise, size)
        parts.append((h, text + some))
    hashes, owner = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if fields > 1 and salted:
        hashes = hashes ^ ((owner % fields).astype(U64) * U64(FIELD))
    return hashes, owner


def sketch(
    data: Array, starts: Array, bytewise: Array, by_words: bool, size: int, fields: int,
    a: Array, b: Array, rows: int, keys: Array, looks: Array, counts: Array, sums: Array,
) -> None:  # fmt: skip
    """Write of each text its band keys, a look at its signature, how many shingles it has, and the sum of the squares
    of their hashes.
    """
    n = len(counts)
    hashes, owner = shingle_hashes(data, starts, bytewise, by_words, size, fields, True)
    if fields > 1:
        each = np.bincount(owner, minlength=n * fields).reshape(n, fields)
        kept = each.min(axis=1)[owner // fields] > 0
        hashes, owner = hashes[kept], owner[kept] // fields
    counts[:] = np.bincount(owner, minlength=n)
    first = np.cumsum(counts) - counts
    filled = np.flatnonzero(counts)
    h = (hashes >> U64(32)).astype(U32)
    h = (h ^ (h >> U32(16))) * U32(FMIX32[0])
    h = (h ^ (h >> U32(13))) * U32(FMIX32[1])
    h ^= h >> U32(16)
    totals = np.zeros(len(h) + 1, U64)
    np.cumsum(h.astype(U64) ** 2, out=totals[1:])
    sums[:] = totals[first + counts] - totals[first]
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
    looks[:] = 0
    for k in range(len(a) if looks.shape[1] else 0):
        looks[filled, k // 32] |= (signature[k, filled] & U32(3)).astype(U64) << U64(2 * (k % 32))


def ordered(keys: Array, texts: Array, band: int) -> Array:
    """Return key * 2**32 + text of one band, sorted."""
    order: Array = keys[texts, band].astype(U64) << U64(32) | texts.astype(U64)
    order.sort()
    return order


def meet(
    order: Array, begins: Array, ends: Array, keys: Array, looks: Array, most: int, band: int, reach: int
) -> Array:
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
            near = differing(looks[u], looks[w]) <= most
            u, w = u[near], w[near]
            new = ~(keys[u, :band] == keys[w, :band]).any(axis=1)
            found.append(u[new].astype(U64) << U64(32) | w[new].astype(U64))
    return np.concatenate(found)


def differing(looks: Array, others: Array) -> Array:
    """Return in how many permutations texts differ, two by two, as far as a look tells."""
    differ = looks ^ others
    counted: Array = np.bitwise_count((differ | differ >> U64(1)) & U64(LOWER)).sum(axis=1)
    return counted


def components(count: int, left: Array, right: Array) -> Array:
    """Return of each of `count` texts the number of the net of pairs it hangs in."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    label: Array = connected_components(pairs, directed=False)[1]
    return label


def verify(
    data: Array, starts: Array, bytewise: Array, by_words: bool, size: int, fields: int,
    left: Array, right: Array, threshold: float,
) -> Array:  # fmt: skip
    """Return the exact Jaccard similarity of texts, two by two: the least of any field, -1 below the threshold."""
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
    count = in_common_of_few if len(left) <= FEW_PAIRS else in_common
    scores = np.full(len(left), np.inf)
    for f in range(fields):
        x, y = left * fields + f, right * fields + f
        shared = count(column, bounds, x, y)
        union = np.maximum(sizes[x] + sizes[y] - shared, 1)
        scores = np.minimum(scores, shared / union)
    scores[scores < threshold] = -1.0
    return scores


def in_common(column: Array, bounds: Array, x: Array, y: Array) -> Array:
    """Return how many shingles texts share, two by two; the shingles of text t are column[bounds[t]:bounds[t + 1]]."""
    from scipy.sparse import csr_matrix

    table = csr_matrix((np.ones(len(column), np.int32), column, bounds), shape=(len(bounds) - 1, (1 << 63) - 1))
    table.has_canonical_format = True
    shared = np.zeros(len(x), np.int64)
    for some in range(0, len(x), 4096):
        part = slice(some, some + 4096)
        one, other = table[x[part]], table[y[part]]
        one.has_canonical_format = other.has_canonical_format = True
        shared[part] = np.diff(one.multiply(other).indptr)
    return shared


def in_common_of_few(column: Array, bounds: Array, x: Array, y: Array) -> Array:
    """Return what `in_common` does, without SciPy, which a page would wait for most of a second."""
    of = [column[bounds[text] : bounds[text + 1]] for text in range(len(bounds) - 1)]
    return np.array([
        len(np.intersect1d(of[one], of[other], assume_unique=True))
        for one, other in zip(x.tolist(), y.tolist(), strict=True)
    ], np.int64)  # fmt: skip
