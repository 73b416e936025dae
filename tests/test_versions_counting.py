"""The look that needs no signature: what it finds is what counting every two texts finds, and it comes to an end."""

import random

import numpy as np
import pytest

from curator.minhash import shingles
from curator.versions import counting, proof

SCRIPTS = ("abcde ", "abcdefghijklmnop .,", "你好世界和平ab ", "אבגדהוז ", "ÀÉüß 👋\ud800", "カタカナ漢字 ")


@pytest.fixture
def said():
    """Texts of many scripts and lengths, each with two that differ in some letters."""
    chance = random.Random(3)
    texts = []
    for number in range(90):
        one = "".join(chance.choices(SCRIPTS[number % len(SCRIPTS)], k=chance.choice((0, 1, 2, 4, 5, 6, 9, 30, 200))))
        texts += [
            one,
            *("".join(chance.choice("xyz ") if chance.random() < p else c for c in one) for p in (0.02, 0.05)),
        ]
    return texts


def found(texts, chosen, threshold):
    sought = counting.Sought([texts[place] for place in chosen], threshold)
    near = sought.like(texts, lambda one, other: np.ones(len(one), bool))
    return {(one, chosen[other]) for one, other in near if one != chosen[other]}, sought.count


@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.9, 1.0])
def test_it_finds_what_is_found_by_comparing_every_two(said, threshold):
    chosen = list(range(0, len(said), 7))[::-1]
    sets = [shingles.sets(one, "char5") for one in said]
    expected = set()
    for one in range(len(said)):
        for other in chosen:
            shared = len(sets[one] & sets[other])
            if one != other and shared and shared / (len(sets[one]) + len(sets[other]) - shared) >= threshold:
                expected.add((one, other))
    assert found(said, chosen, threshold) == (expected, len(chosen)) and len(expected) > 20


def test_where_all_say_nearly_the_same_fewer_are_sought_and_their_number_is_known(monkeypatch):
    monkeypatch.setattr(counting, "EFFORT", 200)
    texts = [f"The sum of all the numbers in row {i} of the table is {7 * i}." for i in range(100)]
    near, count = found(texts, list(range(100)), 0.75)
    assert 0 < count < 100 and near


def test_what_all_signatures_miss_is_found_by_counting(monkeypatch):
    nests = "In the tall trees by the old mill, and in those of the parson's garden where nobody walks,"
    texts = [("Where do herons nest?", f"{nests} {says}.", True) for says in ("I think", "they say")]
    said = [f"{question}\n{answer}" for question, answer, _ in texts]
    blind = proof.minhash.find_similar(["a", "b"], 0.75)
    monkeypatch.setattr(proof.minhash, "find_similar", lambda read, *_, **__: (list(read), blind)[1])
    sides = np.array([0, 2], np.int8)
    seen = proof.prove(iter(texts), sides, lambda places: [said[place] for place in places], lambda *_: None)
    assert (seen.near, seen.held_out, seen.counted) == ([(0, 1)], 1, 1)
