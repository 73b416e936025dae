"""Importing: planned, shown, and then all of it in one change or nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from curator import create_app, database, exports, history, imports, pairs, reviews, search
from curator.errors import UserError
from curator.models import Changeset, Pair
from curator.search import Selection


def test_a_plan_says_what_would_happen_and_changes_nothing(session, library):
    plan = imports.plan(session, library)
    assert (plan.new, plan.identical, plan.refused, plan.kind) == (3, 0, [], "CSV, comma, UTF-8")
    assert plan.rows[1].answer == "Two pounds, paid at the desk."
    assert plan.rows[0].tags == ("Loans",) and plan.rows[0].source == "desk"
    assert search.count(session, Selection()) == 0 and pairs.datasets(session) == []


def test_an_import_is_one_change_and_can_be_undone(session, library):
    done = imports.apply(session, library, by="ada", dataset="help desk")
    assert (done.new, done.changeset.rows, done.changeset.by) == (3, 3, "ada")
    assert pairs.datasets(session) == [("help desk", 3)]
    history.undo(session, done.changeset.id, "ada")
    assert pairs.datasets(session) == [("help desk", 0)]


def test_what_is_there_already_is_not_added_twice(session, library, write):
    imports.apply(session, library, by="ada")
    again = imports.apply(session, library, by="ada")
    assert (again.new, again.identical, again.changeset) == (0, 3, None)
    twice = imports.apply(session, write("two.csv", "q,a\nNew?,Yes\nNew?,Yes\n"), by="ada")
    assert (twice.new, twice.identical) == (1, 1)
    assert session.scalar(sa.select(sa.func.count(Changeset.id))) == 2


def test_a_pair_in_the_trash_is_added_again(session, library):
    done = imports.apply(session, library, by="ada")
    history.undo(session, done.changeset.id, "ada")
    assert imports.apply(session, library, by="ada").new == 3


def test_a_refused_row_stops_the_whole_file_and_is_named(session, write):
    path = write("faq.csv", "q,a\ngood?,yes\nName three,apple, pear\n")
    with pytest.raises(UserError, match=r"(?s)faq.csv line 3 has 3 fields.*nothing was imported.*--skip-refused"):
        imports.apply(session, path, by="ada")
    assert search.count(session, Selection()) == 0 and pairs.datasets(session) == []


def test_refused_rows_are_left_out_when_asked_and_reported(session, write):
    path = write("faq.csv", "q,a\ngood?,yes\nName three,apple, pear\n")
    done = imports.apply(session, path, by="ada", skip_refused=True)
    assert done.new == 1 and [r.line for r in done.refused] == [3]


@pytest.mark.parametrize("content, sentence", [
    ("question,answer\n", "has a header and no rows"),
    ("frage,antwort\na,b\n", "has no column for the question and no column for the answer. It has: frage, antwort"),
    ("q,a\n,\nx,\n", "not one row can be used"),
    ('{"words": "hello"}\n', "line 1 has no column for the question"),
])  # fmt: skip
def test_a_file_without_one_usable_row_is_refused(session, write, content, sentence):
    with pytest.raises(UserError, match=sentence):
        imports.apply(session, write("faq.csv", content), by="ada", skip_refused=True)
    with pytest.raises(UserError, match=sentence):
        imports.plan(session, write("faq.csv", content))


def test_what_goes_in_comes_out_byte_for_byte(session, write):
    texts = [
        "plain",
        " spaces ",
        "line\nbreaks\r\n",
        'quotes " and , commas',
        "<b>&amp;</b>",
        "עברית 👩‍👩‍👧",
        "é\u0301",
        "\ttab",
    ]
    lines = [{"question": f"{t} {i}", "answer": t} for i, t in enumerate(texts)]
    imports.apply(session, write("p.jsonl", "".join(json.dumps(line) + "\n" for line in lines)), by="ada")
    chats = [json.loads(line)["messages"] for line in exports.lines(session, Selection())]
    assert [(c[0]["content"], c[1]["content"]) for c in chats] == [(p["question"], p["answer"]) for p in lines]
    again = write("again.csv", "".join(exports.csv_lines(session, Selection())))
    assert imports.plan(session, again).identical == len(texts)


def test_an_import_that_is_killed_leaves_all_or_nothing(home, write):
    rows = "".join(f"Question {i}?,Answer {i}.\n" for i in range(30_000))
    path = write("many.csv", "question,answer\n" + rows)
    command = [sys.executable, "-m", "flask", "--app", "curator"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, "stats"], env=environment, check=True, capture_output=True)
    process = subprocess.Popen([*command, "import", str(path)], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    # The first sign that rows are being written is a write-ahead log that grows; then it is killed.
    log = home / "curator.db-wal"
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.stat().st_size > 500_000:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.wait()
    engine = sa.create_engine(f"sqlite:///{home / 'curator.db'}")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("PRAGMA integrity_check")) == "ok"
        count = connection.scalar(sa.select(sa.func.count()).select_from(Pair))
        found = connection.scalar(sa.text("SELECT count(*) FROM pair_text WHERE pair_text MATCH 'question'"))
    engine.dispose()
    assert count in (0, 30_000) and found == count
    if process.returncode == -signal.SIGKILL:
        assert count == 0


def test_other_fields_are_kept_with_the_pair_and_found_by_a_search(either, write):
    app = create_app()
    path = write("faq.csv", "id,q,a,city,score\nr1,Open?,Yes.,Zürich,5\nr2,Late?,No.,Bern,\n")
    with database.open_session(app) as session:
        imports.apply(session, path, by="ada")
        (found,) = search.ids(session, Selection(query="zurich" if either == "sqlite" else "zürich"))
        pair = pairs.get(session, found)
        assert (pair.key, pair.meta) == ("r1", {"city": "Zürich", "score": "5"})
    database.engine(app).dispose()


def test_a_rejected_answer_comes_out_as_a_preference(session, write):
    row = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
    imports.apply(session, write("dpo.jsonl", json.dumps(row)), by="ada")
    (found,) = reviews.preferences(session)
    assert found == {
        "prompt": [{"role": "user", "content": "2+2?"}],
        "chosen": [{"role": "assistant", "content": "4"}],
        "rejected": [{"role": "assistant", "content": "5"}],
    }
