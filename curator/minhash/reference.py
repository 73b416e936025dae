"""The same search by datasketch's own MinHash and MinHashLSH: slow, and the same answers, for who wants to check ours.

Texts are kept, sets are Python's, signatures are MinHash objects of scheme affine32, candidates come out of an index.
"""

from __future__ import annotations

import numpy as np

from curator.minhash import fallback, shingles
from curator.minhash.bands import Scheme, parse_shingle
from curator.minhash.clusters import Joined, Progress, Similar, Text, Texts
from curator.minhash.engine import chunks
from curator.minhash.shingles import FOLD, Array


def search(texts: Texts, threshold: float, scheme: Scheme, on_progress: Progress) -> Similar:
    """Return every two texts that are similar enough."""
    from datasketch import MinHash, MinHashLSH

    rows: list[Text | tuple[Text, ...]] = []
    hashes: list[Array] = []
    for chunk in chunks(texts):
        rows += chunk.apart() if isinstance(chunk, Joined) else chunk
        hashes += hash_sets(shingles.join(chunk), scheme.shingle)
        on_progress("read", len(rows), 0)
    firsts: dict[bytes, int] = {}
    copy_of = np.array([firsts.setdefault(h.tobytes(), i) if len(h) else i for i, h in enumerate(hashes)], np.int64)

    index = MinHashLSH(num_perm=scheme.permutations, params=(scheme.bands, scheme.rows))
    found = [(int(first), i, 1.0) for i, first in enumerate(copy_of) if first != i]
    for i in firsts.values():
        minhash = MinHash(num_perm=scheme.permutations, seed=scheme.seed, hashfunc=int, scheme="affine32")
        minhash.update_batch((hashes[i] >> np.uint64(32)).tolist())
        for j in index.query(minhash):
            score = jaccard(rows[j], rows[i], scheme.shingle)
            if score >= threshold:
                found.append((j, i, score))
        index.insert(i, minhash, check_duplication=False)
        on_progress("compare", i + 1, len(rows))
    found.sort()
    left, right, scores = zip(*found, strict=True) if found else ((), (), ())
    return Similar(np.array(left, np.int64), np.array(right, np.int64), np.array(scores, float), copy_of, True)


def hash_sets(chunk: Joined, shingle: str) -> list[Array]:
    """Return of each text the hashes of its shingles, sorted; none where one of its fields is empty."""
    kind, size = parse_shingle(shingle)
    fields = chunk.fields
    data, starts = shingles.pack(chunk, fallback)
    hashes, owner = fallback.shingle_hashes(data, starts, FOLD, kind == "word", size, fields, True)
    by_field = np.split(hashes, np.searchsorted(owner, np.arange(1, chunk.texts * fields)))
    texts = [by_field[i : i + fields] for i in range(0, len(by_field), fields)]
    return [np.sort(np.concatenate(text)) if all(map(len, text)) else np.empty(0, np.uint64) for text in texts]


def jaccard(one: Text | tuple[Text, ...], other: Text | tuple[Text, ...], shingle: str) -> float:
    """Return the share of what two texts have together that both have; the least of any field, 0 where one is empty."""
    both = zip(one if isinstance(one, tuple) else (one,), other if isinstance(other, tuple) else (other,), strict=True)
    least = 1.0
    for a, b in both:
        mine, theirs = shingles.sets(a, shingle), shingles.sets(b, shingle)
        shared = len(mine & theirs)
        least = min(least, shared / (len(mine) + len(theirs) - shared) if shared else 0.0)
    return least
