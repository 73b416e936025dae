"""What the losses of the lines tell of the data: planted wrong answers are found, and what each signal means."""

import json
import random

import pytest
from trainer_fixtures import tiny_base  # noqa: F401

from trainer import signals
from trainer.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")

COLOURS = ("red", "blue", "green", "white", "black", "brown", "grey", "pink")
THINGS = [
    first + last
    for first in ("sa", "bo", "ti", "mu", "ke")
    for last in ("rk", "lo", "nd", "ppe", "sh", "vin", "ga", "ft")
]
PEOPLE = [f"{first}{last}" for first in "BDFGKLMNPRST" for last in ("ana", "eno", "illy", "orra", "udo")]


def judged(*losses, tokens=None):
    lines = [{"fingerprint": str(n), "losses": each} for n, each in enumerate(losses)]
    return list(signals.judge(lines, tokens or {}))


def auroc(scores, is_wrong):
    """Return how often a wrong line scores higher than a right one."""
    wrong = [score for score, planted in zip(scores, is_wrong, strict=True) if planted]
    right = [score for score, planted in zip(scores, is_wrong, strict=True) if not planted]
    return sum((w > r) + (w == r) / 2 for w in wrong for r in right) / len(wrong) / len(right)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_wrong_answers_are_found_by_their_late_loss(tiny_base, seed, tmp_path):  # noqa: F811
    chance = random.Random(seed)
    colour = {thing: COLOURS[n % len(COLOURS)] for n, thing in enumerate(THINGS)}
    asked = chance.sample([(person, thing) for person in PEOPLE for thing in THINGS], 600)
    wrong = set(chance.sample(range(600), 60))
    with (tmp_path / "data.jsonl").open("w") as file:
        for n, (person, thing) in enumerate(asked):
            right = colour[thing]
            said = chance.choice([c for c in COLOURS if c != right]) if n in wrong else right
            answer = {"role": "assistant", "content": f"It is {said}."}
            question = {"role": "user", "content": f"{person} {thing}?"}
            file.write(json.dumps({"messages": [question, answer]}) + "\n")
    options = "--adapter none --force --precision fp32 --learning-rate 4e-3 --epochs 12 --batch-size 60 --threads 1"
    options += " --validation 0 --test 0 --samples 0"
    folder = tmp_path / "run"
    arguments = ["run", str(tmp_path / "data.jsonl"), "--base", str(tiny_base), "-o", str(folder)]
    assert main([*arguments, "--seed", str(seed), *options.split()]) == 0
    places = [int(json.loads(line)["place"].split()[-1]) - 1 for line in (folder / "train_losses.jsonl").open()]
    found = [json.loads(line) for line in (folder / "signals.jsonl").open()]
    planted = [place in wrong for place in places]
    assert auroc([line["suspicious"] for line in found], planted) >= 0.9


def test_a_line_is_compared_with_lines_of_its_length():
    # A hundred short lines end at 3, a hundred long ones at 1, and one long one at 2.
    short, long = ([[4.0, 3.0 + n / 1000] for n in range(100)], [[4.0, 1.0 + n / 1000] for n in range(100)])
    tokens = {str(n): 5 if n < 100 else 50 for n in range(201)}
    found = judged(*short, *long, [4.0, 2.0], tokens=tokens)
    assert max(found, key=lambda line: line["suspicious"])["fingerprint"] == "200"


def test_a_line_that_was_seen_once_is_not_judged():
    assert judged([3.0]) == [
        {"fingerprint": "0", "first": 3.0, "late": 3.0, "suspicious": None, "memorised": False, "forgotten": 0}
    ]


def test_a_line_that_is_learnt_when_it_is_seen_again_is_memorised():
    usual = [[4.0, 3.0, 2.0, 1.0]] * 9
    assert [line["memorised"] for line in judged(*usual, [4.0, 0.5, 0.4, 0.4])] == [False] * 9 + [True]


def test_where_all_lines_are_learnt_at_once_none_is_called_memorised():
    assert not any(line["memorised"] for line in judged(*[[4.0, 0.5, 0.4]] * 10))


@pytest.mark.parametrize(
    ("losses", "times"),
    [
        ([4.0, 3.0, 2.0, 1.0], 0),
        ([4.0, 1.0, 3.5, 1.0], 1),
        ([4.0, 1.0, 3.5, 1.0, 3.5], 2),
        ([4.0, 1.0, 2.5, 1.0], 0),
        ([0.4, 0.1, 0.4, 0.1], 0),  # too small to be more than noise
    ],
)
def test_a_line_is_forgotten_as_often_as_it_was_learnt_and_lost(losses, times):
    (line,) = judged(losses)
    assert line["forgotten"] == times
