"""Questions and answers with planted near-duplicates, the same for the same seed. Knows words and chance only.

Words are made of syllables and drawn as often as a Zipf-Mandelbrot law says, after the common words of English, with
stock phrases and templates, so that unrelated texts share some runs as real ones do. Planted: copies with a share of
their words edited, pairs of one frame that differ in a name, stock answers, and one big cluster of the same pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

COMMON = (
    "the of and to a in is that it for as with on be are this by from or an at not have which can you has but they "
    "their was will more one all if we when there use your how what would so also other its such than may these into "
    "some do each about using two"
).split()
OPENINGS = (
    "What is the|What are the main|How do I|How can we|Explain why the|Give three examples of|Write a paragraph about|"
    "Describe the difference between|Summarize the following text about|List the steps to|Why does the|When should you"
).split("|")
ANSWERS = (
    "Sure, here is an answer.|The main reason is that|There are several ways to|In general, the|Here are the steps:|"
    "The difference is that|An example would be"
).split("|")
STOCK = (
    "I am sorry, but I cannot help with that request because it goes against the content policy of this service.",
    "As an AI language model, I do not have personal opinions, but I can give you some general information about it.",
)
EDITED = np.array([0.0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.25])
HOW_OFTEN = np.array([0.20, 0.15, 0.15, 0.15, 0.12, 0.10, 0.08, 0.05])
BASE, COPY, ENTITY, CLUSTER = range(4)


@dataclass(frozen=True)
class Corpus:
    """Pairs in a shuffled order; what each is, which one it was made from, and how much of it was edited."""

    pairs: list[tuple[str, str]]
    kind: np.ndarray
    parent: np.ndarray
    edited: np.ndarray


class Words:
    """Words as they come in texts: a few all the time, most of them hardly ever."""

    def __init__(self, rng: np.random.Generator, count: int = 60_000) -> None:
        syllables = ["".join(s) for s in product("bcdfghklmnprstvw", "aeiou", ("", "n", "r", "s", "l", "t"))]
        made = {"".join(rng.choice(syllables, size)) for size in rng.integers(1, 5, count)} - set(COMMON)
        self.words = np.array(COMMON + sorted(made, key=lambda word: (len(word) > 7, hash_of(word))), object)
        share = 1 / (np.arange(len(self.words)) + 2.7) ** 1.02
        self.edges, self.rng = np.cumsum(share / share.sum()), rng

    def draw(self, count: int) -> list[str]:
        places = np.searchsorted(self.edges, self.rng.random(count))
        return self.words[np.minimum(places, len(self.words) - 1)].tolist()


def hash_of(word: str) -> int:
    """Return a number that mixes words of all lengths: Python's own hash is another one each time."""
    return int.from_bytes(word.encode()[:8].ljust(8), "little") * 0x9E3779B97F4A7C15 % (1 << 64)


def generate(count: int, seed: int = 20240501) -> Corpus:
    """Return `count` pairs, a fifth of them copies: questions of 12 to 30 and answers of 10 to 150 words."""
    rng = np.random.default_rng(seed)
    words = Words(rng)
    phrases = [" ".join(words.draw(n)) for n in rng.integers(3, 6, 4000)]
    n_cluster, n_entity, n_copies = max(4, count // 500), count // 100, count // 5
    n_base = count - n_cluster - n_entity - n_copies
    lengths = np.clip(rng.lognormal(np.log(45), 0.7, n_base), 10, 150).astype(int)
    asked = rng.integers(12, 31, n_base)
    pairs = list(base_pairs(words, phrases, asked, lengths, rng))

    level = rng.choice(len(EDITED), n_copies, p=HOW_OFTEN)
    source = (rng.random(n_copies) ** 1.5 * n_base).astype(int)
    for i, rate in zip(source.tolist(), EDITED[level].tolist(), strict=True):
        pairs.append((edit(pairs[i][0], rate, words, rng), edit(pairs[i][1], rate, words, rng)))
    pairs += entity_pairs(n_entity, words)
    pairs += [(edit(pairs[0][0], 0, words, rng), edit(pairs[0][1], 0, words, rng)) for _ in range(n_cluster)]

    kind = np.repeat([BASE, COPY, ENTITY, CLUSTER], [n_base, n_copies, n_entity, n_cluster])
    parent = np.concatenate([np.full(n_base, -1), source, np.full(n_entity, -1), np.zeros(n_cluster, int)])
    edited = np.concatenate([np.zeros(n_base), EDITED[level], np.zeros(n_entity + n_cluster)])
    order = rng.permutation(count)
    place = np.argsort(order)
    parent = np.where(parent >= 0, place[parent], -1)
    return Corpus([pairs[i] for i in order.tolist()], kind[order], parent[order], edited[order])


def base_pairs(
    words: Words, phrases: list[str], asked: np.ndarray, lengths: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    chance = rng.random((len(asked), 2))
    for i, (q, a) in enumerate(zip(asked.tolist(), lengths.tolist(), strict=True)):
        drawn = words.draw(q + a)
        for place in range(20, q + a, 33):  # a stock phrase every other line
            drawn[place] = phrases[int(len(phrases) ** rng.random()) - 1]
        question = " ".join(drawn[:q])
        if chance[i, 0] < 0.7:
            question = f"{OPENINGS[i % len(OPENINGS)]} {question}"
        answer = " ".join(dressed(drawn[q:]))
        if chance[i, 1] < 0.3:
            answer = f"{ANSWERS[i % len(ANSWERS)]} {answer}"
        yield question[:1].upper() + question[1:] + "?", STOCK[i & 1] if chance[i, 1] > 0.99 else answer + "."


def dressed(words: list[str]) -> list[str]:
    """Put a stop after every twelfth word."""
    for place in range(11, len(words) - 1, 12):
        words[place] += "."
        words[place + 1] = words[place + 1].capitalize()
    return words


def entity_pairs(count: int, words: Words) -> list[tuple[str, str]]:
    """Return pairs of frames that differ in what they are about: the same wording, another fact."""
    frames = [words.draw(14) for _ in range(max(1, count // 50))]
    found = []
    for i in range(count):
        frame, (one, other) = frames[i % len(frames)], (words.words[len(COMMON) + i * 7 % 20_000 + k] for k in (0, 3))
        if i % 2:  # half of them in small letters, where no capital tells a name
            one, other = one.capitalize(), other.capitalize()
        question = f"What is the capital of {one} and the {' '.join(frame[:6])}?"
        found.append((question, f"The capital of {one} is {other} and {' '.join(frame)}."))
    return found


def edit(text: str, rate: float, words: Words, rng: np.random.Generator) -> str:
    """Put another word for, leave out or add that share of the words, and change how it is laid out."""
    kept = text.split()
    if rate:
        places = np.flatnonzero(rng.random(len(kept)) < rate).tolist()
        for place, new in zip(places, words.draw(len(places)), strict=True):
            kept[place] = ("", new, f"{kept[place]} {new}")[place % 3]
    edited = " ".join(filter(None, kept)) or text
    layouts = (edited.lower(), edited.replace(".", "!"), edited.replace(" ", "  ", 2), edited.rstrip("."))
    return layouts[int(rng.integers(4))]
