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
from curator.formats import encode
from curator.formats.writing import COLUMNS
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
    table = encode(exports.fields(session, Selection(), "table"), "csv", COLUMNS["table"])
    again = write("again.csv", b"".join(table))
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


def test_a_second_import_changes_the_pairs_that_its_rows_name(either, write):
    app = create_app()
    path = write("faq.csv", "id,q,a,city\nr1,Open?,Yes.,Bern\nr2,Late?,No.,\n")
    with database.open_session(app) as session:
        imports.apply(session, path, by="ada")
        first, _ = search.page(session, Selection()).pairs
        pairs.set_status(session, [first.id], "approved", "ada")
        path.write_text("id,q,a,city\nr1,Open?,Until nine.,Bern\nr2,Late?,No.,\nr3,New?,Yes.,\n")
        plan = imports.plan(session, path)
        assert (plan.new, plan.changed, plan.identical) == (1, 1, 1)
        assert [(c.line, c.pair.id, c.after) for c in plan.changes] == [(2, first.id, {"answer": "Until nine."})]
        done = imports.apply(session, path, by="ada")
        assert (first.answer, first.status, done.changeset.rows) == ("Until nine.", "approved", 2)
        history.undo(session, done.changeset.id, "ada")
        assert first.answer == "Yes." and search.count(session, Selection()) == 2
    database.engine(app).dispose()


def test_a_name_that_several_rows_share_names_none_but_the_first(session, write):
    path = write("faq.csv", "id,q,a\n1,Open?,Yes.\n1,Late?,No.\n")
    imports.apply(session, path, by="ada")
    first, second = search.page(session, Selection()).pairs
    assert (first.key, second.key, second.meta) == ("1", "", {"id": "1"})
    assert imports.plan(session, path).identical == 2


def test_a_plan_names_the_pairs_that_new_rows_are_like(session, make_pair, write):
    words = "You can keep a book for three weeks and renew it twice at the desk or on the telephone"
    pair = make_pair("How long can I keep a book?", words)
    path = write("faq.csv", f"q,a\nHow long can I keep a book?,{words} too\nMay I bring my dog?,No.\n")
    plan = imports.plan(session, path)
    (near,) = plan.near
    # 26 words make 24 runs of three, "keep a book" twice; one more word makes one more run.
    assert (near.line, near.pair_id, near.similarity) == (2, pair.id, pytest.approx(23 / 24))
    assert plan.new == 2 and plan.near_bound == ""


def test_a_plan_says_which_rows_it_did_not_compare(session, make_pair, write, monkeypatch):
    make_pair("Late?", "No.")
    monkeypatch.setattr(imports, "COMPARED", 1)
    plan = imports.plan(session, write("faq.csv", "q,a\nOpen?,Yes.\nNew?,Yes.\n"))
    assert plan.near_bound == "Compared were 1 of 2 new rows with 1 of 1 pairs."


@pytest.mark.parametrize("name, content, mend", [
    ("faq.csv", "q,a,city\ngood?,yes,Bern\nbad?,,Ulm\nlong?,\"so, so\",Rom,Paris\n",
     lambda text: text.replace("bad?,,", "bad?,mended,").replace("Paris", "")),
    ("faq.jsonl", '{"q": "good?", "a": "yes"}\n{"q": "bad?", "a": "", "city": "Ulm"}\n',
     lambda text: text.replace('"a": ""', '"a": "mended"')),
])  # fmt: skip
def test_refused_rows_are_written_mended_and_imported(session, write, tmp_path, name, content, mend):
    rejects = tmp_path / ("rejects" + name[3:])
    done = imports.apply(session, write(name, content), by="ada", skip_refused=True, rejects=rejects)
    assert done.new == 1 and "_reason" in rejects.read_text() and "has an empty answer" in rejects.read_text()
    rejects.write_text(mend(rejects.read_text()))
    again = imports.apply(session, rejects, by="ada")
    assert again.new == len(done.refused) and again.refused == []
    mended = search.page(session, Selection(query="mended")).pairs
    assert [(pair.question, pair.meta) for pair in mended] == [("bad?", {"city": "Ulm"})]


def test_rows_all_refused_are_still_written(session, write, tmp_path):
    with pytest.raises(UserError, match="not one row can be used"):
        imports.apply(session, write("faq.csv", "q,a\nbad?,\n"), by="ada", rejects=tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == (
        'q,a,_line,_reason\nbad?,,2,"has an empty answer. Fill it in, or remove the row."\n'
    )


def test_a_refused_row_that_nobody_mended_is_refused_again(session, write, tmp_path):
    path = write("fruits.csv", "q,a\ngood?,yes\nName three,apple, pear, fig\n")
    rejects = tmp_path / "rejects.csv"
    imports.plan(session, path, rejects=rejects)
    with pytest.raises(UserError, match="line 2 has ' pear, fig' in _rest. Move it to where it belongs"):
        imports.apply(session, rejects, by="ada")


@pytest.mark.parametrize("mend", [
    lambda row: {"_raw": row["_raw"] + '"}'},
    lambda row: row | {"q": "Late?", "a": "No."},
])  # fmt: skip
def test_a_line_that_is_no_json_is_mended_in_the_rejects(session, write, tmp_path, mend):
    path = write("faq.jsonl", '{"q": "Open?", "a": "Yes."}\n{"q": "Late?", "a": "No.\n')
    rejects = tmp_path / "rejects.jsonl"
    imports.apply(session, path, by="ada", rejects=rejects, skip_refused=True)
    (row,) = map(json.loads, rejects.read_text().splitlines())
    assert row["_raw"] == '{"q": "Late?", "a": "No.' and row["_line"] == 2
    rejects.write_text(json.dumps(mend(row)) + "\n")
    assert imports.apply(session, rejects, by="ada").new == 1
    assert search.ids(session, Selection(query="late")) == [2]


def test_a_line_that_is_no_json_and_was_not_mended_is_refused_again(session, write, tmp_path):
    path = write("faq.jsonl", '{"q": "Open?", "a": "Yes."}\n{"q": "Late?"\x00 \n')
    imports.plan(session, path, rejects=tmp_path / "rejects.jsonl")
    with pytest.raises(UserError, match="line 1 has no JSON object in _raw. Mend it there"):
        imports.plan(session, tmp_path / "rejects.jsonl")


def test_a_file_of_several_shapes_says_so(session, write):
    chat = {"messages": [{"role": "user", "content": "Late?"}, {"role": "assistant", "content": "No."}]}
    path = write("mixed.jsonl", json.dumps(chat) + '\n{"question": "Open?", "answer": "Yes."}\n')
    plan = imports.plan(session, path)
    assert plan.shape.startswith("chat messages: messages from 'messages'; also question and answer: question from")


def test_progress_tells_about_how_many_rows_a_file_has(session, write):
    path = write("faq.csv", "q,a\n" + "".join(f"Question {n:05}?,Yes.\n" for n in range(8000)))
    told = []
    imports.plan(session, path, on_progress=lambda rows, total: told.append((rows, total)))
    assert told[0][0] == 1000 and 6500 < told[0][1] < 9500 and told[-1] == (8000, 8000)
