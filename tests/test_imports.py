"""Importing: planned, shown, and then all of it in one change or nothing."""

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa
from victims import victims_of

from curator import create_app, database, exports, history, imports, neighbours, pairs, reviews, search, staging
from curator.errors import UserError
from curator.history.indexing import INDEXED
from curator.models import Changeset
from curator.search import Selection


def test_a_plan_says_what_would_happen_and_changes_nothing(session, library):
    plan = imports.plan(session, library)
    assert (plan.new, plan.identical, len(plan.refused), plan.kind) == (3, 0, 0, "CSV, comma, UTF-8")
    assert plan.rows[1].answer == "Two pounds, paid at the desk."
    assert plan.rows[0].tags == ("Loans",) and plan.rows[0].source == "desk"
    assert search.count(session, Selection()) == 0 and pairs.datasets(session) == []


def test_an_import_is_one_change_and_can_be_undone(session, library):
    done = imports.apply(session, library, imports.Reading(dataset="help desk"), by="ada")
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


def test_rows_are_compared_across_the_batches_they_go_in(session, write, monkeypatch):
    monkeypatch.setattr("curator.imports.reading.BATCH", 2)
    path = write("five.csv", "q,a\nOne?,Yes\nTwo?,Yes\nOne?,Yes\nThree?,Yes\nThree?,Yes\n")
    assert [imports.plan(session, path).new, imports.apply(session, path, by="ada").new] == [3, 3]
    assert [pair.question for pair in search.page(session, Selection(query="yes")).pairs] == ["One?", "Two?", "Three?"]


def test_a_pair_in_the_trash_is_added_again(session, library):
    done = imports.apply(session, library, by="ada")
    history.undo(session, done.changeset.id, "ada")
    assert imports.apply(session, library, by="ada").new == 3


def test_a_refused_row_stops_the_whole_file_and_is_named(session, write):
    path = write("faq.csv", "q,a\ngood?,yes\nName three,apple, pear\n")
    with pytest.raises(UserError, match=r"(?s)faq.csv line 3 has 3 fields.*nothing was imported.*--skip-refused"):
        imports.apply(session, path, by="ada")
    assert search.count(session, Selection()) == 0 and pairs.datasets(session) == []


def test_a_reason_that_many_rows_share_is_said_once(session, write):
    """A chat log of 6,150 questions without an answer used to say so ten times, and nothing else."""
    chats = ['{"messages": [{"role": "user", "content": "Hi"}]}\n'] * 5 + ['{"messages": []}\n']
    with pytest.raises(UserError) as error:
        imports.apply(session, write("chats.jsonl", "".join(chats)), by="ada")
    first, second, _ = str(error.value).split("\n")
    assert first == "chats.jsonl line 1 ends with a turn of the user, so it has no answer. (Also: 2, 3, 4 and 1 more.)"
    assert second == "chats.jsonl line 6 has messages that are not a list of turns."


def test_refused_rows_are_left_out_when_asked_and_reported(session, write):
    path = write("faq.csv", "q,a\ngood?,yes\nName three,apple, pear\n")
    done = imports.apply(session, path, by="ada", skip_refused=True)
    assert done.new == 1 and [r.line for r in done.refused.first] == [3]


