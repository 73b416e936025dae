"""Versions: frozen, split without leaks, the same for ever."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy as sa
from waiting import ended

from curator import cleaning, create_app, database, exports, history, imports, pairs, versions
from curator.errors import Busy, Conflict, NotFound, UserError
from curator.models import Line, VersionLine, writing
from curator.search import Selection
from curator.versions import counting, freezing, proof, splits

ROOT = Path(__file__).parent.parent
SOLD = "The shop by the harbour sells fresh bread, coffee and newspapers from seven in the morning"


@pytest.fixture
def fifty(make_pair):
    return [make_pair(f"Question number {i}?", f"Answer number {i}.") for i in range(50)]


def sides(session, number):
    """Return the split of each pair of a version."""
    rows = sa.select(VersionLine.pair_id, VersionLine.split).where(VersionLine.version_id == number)
    return {pair_id: split for pair_id, split in session.execute(rows)}


def words(count, seed):
    """Return made words that share nothing with those of another seed."""
    chance = random.Random(seed)
    return " ".join("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(count))


def held(count, groups, **options):
    """Deal groups of these sizes, without a database."""
    shares = options.pop("shares", versions.SHARES)
    marks = np.array([freezing.mark(options.get("seed", 1), bytes([i % 256, i // 256])) for i in range(len(groups))],
                     np.uint64)  # fmt: skip
    strata = np.array(options.get("strata", [0] * len(groups)))
    filled = np.array(options.get("filled", [[0, 0, 0]] * (int(strata.max()) + 1)))
    wanted = splits.sizes(splits.checked(shares), count)
    return splits.deal(np.array(groups), strata, marks, filled, wanted)


def test_a_version_has_the_sizes_that_were_asked_for(session, fifty):
    version, is_new = versions.freeze(session, Selection(), by="ada")
    assert is_new and version.counts == {"train": 40, "validation": 5, "test": 5}


def test_sizes_can_be_numbers_of_pairs(session, fifty):
    version, _ = versions.freeze(session, Selection(), by="ada", shares=versions.parse("rest/7/13"))
    assert version.counts == {"train": 30, "validation": 7, "test": 13}


@pytest.mark.parametrize("text, shares", [
    ("80/10/10", {"train": 0.8, "validation": 0.1, "test": 0.1}),
    ("100/0/0", {"train": 1, "validation": 0, "test": 0}),
    ("99.5/0/0.5", {"train": 0.995, "validation": 0, "test": 0.005}),
    ("800/100/100", {"train": 800, "validation": 100, "test": 100}),
    ("rest/50/50", {"train": None, "validation": 50, "test": 50}),
])  # fmt: skip
def test_a_split_is_read_as_shares_where_it_makes_a_hundred(text, shares):
    assert versions.parse(text) == pytest.approx(shares)
    assert versions.spoken(versions.checked_shares(versions.parse(text))) == text


def test_frozen_is_frozen_whatever_is_done_to_its_pairs(session, fifty):
    versions.freeze(session, Selection(), by="ada")
    before = list(exports.version_lines(session, 1))
    pairs.edit(session, fifty[0].id, {"answer": "Other <b>bold</b>."}, revision=1, by="ada")
    trashed = pairs.trash(session, [pair.id for pair in fifty[1:10]], "ada")
    cleaning.apply(session, [cleaning.read("html")], Selection(), "ada")
    history.undo(session, trashed.id, "ada")
    assert list(exports.version_lines(session, 1)) == before
    assert versions.changed_since(session, versions.get(session, 1)) == 10
    assert versions.check(session, 1).holds


@pytest.mark.parametrize("statement", [
    "UPDATE line SET messages = '[]' WHERE id = 1",
    "DELETE FROM line WHERE id = 1",
    "UPDATE version_line SET split = 'test'",
    "DELETE FROM version_line",
    "UPDATE version SET fingerprint = 'other'",
    "DELETE FROM version",
])  # fmt: skip
def test_the_database_itself_refuses_to_change_what_is_frozen(either, statement):
    app = create_app()
    with database.open_session(app) as session:
        for i in range(10):
            pairs.add(session, question=f"Question number {i}?", answer=f"Answer number {i}.", by="ada")
        versions.freeze(session, Selection(), by="ada")
        with pytest.raises(sa.exc.DBAPIError, match="What is frozen stays as it is"), writing(session):
            session.execute(sa.text(statement))
        with writing(session):  # its name is for people
            session.execute(sa.text("UPDATE version SET name = 'harbour'"))
        assert versions.check(session, 1).holds and versions.get(session, 1).name == "harbour"
    database.engine(app).dispose()


def test_what_is_altered_all_the_same_is_found(session, fifty):
    versions.freeze(session, Selection(), by="ada")
    with writing(session):
        session.execute(sa.text("DROP TRIGGER line_update"))
        session.execute(sa.update(Line).where(Line.id == 7).values(messages=Line.__table__.select().with_only_columns(
            Line.messages).where(Line.id == 8).scalar_subquery()))  # fmt: skip
    with pytest.raises(UserError, match="Version 1 is not what was frozen.*the one of pair 7"):
        versions.required(versions.check(session, 1), 1)


def test_a_frozen_chat_is_the_pair_with_all_its_turns_on_both_databases(either):
    turns = [{"role": "user", "content": 'Wo ist "hier"?\n'}, {"role": "assistant", "content": "Da \\ 👋\x7f"}]
    app = create_app()
    with database.open_session(app) as session:
        pairs.add(session, question="Und\tnun?", answer="</script> ä", system="Kurz.", earlier=turns, by="ada")
        pairs.add(session, question="Allein?", answer="Ja.", by="ada")
        versions.freeze(session, Selection(), by="ada", shares={"train": 1})
        first, second = versions.chats(session, 1)
        assert first == [
            {"role": "system", "content": "Kurz."}, *turns, {"role": "user", "content": "Und\tnun?"},
            {"role": "assistant", "content": "</script> ä"},
        ]  # fmt: skip
        assert [turn["content"] for turn in second] == ["Allein?", "Ja."]
        assert versions.check(session, 1).holds
    database.engine(app).dispose()


def test_freezing_the_same_again_gives_the_same_version(session, fifty):
    first, _ = versions.freeze(session, Selection(), by="ada")
    again, is_new = versions.freeze(session, Selection(), by="bo", name="another name")
    assert again.id == first.id and not is_new


def test_a_seed_decides_and_decides_alike():
    a, b, c = (held(50, [1] * 50, seed=seed).tolist() for seed in (1, 1, 2))
    assert a == b != c


def test_a_pair_keeps_its_side_when_others_come(session, fifty, make_pair):
    versions.freeze(session, Selection(), by="ada")
    before = sides(session, 1)
    for i in range(50, 80):
        make_pair(f"Question number {i}?", f"Answer number {i}.")
    version, _ = versions.freeze(session, Selection(), by="ada", seed=7)
    after = sides(session, version.id)
    assert {pair_id: after[pair_id] for pair_id in before} == before
    assert version.counts == {"train": 64, "validation": 8, "test": 8}


def test_a_pair_keeps_its_side_when_it_is_edited(session, fifty):
    versions.freeze(session, Selection(), by="ada")
    edited = next(pair_id for pair_id, side in sides(session, 1).items() if side == "test")
    pairs.edit(session, edited, {"question": words(9, 1), "answer": words(9, 2)}, revision=1, by="ada")
    version, _ = versions.freeze(session, Selection(), by="ada", seed=7)
    assert sides(session, version.id)[edited] == "test"


def test_a_pair_that_is_deleted_and_imported_anew_keeps_its_side(session, make_pair):
    made = {make_pair(words(9, i), words(9, 100 + i)).id: i for i in range(50)}
    versions.freeze(session, Selection(), by="ada")
    held_out = {pair_id: side for pair_id, side in sides(session, 1).items() if side != "train"}
    pairs.trash(session, list(held_out), "ada")
    again = {make_pair(words(9, made[i]), words(9, 100 + made[i])).id: side for i, side in held_out.items()}
    version, _ = versions.freeze(session, Selection(), by="ada", seed=7)
    after = sides(session, version.id)
    assert {pair_id: after[pair_id] for pair_id in again} == again


def test_a_new_pair_takes_the_side_of_its_group_even_if_that_is_not_frozen_again(session, fifty, make_pair):
    versions.freeze(session, Selection(), by="ada")
    expected = {}
    for pair_id, side in sides(session, 1).items():
        if side != "train":
            same = pairs.get(session, pair_id).question.upper()
            expected[make_pair(same, words(9, pair_id), tags=["new"]).id] = side
    for i in range(20):
        make_pair(words(9, 100 + i), words(9, 200 + i), tags=["new"])
    version, _ = versions.freeze(session, Selection(tag="new"), by="ada")
    after = sides(session, version.id)
    assert {pair_id: after[pair_id] for pair_id in expected} == expected and len(expected) == 10


def test_where_as_many_of_a_group_were_trained_on_as_tested_it_stays_tested(session, fifty):
    versions.freeze(session, Selection(), by="ada")
    before = sides(session, 1)
    trained, tested = (next(i for i, side in before.items() if side == which) for which in ("train", "test"))
    for pair_id in (trained, tested):
        pairs.edit(session, pair_id, {"question": "The same now?"}, revision=1, by="ada")
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert version.report["left_out"]["pairs"] == [trained] and sides(session, version.id)[tested] == "test"


def test_where_two_sides_meet_in_one_group_the_fewer_are_left_out_and_named(session, fifty, make_pair):
    versions.freeze(session, Selection(), by="ada")
    before = sides(session, 1)
    trained = [i for i, side in before.items() if side == "train"][:2]
    tested = next(i for i, side in before.items() if side == "test")
    for pair_id in (*trained, tested):
        pairs.edit(session, pair_id, {"question": "The same now?"}, revision=1, by="ada")
    version, _ = versions.freeze(session, Selection(), by="ada")
    after = sides(session, version.id)
    assert tested not in after and [after[i] for i in trained] == ["train", "train"]
    assert version.report["left_out"] == {"number": 1, "pairs": [tested]}
    assert any("1 pair was left out, as the group that they are in" in s or str(tested) in s
               for s in versions.sentences(version))  # fmt: skip


def test_pairs_that_are_left_out_take_no_room_of_those_that_are_kept(session, fifty, make_pair):
    versions.freeze(session, Selection(), by="ada")
    before = sides(session, 1)
    trained, tested = ([i for i, side in before.items() if side == which][:4] for which in ("train", "test"))
    for number, (one, other) in enumerate(zip(trained, tested, strict=True)):
        for pair_id in (one, other):
            pairs.edit(session, pair_id, {"question": f"The same {words(6, number)}?"}, revision=1, by="ada")
    for i in range(30):
        make_pair(words(9, 900 + i), words(20, 990 + i))
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert version.report["left_out"]["number"] == 4
    assert version.counts == {"train": 60, "validation": 8, "test": 8}  # of 76


def test_a_tag_pins_a_pair_and_with_it_its_group(session, fifty, make_pair):
    pairs.edit(session, fifty[3].id, {"tags": ["split:test"]}, revision=1, by="ada")
    twin = make_pair("QUESTION number 3", "Something wholly different.")
    versions.freeze(session, Selection(), by="ada")
    assert sides(session, 1)[fifty[3].id] == sides(session, 1)[twin.id] == "test"
    pairs.edit(session, fifty[3].id, {"tags": ["split:train"]}, revision=2, by="ada")
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert sides(session, 2)[fifty[3].id] == "train" and version.report["moved"]["pairs"] == [fifty[3].id]
    assert twin.id not in sides(session, 2)


def test_a_tag_on_the_later_of_two_takes_the_earlier_along(session, fifty, make_pair):
    twins = {
        fifty[i].id: make_pair(f"QUESTION number {i}", f"{words(9, i)}.", tags=["split:test"]).id for i in range(4)
    }
    versions.freeze(session, Selection(), by="ada")
    after = sides(session, 1)
    assert {after[pair_id] for both in twins.items() for pair_id in both} == {"test"}


@pytest.mark.parametrize("tags, sentence", [
    (["split:tset"], "is tagged split:tset, which is not one split. Choose one of: split:train"),
    (["split:test", "split:train"], "is tagged split:test and split:train"),
])  # fmt: skip
def test_a_pin_that_says_no_split_is_refused(session, fifty, tags, sentence):
    pairs.edit(session, fifty[3].id, {"tags": tags}, revision=1, by="ada")
    with pytest.raises(UserError, match=sentence):
        versions.freeze(session, Selection(), by="ada")


def test_two_pins_of_one_group_that_disagree_are_refused(session, fifty, make_pair):
    pairs.edit(session, fifty[3].id, {"tags": ["split:test"]}, revision=1, by="ada")
    twin = make_pair("QUESTION number 3", "Something wholly different.", tags=["split:train"])
    with pytest.raises(UserError, match=f"Pairs {fifty[3].id} and {twin.id} belong together.*test and train"):
        versions.freeze(session, Selection(), by="ada")


def test_planted_twins_never_straddle_over_two_hundred_seeds(session, make_pair):
    group_of = {}
    for i in range(30):
        said = words(40, i)
        turns = [{"role": "user", "content": f"Tell me about {i}?"}, {"role": "assistant", "content": said}]
        for pair in (
            make_pair(f"Tell me about {i}?", said),
            make_pair(f"Please tell me about {i}, would you?", said.replace(" ", "  ", 3) + " more"),  # a paraphrase
            make_pair(f"TELL me, about {i}", words(20, 100 + i)),  # an equal question
            make_pair(f"And then {i}?", words(20, 200 + i), earlier=turns),  # a later turn of it
        ):
            group_of[pair.id] = i
    for seed in range(200):
        with freezing.reading.snapshot(session):
            plan = freezing.planned(session, Selection(), splits.checked(versions.SHARES), seed, "", "", [],
                                    freezing.quiet)  # fmt: skip
        of_group = {}
        for pair_id, side in zip(plan.ids.tolist(), plan.sides.tolist(), strict=True):
            assert of_group.setdefault(group_of[pair_id], side) == side, f"seed {seed} parts group {group_of[pair_id]}"
        assert plan.counts == {"train": 96, "validation": 12, "test": 12} and len(plan.ids) == 120


def test_a_follow_up_that_many_conversations_have_joins_none_of_them(session, make_pair):
    for i in range(30):
        turns = [{"role": "user", "content": f"Tell me about {words(5, i)}?"},
                 {"role": "assistant", "content": words(9, i)}]  # fmt: skip
        make_pair("And then?", words(20, 300 + i), earlier=turns)
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert version.report["groups"] == 30


def test_a_greeting_does_not_make_one_conversation_of_many(session, make_pair):
    for i in range(30):
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": words(9, i)}]
        make_pair(words(9, 50 + i), words(20, 300 + i), earlier=turns)
        make_pair(words(9, 90 + i), words(20, 400 + i), earlier=[*turns, *turns])
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert version.report["groups"] == 30 and version.report["largest"] == 2


def test_rows_of_one_document_stay_together(session, make_pair):
    made = [make_pair(words(9, i), words(20, 100 + i), source=f"book {i % 10}") for i in range(40)]
    version, _ = versions.freeze(session, Selection(), by="ada", group_by="source")
    after = sides(session, 1)
    assert all(after[made[i].id] == after[made[i + 10].id] for i in range(30))
    assert version.report["groups"] == 10
    with pytest.raises(UserError, match="No pair has a field 'chapter' to group by"):
        versions.freeze(session, Selection(), by="ada", group_by="chapter")


@pytest.mark.parametrize("stratify", ["tag", "source"])
def test_each_tag_or_source_is_split_in_the_shares_where_asked(session, make_pair, stratify):
    for i in range(100):
        name = "rare" if i % 5 == 0 else "common"
        make_pair(words(9, i), words(20, 100 + i), **({"tags": [name]} if stratify == "tag" else {"source": name}))
    versions.freeze(session, Selection(), by="ada", stratify=stratify)
    rare = [pair_id for pair_id, side in sides(session, 1).items() if side == "test" and (pair_id - 1) % 5 == 0]
    assert len(rare) == 2
    with pytest.raises(UserError, match="There is no balance by 'mood'. Take one of: tag, source"):
        versions.freeze(session, Selection(), by="ada", stratify="mood")


def test_pairs_that_ask_what_a_benchmark_asks_are_left_out_and_listed(session, fifty, make_pair, tmp_path, runner):
    path = tmp_path / "benchmark.jsonl"
    asked = make_pair("Why do herons stand on one leg for hours?")
    path.write_text(json.dumps({"question": "why do herons stand on one leg, for hours", "answer": "?"}) + "\n")
    done = runner.invoke(args=["freeze", "--keep-out", str(path)])
    assert done.exit_code == 0 and "1 pair asks what benchmark.jsonl asks: 51." in done.stderr
    session.rollback()  # what the command wrote is seen from here on
    (kept,) = versions.get(session, 1).report["kept_out"]
    assert kept["pairs"] == [asked.id] and len(sides(session, 1)) == 50


def test_a_group_larger_than_a_split_stays_in_training_and_is_spoken_of(session, fifty, make_pair):
    for i in range(30):
        make_pair("Is there a queue?", words(12, i))
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert version.counts == {"train": 64, "validation": 8, "test": 8}
    assert any("One group holds 30 of 80 pairs" in sentence for sentence in versions.sentences(version))


def close_the_eyes_of(looks, monkeypatch):
    """Let some of the three that look for near-duplicates find none."""
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64))
    read = freezing.grouping.read

    def ungrouped(*arguments):
        rows = read(*arguments)
        rows.near = nothing
        return rows

    def find_none(texts, *arguments, **options):
        assert len(list(texts)) > 1
        return SimpleNamespace(left=nothing[0], right=nothing[1], complete=True)

    if "groups" in looks:
        monkeypatch.setattr(freezing.grouping, "read", ungrouped)
    if "signatures" in looks:
        eyes = SimpleNamespace(**vars(proof.minhash) | {"find_similar": find_none})  # the groups look with others
        monkeypatch.setattr(proof, "minhash", eyes)
    if "counting" in looks:
        monkeypatch.setattr(counting, "through", lambda texts, *arguments: texts)


@pytest.mark.parametrize("look", ["groups", "signatures", "counting"])
def test_each_look_for_near_duplicates_keeps_them_together_by_itself(session, make_pair, monkeypatch, look):
    for i in range(30):
        make_pair(words(9, i), words(30, 100 + i))
        make_pair(words(9, i) + " again", words(30, 100 + i))
    close_the_eyes_of({"groups", "signatures", "counting"} - {look}, monkeypatch)
    versions.freeze(session, Selection(), by="ada")
    after = sides(session, 1)
    assert all(after[i] == after[i + 1] for i in range(1, 60, 2))
    monkeypatch.undo()
    assert versions.check(session, 1).holds


def test_a_leak_in_a_version_is_found_afterwards(session, make_pair, monkeypatch):
    one, other = make_pair(words(9, 1), SOLD + ", I think."), make_pair(words(9, 1) + " or so", SOLD + ", they say.")
    for i in range(20):
        make_pair(words(9, 50 + i), words(30, 100 + i))
    apart = {one.id: 0, other.id: 2}
    dealt = freezing.dealt

    def leaky(rows, *arguments):
        found, left = dealt(rows, *arguments)
        for pair_id, side in apart.items():
            found[rows.ids == pair_id] = side
        return found, left

    monkeypatch.setattr(freezing, "dealt", leaky)
    monkeypatch.setattr(freezing, "look_again", lambda *_: proof.Proof(22, [], [], True))
    versions.freeze(session, Selection(), by="ada")
    with pytest.raises(UserError, match=f"Version 1 leaks: 1 times nearly the same.*pairs {one.id} and {other.id}"):
        versions.required(versions.check(session, 1), 1)


@pytest.mark.parametrize("shares, sentence", [
    ({"train": 0.8, "validation": 0.1, "test": 0.2}, "make 1.1, not 1"),
    ({"train": 1.2, "validation": -0.1, "test": -0.1}, "leave nothing to train on"),
    ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
    ({"train": 30, "validation": 5, "test": 5}, "30/5/5 makes 40, which is neither 100 per cent nor the 50 pairs"),
    ({"train": None, "validation": 40, "test": 20}, "rest/40/20 makes 60, which is neither"),
    ({"train": None, "validation": None, "test": 20}, "has two rests"),
])  # fmt: skip
def test_shares_that_do_not_add_up_are_refused(session, fifty, shares, sentence):
    with pytest.raises(UserError, match=sentence):
        versions.freeze(session, Selection(), by="ada", shares=shares)
    assert versions.all(session) == []


def test_too_few_pairs_for_three_splits_are_refused_and_nothing_is_left(session, make_pair):
    make_pair()
    with pytest.raises(UserError, match="1 pair is too few for 3 splits.*--split 100/0/0"):
        versions.freeze(session, Selection(), by="ada")
    assert versions.all(session) == [] and session.query(Line).count() == 0
    version, _ = versions.freeze(session, Selection(), by="ada", shares={"train": 1})
    assert version.counts["train"] == 1


def test_three_groups_are_enough_for_three_splits(session, make_pair):
    for i in range(3):
        make_pair(words(9, i), words(9, 50 + i))
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert version.counts == {"train": 1, "validation": 1, "test": 1}


def test_a_version_that_holds_nothing_out_decides_no_side(session, fifty):
    versions.freeze(session, Selection(), by="ada", shares={"train": 1})
    version, _ = versions.freeze(session, Selection(), by="ada")
    assert version.counts == {"train": 40, "validation": 5, "test": 5}


def test_an_empty_selection_and_an_unknown_version_are_refused(session):
    with pytest.raises(UserError, match="nothing to freeze"):
        versions.freeze(session, Selection(), by="ada")
    with pytest.raises(NotFound, match="There is no version 3. There is: none yet"):
        list(exports.version_lines(session, 3))


@pytest.mark.parametrize("arguments, code, sentence", [
    (["--split", "80-10-10"], 1, "The split '80-10-10' is no list of three numbers. For example: --split 80/10/10"),
    (["--split", "80/10/nan"], 1, "no list of three numbers"),
    (["--seed", "one"], 2, "'one' is no whole number"),
    (["--seed", "-1"], 1, "The seed -1 is no whole number from 0 on"),
    (["--query", "zeppelin"], 1, "nothing to freeze"),
    (["--keep-out", "nowhere.jsonl"], 2, "does not exist"),
])  # fmt: skip
def test_the_command_says_what_it_can_not_freeze(runner, session, fifty, arguments, code, sentence):
    done = runner.invoke(args=["freeze", *arguments])
    assert done.exit_code == code and sentence in done.stderr and "Traceback" not in done.output
    assert versions.all(session) == []


def test_pairs_edited_while_they_are_read_are_read_again(session, app, fifty, monkeypatch):
    look, edits = freezing.look_again, []

    def disturbed(*arguments):
        if not edits:
            with database.open_session(app) as other:
                edits.append(pairs.edit(other, fifty[0].id, {"answer": "Changed since."}, revision=1, by="bo"))
        return look(*arguments)

    monkeypatch.setattr(freezing, "look_again", disturbed)
    versions.freeze(session, Selection(), by="ada")
    assert edits and any(chat[-1]["content"] == "Changed since." for chat in versions.chats(session, 1))


def test_pairs_edited_without_end_are_a_conflict_and_no_half_version(session, app, fifty, monkeypatch):
    look, edits = freezing.look_again, []

    def disturbed(*arguments):
        with database.open_session(app) as other:
            words = {"answer": f"Changed {len(edits)} times."}
            edits.append(pairs.edit(other, fifty[0].id, words, revision=len(edits) + 1, by="bo"))
        return look(*arguments)

    monkeypatch.setattr(freezing, "look_again", disturbed)
    with pytest.raises(Conflict, match="Nothing was kept"):
        versions.freeze(session, Selection(), by="ada")
    assert versions.all(session) == [] and session.query(Line).count() == 0


def test_a_full_disk_leaves_no_half_version(session, fifty):
    pages = session.scalar(sa.text("PRAGMA page_count"))
    for pair in fifty[:5]:
        pairs.edit(session, pair.id, {"answer": words(20_000, pair.id)}, revision=1, by="ada")
    pages = session.scalar(sa.text("PRAGMA page_count"))
    session.execute(sa.text(f"PRAGMA max_page_count = {pages + 20}"))
    with pytest.raises(UserError, match="The disk is full, so nothing was changed"):
        versions.freeze(session, Selection(), by="ada")
    session.execute(sa.text(f"PRAGMA max_page_count = {2 * pages + 100_000}"))
    assert versions.all(session) == [] and session.query(Line).count() == 0
    versions.freeze(session, Selection(), by="ada")


FULL_DISK = """
import resource, sys
from curator import create_app, database, versions
from curator.errors import UserError
from curator.search import Selection
app = create_app()
with database.open_session(app) as session:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # no file grows beyond it
    try:
        versions.freeze(session, Selection(), by="ada")
    except UserError as error:
        print(error)
