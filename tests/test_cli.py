"""The `flask` commands: help, results, and one clear sentence for what can be put right."""

import json
import os
import subprocess
import sys

import pytest

from curator import cli, history, search
from curator.cli import door
from curator.search import Selection

COMMAND = [sys.executable, "-m", "flask", "--app", "curator"]


def flask(*arguments, **options):
    """Run a command as a user does, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, **options)


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda c: c.name)
def test_every_command_has_help_with_an_example(runner, command):
    result = runner.invoke(args=[command.name, "--help"])
    assert result.exit_code == 0 and f"flask {command.name}" in result.output
    assert command.name == "settings" or "Example" in result.output


def test_a_database_is_made_when_it_is_first_needed(runner, home, library):
    (home / "curator.db").unlink()
    result = runner.invoke(args=["import", str(library)])
    assert result.exit_code == 0 and (home / "curator.db").exists()
    assert result.stdout == "library.csv (CSV, comma, UTF-8): 3 rows, 3 added to main, 0 there already, 0 refused.\n"
    assert "Undo it with: flask undo 1" in result.stderr


def test_init_db_says_where_the_database_is_and_can_be_said_again(runner, home):
    (home / "curator.db").unlink()
    assert f"{home / 'curator.db'} is ready." in runner.invoke(args=["init-db"]).output
    assert "is up to date." in runner.invoke(args=["init-db"]).output


def test_standard_output_holds_the_lines_and_nothing_else(runner, library):
    runner.invoke(args=["import", str(library)])
    result = runner.invoke(args=["export", "--jsonl"])
    assert [set(json.loads(line)) for line in result.stdout.splitlines()] == [{"messages"}] * 3
    assert result.stderr.startswith("3 lines, 3 of them drafts that nobody approved yet.\n")


def test_what_can_be_put_right_is_one_sentence_and_exit_code_1_without_a_traceback(home, write):
    result = flask("import", str(write("faq.csv", "q,a\nName three,apple, pear\ngood?,yes\n")))
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("Error: ") and "faq.csv line 2 has 3 fields" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments, sentence", [
    (["import", "nowhere.csv"], "There is no file nowhere.csv"),
    (["import", "."], "is a folder"),
    (["export", "--dataset", "x"], "There is no data set 'x'. There is: none yet."),
    (["export", "--version", "4"], "There is no version 4"),
    (["export", "--split", "train"], "--split needs --version"),
    (["export", "-o", "nowhere/x.jsonl"], "There is no folder nowhere. Make it first."),
    (["export", "-o", "out/", "--preferences"], "A folder takes all splits and no ratings"),
    (["freeze", "--split", "80/20"], "is no list of three numbers"),
    (["freeze"], "nothing to freeze"),
    (["undo", "7"], "There is no change number 7"),
    (["clean", "--rule", "shine"], "There is no rule 'shine'"),
    (["duplicates", "--threshold", "2"], "is not between 0.6 and 1"),
    (["import-run", "nowhere"], "There is no folder nowhere"),
])  # fmt: skip
def test_each_refusal_says_what_was_found(runner, arguments, sentence):
    result = runner.invoke(args=arguments)
    assert (
        result.exit_code == 1
        and f"Error: {sentence}" in result.output.replace("'. '", ".")
        or sentence in result.output
    )


def test_clean_duplicates_freeze_and_undo_work_together(runner, write):
    rows = "".join(f"Question {i}?,<p>Answer {i} is here.</p>\n" for i in range(20))
    again = "When may I come?,We open our doors at nine each day and close them at five in winter.\n"
    runner.invoke(args=["import", str(write("a.csv", "q,a\n" + rows + again + again.replace("?", " ?")))])
    dry = runner.invoke(args=["clean", "--dry-run"])
    assert "html: 20 pairs" in dry.stdout and "+ 'Answer 0 is here.'" in dry.stdout
    assert "Cleaned 20 pairs. Undo it with: flask undo 2" in runner.invoke(args=["clean"]).stderr
    assert "1 pair is at least 0.9 like a better one." in runner.invoke(args=["duplicates"]).stderr
    assert "Trashed 1 pair" in runner.invoke(args=["duplicates", "--resolve", "keep-best"]).stderr
    frozen = json.loads(runner.invoke(args=["freeze", "--json"]).stdout)
    assert frozen["counts"] == {"train": 17, "validation": 2, "test": 2}
    assert "17 train, 2 validation, 2 test" in runner.invoke(args=["versions"]).stdout
    assert "Undid change 2: 20 pairs as before." in runner.invoke(args=["undo", "2"]).output
    assert json.loads(runner.invoke(args=["stats", "--json"]).stdout)["trash"] == 1


def test_a_dry_run_changes_nothing(runner, library):
    result = runner.invoke(args=["import", str(library), "--dry-run"])
    assert "3 would be added" in result.stdout
    assert json.loads(runner.invoke(args=["stats", "--json"]).stdout)["datasets"] == {}


def test_columns_can_be_named(runner, write):
    path = str(write("faq.csv", "Frage,Antwort\nWo?,Hier\n"))
    assert "--map question=COLUMN" in runner.invoke(args=["import", path]).output
    result = runner.invoke(args=["import", path, "--map", "question=Frage", "--map", "answer=Antwort"])
    assert "1 added" in result.output


def test_commands_need_no_app_and_are_not_misled_by_another_one(home, tmp_path, library):
    """`flask export` in a folder with a stranger's app.py used to look for the pairs in that app."""
    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask('stranger')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "FLASK_SKIP_DOTENV": "1"}
    environment.pop("FLASK_APP", None)
    command = [sys.executable, "-m", "flask"]
    done = subprocess.run(
        [*command, "import", str(library)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "3 added" in done.stdout, done.stderr


def test_help_works_in_any_folder_without_an_error(home, tmp_path):
    """Flask itself prints "Could not locate a Flask application" above its help where it finds none."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "FLASK_SKIP_DOTENV": "1"}
    environment.pop("FLASK_APP", None)
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == "" and "import-run" in done.stdout


def test_a_server_that_can_not_start_says_why_in_a_sentence(home, tmp_path):
    """Flask shows where an error was raised while it makes an app."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "DATABASE_URL": "mysql://localhost/pairs"}
    environment.pop("FLASK_APP", None)
    done = subprocess.run(
        [sys.executable, "-m", "flask", "run"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: DATABASE_URL names mysql. Use sqlite:/// or postgresql://.\n",
    )


def test_help_lists_the_commands_by_what_a_person_does(home):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-m", "flask", "--help"], env=environment, capture_output=True, text=True)
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    for title, commands in cli.GROUPS.items():
        first = done.stdout.index(f"{title}:")
        assert all(done.stdout.index(f"\n  {command.name} ", first) for command in commands)
    assert all(listed.count(command.name) == 1 for command in cli.COMMANDS)


def test_settings_are_listed_without_a_password(runner, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://ada:s3cret@localhost/pairs")
    result = cli.settings_ and flask("settings")
    assert "CURATOR_BUSY_TIMEOUT=30.0" in result.stdout and "s3cret" not in result.stdout


def test_a_setting_of_the_wrong_kind_is_named(home, monkeypatch):
    monkeypatch.setenv("CURATOR_PAGE_SIZE", "many")
    result = flask("stats")
    assert result.returncode == 1 and "CURATOR_PAGE_SIZE is 'many', and must be a whole number" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_import_that_is_interrupted_leaves_nothing_and_says_so(runner, library, monkeypatch, session):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(history, "land", stop)
    result = runner.invoke(args=["import", str(library)])
    assert (result.exit_code, result.stderr) == (130, "Stopped; nothing was imported.\n")
    assert search.count(session, Selection()) == 0


def test_a_terminal_is_told_pace_and_time_left(monkeypatch, capsys):
    moments = iter([0.0, 1.0, 2.0, 2.0, 3.0])
    monkeypatch.setattr(door.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with door.progress("rows") as show:
        show(31_000, 99_871)
        show(0, 99_000, "Saving")
    told = capsys.readouterr().err.split("\r")
    assert told[1].startswith("31,000 of about 99,900 rows, 31,000 a second, 2 s left")
    assert told[2].startswith("Saving: 0 of about 99,000 rows")


def test_a_terminal_is_told_no_pace_at_the_first_note_of_a_part(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with door.progress("rows") as show:
        show(99_000, 99_000, "Reading")
        show(5_000, 20_000, "Saving")
    assert capsys.readouterr().err.split("\r")[2].startswith("Saving: 5,000 of about 20,000 rows \x1b")
