"""What a search of files is asked, and what it found there by ids: the words between `files` and `ray`.

A row is named by its id, piece * 2**32 + row in the piece, so ids ascend as rows are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curator.formats import pieces
from curator.minhash.bands import Scheme
from curator.minhash.clusters import Array
from curator.minhash.facts import differs_in_fact

FIELDS = ("pair", "question", "answer", "both")
Compared = str | tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What every task has to know."""

    pieces: Sequence[pieces.Piece]
    field: str
    threshold: float
    scheme: Scheme

    def texts(self, piece: int, wanted: Sequence[int] | None = None) -> Iterator[Compared]:
        """Yield what is compared of the rows of a piece: a text, or two where both must match."""
        for question, answer in pieces.read(self.pieces[piece], wanted):
            yield compared(question, answer, self.field)


@dataclass(frozen=True)
class Edges:
    """What was found, by ids: near texts with their similarity and what they differ in, and copies with their first."""

    left: Array
    right: Array
    jaccard: Array
    fact: Array  # of objects: None, or a few words
    copy: Array
    first: Array
    rows: Array  # of each piece, counted
    empty: int
    complete: bool


def compared(question: str, answer: str, field: str) -> Compared:
    """Return what is compared of a pair."""
    if field == "both":
        return question, answer
    if field == "pair":
        return f"{question}\n{answer}" if question else ""
    return question if field == "question" else answer


def differs(one: Compared, other: Compared) -> str | None:
    """Say in which fact two texts differ, in any of their fields."""
    both = zip(*((text,) if isinstance(text, str) else text for text in (one, other)), strict=True)
    return next((fact for a, b in both if (fact := differs_in_fact(a, b))), None)
