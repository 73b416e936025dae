"""Texts that are nearly the same: MinHash proposes, counting decides. Knows texts and arrays, and no database.

The doors are here and load nothing heavy; behind them `bands` chooses the scheme, `shingles` makes sets of texts,
`signatures` has datasketch's permutations, `engine` tells a search, `kernels` and `fallback` are its loops, compiled
or in NumPy, `reference` is the same search by datasketch itself, `clusters` cuts what was found into stars, and
`facts` tells a reworded copy from another fact by its `words`, which `aligning` lays beside each other. `files`
searches files where they lie, in this process or, by `ray`, on a cluster, as `plan` says.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence, Sized
from typing import Any

from curator.errors import UserError
from curator.minhash.bands import Scheme, choose, parse_shingle, stored
from curator.minhash.clusters import Array, Joined, Progress, Similar, Take, Text, Texts, stars
from curator.minhash.facts import Facts, differs_in_fact

__all__ = [
    "ENGINES", "STAGES", "Facts", "Joined", "Progress", "Scheme", "Similar", "Take",
    "band_arrays", "band_keys", "choose", "differs_in_fact", "find_similar", "nearest_size",
    "scores", "scores_of", "stars", "stored",
]  # fmt: skip

ENGINES = ("auto", "numba", "numpy", "datasketch")
# What a search is doing, as people read it.
STAGES = {
    "prepare": "Preparing, once after an installation", "read": "Reading", "group": "Grouping", "compare": "Comparing",
}  # fmt: skip
# So few that NumPy is done before the compiled loops are loaded, which takes half a second, and ten of them where
# they have to be compiled first. Once a larger search has loaded them they do everything.
FEW, FEW_SEARCHED = 1000, 5000


def nothing(stage: str, done: int, total: int) -> None:
    """Hear of progress, and let it be."""


def find_similar(
    texts: Texts, threshold: float, shingle: str = "char5", *, take: Take | None = None, count: int | None = None,
    engine: str = "auto", threads: int | None = None, scheme: Scheme | None = None, on_progress: Progress = nothing,
) -> Similar:  # fmt: skip
    """Return every two texts whose Jaccard similarity is at least `threshold`, each similarity counted.

    `texts` are read once, in order; `take` is asked, in ascending order, for those at some places again, and
    without it they are kept. A text is a string, or bytes of UTF-8, or a tuple of fields: those are alike where
    they are alike in each field, and their similarity is the least of any. Empty texts are like nothing. A stream
    can't say how many it has: `count` does, for the scheme that suits and for room made once. With `take`, texts may
    come and be given again many in one piece, `Joined`: then none of them is ever made an object.

    Of the pairs just at the threshold at most one in 10,000 is missed, of those above it fewer, and one in a million
    among up to 10,000 texts. What is
    returned is right but for two different shingles with one 64-bit hash: once in 10**14 pairs of texts of
    500 shingles; NumPy counts with 63 bits. Rows, threads and engines in another order change nothing.

    `on_progress` is called from this thread, and what it raises ends the search. Raises UserError where the
    threshold, the shingle or the engine makes no sense.
    """
    if engine not in ENGINES:
        raise UserError(f"There is no engine {engine!r}. Take one of {', '.join(ENGINES)}.")
    if engine == "numba" and not importlib.util.find_spec("numba"):
        raise UserError("numba is not installed. Install it with: pip install numba. Or take the engine numpy.")
    if take is None:
        kept: Any = texts if isinstance(texts, Sequence) else list(texts)
        texts, take = kept, lambda places: [kept[place] for place in places]
    count = len(texts) if isinstance(texts, Sized) else count
    parse_shingle(shingle)
    scheme = scheme or choose(threshold, shingle, nearest_size(count))

    from curator.minhash import engine as story

    if engine == "datasketch":
        from curator.minhash import reference

        return reference.search(texts, threshold, scheme, on_progress)
    threads = threads or story.default_threads()
    loops = story.load(engine, few=count is not None and count <= FEW_SEARCHED)
    story.prepare(loops, on_progress)
    return story.search(texts, take, count, threshold, scheme, loops, threads, on_progress)


def nearest_size(count: int | None) -> int:
    """Return the power of ten to choose a scheme for: so that few more texts do not change it."""
    size = 1000
    while size < (100_000 if count is None else count):
        size *= 10
    return size


def band_keys(texts: Sequence[Text], scheme: Scheme, engine: str = "auto") -> list[list[int]]:
    """Return of each text the keys of its bands, to be stored and looked up: signed 32-bit numbers, each once.

    The band is part of what is hashed, so a key needs no number of its band beside it: SQLite stores four bytes.
    Two texts that share a key are candidates. Empty texts have no keys.
    """
    keys, filled = band_arrays(texts, scheme, engine)
    return [sorted(set(row)) if full else [] for row, full in zip(keys.tolist(), filled.tolist(), strict=True)]


def band_arrays(texts: Sequence[Text], scheme: Scheme, engine: str = "auto") -> tuple[Array, Array]:
    """Return what `band_keys` does for many: int32 of shape (texts, bands), and which texts are not empty."""
    from curator.minhash import engine as story

    return story.band_arrays(texts, scheme, story.load(engine, few=len(texts) < FEW))


def scores(one: Text, others: Sequence[Text], shingle: str = "char5", engine: str = "auto") -> list[float]:
    """Return the exact Jaccard similarity of one text to each of the others, as `find_similar` counts it."""
    found: list[float] = scores_of(
        [one, *others], [0] * len(others), range(1, len(others) + 1), shingle, engine
    ).tolist()
    return found


def scores_of(
    texts: Sequence[Text],
    left: Sequence[int] | Array,
    right: Sequence[int] | Array,
    shingle: str = "char5",
    engine: str = "auto",
) -> Array:
    """Return the exact Jaccard similarity of texts, two by two, by their places: float64."""
    import numpy as np

    from curator.minhash import engine as story

    loops = story.load(engine, few=len(texts) < FEW)
    # In one piece each: for arrays with gaps the loops would be compiled once more.
    left, right = (np.ascontiguousarray(places, np.int64) for places in (left, right))
    return story.scores(texts, left, right, shingle, loops)
