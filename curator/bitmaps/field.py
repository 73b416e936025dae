"""One field of all pairs: a set of ids for each of its values. Knows sets; knows no database."""

from __future__ import annotations

from typing import Any

from pyroaring import BitMap

MOST_VALUES = 2000  # of one field that have a bitmap; where each pair has a source of its own, SQL is asked


class Field:
    """The pairs of each value of one field; `is_whole` where none was left out."""

    def __init__(self) -> None:
        self.values: dict[Any, BitMap] = {}
        self.is_whole = True

    def add(self, value: Any, ids: BitMap) -> None:
        """Note that pairs have a value."""
        if value in self.values:
            self.values[value] |= ids
        elif len(self.values) < MOST_VALUES:
            self.values[value] = ids.copy()
        else:
            self.is_whole = False

    def remove(self, ids: BitMap) -> None:
        """Forget what pairs have."""
        for value in list(self.values):
            self.values[value] -= ids
            if not self.values[value]:
                del self.values[value]

    def having(self, value: Any, is_prefix: bool = False) -> BitMap | None:
        """Return the pairs that have a value, or one that begins so; None where the index can't tell."""
        if not is_prefix and value in self.values:
            return self.values[value]
        if not self.is_whole:
            return None
        found = [ids for name, ids in self.values.items() if name.startswith(value)] if is_prefix else []
        return BitMap.union(*found) if found else BitMap()

    def counts(self, within: BitMap) -> dict[Any, int]:
        """Return how many of some pairs have each value that any of them has."""
        counted = ((value, ids.intersection_cardinality(within)) for value, ids in self.values.items())
        return {value: count for value, count in counted if count}
