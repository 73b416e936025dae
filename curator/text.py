"""What can be done to one string, or to the messages of one pair. Knows no database."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise
from json.encoder import encode_basestring
from typing import Any

Message = dict[str, str]

# An encoder made once: json.dumps with options of its own makes a new one for each call.
CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
WORD = re.compile(r"\w+", re.ASCII)
# Two texts of 700 words, the spaces between them counted: a tenth of a second, and it grows with the square.
MOST_COMPARISONS = 2_000_000
# Marks that show nothing: they choose how an emoji or a letter is drawn, or hold letters apart.
INVISIBLE = frozenset(map(chr, [0x34F, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)]))


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
    quoted = encode_basestring  # what CANONICAL does to a text, after it has looked what it is
    canonical = (
        f'[{{"content":{quoted(question)},"role":"user"}},{{"content":{quoted(answer)},"role":"assistant"}}]'
    )  # fmt: skip
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def normalise(text: str) -> str:
    """Fold what does not change the meaning: compatibility forms, case, punctuation, white space.

    A mark that follows a letter belongs to its word: vowel signs of Hindi or Thai, accents, points of Hebrew. Folded
    letters are composed once more, so that capitals and small ones with several accents come out the same.
    """
    if text.isascii():
        return " ".join(WORD.findall(text.lower()))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(pattern(WORDS).findall(folded))


def is_mark(character: str) -> bool:
    """Return whether a character belongs to the letter before it."""
    return unicodedata.category(character) in ("Mn", "Mc") and character not in INVISIBLE


WORDS = r"\w[\w{marks}]*"
TOKENS = r"\s+|\w[\w{marks}]*|[^\w\s][{marks}]*"


@cache
def pattern(form: str) -> re.Pattern[str]:
    """Compile an expression in which {marks} stands for all marks."""
    return re.compile(form.replace("{marks}", marks()))


@cache
def marks() -> str:
    """Return all marks as ranges of an expression. Takes hundredths of a second, once."""
    # Beyond lie ideographs, which have none, and what chooses how they are drawn.
    found = [code for code in range(0x300, 0x20000) if is_mark(chr(code))]
    begins = [code for code, before in zip(found, [0, *found], strict=False) if code != before + 1]
    ends = [code for code, after in zip(found, [*found[1:], 0], strict=True) if code + 1 != after]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(begins, ends, strict=True))


def shingles(text: str, size: int = 3) -> set[str]:
    """Return the runs of `size` words of a text, normalised; the text itself where it is shorter."""
    words = normalise(text).split()
    if len(words) <= size:
        return {" ".join(words)} if words else set()
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


def flat(value: Any) -> str:
    """Return the value of any field of a pair as one text, to be read or compared."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {flat_one(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], Mapping):
            return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in value)
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def flat_one(value: Any) -> str:
    """Return one value of many: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def diff(old: str, new: str, most: int = MOST_COMPARISONS) -> list[tuple[str, str]]:
    """Return what became of a text: ("same" | "delete" | "insert", text) in reading order.

    Word by word; sentence by sentence where so much differs that words would take seconds, and as
    one piece where even sentences would: where that is more than `most` comparisons.
    """
    token = pattern(TOKENS)
    before, after = token.findall(old), token.findall(new)
    start = len(os.path.commonprefix([before, after]))
    before, after = before[start:], after[start:]
    end = len(os.path.commonprefix([before[::-1], after[::-1]]))
    tail = "".join(before[len(before) - end :])
    before, after = before[: len(before) - end], after[: len(after) - end]
    if len(before) * len(after) > most:
        before, after = sentences("".join(before)), sentences("".join(after))
    if len(before) * len(after) > most:
        before, after = ["".join(before)], ["".join(after)]
    parts = [("same", "".join(token.findall(old)[:start]))]
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
