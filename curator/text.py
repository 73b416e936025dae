"""What can be done to one string, or to the messages of one pair. Knows no database."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

Message = dict[str, str]

# An encoder made once: json.dumps with options of its own makes a new one for each call.
CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
WORD = re.compile(r"\w+", re.UNICODE)
# Two texts of 700 words, the spaces between them counted: a tenth of a second, and it grows with the square.
MOST_COMPARISONS = 2_000_000
TOKEN = re.compile(r"\s+|\w+|[^\w\s]", re.UNICODE)


def messages(question: str, answer: str, system: str = "", history: Iterable[Message] = ()) -> list[Message]:
    """Return a pair as chat messages: system if there is one, earlier turns, question, answer."""
    first = [{"role": "system", "content": system}] if system else []
    earlier = [{"role": turn["role"], "content": turn["content"]} for turn in history]
    last = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return first + earlier + last


def fingerprint(chat: Sequence[Message]) -> str:
    """Return the identity of a pair: the sha256 of its canonical messages JSON, in hex (FILES.md)."""
    return hashlib.sha256(CANONICAL.encode(chat).encode("utf-8")).hexdigest()


def fingerprint_of(question: str, answer: str, system: str = "", history: Iterable[Message] = ()) -> str:
    """Return `fingerprint(messages(…))`; of a question and an answer alone in a third of the time."""
    if system or history:
        return fingerprint(messages(question, answer, system, history))
    quoted = CANONICAL.encode
    canonical = (
        f'[{{"content":{quoted(question)},"role":"user"}},{{"content":{quoted(answer)},"role":"assistant"}}]'
    )  # fmt: skip
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def normalise(text: str) -> str:
    """Fold what does not change the meaning: compatibility forms, case, punctuation, white space."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def shingles(text: str, size: int = 3) -> set[str]:
    """Return the runs of `size` words of a text, normalised; the text itself where it is shorter."""
    words = normalise(text).split()
    if len(words) <= size:
        return {" ".join(words)} if words else set()
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


def diff(old: str, new: str, most: int = MOST_COMPARISONS) -> list[tuple[str, str]]:
    """Return what became of a text: ("same" | "delete" | "insert", text) in reading order.

    Word by word; sentence by sentence where so much differs that words would take seconds, and as
    one piece where even sentences would: where that is more than `most` comparisons.
    """
    before, after = TOKEN.findall(old), TOKEN.findall(new)
    start = len(os.path.commonprefix([before, after]))
    before, after = before[start:], after[start:]
    end = len(os.path.commonprefix([before[::-1], after[::-1]]))
    tail = "".join(before[len(before) - end :])
    before, after = before[: len(before) - end], after[: len(after) - end]
    if len(before) * len(after) > most:
        before, after = sentences("".join(before)), sentences("".join(after))
    if len(before) * len(after) > most:
        before, after = ["".join(before)], ["".join(after)]
    parts = [("same", "".join(TOKEN.findall(old)[:start]))]
    for op, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if op == "equal":
            parts.append(("same", "".join(before[a:b])))
        else:
            parts += [("delete", "".join(before[a:b])), ("insert", "".join(after[c:d]))]
    return [(op, part) for op, part in [*parts, ("same", tail)] if part]


def sentences(text: str) -> list[str]:
    """Split a text after the marks that end sentences, white space kept with the sentence before it."""
    ends = [0, *(m.end() for m in re.finditer(r"[.!?…。!?]+[\"'”’)]*\s+|\n\s*\n", text)), len(text)]
    return [text[a:b] for a, b in pairwise(ends) if text[a:b]]


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a byte-level BPE makes of a text: 4 bytes each, within a third for English."""
    return ((len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) + 3) // 4
