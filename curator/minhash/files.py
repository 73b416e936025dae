"""Near-duplicates in files too large to import: which line can go, and which one is kept for it.

Knows files as `formats.pieces` cuts them, and no database. In one process the texts are kept in memory; with Ray they
stay where they lie. Both give the same answer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curator import minhash
from curator.errors import UserError
from curator.formats import pieces
from curator.formats.writing import NUMBER, TEXT
from curator.minhash.clusters import Array, Progress, Similar
from curator.minhash.plan import FIELDS, Compared, Edges, Plan, differs

COLUMNS = {
    "file": TEXT, "line": NUMBER, "act": TEXT, "kept_file": TEXT, "kept_line": NUMBER, "similarity": NUMBER,
    "fact": TEXT,
}  # fmt: skip
EDGES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Found:
    """What a search of files found; `similar` goes by places in `ids`."""

    pieces: Sequence[pieces.Piece]
    rows: Array  # of each piece
    empty: int  # rows without a pair, which are like nothing
    ids: Array  # piece * 2**32 + row in the piece, ascending: of those that are like another
    similar: Similar
    facts: dict[tuple[int, int], str]  # by places: what two that are near differ in

    def lines(self) -> tuple[list[str], list[int]]:
        """Return of each id its file and its line, from 1."""
        import numpy as np

        paths = [piece.path for piece in self.pieces]
        before = np.cumsum(self.rows) - self.rows
        new = [i for i, path in enumerate(paths) if i == 0 or path != paths[i - 1]]
        begins = before[np.repeat(new, np.diff([*new, len(paths)]))]
        piece = self.ids >> 32
        lines = (self.ids & 0xFFFFFFFF) + (before - begins)[piece] + 1
        return [paths[number] for number in piece.tolist()], lines.tolist()

    def stars(self) -> Iterator[tuple[int, list[tuple[int, float]]]]:
        """Yield what can go, by places: one kept, and those that are like it. The first in reading order is kept.

        What hangs together is cut at once, and little more at a time, so memory stays with the pairs themselves.
        """
        import numpy as np

        from curator.minhash import engine

        similar = self.similar
        if not len(self.ids):
            return
        label = engine.load("auto").components(len(self.ids), similar.left, similar.right)[similar.left]
        order = np.argsort(label, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(label[order])) + 1, len(order))
        begin = 0
        for end in ends[np.flatnonzero(np.diff(ends // EDGES_AT_ONCE, append=-1))].tolist():
            some = order[begin:end]
            begin = end
            both = np.concatenate([similar.left[some], similar.right[some]])
            places, local = np.unique(both, return_inverse=True)
            copy_of = np.searchsorted(places, similar.copy_of[places])
            part = Similar(local[: len(some)], local[len(some) :], similar.jaccard[some], copy_of, similar.complete)
            for kept, members in minhash.stars(range(len(places)), part):
                yield int(places[kept]), [(int(places[place]), score) for place, score in members]

    def report(self, automatic: float) -> Iterator[dict[str, Any]]:
        """Yield a row of COLUMNS for each line that is like the one kept.

        `act` is "drop" where it is that similar at least and differs in no fact, and "review" for the others.
        """
        paths, lines = self.lines()
        for kept, members in self.stars():
            for place, score in members:
                near = sorted((kept, int(self.similar.copy_of[place])))
                fact = self.facts.get((near[0], near[1]), "")
                yield {
                    "file": paths[place], "line": lines[place],
                    "act": "drop" if score >= automatic and not fact else "review",
                    "kept_file": paths[kept], "kept_line": lines[kept], "similarity": round(score, 4), "fact": fact,
                }  # fmt: skip


def search(
    paths: Sequence[str], threshold: float, shingle: str = "char5", field: str = "pair", *, engine: str = "auto",
    address: str | None = None, on_progress: Progress = minhash.nothing,
) -> Found:  # fmt: skip
    """Return what is similar in files: Parquet and JSON lines, folders or globs of them, here or in a store.

    `engine` is one of `minhash.ENGINES`, or "ray": then on the cluster at `address`, or on all processors of this
    machine. Raises UserError where a file can't be read, an option makes no sense, or the cluster is not there.
    """
    if field not in FIELDS:
        raise UserError(f"There is no field {field!r}. Take one of {', '.join(FIELDS)}.")
    if engine not in (*minhash.ENGINES, "ray"):
        raise UserError(f"There is no engine {engine!r}. Take one of {', '.join(minhash.ENGINES)} or ray.")
    if engine == "ray" and not importlib.util.find_spec("ray"):
        raise UserError("Ray is not installed. Install it with: pip install 'qa-curator[ray]'")
    found = pieces.cut(paths)
    size = minhash.nearest_size(sum(piece.rows for piece in found))
    plan = Plan(found, field, threshold, minhash.choose(threshold, shingle, size))

    if engine == "ray":
        from curator.minhash import ray

        return found_by(found, ray.search(plan, address, on_progress))
    return in_process(plan, engine, on_progress)


def found_by(cut: Sequence[pieces.Piece], edges: Edges) -> Found:
    """Return what Ray found, with places for ids."""
    import numpy as np

    left, right = np.concatenate([edges.left, edges.first]), np.concatenate([edges.right, edges.copy])
    jaccard = np.concatenate([edges.jaccard, np.ones(len(edges.copy))])
    order = np.lexsort((right, left))
    ids, both = np.unique(np.concatenate([left[order], right[order]]), return_inverse=True)
    one, other = both[: len(order)], both[len(order) :]
    copy_of = np.arange(len(ids))
    copy_of[np.searchsorted(ids, edges.copy)] = np.searchsorted(ids, edges.first)
    differs = np.flatnonzero(edges.fact.astype(bool))
    near = (np.searchsorted(ids, side[differs]).tolist() for side in (edges.left, edges.right))
    facts = dict(zip(zip(*near, strict=True), edges.fact[differs].tolist(), strict=True))
    similar = Similar(one, other, jaccard[order], copy_of, edges.complete)
    return Found(cut, edges.rows, edges.empty, ids, similar, facts)


def in_process(plan: Plan, engine: str, on_progress: Progress) -> Found:
    """Return the same, with all texts in memory."""
    import numpy as np

    texts: list[Compared] = []
    ends = []
    for piece in range(len(plan.pieces)):
        texts += plan.texts(piece)
        ends.append(len(texts))
    similar = minhash.find_similar(
        texts, plan.threshold, plan.scheme.shingle, engine=engine, scheme=plan.scheme, on_progress=on_progress
    )
    places, both = np.unique(np.concatenate([similar.left, similar.right]), return_inverse=True)
    left, right = both[: len(similar.left)], both[len(similar.left) :]
    copy_of = np.searchsorted(places, similar.copy_of[places])
    facts = {}
    for a, b in zip(left[copy_of[right] != left].tolist(), right[copy_of[right] != left].tolist(), strict=True):
        if fact := differs(texts[places[a]], texts[places[b]]):
            facts[a, b] = fact
    number = np.searchsorted(ends, places, side="right")
    rows = np.diff(ends, prepend=0)
    ids = number << 32 | (places - (np.array(ends) - rows)[number])
    empty = sum(not (all(one) if isinstance(one, tuple) else one) for one in texts)
    found = Similar(left, right, similar.jaccard, copy_of, similar.complete)
    return Found(plan.pieces, rows, empty, ids, found, facts)
