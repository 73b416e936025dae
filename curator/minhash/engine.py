"""One search, told top to bottom: sketch every text, let bands propose, count what was proposed.

Loaded by searches only. Memory holds a few bytes a text and band, never the texts: they stream past once, and those
that are candidates are asked for again.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain, islice
from threading import Thread
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from curator.minhash import fallback
from curator.minhash.bands import Scheme, parse_shingle
from curator.minhash.clusters import Joined, Progress, Similar, Take, Text, Texts
from curator.minhash.shingles import FOLD, Array, join, pack
from curator.minhash.signatures import permutations

CHUNK_TEXTS, CHUNK_CHARACTERS = 4096, 4 << 20
# Shingles of the candidates that are counted at once by one thread: 16 MB of hashes.
BLOCK_SHINGLES = 1 << 21
# Texts that all say the same but for a word make pairs by their square: in one band no more are looked at.
MOST_MEETINGS = 8_000_000
EARLY = 3  # the share of the bands whose candidates are read first: of pairs at the threshold one in twenty is left
T = TypeVar("T")


def load(engine: str, few: bool = False) -> ModuleType:
    """Return the loops of an engine.

    `auto` takes the compiled ones where numba is there, but not for a few texts where they are not loaded yet.
    """
    if engine == "numpy" or (engine == "auto" and few and "curator.minhash.kernels" not in sys.modules):
        return fallback
    try:
        from curator.minhash import kernels
    except ImportError:
        if engine == "numba":
            raise
        return fallback
    return kernels


def prepare(loops: ModuleType, on_progress: Progress) -> None:
    """Have the loops loaded, or compiled where they never were, and tell it where that takes more than a second.

    What `on_progress` raises ends the wait; the loops are made ready all the same.
    """
    if loops is fallback or all(getattr(loops, name).signatures for name in loops.__all__):
        return
    some = ["to be alike in most of its words", "to be alike in most of its letters", "größer als die anderen"]
    scheme = Scheme("char5", bands=16, rows=1)

    def search_few() -> None:
        search(some, lambda places: [some[place] for place in places], 3, 0.5, scheme, loops, 1, lambda *_: None)

    thread = Thread(target=search_few)
    thread.start()
    thread.join(1)
    while thread.is_alive():
        on_progress("prepare", 0, 0)
        thread.join(0.2)


def search(
    texts: Texts, take: Take, count: int | None, threshold: float, scheme: Scheme,
    loops: ModuleType, threads: int, on_progress: Progress,
) -> Similar:  # fmt: skip
    """Return every two texts that are similar enough. The story of `curator.minhash.find_similar`."""
    with closing(Crew(threads)) as crew:
        keys, looks, counts, sums = sketches(texts, count, scheme, loops, crew, on_progress)
        copy_of = copies(keys, counts, sums, loops)
        del sums
        firsts = np.flatnonzero((copy_of == np.arange(len(copy_of))) & (counts > 0))
        met = propose(keys, looks, firsts, scheme, threshold, loops, crew)
        # The first bands bring nearly all. While those are read again, other threads look through the other bands.
        bands, early = 0, scheme.bands // EARLY if threads > 1 else scheme.bands
        near, complete = [], True
        for some in (early, scheme.bands - early):
            candidates = [np.empty(0, np.uint64)]
            for found, cut in islice(met, some):
                candidates.append(found)
                complete &= not cut
                bands += 1
                on_progress("group", bands, scheme.bands)
            near.append(verify(np.concatenate(candidates), counts, take, threshold, scheme, loops, crew, on_progress))
    copied = np.flatnonzero(copy_of != np.arange(len(copy_of)))
    near.append((copy_of[copied], copied, np.ones(len(copied))))
    left, right, jaccard = map(np.concatenate, zip(*near, strict=True))
    order = in_order(left, right)
    return Similar(left[order], right[order], jaccard[order], copy_of, complete)


class Crew:
    """Threads that work ahead by a few pieces only, so that what waits for them fits into memory.

    Made for one search and gone with it: a process forked later finds no thread missing.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def map(self, work: Callable[..., T], pieces: Iterable[tuple[object, ...]], ahead: int = 0) -> Iterator[T]:
        """Yield what `work` makes of each piece, in order. So many pieces `ahead` may wait; if none, two a thread."""
        if self.pool is None:
            for piece in pieces:
                yield work(*piece)
            return
        waiting: deque[Future[T]] = deque()
        for piece in pieces:
            waiting.append(self.pool.submit(work, *piece))
            if len(waiting) > (ahead or 2 * self.threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def default_threads() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(texts: Texts) -> Iterator[list[Text | tuple[Text, ...]] | Joined]:
    """Yield texts by the thousand; fewer at once where they are long. Texts in one piece stay as they come."""
    source: Iterator[Any] = iter(texts)
    first = next(source, None)
    if isinstance(first, Joined):
        yield first
        yield from source
        return
    source = chain([] if first is None else [first], source)
    chunk: list[Text | tuple[Text, ...]] = []
    size = 0
    while some := list(islice(source, 256)):
        chunk += some
        size += sum(map(len, some if not isinstance(some[0], tuple) else chain.from_iterable(some)))
        if len(chunk) >= CHUNK_TEXTS or size > CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class Sketches(NamedTuple):
    """What is kept of each text: its band keys, two bits of each permutation, its number of shingles, and the sum of
    the squares of their hashes.
    """

    keys: Array
    looks: Array
    counts: Array
    sums: Array

    @classmethod
    def room(cls, texts: int, scheme: Scheme) -> Sketches:
        keys = np.zeros((texts, scheme.bands), np.uint32)
        looks = np.zeros((texts, -(-scheme.permutations // 32)), np.uint64)
        return cls(keys, looks, np.zeros(texts, np.int32), np.zeros(texts, np.uint64))


def sketches(
    texts: Texts, count: int | None, scheme: Scheme, loops: ModuleType, crew: Crew, on_progress: Progress
) -> Sketches:
    """Return what is kept of each text."""
    kind, size = parse_shingle(scheme.shingle)
    a, b = permutations(scheme.permutations, scheme.seed)

    def sketch(chunk: list[Text | tuple[Text, ...]] | Joined, some: Sketches) -> Sketches:
        piece = join(chunk)
        data, starts = pack(piece, loops)
        loops.sketch(data, starts, FOLD, kind == "word", size, piece.fields, a, b, scheme.rows, *some)
        return some

    # Room for as many as there will be, which is written to as it is; what comes beyond has its own.
    kept, within = Sketches.room(count or 0, scheme), 0

    def pieces() -> Iterator[tuple[list[Text | tuple[Text, ...]] | Joined, Sketches]]:
        nonlocal within
        end = 0
        for chunk in chunks(texts):
            start, end = end, end + (chunk.texts if isinstance(chunk, Joined) else len(chunk))
            if end <= len(kept.counts):
                within = end
                yield chunk, Sketches(*(x[start:end] for x in kept))
            else:
                yield chunk, Sketches.room(end - start, scheme)

    done, beyond = 0, []
    for some in crew.map(sketch, pieces()):
        done += len(some.counts)
        if done > within:
            beyond.append(some)
        on_progress("read", done, count or 0)
    kept = Sketches(*(x[:within] for x in kept))
    return Sketches(*map(np.concatenate, zip(kept, *beyond, strict=True))) if beyond else kept


def copies(keys: Array, counts: Array, sums: Array, loops: ModuleType) -> Array:
    """Return of each text the first one with the same shingles as often, which is itself where there is none.

    Their number, the sum of the squares of their 32-bit hashes and all band keys have to agree: some 60 bits and, in
    two texts that have little in common, 32 more a band. Of a million texts no two agree by accident.
    """
    copy_of = np.arange(len(counts))
    # Few share half of their sum with another: only these are put in order by all of it.
    order = loops.ordered(sums.view(np.uint32).reshape(-1, 2), np.flatnonzero(counts), 0)
    shared = alike(order)
    shared[1:] |= shared[:-1].copy()
    order = np.sort(order[shared] & np.uint64(0xFFFFFFFF)).astype(np.int64)
    order = order[np.argsort(sums[order], kind="stable")]
    same = sums[order[1:]] == sums[order[:-1]]
    heads = np.concatenate([[True], ~same])[: len(order)]
    first = order[np.flatnonzero(heads)[np.cumsum(heads) - 1]]
    later = np.flatnonzero(~heads)
    first, order = first[later], order[later]
    for some in range(0, len(order), 1 << 16):
        x, y = first[some : some + (1 << 16)], order[some : some + (1 << 16)]
        equal = (counts[x] == counts[y]) & (keys[x] == keys[y]).all(axis=1)
        copy_of[y[equal]] = x[equal]
    return copy_of


def propose(
    keys: Array, looks: Array, firsts: Array, scheme: Scheme, threshold: float, loops: ModuleType, crew: Crew
) -> Iterator[tuple[Array, bool]]:
    """Yield the candidates of each band, first * 2**32 + second, and whether some that met were not looked at."""
    most, differing = MOST_MEETINGS + 8 * len(firsts), scheme.most_differing(threshold)

    def meet(band: int) -> tuple[Array, bool]:
        order = loops.ordered(keys, firsts, band)
        # Runs of one key; most keys come once, and are not even listed.
        edges = np.flatnonzero(np.diff(alike(order), prepend=False))
        begins, ends = edges[::2].copy(), edges[1::2] + 1
        reach = reach_within(most, ends - begins)
        return loops.meet(order, begins, ends, keys, looks, differing, band, reach), reach < len(firsts)

    if len(firsts) > 1:
        yield from crew.map(meet, ((band,) for band in range(scheme.bands)), ahead=scheme.bands)


def alike(order: Array) -> Array:
    """Return of each text in what `ordered` returns whether the next one has the same key."""
    same = np.zeros(len(order), bool)
    np.less(order[1:] ^ order[:-1], np.uint64(1 << 32), out=same[:-1])
    return same


def reach_within(most: int, lengths: Array) -> int:
    """Return with how many before it each text of a run may be compared, so that it makes `most` pairs at most."""
    longest = int(lengths.max(initial=1))

    def meetings(reach: int) -> int:
        near = np.minimum(lengths - 1, reach)
        return int((near * (2 * lengths - near - 1) // 2).sum())

    if meetings(longest) <= most:
        return 1 << 62
    low, high = 1, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if meetings(middle) <= most else (low, middle - 1)
    return low


def in_order(left: Array, right: Array) -> Array:
    """Return the order of two texts each by the first, then by the second: that of one number is quicker to find."""
    return np.argsort(left << 32 | right)


def verify(
    candidates: Array, counts: Array, take: Take, threshold: float, scheme: Scheme, loops: ModuleType, crew: Crew,
    on_progress: Progress,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return the candidates that are similar enough, with their exact Jaccard similarity."""
    left, right = (candidates >> np.uint64(32)).astype(np.int64), (candidates & np.uint64(0xFFFFFFFF)).astype(np.int64)
    if not len(left):
        return left, right, np.empty(0)
    # What hangs together lies together, so that few texts are asked for twice.
    order = in_order(left, right)
    order = order[np.argsort(loops.components(len(counts), left, right)[left[order]], kind="stable")]
    left, right = left[order], right[order]
    weight = counts[right].astype(np.int64)
    weight[1:] += np.where(left[1:] != left[:-1], counts[left[1:]], 0)
    weight[0] += counts[left[0]]
    block = np.cumsum(weight) // BLOCK_SHINGLES
    cuts = np.concatenate([[0], np.flatnonzero(block[1:] != block[:-1]) + 1, [len(left)]])
    kind, size = parse_shingle(scheme.shingle)

    def pieces() -> Iterator[tuple[Sequence[Text | tuple[Text, ...]] | Joined, int, Array, Array]]:
        for begin, end in zip(cuts[:-1], cuts[1:], strict=True):
            places, both = np.unique(np.concatenate([left[begin:end], right[begin:end]]), return_inverse=True)
            yield take(places.tolist()), len(places), both[: end - begin], both[end - begin :]

    def count_shared(texts: Sequence[Text | tuple[Text, ...]] | Joined, asked: int, one: Array, other: Array) -> Array:
        piece = join(texts)
        if piece.texts != asked:
            raise ValueError(f"{asked} texts were asked for again, and {piece.texts} came")
        data, starts = pack(piece, loops)
        found: Array = loops.verify(data, starts, FOLD, kind == "word", size, piece.fields, one, other, threshold)
        return found

    scores = np.empty(len(left))
    done = 0
    for some in crew.map(count_shared, pieces()):
        scores[done : done + len(some)] = some
        done += len(some)
        on_progress("compare", done, len(left))
    kept = scores >= threshold
    return left[kept], right[kept], scores[kept]


def band_arrays(texts: Sequence[Text], scheme: Scheme, loops: ModuleType) -> tuple[Array, Array]:
    """Return of each text the keys of its bands, and which texts are not empty."""
    kind, size = parse_shingle(scheme.shingle)
    a, b = permutations(scheme.permutations, scheme.seed)
    kept = Sketches.room(len(texts), scheme)
    if len(texts):
        data, starts = pack(join(texts), loops)
        loops.sketch(data, starts, FOLD, kind == "word", size, 1, a, b, scheme.rows, *kept)
    return kept.keys.view(np.int32), kept.counts > 0


def scores(texts: Sequence[Text], left: Array, right: Array, shingle: str, loops: ModuleType) -> Array:
    """Return the exact Jaccard similarity of texts, two by two, by their places."""
    kind, size = parse_shingle(shingle)
    data, starts = pack(join(texts), loops)
    found: Array = loops.verify(data, starts, FOLD, kind == "word", size, 1, left, right, 0.0)
    return np.maximum(found, 0.0)
