"""What is said in a pair, as a check reads it: its texts, what stands for them, their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

from curator import text


class Texts(NamedTuple):
    """What is said in a pair, and in which data set."""

    question: str
    answer: str
    system: str
    history: list[dict[str, str]]
    dataset_id: int


def keys(pair: Texts) -> tuple[int, int]:
    """Return what stands for the question, in its data set and after what came before it, and for the answer.

    Each 63 bits of a hash: two that are equal say the same but for case, white space and the mark at the end. What is
    folded further makes 2 + 2 and 2 - 2 one question.
    """
    asked = f"{pair.dataset_id}\0{pair.system}\0{pair.history or ''}\0{folded(pair.question)}"
    return hashed(asked), hashed(folded(pair.answer))


def folded(said: str) -> str:
    """Return a text without what no reader notices."""
    return " ".join(said.lower().split()).rstrip(" .!?。？！")


def hashed(said: str) -> int:
    return int.from_bytes(blake2b(said.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1


def parts(pair: Texts) -> Iterator[tuple[str, str]]:
    """Yield the texts of a pair, each with what it is called."""
    yield "question", pair.question
    yield "answer", pair.answer
    if pair.system:
        yield "system", pair.system
    for number, turn in enumerate(pair.history, 1):
        yield f"turn {number}", turn.get("content", "")


def quoted(words: str, most: int = 40) -> str:
    """Return the beginning of some words in quotes, on one line."""
    line = " ".join(words[: 4 * most].split())
    return f"“{line if len(line) <= most else line[: most - 1] + '…'}”"


def count_tokens(said: str, path: str = "") -> int:
    """Count the tokens of a text by a tokenizer.json; estimate them where there is none."""
    return len(tokenizer(path).encode(said, add_special_tokens=False).ids) if path else text.estimate_tokens(said)


@cache
def tokenizer(path: str) -> Any:
    """Open a tokenizer.json, once a process."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)
