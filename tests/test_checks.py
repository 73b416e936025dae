"""The flags of pairs in the database: right after every write, left behind by large ones, brought up by passes."""

import json

import pytest
import sqlalchemy as sa

from curator import checking, create_app, database, duplicates, history, imports, pairs, quality
from curator.errors import NotFound, UserError
from curator.flags import FLAGS, Rules
from curator.models import Checked, PairFlag, writing
from curator.quality import passes, workers

REFUSES = "I'm sorry, but I can't help with that."


@pytest.fixture
def stored(either):
    """A session on an empty database, SQLite or PostgreSQL."""
    app = create_app()
    with database.open_session(app) as session:
        yield session
    database.engine(app).dispose()


def flagged(session):
    session.rollback()
    rows = session.execute(sa.select(PairFlag.pair_id, PairFlag.flag).order_by(PairFlag.pair_id, PairFlag.flag))
    return [tuple(row) for row in rows]


def of_all(session):
    """Return the flags as a pass over everything finds them."""
    quality.check(session, Rules(), everything=True)
    return flagged(session)


def csv(rows):
    return "q,a\n" + "".join(f'"{question}","{answer}"\n' for question, answer in rows)


def test_flags_are_those_of_the_live_texts_after_every_kind_of_write(stored, write):
    def are_true():
        kept = flagged(stored)
        assert quality.behind(stored, Rules()) == 0
        return kept == of_all(stored)

    one = pairs.add(stored, question="Who won?", answer=REFUSES, by="ada")
    assert flagged(stored) == [(1, "refusal")]
    two = pairs.add(stored, question="who won", answer="Ada won it.", by="ada")
    assert flagged(stored) == [(1, "contradiction"), (1, "refusal"), (2, "contradiction")]
    assert are_true()
    pairs.edit(stored, one.id, {"answer": "Ada won it"}, revision=1, by="ada")
    assert flagged(stored) == [(1, "duplicate"), (2, "duplicate")]
    assert are_true()
    changeset = pairs.trash(stored, [two.id], "ada")
    assert flagged(stored) == []
    history.undo(stored, changeset.id, "ada")
    assert flagged(stored) == [(1, "duplicate"), (2, "duplicate")]
    assert are_true()
    imports.apply(stored, write("a.csv", csv([("Late?", "TODO"), ("Who won?", "Nobody.")])), by="ada")
    assert are_true()
    assert (4, "contradiction") in flagged(stored)


def test_a_large_act_is_left_to_a_pass_over_what_changed(stored, write):
    pairs.add(stored, question="Late?", answer="TODO", by="ada")
    rows = [(f"Is number {n} large?", "TODO" if n % 50 == 0 else f"It is {n}.") for n in range(250)]
    imports.apply(stored, write("a.csv", csv([*rows, ("Late?", "Yes.")])), imports.Reading(dataset="main"), by="ada")
    assert (flagged(stored), quality.behind(stored, Rules())) == ([(1, "empty")], 251)
    done = quality.check(stored, Rules())
    assert (done.looked_at, done.was_whole, quality.behind(stored, Rules())) == (251, False, 0)
    assert flagged(stored) == of_all(stored)
    assert (1, "contradiction") in flagged(stored)


def test_a_save_after_a_large_act_leaves_that_to_the_pass(stored, write):
    imports.apply(stored, write("a.csv", csv([(f"Is {n} large?", "TODO") for n in range(250)])), by="ada")
    quality.check(stored, Rules())
    with writing(stored):
        changeset = history.begin(stored, "edited", "ada")
        everyone = [pairs.get(stored, n) for n in range(1, 251)]
        history.change_many(stored, changeset, [(pair, {"answer": "Yes, it is."}) for pair in everyone])
    pairs.edit(stored, 7, {"answer": "No."}, revision=2, by="ada")
    assert quality.behind(stored, Rules()) == 250
    quality.check(stored, Rules())
    assert flagged(stored) == []


