"""Finding pairs: full text, filters, facets, pages. Each on SQLite and on PostgreSQL."""

import pytest

from curator import create_app, database, pairs, search
from curator.errors import UserError
from curator.search import Selection


@pytest.fixture
def session(either):
    app = create_app()
    with database.open_session(app) as opened:
        yield opened
    database.engine(app).dispose()


def add(session, question, answer="Yes.", **values):
    return pairs.add(session, question=question, answer=answer, by="ada", **values).id


@pytest.mark.parametrize("query, found", [
    ("dog", {1}), ("DOGS", {1}), ("late fee", {2}), ('"late fee"', {2}), ('"fee late"', set()),
    ("fee late", {2}), ("ren", {3}), ("café", {3}), ("hello", {3}), ("brief", {2}), ("role", set()), ("o'clock", {1}),
])  # fmt: skip
def test_words_prefixes_and_phrases_are_found_in_every_text(session, query, found):
    add(session, "May I bring my dogs?", "Until 5 o'clock.")
    add(session, "What is the late fee?", system="Be brief.")
    turns = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": "Hi"}]
    add(session, "Can I renew in the Café?", earlier=turns)
    assert set(search.ids(session, Selection(query=query))) == found


def test_the_index_follows_an_edit(session):
    pair_id = add(session, "Old words?")
    pairs.edit(session, pair_id, {"question": "New words?"}, revision=1, by="ada")
    assert search.ids(session, Selection(query="old")) == []
    assert search.ids(session, Selection(query="new")) == [pair_id]


@pytest.mark.parametrize("query", ['"', "()", "* AND", "NEAR(a b)", "a:b", "-x", "' OR 1=1 --", "\\", "&|!"])
def test_signs_are_never_taken_for_a_query_language(session, query):
    add(session, "Anything?")
    try:
        search.count(session, Selection(query=query))
    except UserError as error:
        assert "holds no letter and no digit" in str(error)


def test_filters_and_facets_agree(session):
    add(session, "One?", tags=["a", "b"], source="desk", dataset="x")
    add(session, "Two?", tags=["a"], status="approved", dataset="x")
    trashed = add(session, "Three?", tags=["a"], dataset="y")
    pairs.trash(session, [trashed], "ada")
    facets = search.facets(session, Selection())
    assert facets.statuses == {"draft": 1, "approved": 1, "rejected": 0}
    assert facets.tags == [("a", 2), ("b", 1)] and facets.sources == [("desk", 1)] and facets.trashed == 1
    assert search.ids(session, Selection(tag="b")) == [1]
    assert search.ids(session, Selection(statuses=("approved", "rejected"))) == [2]
    assert search.ids(session, Selection(dataset="y", trash=True)) == [trashed]
    assert search.ids(session, Selection(source="desk", tag="a", dataset="x")) == [1]


def test_pages_go_forth_and_back_without_a_gap(session):
    ids = [add(session, f"Number {i}?") for i in range(7)]
    first = search.page(session, Selection(), size=3)
    second = search.page(session, Selection(), size=3, after=first.next)
    third = search.page(session, Selection(), size=3, after=second.next)
    assert [p.id for page in (first, second, third) for p in page.pairs] == ids
    assert [page.first for page in (first, second, third)] == [1, 4, 7]
    assert (first.previous, third.next, first.total) == (None, None, 7)
    back = search.page(session, Selection(), size=3, before=third.previous)
    assert [p.id for p in back.pairs] == ids[3:6] and (back.next, back.previous) == (ids[5], ids[3])
    newest = search.page(session, Selection(), size=3, sort="newest")
    assert [p.id for p in newest.pairs] == ids[:3:-1]
    assert [p.id for p in search.page(session, Selection(), size=3, after=newest.next, sort="newest").pairs] == ids[
        3:0:-1
    ]
    past_the_end = search.page(session, Selection(), size=3, after=10_000)
    assert (past_the_end.first, past_the_end.next) == (7, None)


def test_neighbours_walk_the_filtered_set(session):
    ids = [add(session, f"Number {i}?", tags=["odd"] if i % 2 else []) for i in range(5)]
    assert search.neighbours(session, Selection(tag="odd"), ids[1]) == (None, ids[3], 1, 2)


def test_matches_are_marked():
    assert search.highlight("A dog, two Dogs", "dog") == [
        (False, "A "),
        (True, "dog"),
        (False, ", two "),
        (True, "Dogs"),
    ]
    assert search.highlight("<b>x</b>", None) == [(False, "<b>x</b>")]
