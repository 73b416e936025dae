"""Which lines are trained, watched and tested. Knows questions and shares; knows no file and no token."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from dataclasses import replace
from functools import cache

from trainer import UserError
from trainer.dataset.reading import Example

VERBS = {"validation": "validate", "test": "test"}
ASCII_WORDS = re.compile(r"[^\W_]+")


def split(examples: list[Example], validation: float, test: float, seed: int) -> list[Example]:
    """Return the examples, each with its split: as exported, and what is missing taken from "train".

    Equal questions stay together, so that nothing tested was trained. The choice depends on the seed
    and on each question alone: a line that is added moves no other line by more than the share shifts.
    """
    shares = {"test": test, "validation": validation}
    missing = [name for name in shares if shares[name] and all(each.split != name for each in examples)]
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.split == "train":
            groups[normalise(example.question)].append(example)
    drawn = sorted(groups, key=lambda question: hashlib.sha256(f"{seed} {question}".encode()).digest())
    if len(drawn) <= len(missing):
        found = "All lines ask the same" if len(drawn) == 1 else f"{len(drawn)} different questions are too few"
        parts = " and ".join(VERBS[name] for name in reversed(missing))
        raise UserError(
            f"{found}: to train and to {parts} takes {len(missing) + 1} different questions at least. Add pairs, or "
            f"hold nothing out with: {' '.join(f'--{name} 0' for name in reversed(missing))}"
        )
    total = sum(len(group) for group in groups.values())
    moved: dict[int, str] = {}
    for name in missing:
        wanted = max(1, round(shares[name] * total))
        held = 0
        while held < wanted and len(drawn) > 1:
            group = groups[drawn.pop(0)]
            held += len(group)
            moved |= {id(example): name for example in group}
    return [replace(each, split=moved.get(id(each), each.split)) for each in examples]


def normalise(text: str) -> str:
    """Return the letters, with their marks, and the digits of a text in one case, words parted by one space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    pattern = ASCII_WORDS if folded.isascii() else marked_words()
    return " ".join(pattern.findall(folded)) or folded


@cache
def marked_words() -> re.Pattern[str]:
    """Return a pattern of words with the marks that re takes for no part of them, such as the vowels of Hindi."""
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(rf"[^\W_]+(?:[{marks}]+[^\W_]*)*")