"""


def test_a_disk_that_gets_full_while_lines_are_written_is_said_and_leaves_no_half_version(app, session, make_pair):
    for i in range(40):
        make_pair(words(9, i), words(3000, 100 + i))
    session.close()
    database.engine(app).dispose()
    room = 300_000  # of a million that the lines take
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FULL_DISK, str(room)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "The disk is full, so nothing was changed. Make room on it, and do this again.\n"
    assert versions.all(session) == [] and session.query(Line).count() == 0
    assert versions.freeze(session, Selection(), by="ada")[1]


def test_a_freeze_while_a_file_is_imported_has_none_of_it_or_says_to_wait(session, fifty, home, write):
    path = write("more.csv", "question,answer\n" + "".join(f"{words(6, i)}?,{words(9, 900 + i)}\n" for i in range(300)))
    hasty = create_app({"CURATOR_BUSY_TIMEOUT": 0.1})
    seen = []

    def meanwhile(done, total=None, message=""):
        if message in [stage for stage, _ in seen]:
            return
        with database.open_session(hasty) as other:
            try:
                version, _ = versions.freeze(other, Selection(), by="bo")
                seen.append((message, sum(version.counts.values())))
            except Busy as error:
                assert "The database is busy with a large change" in str(error)
                seen.append((message, "busy"))

    imports.apply(session, path, by="ada", on_progress=meanwhile)
    database.engine(hasty).dispose()
    assert {found for _, found in seen} <= {50, "busy"} and ("Saving", "busy") in seen
    last, is_new = versions.freeze(session, Selection(), by="ada")
    assert is_new and sum(last.counts.values()) == 350
    assert versions.check(session, last.id).holds


def test_a_line_that_stands_in_two_versions_is_stored_once(session, fifty, make_pair):
    versions.freeze(session, Selection(), by="ada")
    make_pair()
    versions.freeze(session, Selection(), by="ada")
    assert session.query(Line).count() == 51


def test_the_command_checks_a_version(runner, session, fifty):
    assert runner.invoke(args=["freeze"]).exit_code == 0
    done = runner.invoke(args=["versions", "check", "1"])
    assert done.exit_code == 0 and "Version 1 holds: 50 lines as they were frozen" in done.stdout
    assert "1  " in runner.invoke(args=["versions"]).stdout


# The splitter, without a database.


def test_groups_are_dealt_whole_and_to_the_sizes_that_were_asked_for():
    chance = random.Random(5)
    groups = [chance.choice([1, 1, 1, 2, 3, 5]) for _ in range(400)]
    found = np.bincount(held(sum(groups), groups), groups)
    assert np.abs(found - np.array([0.8, 0.1, 0.1]) * sum(groups)).max() <= 5


def test_what_is_filled_already_counts():
    found = held(100, [1] * 50, filled=[[30, 10, 10]])
    assert np.bincount(found, minlength=3).tolist() == [50, 0, 0]


def test_what_is_filled_already_counts_beside_what_is_new():
    found = held(100, [1] * 50, filled=[[48, 1, 1]])
    assert np.bincount(found, minlength=3).tolist() == [32, 9, 9]


@pytest.mark.parametrize("total, expected", [(336, [269, 34, 33]), (10, [8, 1, 1]), (7, [5, 1, 1]), (0, [0, 0, 0])])
def test_sizes_that_were_asked_for_are_said_in_whole_pairs_that_make_all(total, expected):
    """Of 336 pairs 269, 34 and 34 were said to be asked for."""
    assert splits.whole(splits.sizes(versions.SHARES, total)) == expected


def test_small_strata_hand_on_what_they_can_not_fill():
    found = held(100, [1] * 100, strata=[i // 2 for i in range(100)])
    assert np.bincount(found).tolist() == [80, 10, 10]


def test_a_split_that_would_be_empty_gets_the_smallest_group():
    found = held(12, [10, 1, 1])
    assert found.tolist() in ([0, 1, 2], [0, 2, 1])


def test_where_every_group_is_too_large_for_a_split_the_smallest_ones_are_held_out():
    assert held(10, [4, 3, 3]).tolist() in ([0, 1, 2], [0, 2, 1])


# Two versions side by side.


@pytest.fixture
def two_versions(session, fifty, make_pair):
    """Version 1 of fifty pairs, and version 2: one came, one went, one was edited."""
    versions.freeze(session, Selection(), by="ada")
    pairs.edit(session, fifty[4].id, {"answer": "Answer number four."}, revision=1, by="ada")
    pairs.trash(session, [fifty[9].id], "ada")
    make_pair("A new one?", "Entirely.", tags=["Loans"])
    versions.freeze(session, Selection(), by="ada")


def test_two_versions_are_compared_pair_by_pair(session, two_versions):
    found = versions.compare(session, 1, 2)
    assert (found.added, found.removed, found.changed, found.moved) == (1, 1, 1, 0)
    assert [row.pair_id for kind in ("added", "removed", "changed") for row in found.rows[kind]] == [51, 10, 5]
    ((role, parts),) = found.rows["changed"][0].diffs()
    assert role == "assistant" and ("delete", "4") in parts and ("insert", "four") in parts
    assert [sum(bar[version] for bar in found.lengths) for version in (1, 2)] == [50, 50]
    assert found.tags == [("Loans", 0, 1)]


def test_a_pair_that_a_tag_moved_is_named(session, fifty, runner):
    versions.freeze(session, Selection(), by="ada")
    moved = next(i for i, side in sides(session, 1).items() if side == "train")
    pairs.edit(session, moved, {"tags": ["split:test"]}, revision=1, by="ada")
    versions.freeze(session, Selection(), by="ada")
    found = versions.compare(session, 1, 2)
    assert (found.moved, found.rows["moved"][0].pair_id) == (1, moved)
    assert f"pair {moved}, train to test" in runner.invoke(args=["versions", "compare", "1", "2"]).stdout


def test_a_version_is_not_compared_with_itself_or_with_none(session, two_versions):
    with pytest.raises(UserError, match="Version 1 is the same as itself"):
        versions.compare(session, 1, 1)
    with pytest.raises(NotFound, match="There is no version 9"):
        versions.compare(session, 1, 9)


# The pages.


def test_the_page_of_a_version_says_what_was_proved(client, session, fifty):
    versions.freeze(session, Selection(), by="ada")
    assert "Proved by a second look at 50 lines" in client.get("/versions/1").text


def test_the_page_beside_another_shows_each_change_word_by_word(client, two_versions):
    page = client.get("/versions/compare?old=1&new=2").text
    assert "<del>4</del><ins>four</ins>" in page and "Pair 51" in page and "Loans" in page
    assert client.get("/versions/compare?old=1&new=7").status_code == 404
    assert client.get("/versions/compare?old=one&new=2").status_code == 400


def test_a_large_selection_is_frozen_by_a_job(client, app, session, fifty, monkeypatch):
    monkeypatch.setattr("curator.views.versions.LARGE", 10)
    form = {"train": "rest", "validation": "5", "test": "5", "seed": "3", "stratify": "tag"}
    answer = client.post("/versions/", data=form)
    job_id = int(answer.location.rpartition("/")[2])
    ended(app, job_id)
    page = client.get(answer.location).text
    assert "Froze version 1: 50 lines." in page and "Show version 1" in page
    session.rollback()
    assert versions.get(session, 1).counts == {"train": 40, "validation": 5, "test": 5}


# Bytes.

WRITE = """
import sys
from pathlib import Path
from curator import create_app, database, exports, versions
from curator.search import Selection
app = create_app()
with database.open_session(app) as session:
    version, _ = versions.freeze(session, Selection(), by="ada", stratify="tag")
    exports.write_folder(session, version.id, Path(sys.argv[1]))
    print(version.id, version.fingerprint)
