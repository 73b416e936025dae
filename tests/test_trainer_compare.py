"""Runs side by side, from their folders alone: the same prompts, numbers with intervals, and words that changed."""

import json
import re
from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.cli import make_parser
from trainer.compare import words_changed


@pytest.fixture
def write_run(tmp_path):
    """Writes the folder of a run that answered questions so."""

    def write(name, answers):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "run.json").write_text("{}")
        lines = [
            {"fingerprint": question, "messages": [{"role": "user", "content": question}], "reference": "At nine.",
             "model": "tuned", "text": said, "finish": "stop"}
            for question, said in answers.items()
        ]  # fmt: skip
        (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(folder)

    return write


def test_answers_to_the_same_prompt_stand_side_by_side_word_by_word(write_run, capsys):
    runs = (
        write_run("kestrel", {"Open?": "We open at ten.", "Dogs?": "No."}),
        write_run("wren", {"Open?": "We open at nine."}),
    )
    assert main(["compare", *runs]) == 0
    said = capsys.readouterr().out
    assert "> Open?\nkestrel: We open at ten.\nwren: We open at [-ten.-]{+nine.+}" in said
    assert "Dogs?" not in said


def test_the_change_of_each_measure_has_an_interval(write_run, capsys):
    questions = [f"Open on day {n}?" for n in range(12)]
    runs = [write_run(name, dict.fromkeys(questions, said)) for name, said in (("a", "Never."), ("b", "At nine."))]
    assert main(["compare", *runs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["test"]["b"]["exact_match"] == 1 and found["intervals"]["in b"]["exact_match"] == [1, 1]


@pytest.mark.parametrize(
    ("other", "sentence"), [({"Cats?": "No."}, "No prompt was asked of all"), (None, "no run.json")]
)
def test_runs_that_cannot_be_compared_are_refused(write_run, tmp_path, capsys, other, sentence):
    second = write_run("wren", other) if other else str(tmp_path / "nowhere")
    assert main(["compare", write_run("kestrel", {"Open?": "Yes."}), second]) == 1
    assert sentence in capsys.readouterr().err


def test_equal_texts_have_no_changed_words():
    assert words_changed("At nine.", "At nine.") == "At nine."


def test_the_recipe_of_two_data_sets_is_made_of_commands_that_there_are():
    text = (Path(__file__).parent.parent / "docs" / "training.md").read_text("utf-8")
    _, _, rest = text.partition("## Two data sets, one base, the same questions\n")
    recipe, _, _ = rest.partition("\n## ")
    commands = re.findall(r"^\$ python -m trainer (.+)$", recipe, re.MULTILINE)
    assert [make_parser().parse_args(line.split()).act.__name__ for line in commands] == ["run", "run", "compare"]
