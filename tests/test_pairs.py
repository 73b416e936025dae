"""Pairs: adding, editing, status, trash; and what a pair cannot be."""

import threading

import pytest

from curator import database, pairs
from curator.errors import Conflict, NotFound, UserError
from curator.models import Pair
from curator.search import Selection, count


def test_a_pair_is_added_with_all_that_it_may_hold(session, make_pair):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    pair = make_pair("2+2?", "4", system="Be brief.", earlier=turns, tags=["maths"], source="book", notes="easy")
    assert (pair.system, pair.history, pair.tags, pair.status, pair.created_by) == (
        "Be brief.", turns, ["maths"], "draft", "ada",
    )  # fmt: skip


@pytest.mark.parametrize("values, sentence", [
    ({"question": " ", "answer": "x"}, "The question is empty"),
    ({"question": "x", "answer": ""}, "The answer is empty"),
    ({"question": "x", "answer": "a\0b"}, "The answer holds a NUL character"),
    ({"question": "x", "answer": "y", "status": "done"}, "'done' is no status"),
    ({"question": "x", "answer": "y", "dataset": " "}, "A data set needs a name"),
    ({"question": "x", "answer": "y", "earlier": [{"role": "tool", "content": "z"}]}, "An earlier turn needs a role"),
])  # fmt: skip
def test_what_is_no_pair_is_refused_and_leaves_nothing(session, values, sentence):
    with pytest.raises(UserError, match=sentence):
        pairs.add(session, by="ada", **values)
    assert count(session, Selection()) == 0


def test_the_same_pair_is_not_added_twice_and_the_first_is_named(session, make_pair):
    first = make_pair("2+2?", "4")
    with pytest.raises(pairs.AlreadyThere, match=f"Pair {first.id} has the same text") as error:
        make_pair("2+2?", "4")
    assert error.value.pair_id == first.id
    make_pair("2+2?", "4", dataset="another")


def test_two_people_on_one_pair_see_a_conflict_and_never_a_silent_overwrite(session, make_pair):
    pair = make_pair()
    pairs.edit(session, pair.id, {"answer": "Ada's."}, revision=1, by="ada")
    with pytest.raises(Conflict, match="was changed by ada since you opened it"):
        pairs.edit(session, pair.id, {"answer": "Bo's."}, revision=1, by="bo")
    assert pair.answer == "Ada's."


def test_an_edit_that_changes_nothing_is_no_change(session, make_pair):
    pair = make_pair(answer="Same.")
    assert pairs.edit(session, pair.id, {"answer": "Same."}, revision=1, by="ada") is None
    assert pair.revision == 1


def test_trash_and_restore_count_only_what_they_changed(session, make_pair):
    one, other = make_pair(), make_pair()
    pairs.trash(session, [one.id], "ada")
    assert pairs.trash(session, [one.id, other.id], "ada").rows == 1
    assert count(session, Selection(trash=True)) == 2
    assert pairs.restore(session, [one.id, other.id], "ada").rows == 2
    with pytest.raises(NotFound, match="There is no pair 99"):
        pairs.trash(session, [99], "ada")


def test_tags_are_split_at_commas_and_stand_once():
    assert pairs.parse_tags(" a, b c ,a,, d") == ["a", "b c", "d"]


def test_many_writers_at_once_wait_their_turn(app, session, make_pair):
    """A transaction that read before it wrote used to fail at once with "database is locked"."""
    ids = [make_pair().id for _ in range(8)]
    errors = []

    def save(pair_id: int) -> None:
        try:
            for revision in range(1, 6):
                with database.open_session(app) as own:
                    pairs.get(own, pair_id)
                    pairs.edit(own, pair_id, {"answer": f"take {revision}"}, revision=revision, by="ada")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=save, args=(i,)) for i in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    session.rollback()
    session.expire_all()
    assert {session.get(Pair, i).revision for i in ids} == {6}
