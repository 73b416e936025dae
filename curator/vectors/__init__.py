"""Sentence embeddings: made in a process of their own, kept in a file, and compared. No torch, no table of pairs."""

from curator.vectors.embedding import embed
from curator.vectors.near import EXACT_UP_TO, Index, cosines, find_similar, first_of
from curator.vectors.store import Store

__all__ = ["EXACT_UP_TO", "Index", "Store", "cosines", "embed", "find_similar", "first_of"]
