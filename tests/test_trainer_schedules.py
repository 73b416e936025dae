"""How the learning rate goes, what losses say of it, and how a rate is found."""

import json

import pytest
from trainer_fixtures import sums, tiny_base  # noqa: F401

from trainer.__main__ import main
from trainer.schedules import share, trouble

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_rate_rises_evenly_and_comes_down_as_asked():
    rising = [share(step, 20, "cosine", 0.2) for step in range(5)]
    assert rising == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert share(12, 20, "cosine", 0.2) == pytest.approx(0.5)
    assert share(12, 20, "linear", 0.2) == pytest.approx(0.5)
    assert share(19, 20, "constant", 0.2) == share(19, 20, "plateau", 0.2) == 1
    assert share(20, 20, "linear", 0.0) == 0


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "plateau"])
def test_a_run_of_one_step_learns_in_it(schedule):
    assert share(0, 1, schedule, 0.0) == 1
    assert share(0, 1, schedule, 0.5) == 0.5


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([2.0 * 0.97**step for step in range(60)], None),
        ([2.0 - 0.0001 * step for step in range(60)], "creeps"),
        ([2.0 * 0.95**step for step in range(30)] + [1.0 + 0.2 * step for step in range(30)], "rises"),
        ([2.0] * 10, None),
    ],
)
def test_losses_tell_of_a_rate_that_is_too_high_or_too_low(losses, said):
    assert trouble(losses) == said


def test_a_rate_is_found_on_the_steep_side_of_the_valley():
    from trainer.find_rate import curve, read_curve

    rates = [1e-5 * 1.1**step for step in range(80)]
    losses = [3 - 2 * min(1, step / 50) + max(0, step - 60) ** 2 / 50 for step in range(80)]
    found = read_curve(rates, losses) | {"prior": 1e-3}
    assert rates[25] < found["suggestion"] < rates[60]
    lines = curve(found)
    assert len(lines) == 11
    assert max(len(line) for line in lines) <= 80


def test_find_lr_suggests_a_rate_near_the_usual_one_and_keeps_the_curve(tiny_base, sums, tmp_path, capsys):  # noqa: F811
    folder = tmp_path / "lr"
    assert main(["find-lr", str(sums), "--base", str(tiny_base), "-o", str(folder)]) == 0
    found = json.loads((folder / "lr.json").read_text())
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) > 40
    assert found["prior"] / 10 < found["suggestion"] < 3 * found["prior"]
    assert f"Train with: --learning-rate {found['suggestion']:g}" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["lr.json"]


def test_a_rate_that_runs_diverge_with_needs_to_be_insisted_on(tiny_base, sums, tmp_path, capsys):  # noqa: F811
    options = ["--base", str(tiny_base), "-o", str(tmp_path / "run"), "--learning-rate", "0.1"]
    assert main(["run", str(sums), *options]) == 1
    said = capsys.readouterr().err
    assert "Error: The learning rate 0.1 is 9.1 times what suits a base of this size, 0.011" in said
    assert said.endswith("or insist on it with --force\n")
    assert not (tmp_path / "run").exists()


def test_a_rate_that_brings_nothing_is_warned_of(capsys):
    from types import SimpleNamespace

    from trainer.config import RunConfig, fill_in
    from trainer.preparing import judge_rate

    sizes = {"weights": 7e9, "hidden_size": 4096, "max_tokens": 64, "longest_answer": 8, "threads": 1}
    base = SimpleNamespace(hidden_size=4096, weights=7e9)
    judge_rate(fill_in(RunConfig(learning_rate=9e-6), **sizes), base)
    assert capsys.readouterr().err.startswith("Warning: The learning rate 9e-06 is 32 times below what suits")
    judge_rate(fill_in(RunConfig(learning_rate=5e-3, force=True), **sizes), base)
    assert capsys.readouterr().err.startswith("Warning: The learning rate 0.005 is 17.2 times what suits")
