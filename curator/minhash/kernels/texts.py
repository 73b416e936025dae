"""From texts to shingles, to signatures and bands, and to exact counts. Knows arrays only."""

from __future__ import annotations

import numpy as np

from curator.minhash.kernels.compiling import compiled
from curator.minhash.shingles import DENSE, DENSE_WINDOW, NARROW
from curator.minhash.signatures import FIELD, FIRST, FMIX32, LETTERS, NEXT, SPREAD, WORD

U8, U32, U64 = np.uint8, np.uint32, np.uint64
_SPREAD = U64(SPREAD)
_D1, _D2 = map(U32, FMIX32)
_LETTERS, _WORD, _NEXT, _FIELD = U64(LETTERS), U64(WORD), U64(NEXT), U64(FIELD)
_FIRST = np.array(FIRST, U64)
(_DENSE1, _DENSE2), (_DENSE3, _DENSE4) = ((U64(a), U64(b)) for a, b in DENSE)
_NARROW = U64(NARROW)
_63_BITS, _WIDE = U64((1 << 63) - 1), U64(1 << 63)


@compiled
def _words(data, begin, end, bytewise, size, out, at, word, folded):  # type: ignore[no-untyped-def]
    """Write the hashes of runs of `size` words, and return how many.

    Finding where words begin and end has no branch that depends on the text; eight letters are then hashed at once.
    """
    length = U64(end) - U64(begin)
    for p in range(length):  # what `shingles.FOLD` says, 64 at a time
        c = data[U64(begin) + p]
        small = U8(c | U8(32))
        other = (U8(c - U8(48)) < U8(10)) | (c == U8(95)) | (c >= U8(128))
        folded[p] = small if U8(small - U8(97)) < U8(26) else c if other else U8(0)
    edges = U64(0)
    inside = False
    for p in range(length):
        word[edges] = p
        edges += U64((folded[p] != U8(0)) ^ inside)
        inside = folded[p] != U8(0)
    for p in range(length, length + U64(8)):
        folded[p] = 0
    word[edges] = length
    k = (edges + U64(1)) >> U64(1)
    if k == U64(0):
        return 0
    for j in range(k):  # where a word begins and ends lies behind where its hash goes
        p, stop = word[U64(2) * j], word[U64(2) * j + U64(1)]
        h = U64(0)
        while True:
            e = U64(0)
            for x in range(U64(8)):
                e |= U64(folded[p + x]) << U64(8 * x)
            if p + U64(8) >= stop:
                h = U64(U64(h ^ (e & _FIRST[stop - p])) * _LETTERS)
                break
            h = U64(U64(h ^ e) * _LETTERS)
            h ^= h >> U64(32)
            p += U64(8)
        word[j] = h
    joined = min(U64(size), k)
    runs = U64(k - joined + U64(1))
    for j in range(runs):
        out[U64(at) + j] = word[j]
    for x in range(U64(1), joined):
        for j in range(runs):
            out[U64(at) + j] = U64(out[U64(at) + j] * _WORD) ^ U64(word[j + x] + _NEXT)
    for j in range(runs):
        out[U64(at) + j] *= _SPREAD
    return np.int64(runs)


@compiled
def _characters(data, begin, end, bytewise, size, out, at, letter):  # type: ignore[no-untyped-def]
    """Write the hashes of windows of `size` characters of an ASCII text, and return how many."""
    k = U64(0)
    after_space = True
    for p in range(U64(begin), U64(end)):
        c = bytewise[data[p]]
        separates = c == U8(0)
        letter[k] = U64(32) if separates else U64(c)
        k += U64(not (separates & after_space))
        after_space = separates
    if after_space and k > U64(0):
        k -= U64(1)
    if k == U64(0):
        return 0
    width = min(U64(size), k)
    windows = k - width + U64(1)
    # Loops as short as these run eight windows at a time.
    if width == U64(5):
        for j in range(windows):
            h = letter[j] << U64(48) | letter[j + U64(1)] << U64(36) | letter[j + U64(2)] << U64(24)
            out[U64(at) + j] = (h | letter[j + U64(3)] << U64(12) | letter[j + U64(4)]) * _SPREAD
        return np.int64(windows)
    for j in range(windows):
        out[U64(at) + j] = letter[j]
    for x in range(U64(1), width):
        for j in range(windows):
            out[U64(at) + j] = out[U64(at) + j] << U64(12) | letter[j + x]
    for j in range(windows):
        out[U64(at) + j] *= _SPREAD
    return np.int64(windows)


