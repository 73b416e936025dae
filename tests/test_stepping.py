"""Large changes, one batch written while the next is read: the same as one after the other, all of it or nothing."""

import threading

import pytest
import sqlalchemy as sa

from curator import cleaning, history, neighbours
from curator.history import indexing, stepping, undoing
from curator.models import Pair, writing
from curator.search import Selection, count


@pytest.fixture(autouse=True)
def in_small_batches(monkeypatch):
    """Three pairs a batch, and a full-text index that is made anew, two pairs at once."""
    for module in (history, undoing):
        monkeypatch.setattr(module, "FIRST", 3)
        monkeypatch.setattr(module, "at_once", lambda pairs: 3)
    monkeypatch.setattr(indexing, "ANEW", 1)
    monkeypatch.setattr(indexing, "ENTERED", 2)


@pytest.fixture
def closing_days(make_pair):
    return [make_pair(f"Is it open on day {number}?", f"Please ring {number}.").id for number in range(11)]


def clean(session):
    steps = cleaning.steps_named(session, ["replace:ring=>call"], ("answer",))
    return cleaning.apply(session, steps, Selection(), "ada").changeset


def kept(session):
    state = "SELECT id, answer, fingerprint, revision FROM pair UNION ALL "
    journal = "SELECT pair_id, before, fingerprint, number FROM revision ORDER BY 1, 4, 2"
    return session.execute(sa.text(state + journal)).all()


def bands(session):
    return session.execute(sa.text("SELECT key, pair_id FROM pair_band ORDER BY key, pair_id")).all()


@pytest.mark.parametrize("is_beside", [True, False])
def test_many_batches_change_what_is_asked_and_an_undo_takes_it_back(session, closing_days, monkeypatch, is_beside):
    if not is_beside:
        monkeypatch.setattr(stepping, "can_be_read_beside", lambda session: False)
    changeset = clean(session)
    assert changeset.rows == 11
    assert [count(session, Selection(query=word)) for word in ("ring", "call", "open")] == [0, 11, 11]
    assert history.timeline(session, closing_days[7])[0].before == {"answer": "Please ring 7."}
    near = bands(session)
    neighbours.rebuild(session)
    assert bands(session) == near
    assert history.undo(session, changeset.id, "ada").changeset.rows == 11
    assert [count(session, Selection(query=word)) for word in ("ring", "call", "open")] == [11, 0, 11]
    if session.get_bind().dialect.name == "sqlite":
        assert session.scalar(sa.text("PRAGMA integrity_check")) == "ok"


def test_both_ways_leave_the_same_behind(session, closing_days, monkeypatch):
    with writing(session):
        changeset = clean(session)  # an act within an act is not read beside
        within = kept(session)
        session.rollback()
    assert changeset.rows == 11
    clean(session)
    assert kept(session) == within


def test_a_thread_writes_while_the_next_batch_is_read(session, closing_days, monkeypatch):
    if session.get_bind().dialect.name != "sqlite":
        pytest.skip("PostgreSQL is a process of its own")
    threads = set()
    update = history.changing.update
    monkeypatch.setattr(history.changing, "update", lambda *args: (threads.add(threading.get_ident()), update(*args)))
    clean(session)
    assert threads.isdisjoint({threading.get_ident()})


def test_what_fails_in_the_thread_leaves_everything_as_it_was(session, closing_days, monkeypatch):
    before, update = kept(session), history.changing.update

    def fails(session, changeset, names, table):
        if changeset.rows >= 6:
            raise ZeroDivisionError
        update(session, changeset, names, table)

    monkeypatch.setattr(history.changing, "update", fails)
    with pytest.raises(ZeroDivisionError):
        clean(session)
    assert kept(session) == before
    assert [count(session, Selection(query=word)) for word in ("ring", "call")] == [11, 0]


def test_words_are_those_of_the_texts_where_pairs_change_in_no_order(session, closing_days):
    with writing(session), history.in_bulk(session, texts=11):
        changeset = history.begin(session, "cleaned", "ada")
        for pair_id in (9, 2, 11, 1):
            pair = session.execute(sa.select(*history.CHANGEABLE).where(Pair.id == pair_id)).one()
            history.change_many(session, changeset, [(pair, {"answer": "Please call."})])
    assert [count(session, Selection(query=word)) for word in ("ring", "call", "open")] == [7, 4, 11]