def test_a_status_or_a_tag_makes_no_flag_old(stored, write):
    imports.apply(stored, write("a.csv", csv([(f"Is {n} large?", "TODO") for n in range(250)])), by="ada")
    quality.check(stored, Rules())
    pairs.set_status(stored, list(range(1, 251)), "approved", "ada")
    pairs.trash(stored, [7], "ada")
    assert (quality.behind(stored, Rules()), len(flagged(stored))) == (1, 249)
    assert quality.check(stored, Rules()).looked_at == 1


def test_a_stopped_pass_goes_on_where_it_was(stored, write, monkeypatch):
    monkeypatch.setattr(passes, "SLICE", 50)
    rows = [(f"Is {n % 150} large?", "TODO" if n < 100 and n % 10 else f"It is {n}.") for n in range(200)]
    imports.apply(stored, write("a.csv", csv(rows)), by="ada")
    whole = of_all(stored)
    stored.execute(sa.delete(PairFlag))
    stored.execute(sa.delete(Checked))
    stored.commit()

    def stop(done, total, message):
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quality.check(stored, Rules(), on_progress=stop)
    stored.rollback()
    assert (quality.behind(stored, Rules()), quality.is_finished(stored)) == (100, False)
    assert quality.check(stored, Rules()).looked_at == 100
    assert flagged(stored) == whole


def test_other_rules_make_all_flags_old(session, make_pair):
    make_pair("Count to a hundred.", "one two three " * 30)
    assert quality.behind(session, Rules()) == 0
    assert quality.behind(session, Rules(context=50)) == 1
    assert quality.check(session, Rules(context=50)).was_whole
    assert [flag for _, flag in flagged(session)] == ["long"]


def test_rows_are_looked_at_in_processes_and_found_the_same(session, write, monkeypatch):
    rows = [(f"Is {n} large?", "TODO" if n % 10 else f"It is {n}.") for n in range(300)]
    imports.apply(session, write("a.csv", csv(rows)), by="ada")
    here = of_all(session)
    monkeypatch.setattr(workers, "FEW", 0)
    monkeypatch.setattr(passes, "SLICE", 70)
    assert of_all(session) == here


def test_the_language_of_most_of_a_data_set_is_told_by_a_pass(session, write):
    english = [
        (
            f"When does the library open on day {n}?",
            f"It opens at nine in the morning and it closes at seven, as on day {n}.",
        )
        for n in range(30)
    ]
    german = [("Wann öffnet die Bibliothek am Sonntag?", "Am Sonntag bleibt die Bibliothek leider geschlossen.")]
    imports.apply(session, write("a.csv", csv(english + german)), by="ada")
    quality.check(session, Rules())
    row = session.execute(sa.select(PairFlag).where(PairFlag.flag == "language")).scalar_one()
    assert (row.pair_id, row.detail) == (31, "in German, and most of the data set is in English")


def test_a_question_of_another_data_set_or_after_other_turns_is_another_question(session, make_pair):
    make_pair("And then?", "Wait.")
    make_pair("And then?", "Go.", dataset="other")
    make_pair("And then?", "Run.", earlier=[{"role": "user", "content": "Fire!"}])
    assert flagged(session) == []


def test_a_detail_names_some_of_the_others(session, make_pair):
    for number in range(9):
        make_pair("Who won?", f"Number {number}.")
    details = dict(session.execute(sa.select(PairFlag.pair_id, PairFlag.detail)).all())
    assert details[1] == "asks what pairs 2, 3, 4, 5, 6 and 3 more ask"


def test_near_duplicates_of_the_last_search_are_flagged_by_a_pass(app, session, make_pair, home):
    words = "The library opens at nine in the morning and closes at seven in the evening on every weekday of the year"
    make_pair("When do you open?", words)
    make_pair("When do you open then?", words)
    duplicates.keep(duplicates.judge(session, duplicates.search(session)), home)
    quality.check(session, Rules(), home)
    details = list(session.scalars(sa.select(PairFlag.detail)))
    assert len(details) == 2 and details[0].startswith("nearly the same as pair 2 (9")
    pairs.edit(session, 2, {"question": "Something else?", "answer": "Quite."}, revision=1, by="ada")
    quality.check(session, Rules(), home)
    assert flagged(session) == []