@compiled
def _any_characters(data, begin, end, bytewise, size, out, at):  # type: ignore[no-untyped-def]
    """The same of any folded text. Windows of narrow characters hash to what they hash to in ASCII."""
    window = U64((1 << (12 * size)) - 1)
    dense_size = min(size, DENSE_WINDOW)
    dense_bits = U64((1 << (21 * dense_size)) - 1)
    older_bits = U64((1 << (21 * max(size - 3, 0))) - 1)
    v = U64(0)  # the last five characters, where they are narrow
    late = U64(0)  # the last three
    early = U64(0)  # the three before
    narrow_since = 0
    count = 0
    k = 0
    spaces = False
    h = U64(0)
    p = begin
    while p < end:
        c = U64(data[p])
        if c < U64(0x80):
            c = U64(bytewise[c])
            p += 1
            if c == U64(0):
                spaces = k > 0
                continue
        else:
            more = 1 if c < U64(0xE0) else 2 if c < U64(0xF0) else 3
            c &= U64(0x3F >> more)
            for _ in range(more):
                p += 1
                c = c << U64(6) | (U64(data[p]) & U64(0x3F))
            p += 1
        for turn in range(1 - spaces, 2):
            code = c if turn == 1 else U64(32)
            v = U64(U64(v << U64(12)) | code) & window
            early = (early << U64(21) | late >> U64(42)) & _63_BITS
            late = (late << U64(21) | code) & _63_BITS
            narrow_since = narrow_since + 1 if code < _NARROW else 0
            k += 1
            dense = (_DENSE1 <= code <= _DENSE2) | (_DENSE3 <= code <= _DENSE4)
            if dense and k >= dense_size:
                h = U64(_WIDE | (late & dense_bits)) * _SPREAD
            elif narrow_since >= min(k, size):
                h = v * _SPREAD
            elif size > 3:
                h = U64(late ^ U64((early & older_bits | _WIDE) * _SPREAD)) * _SPREAD
            else:
                h = U64(late & U64((1 << (21 * size)) - 1) | _WIDE) * _SPREAD
            if k >= (dense_size if dense else size):
                out[at + count] = h
                count += 1
        spaces = False
    if k > 0 and count == 0:
        out[at] = h
        count = 1
    return count


@compiled
def _shingles(data, begin, end, bytewise, by_words, size, salt, out, at, word, folded):  # type: ignore[no-untyped-def]
    """Write the hashes of the shingles of one text, and return how many. `salt` tells fields apart."""
    if by_words:
        count = _words(data, begin, end, bytewise, size, out, at, word, folded)
    else:
        seen = U8(0)
        for p in range(U64(begin), U64(end)):
            seen |= data[p]
        if seen < U8(0x80):
            count = _characters(data, begin, end, bytewise, size, out, at, word)
        else:
            count = _any_characters(data, begin, end, bytewise, size, out, at)
    if salt != U64(0):
        for j in range(at, at + count):
            out[j] ^= salt
    return count


@compiled
def _sign(mixed, count, a, b, row):  # type: ignore[no-untyped-def]
    """Write the least value of all hashes under each permutation; eight hashes a pass share loads and stores."""
    for k in range(len(a)):
        row[k] = U32(0xFFFFFFFF)
    for j in range(count, count + 7):
        mixed[j] = mixed[count - 1]
    for j in range(0, count, 8):
        h0, h1, h2, h3 = mixed[j], mixed[j + 1], mixed[j + 2], mixed[j + 3]
        h4, h5, h6, h7 = mixed[j + 4], mixed[j + 5], mixed[j + 6], mixed[j + 7]
        for k in range(len(a)):
            x = a[k]
            y = b[k]
            m0 = min(U32(h0 * x + y), U32(h1 * x + y))
            m1 = min(U32(h2 * x + y), U32(h3 * x + y))
            m2 = min(U32(h4 * x + y), U32(h5 * x + y))
            m3 = min(U32(h6 * x + y), U32(h7 * x + y))
            row[k] = min(row[k], min(min(m0, m1), min(m2, m3)))


@compiled
def sketch(data, starts, bytewise, by_words, size, fields, a, b, rows, keys, looks, counts, sums):  # type: ignore[no-untyped-def]
    """Write of each text its band keys, a look at its signature, how many shingles it has, and the sum of the squares
    of their hashes.

    A text of several fields is like another where they are like in each field, so their shingles are told
    apart, and it counts as empty where one field is.
    """
    longest = np.int64(0)
    for i in range(len(starts) - 1):
        longest = np.int64(max(longest, starts[i + 1] - starts[i]))
    hashes = np.empty(longest * fields + 8, U64)
    mixed = np.empty(longest * fields + 16, U32)
    word, folded = np.empty(longest + 8, U64), np.empty(longest + 8, U8)
    # The processor takes 16 permutations at a time; a rest of fewer would take as long as most of them together.
    width = (len(a) + 15) // 16 * 16
    factor, offset, row = np.zeros(width, U32), np.zeros(width, U32), np.zeros(width + 16, U32)
    for k in range(len(a)):
        factor[k], offset[k] = a[k], b[k]
    for i in range(len(counts)):
        count = np.int64(0)
        for f in range(fields):
            t = i * fields + f
            salt = U64(U64(f) * _FIELD)
            found = _shingles(
                data, starts[t], starts[t + 1] - 1, bytewise, by_words, size, salt, hashes, count, word, folded
            )
            count = np.int64(count + found if found else 0)
            if not found:
                break
        counts[i] = count
        total = U64(0)
        for j in range(U64(count)):
            m = U32(hashes[j] >> U64(32))
            m = U32(U32(m ^ (m >> U32(16))) * _D1)
            m = U32(U32(m ^ (m >> U32(13))) * _D2)
            m = U32(m ^ (m >> U32(16)))
            mixed[j] = m
            total += U64(m) * U64(m)
        sums[i] = total
        if not count:
            continue
        _sign(mixed, count, factor, offset, row)
        for j in range(keys.shape[1]):
            h = U64(j + 1) * _NEXT
            for k in range(j * rows, (j + 1) * rows):
                h = U64(U64(h ^ U64(row[k])) * _WORD)
                h ^= h >> U64(32)
            keys[i, j] = U32(h >> U64(32)) ^ U32(h & U64(0xFFFFFFFF))
        for j in range(looks.shape[1]):
            h = U64(0)
            for k in range(32):
                h |= U64(row[32 * j + k] & U32(3)) << U64(2 * k)
            looks[i, j] = h


