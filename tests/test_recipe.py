"""The recipe of two data sets, one base and the same questions, as docs/training.md tells it, run for real."""

import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import pytest
import sqlalchemy as sa
from trainer_fixtures import SUMS, tiny_base  # noqa: F401

from curator import pairs, versions
from curator.models import Pair, Run
from curator.search import Selection
from trainer.__main__ import main

DOCS = Path(__file__).parents[1] / "docs" / "training.md"
SECTION = DOCS.read_text("utf-8").partition("## Two data sets, one base, the same questions")[2]
LINES = [line[2:] for line in SECTION.partition("```console\n")[2].partition("```")[0].splitlines()]
QUICK = ["--epochs=2", "--quantisation=none", "--samples=3", "--max-new-tokens=4", "--progress-prompts=0"]


@pytest.fixture
def two_versions(session, make_pair):
    """Sums, of which four are wrong in the first version and put right in the second."""
    for number, (question, answer) in enumerate(SUMS):
        wrong = 10 <= number < 14
        make_pair(question, "It is a fish." if wrong else answer, tags=["split:test"] if number < 6 else [])
    versions.freeze(session, Selection(), by="ada")
    fish = list(session.scalars(sa.select(Pair.id).where(Pair.answer == "It is a fish.")))
    pairs.change_all(session, fish, {"answer": "It is more than nothing."}, "edited", "bo")
    versions.freeze(session, Selection(), by="ada")


@pytest.mark.filterwarnings("ignore")
def test_the_recipe_runs_as_it_stands_and_its_runs_lie_side_by_side(two_versions, tiny_base, runner, client, session):  # noqa: F811
    for line in LINES:
        program, *words = shlex.split(line)
        if program == "flask":
            assert runner.invoke(args=words).exit_code == 0
        elif program == "cp":
            shutil.copy(*words)
        else:
            more = [f"--base={tiny_base}", *QUICK] if words[2] == "run" else []
            assert main([*words[2:], *more]) == 0
    raw, clean = session.scalars(sa.select(Run).order_by(Run.id))
    page = client.get(f"/runs/compare?run={raw.id}&run={clean.id}").text
    seen = " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert "raw beside clean" in seen and "Version 1 2" in seen and "Base" not in seen.partition("Measured")[0]
    assert "the 3 prompts that all were asked" in seen and "Perplexity" in seen
