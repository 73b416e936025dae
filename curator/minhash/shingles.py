"""Texts into sets: what a shingle is, and texts packed for the loops that make them. Loaded by searches only.

A text is folded as `text.normalise` does: compatibility forms, case, and everything but letters, the marks
on them, digits and the underscore is one space. Its shingles are then

- words: each run of n words, word3 by default for words;
- characters: each window of n characters, the single spaces between words counted. A window that ends in
  a character of a script that needs few of them, which are also those without spaces or nearly so
  (Chinese, Japanese, Korean), is three characters long.

A text that is shorter than any window is its own only shingle, and an empty one has none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any, cast

import numpy as np

from curator import text
from curator.minhash.bands import parse_shingle
from curator.minhash.clusters import Joined, Text

Array = np.ndarray[Any, np.dtype[Any]]

DENSE_WINDOW = 3
DENSE = (0x2E80, 0xD7FF), (0x20000, 0x3FFFF)
# Characters below fit into 12 bits, so five of them into one number, with no hash that could collide.
NARROW = 1 << 12

# Bytes of UTF-8: capitals as small letters, 0 for what separates. From 128 on they are parts of letters:
# where they are not, the text was folded before.
FOLD = np.array([ord(c) if (c := chr(b).lower()).isalnum() or c == "_" else 0 for b in range(128)], np.uint8)
FOLD = np.concatenate([FOLD, np.arange(128, 256, dtype=np.uint8)])
FOLDED_CODES = 0x20000
HARD, MARK, LATE = (1 << 64) - 1, 1 << 59, 1 << 60


def sets(one: Text, shingle: str) -> set[str]:
    """Return the shingles of a text as strings: what the compiled loops count, written down to be read."""
    kind, size = parse_shingle(shingle)
    folded = normalise(one)
    if kind == "word":
        return text.shingles(folded, size)
    windows = set()
    for end in range(1, len(folded) + 1):
        width = min(size, DENSE_WINDOW) if is_dense(ord(folded[end - 1])) else size
        if end >= width:
            windows.add(folded[end - width : end])
    return windows or ({folded} if folded else set())


def is_dense(code: int) -> bool:
    """Return whether a character says about as much as a syllable or a word: Chinese, Japanese, Korean."""
    return any(low <= code <= high for low, high in DENSE)


def normalise(one: Text) -> str:
    """Return a text folded. Bytes are read as UTF-8; what is none of it separates words."""
    return text.normalise(one.decode("utf-8", "replace") if isinstance(one, bytes) else one)


def join(texts: Sequence[Text | tuple[Text, ...]] | Joined) -> Joined:
    """Return texts in one piece. Lone surrogates are let through: they fold to a space, as a zero in a text does."""
    if isinstance(texts, Joined):
        return texts
    fields = len(texts[0]) if len(texts) and isinstance(texts[0], tuple) else 1
    flat = cast(Sequence[Text], texts if fields == 1 else list(chain.from_iterable(texts)))
    whole = Joined(joined(flat), len(texts), fields)
    if whole.is_whole():
        return whole
    data = joined([one.replace(b"\0", b" ") if isinstance(one, bytes) else one.replace("\0", " ") for one in flat])
    return Joined(data, len(texts), fields)


def pack(texts: Joined, loops: Any) -> tuple[Array, Array]:
    """Return the bytes of all texts, each ended by a zero, and where each begins, and the last one ends.

    What is not plain ASCII is folded here: by the loops where they are compiled, and text by text where
    they are not or where characters combine.
    """
    buffer = np.frombuffer(texts.data, np.uint8)
    starts, found, is_ascii = loops.begins(buffer, texts.texts * texts.fields)
    if found != texts.texts * texts.fields:
        raise ValueError(f"{found} texts are joined, not {texts.texts} of {texts.fields} fields")
    if is_ascii:
        return buffer, starts
    if loops.fold is None:
        return pack_folded([one if one.isascii() else normalise(one) for one in texts.data.split(b"\0")[:-1]])
    folded, begins, hard = loops.fold(buffer, starts, FOLD, fold_codes())
    places = np.flatnonzero(hard)
    if not len(places):
        folded.setflags(write=False)  # as bytes are: the loops would be compiled for both
        return folded, begins
    pieces: list[Text] = [folded[a : b - 1].tobytes() for a, b in zip(begins[:-1], begins[1:], strict=True)]
    for place in places.tolist():
        pieces[place] = normalise(texts.data[starts[place] : starts[place + 1] - 1])
    return pack_folded(pieces)


def pack_folded(texts: Sequence[Text]) -> tuple[Array, Array]:
    """Pack texts that are ASCII or folded already."""
    buffer = np.frombuffer(joined(texts), np.uint8)
    return buffer, np.concatenate([[0], np.flatnonzero(buffer == 0) + 1])


def joined(texts: Sequence[Text]) -> bytes:
    """Return texts as UTF-8, each ended by a zero."""
    try:
        return b"\0".join([*texts, b""])  # type: ignore[list-item]
    except TypeError:  # not all are bytes, which is seen at the first that is none
        pass
    if all(isinstance(one, str) for one in texts):
        return "\0".join([*texts, ""]).encode("utf-8", "surrogatepass")  # type: ignore[list-item]
    encoded = (one if isinstance(one, bytes) else one.encode("utf-8", "surrogatepass") for one in texts)
    return b"\0".join([*encoded, b""])


@cache
def fold_codes() -> Array:
    """Return what each character below 0x20000 folds to: up to seven bytes of UTF-8, and their number in the top byte.

    HARD where more is needed, or where a character may combine with the one before it: such a text is folded as a
    whole. MARK where it is one, to be kept after a letter; LATE where it ends in one that a second such mark may
    have to change places with. Takes a fifth of a second, once.
    """
    combining = set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))  # the jamo of Hangul syllables
    for code in range(0x80, FOLDED_CODES):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            combining.add(chr(int(parts[1], 16)))
    table = np.full(FOLDED_CODES, HARD, np.uint64)
    for code in range(0x80, FOLDED_CODES):
        plain = unicodedata.normalize("NFKC", chr(code))
        mark = text.is_mark(plain[0])
        if any(c in combining for c in plain) or (mark and plain != chr(code)):
            continue
        folded = unicodedata.normalize("NFKC", plain.casefold())
        inside = mark
        kept = ""
        for c in folded:
            inside = c.isalnum() or c == "_" or (inside and text.is_mark(c))
            kept += c if inside else " "
        encoded = kept.encode("utf-8")
        if len(encoded) <= 7:
            table[code] = int.from_bytes(encoded, "little") | len(encoded) << 56
            table[code] |= MARK * mark | LATE * (unicodedata.combining(folded[-1]) > 0)
    return table