@compiled
def _shift(count):  # type: ignore[no-untyped-def]
    """Return by how much a hash is shifted for its place in a table for `count`: its high bits are its best.

    Nearly empty, as most of the time goes where two hashes want one place, and no larger: it is to stay in the cache.
    """
    shift = U64(58)
    while U64(1) << (U64(64) - shift) < U64(8 * count):
        shift -= U64(1)
    return shift


@compiled
def _distinct(hashes, begin, count, table, stamp, mark):  # type: ignore[no-untyped-def]
    """Move the distinct hashes to the front, and return how many they are."""
    shift = _shift(count)
    mask = (U64(1) << (U64(64) - shift)) - U64(1)
    kept = U64(begin)
    for p in range(U64(begin), U64(begin + count)):
        h = hashes[p]
        q = h >> shift
        while stamp[q] == mark and table[q] != h:
            q = (q + U64(1)) & mask
        if stamp[q] != mark:
            stamp[q] = mark
            table[q] = h
            hashes[kept] = h
            kept += U64(1)
    return np.int64(kept - U64(begin))


@compiled
def verify(data, starts, bytewise, by_words, size, fields, left, right, threshold):  # type: ignore[no-untyped-def]
    """Return the exact Jaccard similarity of texts, two by two: the least of any field, -1 below the threshold."""
    texts = len(starts) - 1
    longest = np.int64(0)
    for t in range(texts):
        longest = np.int64(max(longest, starts[t + 1] - starts[t]))
    # A slot is taken where its stamp says so, and nothing is ever cleared.
    capacity = U64(1) << (U64(64) - _shift(longest))
    table, stamp = np.empty(capacity, U64), np.full(capacity, -1, np.int32)
    shift, mask = U64(58), U64(63)
    word, folded = np.empty(longest + 8, U64), np.empty(longest + 8, U8)
    hashes = np.empty(starts[texts] + 8, U64)
    begins = np.empty(texts, np.int64)
    sizes = np.empty(texts, np.int64)
    at = np.int64(0)
    for t in range(texts):
        found = _shingles(
            data, starts[t], starts[t + 1] - 1, bytewise, by_words, size, U64(0), hashes, at, word, folded
        )
        begins[t] = at
        sizes[t] = _distinct(hashes, at, found, table, stamp, np.int32(t))
        at += sizes[t]
    scores = np.full(len(left), -1.0)
    mark = np.int32(texts)
    for f in range(fields):
        current = -1
        for i in range(len(left)):
            x, y = left[i] * fields + f, right[i] * fields + f
            if f > 0 and scores[i] < 0:
                continue
            # A hair below, as this only saves work: what decides is the division.
            needed = int(np.ceil(threshold / (1.0 + threshold) * (sizes[x] + sizes[y]) - 1e-6))
            if sizes[x] == 0 or sizes[y] == 0 or min(sizes[x], sizes[y]) < needed:
                scores[i] = -1.0
                continue
            if x != current:
                current = x
                mark += np.int32(1)
                shift = _shift(sizes[x])
                mask = (U64(1) << (U64(64) - shift)) - U64(1)
                for p in range(U64(begins[x]), U64(begins[x] + sizes[x])):
                    h = hashes[p]
                    q = h >> shift
                    while stamp[q] == mark:
                        q = (q + U64(1)) & mask
                    stamp[q] = mark
                    table[q] = h
            shared = 0
            rest = sizes[y]
            for p in range(U64(begins[y]), U64(begins[y] + sizes[y])):
                if shared + rest < needed:
                    break
                h = hashes[p]
                q = h >> shift
                while stamp[q] == mark and table[q] != h:
                    q = (q + U64(1)) & mask
                shared += stamp[q] == mark
                rest -= 1
            score = shared / (sizes[x] + sizes[y] - shared)
            if score < threshold:
                scores[i] = -1.0
            else:
                scores[i] = score if f == 0 else min(scores[i], score)
    return scores
