"""A run that is done, asked again: measured beside the one before it, and sampled with other decoding."""

import json
import shutil
from pathlib import Path

import pytest
from trainer_fixtures import SUMS, sums, tiny_base  # noqa: F401

from trainer.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def two_runs(tiny_base, sums, tmp_path_factory):  # noqa: F811
    """The folders of a run of two epochs, and of one of six on the same lines."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("kestrel", "wren")]
    for folder, epochs in zip(folders, ("2", "6"), strict=True):
        options = ["--epochs", epochs, "--max-new-tokens", "6", "-o", str(folder)]
        assert main(["run", str(sums), "--base", str(tiny_base), *options]) == 0
    return folders


def evaluated(capsys, *arguments):
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_measured_again_has_the_numbers_it_had(two_runs, capsys):
    before = json.loads((two_runs[1] / "evaluation.json").read_text())
    again = evaluated(capsys, two_runs[1])
    for name in ("base", "tuned"):
        assert again["test"][name] == pytest.approx(before["test"][name], rel=0.02, abs=0.02)


def test_a_previous_run_stands_beside_on_the_same_lines(two_runs, capsys):
    found = evaluated(capsys, two_runs[1], "--previous", two_runs[0])
    own = json.loads((two_runs[0] / "evaluation.json").read_text())
    assert list(found["test"]) == ["base", "previous", "tuned"]
    assert found["test"]["previous"]["perplexity"] == pytest.approx(own["test"]["tuned"]["perplexity"], rel=0.02)
    low, high = found["intervals"]["since_previous"]["perplexity"]
    assert low <= found["test"]["tuned"]["perplexity"] - found["test"]["previous"]["perplexity"] <= high
    assert json.loads((two_runs[1] / "evaluation.json").read_text()) == found


def test_lines_that_were_trained_are_left_out_of_other_data(two_runs, sums, capsys):  # noqa: F811
    before = (two_runs[1] / "evaluation.json").read_text()
    assert evaluated(capsys, two_runs[1], "--data", sums)["n"] == 6  # of 30 lines, 24 were trained
    assert (two_runs[1] / "evaluation.json").read_text() == before


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 1
    assert f"{tmp_path} is no run: it holds no run.json" in capsys.readouterr().err


def sampled(capsys, *arguments):
    capsys.readouterr()
    assert main(["sample", *map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_same_prompt_gets_the_same_answer_whatever_is_asked_beside_it(two_runs, tmp_path, capsys):
    (tmp_path / "one.txt").write_text("What is 1 plus 2?\n")
    (tmp_path / "many.txt").write_text("".join(f"{question}\n" for question, _ in SUMS))
    run = two_runs[1]
    (alone,) = sampled(capsys, run, "--preset", "creative", "--prompts", tmp_path / "one.txt")
    among = sampled(capsys, run, "--preset", "creative", "--prompts", tmp_path / "many.txt")
    assert alone["decoding"]["top_k"] == 30
    assert alone["text"] in [line["text"] for line in among if line["messages"] == alone["messages"]]


def test_settings_that_come_with_a_base_change_no_answer(two_runs, tiny_base, sums, tmp_path, capsys):  # noqa: F811
    # Some bases ship a repetition penalty: greedy was not the likeliest token, and no sweep could turn it off.
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    settings = json.loads((base / "generation_config.json").read_text())
    shipped = {"do_sample": True, "temperature": 0.7, "top_k": 20, "repetition_penalty": 5.0}
    (base / "generation_config.json").write_text(json.dumps(settings | shipped))
    run = Path(shutil.copytree(two_runs[1], tmp_path / "run"))
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["resolved"]["base"] = str(base)
    (run / "run.json").write_text(json.dumps(facts))
    texts = [[line["text"] for line in sampled(capsys, folder)] for folder in (two_runs[1], run)]
    assert texts[0] == texts[1]


def test_chance_draws_tokens_as_often_as_they_are_likely():
    import torch

    from trainer.sample import OwnChance

    chances = OwnChance(range(4000))
    drawn = chances(None, torch.tensor([[0.5, 0.3, 0.2]]).log().expand(4000, 3)).argmax(-1)
    assert (torch.bincount(drawn) / 4000).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_a_sweep_is_a_table_of_every_combination(two_runs, capsys):
    capsys.readouterr()
    assert main(["sample", str(two_runs[1]), "--sweep", "temperature=0,0.9", "top_p=0.9,1"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert "Repetitive" in head and "Truncated" in head and len(rows) == 4


@pytest.mark.parametrize(
    ("sweep", "sentence"),
    [
        ("heat=1", "names no setting of decoding. Choose one of: temperature, top_k, top_p, repetition_penalty."),
        ("top_p=2", "top_p must be above 0, to 1, as in: --sweep top_p=0.9,1"),
        ("temperature=hot", "temperature must be from 0 to 100"),
    ],
)
def test_a_sweep_of_something_else_is_refused(sweep, sentence, tmp_path, capsys):
    assert main(["sample", str(tmp_path), "--sweep", sweep]) == 1
    assert sentence in capsys.readouterr().err
