"""Vectors that point the same way: the pairs of a whole set, and the nearest of one. Knows no text and no model.

An index only proposes: every cosine that is reported was computed from the two vectors, in double precision.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.errors import UserError

if TYPE_CHECKING:
    import numpy as np

# Up to here comparing all with all costs less than making an index and asking it for each; see bench/README.md.
EXACT_UP_TO = 100_000
BLOCK = 2048  # rows compared at once: 16 MB of cosines
NEIGHBOURS = 32  # proposed by the index for each vector; who has more of them is compared with all
MAX_PAIRS = 20_000_000
ROUNDING = 1e-5  # above what single precision adds to a cosine of 4096 numbers

Progress = Callable[[int, int], object]
Arrays = tuple["np.ndarray", "np.ndarray", "np.ndarray"]


def find_similar(
    vectors: np.ndarray, threshold: float, *, exact: bool | None = None, on_progress: Progress | None = None
) -> Arrays:
    """Return i, j and cosine of every two vectors whose cosine is at least `threshold`: i < j, sorted.

    Copies are compared once: each later copy of a vector is paired with its first, at 1.0, and what is near them
    is paired with the first alone. A vector of zeros points nowhere and is like nothing.

    Without `exact`, up to 100,000 distinct vectors are all compared, and beyond an index proposes, which misses
    few (bench/README.md says how few). The answer depends on the vectors alone, not on how the work is cut up.
    Raises UserError for vectors that are none, a threshold not in (0, 1], and more than 20 million pairs.
    """
    import numpy as np

    if not 0 < threshold <= 1:
        raise UserError(f"The cosine is {threshold:g}. Choose one above 0 and at most 1, such as 0.85.")
    units = unit_vectors(vectors)
    distinct, copies, originals = find_copies(units)
    chosen = units[distinct] if len(distinct) < len(units) else units
    if exact is None:
        exact = len(chosen) <= EXACT_UP_TO
    tell = on_progress or (lambda done, total: None)
    propose = (compare_all if exact else ask_index)(chosen, threshold - ROUNDING, tell)
    found = [(originals, copies, np.ones(len(copies)))]
    count = len(copies)
    for a, b in propose:
        a, b = np.minimum(a, b), np.maximum(a, b)
        cosine = cosines(chosen, a, b)
        near = cosine >= threshold
        found.append((distinct[a[near]], distinct[b[near]], cosine[near]))
        count += int(near.sum())
        if count > MAX_PAIRS:
            raise UserError(f"More than {MAX_PAIRS:,} pairs have a cosine of {threshold:g}. Choose a higher one.")
    i, j, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    # The index may propose a pair from both its ends.
    _, places = np.unique(i * len(units) + j, return_index=True)
    return i[places], j[places], cosine[places]


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return vectors as rows of length 1 in single precision, zeros as they are. Raises UserError."""
    import numpy as np

    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2:
        raise UserError(f"Vectors come as rows of one table, and these have {rows.ndim} dimensions.")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        raise UserError(f"Vector {broken[0] + 1} of {len(rows):,} is not made of numbers. Embed the texts again.")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.where(lengths > 0, lengths, 1)
    units += 0.0  # makes -0.0 the 0.0 that it equals, also byte by byte
    return units


def find_copies(units: np.ndarray) -> Arrays:
    """Return the places of the distinct vectors, those of the later copies, and of each copy the first."""
    import numpy as np

    first: dict[bytes, int] = {}
    copies, originals = [], []
    for place, row in enumerate(units):
        if not row.any():
            continue
        # Two rows share 128 bits of hash by chance never, and these take a hundredth of the memory of the rows.
        seen = first.setdefault(blake2b(row, digest_size=16).digest(), place)
        if seen != place:
            copies.append(place)
            originals.append(seen)
    distinct = list(first.values())
    return np.array(distinct, dtype=np.int64), np.array(copies, dtype=np.int64), np.array(originals, dtype=np.int64)


def first_of(vectors: np.ndarray) -> np.ndarray:
    """Return of each vector the place of the first that is the same, as `find_similar` joins them."""
    import numpy as np

    _, copies, originals = find_copies(unit_vectors(vectors))
    first = np.arange(len(vectors))
    first[copies] = originals
    return first