"""


def test_the_same_content_has_the_same_version_and_bytes_whatever_the_hash_seed_and_the_locale(
    session, make_pair, home, tmp_path
):
    for i in range(40):
        make_pair(f"Wo ist „{words(3, i)}“? 👋", f"Hier:\u2028{words(9, 50 + i)}.", tags=[f"t{i % 3}", "x"])
    session.close()
    shutil.copytree(home, tmp_path / "copy")
    said, files = [], []
    # Two copies are frozen, each by itself; then the first one's version is written once more.
    for place, seed, locale in ((home, "1", "C"), (tmp_path / "copy", "2", "C.UTF-8"), (home, "2", "C.UTF-8")):
        out = tmp_path / f"out{len(said)}"
        environment = os.environ | {"PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": f"UTC+{seed}"}
        environment |= {"CURATOR_HOME": str(place), "DATABASE_URL": f"sqlite:///{place / 'curator.db'}"}
        command = [sys.executable, "-c", WRITE, str(out)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        said.append(done.stdout)
        files.append({path.name: path.read_bytes() for path in out.iterdir()})
    texts = [{name: data for name, data in each.items() if name.endswith(".jsonl")} for each in files]
    assert len(set(said)) == 1 and texts[0] == texts[1] and len(texts[0]) == 3
    assert files[0] == files[2]


BENCHMARK = '{"question": "why do herons stand on one leg, for hours"}\n'


@pytest.mark.parametrize("large", [False, True])
def test_a_benchmark_is_kept_out_on_the_page_too_and_what_it_asks_is_listed(
    client, app, session, fifty, make_pair, monkeypatch, home, large
):
    asked = make_pair("Why do herons stand on one leg for hours?")
    if large:
        monkeypatch.setattr("curator.views.versions.LARGE", 10)
    form = {"train": "80", "validation": "10", "test": "10", "seed": "1"}
    answer = client.post("/versions/", data=form | {"keep_out": (io.BytesIO(BENCHMARK.encode()), "benchmark.jsonl")})
    if large:
        ended(app, int(answer.location.rpartition("/")[2]))
    session.rollback()
    assert len(sides(session, 1)) == 50 and asked.id not in sides(session, 1)
    page = client.get("/versions/1").text
    assert "1 pair that asks what benchmark.jsonl asks" in page and "Why do herons stand" in page
    assert not list((home / "uploads").iterdir())


@pytest.mark.parametrize("form, sentence", [
    ({"seed": "one"}, "Seed is &#39;one&#39;, which is no whole number."),
    ({"seed": "-1"}, "The seed -1 is no whole number from 0 on"),
    ({"train": "80", "validation": "10", "test": "20"}, "make"),
    ({"train": "eighty"}, "is no list of three numbers"),
    ({"train": "rest", "validation": "rest"}, "has two rests"),
    ({"train": "0", "test": "90"}, "nothing to train on"),
    ({"query": "zeppelin"}, "nothing to freeze"),
    ({"group_by": "chapter"}, "No pair has a field &#39;chapter&#39; to group by"),
    ({"license": "as you like!"}, "is no identifier of a licence"),
])  # fmt: skip
def test_the_page_says_what_it_can_not_freeze(client, session, fifty, form, sentence):
    usual = {"train": "80", "validation": "10", "test": "10", "seed": "1"}
    answer = client.post("/versions/", data=usual | form)
    assert answer.status_code == 400 and sentence in answer.text
    assert versions.all(session) == []


def test_a_version_of_one_pair_is_spoken_of_as_one(session, make_pair):
    """It was said to be crowded, as one group held 1 of 1 pairs."""
    make_pair()
    version, _ = versions.freeze(session, Selection(), by="ada", shares={"train": 1, "validation": 0, "test": 0})
    asked, proved = versions.sentences(version)
    assert asked == "Asked for 100/0/0, which is 1 train; made 1."
    assert proved.startswith(
        "Proved by a second look at 1 line: of 1 group, of which the largest holds 1, none is on two"
    )


@pytest.mark.parametrize("number, possible", [(1, "100/0/0"), (2, "90/0/10")])
def test_the_page_says_what_is_possible_with_too_few_pairs(client, session, make_pair, number, possible):
    for i in range(number):
        make_pair(words(9, i), words(9, 50 + i))
    answer = client.post("/versions/", data={"train": "80", "validation": "10", "test": "10"})
    assert answer.status_code == 400 and "too few for 3 splits" in answer.text and possible in answer.text
    train, validation, test = possible.split("/")
    assert client.post("/versions/", data={"train": train, "validation": validation, "test": test}).status_code == 303


def test_a_file_that_asks_nothing_is_refused_on_the_page(client, session, fifty):
    data = {"train": "80", "validation": "10", "test": "10", "keep_out": (io.BytesIO(b"a,b\n1,2\n"), "x.csv")}
    answer = client.post("/versions/", data=data)
    assert answer.status_code == 400 and "x.csv" in answer.text and versions.all(session) == []