def test_what_a_person_calls_fine_stays_so_until_the_text_changes(session, make_pair):
    pair = make_pair("Who won?", REFUSES)
    quality.call_fine(session, pair.id, "refusal", "ada")
    assert flagged(session) == [] == of_all(session)
    assert [one.flag for one in quality.fine_ones(session, pair.id)] == ["refusal"]
    with pytest.raises(NotFound, match="not flagged as 'refusal'"):
        quality.call_fine(session, pair.id, "refusal", "ada")
    pairs.edit(session, pair.id, {"question": "Who has won?"}, revision=1, by="ada")
    assert flagged(session) == [(1, "refusal")]


def test_calling_it_fine_can_be_taken_back(session, make_pair):
    pair = make_pair("Who won?", REFUSES)
    quality.call_fine(session, pair.id, "refusal", "ada")
    quality.not_fine(session, pair.id, "refusal")
    assert flagged(session) == [(1, "refusal")]


def test_counts_leave_out_the_trash_and_follow_what_no_changeset_tells(session, make_pair):
    one, two = make_pair("Who won?", REFUSES), make_pair("Who lost?", REFUSES)
    assert quality.flagged(session).pairs == 2
    quality.call_fine(session, one.id, "refusal", "ada")
    assert quality.flagged(session).pairs == 1
    pairs.trash(session, [two.id], "ada")
    assert quality.flagged(session).pairs == 0


def test_many_who_ask_the_same_are_left_to_the_pass(session, make_pair, monkeypatch):
    monkeypatch.setattr(checking, "CROWD", 3)
    for number in range(5):
        make_pair("Who won?", f"Number {number}.")
    assert quality.behind(session, Rules()) > 0
    quality.check(session, Rules())
    assert len(flagged(session)) == 5


def test_statistics_count_lengths_days_and_statuses(session, make_pair):
    make_pair("Who won?", "Ada.", status="approved", tags=["sport", "two words"], source="desk")
    make_pair("Why?", "x" * 120)
    found = quality.statistics(session, None, Rules())
    assert [(bar.label, bar.number, bar.query) for bar in found.answers if bar.number] == [
        ("0–19", 1, "len:0..19"),
        ("100–149", 1, "len:100..149"),
    ]
    assert (found.pairs, len(found.days), found.days[0].number, found.days[0].other) == (2, 1, 2, 1)
    assert {bar.query for bar in found.tags} == {"tag:sport", 'tag:"two words"'}


def test_a_setting_that_makes_no_sense_is_told_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="which is not there. Name a tokenizer.json"):
        quality.rules_of(4096, str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="is no tokenizer of the library tokenizers"):
        quality.rules_of(4096, str(tmp_path))
    with pytest.raises(UserError, match="CURATOR_CONTEXT is -1"):
        quality.rules_of(-1, "")


def test_the_command_counts_and_lists_and_fails_where_it_is_told_to(runner, make_pair):
    make_pair("Who won?", REFUSES)
    counted = runner.invoke(args=["check"])
    assert counted.exit_code == 0 and "        1  refusal" in counted.output
    listed = json.loads(runner.invoke(args=["check", "--no-pass", "--flag", "refusal", "--json"]).stdout)
    assert listed["pairs"]["refusal"][0]["id"] == 1 and listed["flags"]["refusal"] == 1
    failing = runner.invoke(args=["check", "--fail-on", "any"])
    assert failing.exit_code == 1 and "There are flags that may not be: refusal (1)." in failing.output
    assert runner.invoke(args=["check", "--fail-on", "secret"]).exit_code == 0
    assert (
        "'nonsense' is no flag. The flags are: empty, echo"
        in runner.invoke(args=["check", "--flag", "nonsense"]).output
    )


def test_every_flag_has_its_place_in_the_docs(request):
    told = (request.config.rootpath / "docs" / "checks.md").read_text("utf-8")
    assert [name for name in FLAGS if f"`{name}`" not in told] == []