@pytest.mark.parametrize("content, sentence", [
    ("question,answer\n", "has a header and no rows"),
    ("frage,antwort\na,b\n", "has no column for the question and no column for the answer. It has: frage, antwort"),
    ("q,a\n,\nx,\n", "refused, so nothing was imported"),
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
    table = exports.pieces(session, Selection(), "table", "csv")
    again = write("again.csv", b"".join(table))
    assert imports.plan(session, again).identical == len(texts)


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


LIBRARY = "id,q,a\n1,Open?,Yes.\n2,Late?,No.\n3,Dogs?,No dogs.\n"
SHOP = "id,q,a\n1,Refund?,In a week.\n2,Late?,Call us.\n3,Size?,Large.\n"


def test_ids_of_another_file_change_nothing_until_somebody_says_so(session, write):
    """Two files numbered from 1 used to overwrite each other without a word."""
    imports.apply(session, write("library.csv", LIBRARY), by="ada")
    shop = write("shop.csv", SHOP)
    assert "of 3 that name pairs in main, 2 name one of another source" in imports.plan(session, shop).clash
    sentence = r"line 2 with the id 1: 'Refund\?' here, 'Open\?' from library.csv\. Say .*--ids update .*--ids ignore"
    with pytest.raises(UserError, match=sentence):
        imports.apply(session, shop, by="ada")
    assert [pair.answer for pair in search.page(session, Selection()).pairs] == ["Yes.", "No.", "No dogs."]


def test_ids_of_another_file_change_pairs_when_asked(session, write):
    imports.apply(session, write("library.csv", LIBRARY), by="ada")
    done = imports.apply(session, write("shop.csv", SHOP), imports.Reading(ids="update"), by="ada")
    assert (done.new, done.changed) == (0, 3)


def test_ids_of_another_file_are_kept_as_a_field_when_asked(session, write):
    imports.apply(session, write("library.csv", LIBRARY), by="ada")
    done = imports.apply(session, write("shop.csv", SHOP), imports.Reading(ids="ignore"), by="ada")
    assert (done.new, done.changed) == (3, 0)
    newest = search.page(session, Selection(), sort="newest").pairs[0]
    assert (newest.question, newest.key, newest.meta) == ("Size?", "", {"id": "3"})
    assert imports.plan(session, write("shop.csv", SHOP)).identical == 3


@pytest.mark.parametrize("name, content", [
    ("library-2.csv", LIBRARY.replace("Yes.", "Until nine.").replace("Late?,No", "Too late?,Never")),  # one of three
    ("library.csv", SHOP),  # the same file, written anew
])  # fmt: skip
def test_a_newer_version_of_a_file_changes_its_pairs_unasked(session, write, name, content):
    imports.apply(session, write("library.csv", LIBRARY), by="ada")
    done = imports.apply(session, write(name, content), by="ada")
    assert (done.new, done.changed) == (0, 2 if name == "library-2.csv" else 3)


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
    assert (near.line, near.pair_id) == (2, pair.id) and 0.9 < near.similarity < 1
    assert plan.new == 2 and plan.near_bound == ""


def test_a_plan_says_that_it_compared_nothing_without_an_index(session, make_pair, write):
    make_pair("Late?", "No.")
    session.execute(sa.text("UPDATE pair_band_scheme SET scheme = ''"))
    plan = imports.plan(session, write("faq.csv", "q,a\nOpen?,Yes.\nNew?,Yes.\n"))
    assert "not compared" in plan.near_bound and "flask init-db" in plan.near_bound


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
    assert again.new == len(done.refused) and not again.refused
    mended = search.page(session, Selection(query="mended")).pairs
    assert [(pair.question, pair.meta) for pair in mended] == [("bad?", {"city": "Ulm"})]


def test_rows_all_refused_are_still_written(session, write, tmp_path):
    with pytest.raises(UserError, match="refused, so nothing was imported"):
        imports.apply(session, write("faq.csv", "q,a\nbad?,\n"), by="ada", rejects=tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == (
        'q,a,_line,_reason\nbad?,,2,"has an empty answer. Fill it in, or remove the row."\n'
    )


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_of_many_refused_rows_the_first_are_kept_and_all_are_written(session, write, tmp_path, ending):
    """A million lines of garbage used to take a gigabyte."""
    rows = {"jsonl": "".join(f'{{"q": "{n}?", "a"\n' for n in range(3000)), "csv": "q,a\n" + "why?,\n" * 3000}
    rejects = tmp_path / f"rejects.{ending}"
    with pytest.raises(UserError, match="All 3,000 rows were refused") as said:
        imports.apply(session, write(f"bad.{ending}", rows[ending]), by="ada", rejects=rejects)
    assert len(str(said.value).splitlines()) <= 12
    assert len(rejects.read_text().splitlines()) == 3000 + (ending == "csv")
    with pytest.raises(UserError):
        imports.plan(session, rejects)


def test_a_refused_row_that_nobody_mended_is_refused_again(session, write, tmp_path):
    path = write("fruits.csv", "q,a\ngood?,yes\nName three,apple, pear, fig\n")
    rejects = tmp_path / "rejects.csv"
    imports.plan(session, path, rejects=rejects)
    with pytest.raises(UserError, match="line 2 has ' pear, fig' in _rest. Move it to where it belongs"):
        imports.apply(session, rejects, by="ada")


IMPORTING = """
from curator import create_app, database, history, imports
def work(path, dataset):
    history.landing.PREPARED = 200
    with database.open_session(create_app()) as session:
        imports.apply(session, path, imports.Reading(dataset=dataset), by="ada")
"""


FOUND = "pair WHERE id IN (SELECT rowid FROM pair_text WHERE pair_text MATCH 'words')"


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_kill_at_any_point_leaves_all_of_a_file_or_nothing(app, session, home, write, kills):
    imports.apply(session, write("first.csv", "q,a\nFirst?,words\n"), by="ada")
    session.close()
    rows = 1600  # in eight pieces
    path = write("faq.jsonl", "".join(json.dumps({"q": f"{n}?", "a": "words " * 30}) + "\n" for n in range(rows)))
    chance, there, finished = random.Random(7), 1, 0
    with victims_of(IMPORTING) as victims:
        for number in range(kills):
            if number == 0:  # one that is left alone says how long it takes
                seconds = victims.spare(path, f"set {number}")
            else:
                victims.kill(chance.uniform(0, seconds * 1.1), path, f"set {number}")
            with contextlib.closing(sqlite3.connect(home / "curator.db")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                pair, revision, indexed, changes = (
                    connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0]
                    for what in ("pair", "revision", FOUND, "changeset")
                )
            assert pair == revision == indexed and pair in (there, there + rows)
            finished += pair > there
            there = pair
            assert changes == 1 + finished
    assert 0 < finished and (finished < kills or kills < 20)
    make_old(home)
    staging.sweep(home, lambda left: history.withdraw(session, left))
    assert list((home / "staging").iterdir()) == []
    assert_indexes_hold_the_pairs(session)


def assert_indexes_hold_the_pairs(session):
    """Compare full text and near-duplicates, row by row, with those that are made anew of the pairs."""
    session.rollback()
    keys = "SELECT key, pair_id FROM pair_band ORDER BY key, pair_id"
    words = "SELECT term, doc, col, offset FROM temp.instances ORDER BY term, doc, col, offset"
    with session.get_bind().connect() as connection:
        connection.exec_driver_sql("CREATE VIRTUAL TABLE temp.instances USING fts5vocab(main, pair_text, instance)")
        connection.exec_driver_sql("CREATE VIRTUAL TABLE temp.anew USING fts5("
                                   f"{INDEXED}, tokenize = 'unicode61 remove_diacritics 2')")  # fmt: skip
        connection.exec_driver_sql(f"INSERT INTO temp.anew (rowid, {INDEXED}) SELECT id, {INDEXED} FROM pair_words")
        connection.exec_driver_sql("CREATE VIRTUAL TABLE temp.wanted USING fts5vocab(temp, anew, instance)")
        found, wanted = (
            connection.exec_driver_sql(words.replace("instances", table)).all() for table in ("instances", "wanted")
        )
        assert found == wanted
        documents = connection.exec_driver_sql("SELECT id FROM pair_text_docsize ORDER BY id").scalars().all()
        assert documents == connection.exec_driver_sql("SELECT id FROM pair ORDER BY id").scalars().all()
        connection.detach()
    entered = session.execute(sa.text(keys)).all()
    neighbours.rebuild(session)
    assert session.execute(sa.text(keys)).all() == entered


@pytest.fixture
def by_twos(monkeypatch, write):
    """A file of six rows, entered into the indexes by two."""
    monkeypatch.setattr(history.landing, "PREPARED", 2)
    rows = (f'"How long is loan {n} of a book?","It is {n} weeks, said at the desk."\n' for n in range(6))
    return write("loans.csv", "q,a\n" + "".join(rows))


def while_indexing(act):
    """Return what an import tells its progress to, which acts once the first rows are in the indexes."""
    acts = [act]
    return lambda rows, total, message="": acts.pop()() if message == "Indexing" and acts else None


def test_a_file_that_is_entered_by_slices_is_indexed_as_any_other(session, by_twos, library):
    imports.apply(session, library, by="ada")
    assert imports.apply(session, by_twos, by="ada").new == 6
    assert search.count(session, Selection(query="said")) == 6
    assert_indexes_hold_the_pairs(session)


@pytest.mark.parametrize("message", ["Indexing", "Saving"])
def test_an_import_that_is_stopped_leaves_nothing_in_the_indexes(session, by_twos, library, message):
    imports.apply(session, library, by="ada")

    def stop(rows, total, said=""):
        if said == message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        imports.apply(session, by_twos, by="ada", on_progress=stop)
    assert search.count(session, Selection()) == 3
    assert_indexes_hold_the_pairs(session)


def test_what_others_add_while_a_file_is_entered_is_there_once(app, session, by_twos):
    def add_one_of_them():
        with database.open_session(app) as other:
            pairs.add(
                other, question="How long is loan 5 of a book?", answer="It is 5 weeks, said at the desk.", by="bob"
            )

    done = imports.apply(session, by_twos, by="ada", on_progress=while_indexing(add_one_of_them))
    assert (done.new, search.count(session, Selection(query="weeks"))) == (5, 6)
    assert_indexes_hold_the_pairs(session)


def test_an_index_that_is_built_anew_while_a_file_is_entered_has_its_pairs(app, session, by_twos):
    def rebuild():
        with database.open_session(app) as other:
            neighbours.rebuild(other)

    acts = [lambda: None, lambda: None, lambda: None, rebuild]  # three slices of words, and then the keys

    def once_all_is_entered(rows, total, message=""):
        if message == "Indexing":
            acts.pop(0)()

    imports.apply(session, by_twos, by="ada", on_progress=once_all_is_entered)
    assert not acts
    assert_indexes_hold_the_pairs(session)


def make_old(home):
    """Let the folders of stages be an hour old."""
    for folder in (home / "staging").iterdir():
        os.utime(folder, (time.time() - 3600,) * 2)


def test_a_stage_that_a_process_still_fills_is_not_swept_away(home):
    with staging.Stage(home) as stage:
        make_old(home)
        staging.sweep(home)
        assert stage.path.is_file()
    assert list((home / "staging").iterdir()) == []


FULL_DISK = """
import resource, sys
from curator import create_app, database, imports
from curator.errors import UserError
app = create_app()
with database.open_session(app) as session:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)  # no file grows beyond it
    try:
        imports.apply(session, sys.argv[1], by="ada")
    except UserError as error:
        print(error)
"""


@pytest.mark.parametrize("room", [500_000, 2_500_000])
def test_a_disk_that_gets_full_is_said_and_nothing_is_imported(app, session, home, write, room):
    """While the rows wait, or while they land."""
    imports.apply(session, write("first.csv", "q,a\nFirst?,words\n"), by="ada")
    session.close()
    database.engine(app).dispose()
    path = write("faq.jsonl", "".join(json.dumps({"q": f"{n}?", "a": f"word{n} " * 30}) + "\n" for n in range(4000)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FULL_DISK, str(path), str(room)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "The disk is full, so nothing was changed. Make room on it, and do this again.\n"
    assert list((home / "staging").iterdir()) == []
    assert search.ids(session, Selection()) == [1]


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
    assert told[0][0] == 5000 and 7000 < told[0][1] < 9000 and told[-1] == (8000, 8000)


def prefer(chosen, rejected):
    return json.dumps({"prompt": "Open?", "chosen": chosen, "rejected": rejected}) + "\n"


def test_a_pair_that_is_there_gets_the_rejected_answer_that_it_lacks(session, write, make_pair):
    """Preferences imported after the pairs they are about used to lose their rejected answers without a word."""
    pair = make_pair("Open?", "Yes.")
    done = imports.apply(session, write("dpo.jsonl", prefer("Yes.", "Who knows.") * 2), by="ada")
    assert (done.new, done.changed, done.identical, len(done.refused)) == (0, 1, 1, 0)
    assert pairs.get(session, pair.id).rejected == "Who knows."


def test_a_second_rejected_answer_of_one_pair_is_refused_by_name(session, write):
    path = write("dpo.jsonl", prefer("Yes.", "Who knows.") + prefer("Yes.", "No."))
    done = imports.apply(session, path, by="ada", skip_refused=True)
    assert (done.new, [refusal.line for refusal in done.refused.first]) == (1, [2])
    assert "with another rejected answer" in done.refused.first[0].reason