def compare_all(units: np.ndarray, threshold: float, tell: Progress) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the places a < b of vectors whose cosine, in single precision, is at least `threshold`."""
    import numpy as np

    for top in range(0, len(units), BLOCK):
        for left in range(top, len(units), BLOCK):
            a, b = np.nonzero(units[top : top + BLOCK] @ units[left : left + BLOCK].T >= threshold)
            a, b = a + top, b + left
            yield a[a < b], b[a < b]
        tell(min(top + BLOCK, len(units)), len(units))


def ask_index(units: np.ndarray, threshold: float, tell: Progress) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places that an index of the vectors proposes; and all there are, of those with many neighbours."""
    import numpy as np

    count = len(units)
    index = Index.build(units, on_progress=lambda done, total: tell(done // 2, total))
    for top in range(0, count, BLOCK):
        rows = np.arange(top, min(top + BLOCK, count))
        places, proposed = index.propose(units[rows], min(NEIGHBOURS, count))
        near = proposed >= threshold
        near &= places != rows[:, None]
        a, b = np.nonzero(near)
        yield rows[a], places[a, b]
        crowded = rows[proposed[:, -1] >= threshold]
        for left in range(0, count if len(crowded) else 0, BLOCK):
            a, b = np.nonzero(units[crowded] @ units[left : left + BLOCK].T >= threshold)
            a, b = crowded[a], b + left
            yield a[a != b], b[a != b]
        tell((count + rows[-1] + 1) // 2, count)


def cosines(units: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each two vectors, in double precision and at most 1."""
    import numpy as np

    parts = [
        np.einsum("ij,ij->i", units[a[top : top + BLOCK]], units[b[top : top + BLOCK]], dtype=np.float64)
        for top in range(0, len(a), BLOCK)
    ]
    return np.minimum(np.concatenate(parts), 1.0) if parts else np.zeros(0)


class Index:
    """A graph of vectors that finds the nearest of one without looking at them all (HNSW, by usearch).

    It keeps the vectors in half precision under the caller's keys, whole numbers from 0. Built from the same
    vectors in the same order it is the same, since one thread builds it; two would be quicker and never
    the same twice. Many copies of one vector make a poor graph: give each vector once.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    @classmethod
    def build(
        cls, vectors: np.ndarray, keys: Sequence[int] | None = None, on_progress: Progress | None = None
    ) -> Index:
        """Return an index of vectors, under their places where no keys are given. Raises UserError."""
        import numpy as np

        units = unit_vectors(vectors)
        names = np.arange(len(units)) if keys is None else np.asarray(keys)
        graph = usearch_index()(ndim=max(units.shape[1], 1), **OPTIONS)
        for top in range(0, len(units), BLOCK):
            graph.add(names[top : top + BLOCK].astype(np.uint64), units[top : top + BLOCK], threads=1)
            if on_progress:
                on_progress(min(top + BLOCK, len(units)), len(units))
        return cls(graph)

    def __len__(self) -> int:
        return len(self.graph)

    def nearest(self, vector: np.ndarray, count: int) -> list[tuple[int, float]]:
        """Return the keys of the vectors nearest to one, and their cosines, the nearest first.

        Raises UserError where the vector is none, or has another number of dimensions.
        """
        import numpy as np

        unit = unit_vectors(np.asarray(vector)[None])
        if unit.shape[1] != self.graph.ndim:
            raise UserError(
                f"The vector has {unit.shape[1]} numbers and those of the index have {self.graph.ndim}: they are of "
                "different models. Make the index again."
            )
        if not len(self):
            return []
        keys = np.sort(self.graph.search(unit[0], min(count, len(self)), threads=1).keys)
        kept = unit_vectors(self.graph.get(keys, dtype="f32")).astype(np.float64)
        found = np.minimum(kept @ unit[0].astype(np.float64), 1.0)
        return [(int(keys[place]), float(found[place])) for place in np.argsort(-found, kind="stable")]

    def propose(self, units: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return, a row for each unit vector, the keys of its nearest and cosines that are not exact."""
        import numpy as np

        found = self.graph.search(units, count, threads=os.cpu_count() or 1)
        return found.keys.reshape(len(units), -1).astype(np.int64), 1 - found.distances.reshape(len(units), -1)

    def save(self, path: Path) -> None:
        """Write the index to a file, which is replaced whole."""
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        os.close(handle)
        try:
            self.graph.save(name)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Index:
        """Open the index in a file, which is read as far as it is asked. Raises UserError where it is none."""
        try:
            graph = usearch_index().restore(path, view=True) if path.is_file() else None
        except (RuntimeError, ValueError, KeyError):
            graph = None
        if graph is None:
            raise UserError(f"{path} is no index of vectors. Make it again.")
        graph.expansion_search = OPTIONS["expansion_search"]
        return cls(graph)


OPTIONS = {"metric": "ip", "dtype": "f16", "connectivity": 16, "expansion_add": 128, "expansion_search": 128}


def usearch_index() -> Any:
    try:
        from usearch.index import Index as Graph
    except ModuleNotFoundError:
        raise UserError(
            "An index of vectors needs usearch. Install it with: pip install 'qa-curator[semantic]'"
        ) from None
    return Graph
