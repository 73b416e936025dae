"""Sentence embeddings: made in a process of their own, kept in a file, and compared. No torch, no table of pairs."""

from curator.vectors.embedding import DEFAULT_MODEL, embed
from curator.vectors.near import Index, find_similar
from curator.vectors.store import Store

__all__ = ["DEFAULT_MODEL", "Index", "Store", "embed", "find_similar"]
