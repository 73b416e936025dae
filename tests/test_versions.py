"""Versions: frozen, split without leaks, the same for ever."""

import pytest

from curator import exports, pairs, versions
from curator.errors import NotFound, UserError
from curator.search import Selection


@pytest.fixture
def fifty(make_pair):
    return [make_pair(f"Question number {i}?", f"Answer number {i}.") for i in range(50)]


def sides(session, number):
    """Return the split of each question of a version."""
    return {
        chat[-2]["content"]: side
        for side in ("train", "validation", "test")
        for chat in versions.chats(session, number, side)
    }


def test_a_version_has_the_sizes_that_were_asked_for(session, fifty):
    version, is_new = versions.freeze(session, Selection(), by="ada")
    assert is_new and version.counts == {"train": 40, "validation": 5, "test": 5}


def test_frozen_is_frozen(session, fifty):
    versions.freeze(session, Selection(), by="ada")
    before = list(exports.version_lines(session, 1))
    pairs.edit(session, fifty[0].id, {"answer": "Other."}, revision=1, by="ada")
    pairs.trash(session, [pair.id for pair in fifty[1:10]], "ada")
    assert list(exports.version_lines(session, 1)) == before
    assert versions.changed_since(session, versions.get(session, 1)) == 10


def test_freezing_the_same_again_gives_the_same_version(session, fifty):
    first, _ = versions.freeze(session, Selection(), by="ada")
    again, is_new = versions.freeze(session, Selection(), by="bo", name="another name")
    assert again.id == first.id and not is_new


def test_a_seed_decides_and_decides_alike(session, fifty):
    versions.freeze(session, Selection(), by="ada", seed=1)
    known = {}
    a, b, c = (versions.split([[p] for p in fifty], versions.SHARES, seed, known) for seed in (1, 1, 2))
    assert a == b != c


def test_a_pair_keeps_its_side_when_others_come(session, fifty, make_pair):
    versions.freeze(session, Selection(), by="ada")
    before = sides(session, 1)
    for i in range(50, 80):
        make_pair(f"Question number {i}?", f"Answer number {i}.")
    version, _ = versions.freeze(session, Selection(), by="ada", seed=7)
    after = sides(session, version.id)
    assert {q: after[q] for q in before} == before
    assert version.counts == {"train": 64, "validation": 8, "test": 8}


def test_near_duplicates_equal_questions_and_conversations_stay_together(session, make_pair):
    for i in range(30):
        words = " ".join(f"w{i}x{j}" for j in range(40))
        make_pair(f"Tell me about {i}?", words)
        make_pair(f"Tell me about {i}?", words + " more")  # a near-duplicate
        make_pair(f"TELL me, about {i}", f"Something else entirely {i}.")  # an equal question
        turns = [{"role": "user", "content": f"Tell me about {i}?"}, {"role": "assistant", "content": words}]
        make_pair(f"And then {i}?", f"Then {i}.", earlier=turns)  # a later turn of it
    for seed in range(20):
        groups = versions.grouped(list(session.query(versions.Pair)))
        assert sorted(map(len, groups)) == [4] * 30
        dealt = versions.split(groups, versions.SHARES, seed, {})
        assert all(len({dealt[p.id] for p in group}) == 1 for group in groups)


@pytest.mark.parametrize("shares, sentence", [
    ({"train": 0.8, "validation": 0.1, "test": 0.2}, "make 1.1, not 1"),
    ({"train": 1.2, "validation": -0.1, "test": -0.1}, "not 1"),
])  # fmt: skip
def test_shares_that_do_not_add_up_are_refused(session, fifty, shares, sentence):
    with pytest.raises(UserError, match=sentence):
        versions.freeze(session, Selection(), by="ada", shares=shares)
    assert versions.all(session) == []


def test_too_few_pairs_for_three_splits_are_refused_and_nothing_is_left(session, make_pair):
    make_pair()
    with pytest.raises(UserError, match="too few for 3 splits.*--split 100/0/0"):
        versions.freeze(session, Selection(), by="ada")
    assert versions.all(session) == []
    version, _ = versions.freeze(session, Selection(), by="ada", shares={"train": 1})
    assert version.counts["train"] == 1


def test_an_empty_selection_and_an_unknown_version_are_refused(session):
    with pytest.raises(UserError, match="nothing to freeze"):
        versions.freeze(session, Selection(), by="ada")
    with pytest.raises(NotFound, match="There is no version 3. There is: none yet"):
        list(exports.version_lines(session, 3))


def test_a_line_that_stands_in_two_versions_is_stored_once(session, fifty, make_pair):
    versions.freeze(session, Selection(), by="ada")
    make_pair()
    versions.freeze(session, Selection(), by="ada")
    assert session.query(versions.Line).count() == 51
