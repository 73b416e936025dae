"""The pairs of a selection in an order: where one stands, and which stand at a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyroaring import BitMap

from curator.bitmaps.index import LOW, Index

# Of an order that is no order of ids: what is measured, and whether it falls.
MEASURES = {"edited": ("edited", True), "longest": ("length", True), "shortest": ("length", False)}


@dataclass(frozen=True)
class Line:
    """The pairs of a selection one behind the other. A mark says where a pair stands, or stood, in the order."""

    index: Index
    ids: BitMap
    sort: str

    @property
    def marks(self) -> Any:
        """All marks, ascending, where the order is one of a measure."""
        return self.index.walk(MEASURES[self.sort][0], self.ids)

    @property
    def falls(self) -> bool:
        return MEASURES[self.sort][1] if self.sort in MEASURES else self.sort == "newest"

    def before(self, mark: int) -> int:
        """Return how many stand before a mark, which itself need not be there any more."""
        if self.sort in MEASURES:
            left, right = (int(self.marks.searchsorted(mark, side)) for side in ("left", "right"))
        else:
            left, right = (self.ids.rank(min(n, 2**32 - 1)) if n >= 0 else 0 for n in (mark - 1, mark))
        return len(self.ids) - right if self.falls else left

    def holds(self, mark: int) -> bool:
        """Return whether a pair stands at a mark."""
        place = self.before(mark)
        return place < len(self.ids) and self.marks_at(place, place + 1) == [mark]

    def marks_at(self, first: int, end: int) -> list[int]:
        """Return the marks of the places from `first` on and before `end`, counted from 0."""
        first, end = max(first, 0), min(end, len(self.ids))
        if first >= end:
            return []
        low, high = (len(self.ids) - end, len(self.ids) - first) if self.falls else (first, end)
        found = self.marks[low:high].tolist() if self.sort in MEASURES else list(self.ids[low:high])
        return found[::-1] if self.falls else found

    def id_of(self, mark: int) -> int:
        """Return the pair of a mark."""
        return mark & LOW if self.sort in MEASURES else mark

    def mark_of(self, pair_id: int) -> int:
        """Return the mark of a pair."""
        if self.sort not in MEASURES:
            return pair_id
        return int(self.index.keys(MEASURES[self.sort][0], [pair_id])[0])
