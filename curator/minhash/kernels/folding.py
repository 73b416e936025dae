"""Texts found and folded: letters as small letters, everything between them as a space. Knows arrays only."""

from __future__ import annotations

import numpy as np

from curator.minhash.kernels.compiling import compiled
from curator.minhash.shingles import FOLDED_CODES, HARD, LATE, MARK

U8, U64 = np.uint8, np.uint64
_HARD, _CODES, _MARK, _LATE = U64(HARD), U64(FOLDED_CODES), U64(MARK), U64(LATE)


@compiled
def begins(data, texts):  # type: ignore[no-untyped-def]
    """Return where each of packed texts begins, and the last one ends; how many there are, and whether all is ASCII."""
    starts = np.zeros(texts + 1, np.int64)
    found = np.int64(0)
    seen = U8(0)
    whole = U64(len(data)) // U64(64) * U64(64)
    for p in range(U64(0), whole, U64(64)):
        zeros = U8(0)
        for q in range(U64(64)):  # at once, where it says 64
            seen |= data[p + q]
            zeros |= U8(data[p + q] == U8(0))
        if zeros:
            for q in range(p, p + U64(64)):
                if data[q] == U8(0):
                    found += 1
                    starts[min(found, texts)] = q + U64(1)
    for q in range(whole, U64(len(data))):
        seen |= data[q]
        if data[q] == U8(0):
            found += 1
            starts[min(found, texts)] = q + U64(1)
    return starts, found, seen < U8(0x80)


@compiled
def fold(data, starts, bytewise, codes):  # type: ignore[no-untyped-def]
    """Return packed texts folded, where each begins, and which have to be folded as a whole."""
    n = len(starts) - 1
    out = np.empty(4 * len(data) + 8, U8)
    begins = np.empty(n + 1, np.int64)
    hard = np.zeros(n, np.bool_)
    at = 0
    for i in range(n):
        begins[i] = at
        late = U64(0)
        p, end = starts[i], starts[i + 1] - 1
        while p < end:
            c = U64(data[p])
            if c < U64(0x80):
                late = U64(0)
                out[at] = bytewise[data[p]]
                if out[at] == 0:
                    out[at] = 32
                at += 1
                p += 1
                continue
            more = 1 if c >> U64(5) == U64(6) else 2 if c >> U64(4) == U64(14) else 3 if c >> U64(3) == U64(30) else 0
            code = c & U64(0x3F >> more)
            valid = more > 0 and p + more < end
            for k in range(more):
                if valid:
                    tail = U64(data[p + 1 + k])
                    valid = tail >> U64(6) == U64(2)
                    code = code << U64(6) | (tail & U64(0x3F))
            if not valid or code >= _CODES or code < U64(0x80) or codes[code] == _HARD:
                hard[i] = True
                break
            folded = codes[code]
            if folded & late & _LATE:
                hard[i] = True
                break
            late = folded
            if folded & _MARK and (at == begins[i] or out[at - 1] == 32):
                folded = U64(1 << 56 | 32)
            for _ in range((folded >> U64(56)) & U64(7)):
                out[at] = U8(folded & U64(0xFF))
                folded >>= U64(8)
                at += 1
            p += more + 1
        out[at] = 0
        at += 1
    begins[n] = at
    return out[:at], begins, hard
