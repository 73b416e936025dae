"""Every write is a change: seen, undone days later, and never over somebody else's work."""

from contextlib import suppress

import pytest
import sqlalchemy as sa

from curator import create_app, database, duplicates, history, imports, pairs, text
from curator.errors import NotFound, UserError
from curator.models import Pair, writing
from curator.search import Selection, count


def test_an_edit_keeps_what_it_replaced(session, make_pair):
    pair = make_pair("How long?", "Two weeks.")
    pairs.edit(session, pair.id, {"answer": "Three weeks.", "tags": ["loans"]}, revision=1, by="bo")
    newest, first = history.timeline(session, pair.id)
    assert newest.before == {"answer": "Two weeks.", "tags": []}
    assert newest.after == {"answer": "Three weeks.", "tags": ["loans"]}
    assert (newest.changeset.by, first.before) == ("bo", None)
    assert first.after["answer"] == "Two weeks."


def test_an_edit_gives_the_pair_a_new_identity_and_the_old_one_still_finds_it(session, make_pair):
    pair = make_pair("How long?", "Two weeks.")
    old = pair.fingerprint
    pairs.edit(session, pair.id, {"answer": "Three weeks."}, revision=1, by="bo")
    assert pair.fingerprint == text.fingerprint(text.messages("How long?", "Three weeks.")) != old
    assert history.find(session, [old, pair.fingerprint, "0" * 64]) == {old: pair.id, pair.fingerprint: pair.id}


def test_an_undo_takes_back_every_field_of_every_pair(session, make_pair):
    ids = [make_pair().id for _ in range(3)]
    changeset = pairs.set_status(session, ids, "approved", "ada")
    undone = history.undo(session, changeset.id, "bo")
    assert undone.changeset.rows == 3 and undone.left == []
    assert [pairs.get(session, i).status for i in ids] == ["draft"] * 3


def test_a_pair_that_changed_since_is_named_and_left_alone(session, make_pair):
    one, other = make_pair(), make_pair()
    changeset = pairs.set_status(session, [one.id, other.id], "approved", "ada")
    pairs.edit(session, one.id, {"answer": "Newer."}, revision=2, by="bo")
    undone = history.undo(session, changeset.id, "ada")
    assert undone.left == [one.id]
    assert (one.status, one.answer, other.status) == ("approved", "Newer.", "draft")


def test_changes_that_were_undone_themselves_do_not_stand_in_the_way(session, make_pair):
    pair = make_pair(answer="First.")
    added = history.timeline(session, pair.id)[0].changeset
    edited = pairs.edit(session, pair.id, {"answer": "Second."}, revision=1, by="ada")
    history.undo(session, edited.id, "ada")
    assert history.undo(session, added.id, "ada").left == []
    assert pair.trashed


def test_an_undo_can_be_undone_but_nothing_is_undone_twice(session, make_pair):
    pair = make_pair()
    changeset = pairs.trash(session, [pair.id], "ada")
    undone = history.undo(session, changeset.id, "ada")
    with pytest.raises(UserError, match="was undone already"):
        history.undo(session, changeset.id, "ada")
    history.undo(session, undone.changeset.id, "ada")
    assert pair.trashed
    with pytest.raises(NotFound, match="no change number 999"):
        history.undo(session, 999, "ada")


def test_recent_changes_say_which_were_undone(session, make_pair):
    changeset = pairs.trash(session, [make_pair().id], "ada")
    history.undo(session, changeset.id, "ada")
    assert [(c.action, c.undoing is not None) for c in history.recent(session)] == [
        ("undid", False), ("trashed", True), ("added", False),
    ]  # fmt: skip


def test_resolving_duplicates_is_one_change_that_merges_tags(session, make_pair):
    words = "You can keep a book for three weeks and renew it twice at the desk or online"
    kept = make_pair("How long can I keep a book?", words + ", unless someone waits.", tags=["loans"])
    other = make_pair("How long can I keep a book?", words + ".", tags=["renewal"])
    make_pair("May I bring a dog?", "No.")
    (cluster,) = duplicates.clusters(session, duplicates.search(session)).clusters
    assert [p.id for p in cluster.pairs] == [kept.id, other.id]
    changeset = duplicates.resolve(session, [(kept.id, [other.id])], "ada")
    assert kept.tags == ["loans", "renewal"] and count(session, Selection()) == 2
    history.undo(session, changeset.id, "ada")
    assert kept.tags == ["loans"] and count(session, Selection()) == 3


def test_a_change_tells_who_took_it_back_and_who_took_that_back(session, make_pair):
    first = pairs.set_status(session, [make_pair().id], "approved", "ada")
    undone = history.undo(session, first.id, "bo").changeset
    again = history.undo(session, undone.id, "cy").changeset
    found = history.changeset(session, first.id)
    assert (found.undoing.id, found.undoing.undoing.id) == (undone.id, again.id)


def test_many_pairs_are_changed_as_one_is(either):
    app = create_app()
    with database.open_session(app) as session:
        one, other = (pairs.add(session, question=q, answer="Yes.", by="ada") for q in ("One?", "Two?"))
        values = {"answer": "No.", "tags": ["late"], "meta": {"city": "Bern"}, "status": "approved"}
        with writing(session):
            changeset = history.begin(session, "edited", "bo")
            history.change(session, changeset, one, values)
            history.change_many(session, changeset, [(other, values)])
        first, second = (history.timeline(session, pair.id)[0] for pair in (one, other))
        assert (first.before, first.after, first.number) == (second.before, second.after, second.number)
        assert (one.updated_at, one.updated_by) == (other.updated_at, other.updated_by) == (changeset.at, "bo")
        assert other.fingerprint == history.fingerprint_of(other) and changeset.rows == 2
        assert count(session, Selection(query="bern")) == 2 and count(session, Selection(query="yes")) == 0
        history.undo(session, changeset.id, "ada")
        assert (other.answer, other.tags, other.meta, other.status) == ("Yes.", [], {}, "draft")
        assert count(session, Selection(query="bern")) == 0 and count(session, Selection(query="yes")) == 2
    database.engine(app).dispose()


def test_what_many_changes_replaced_is_kept_to_the_letter(either):
    odd = 'Say "no" \\ — \t é\x7f\x01 {json} % :at \u2028 😀\r\n'
    replaced = {"answer": odd, "notes": odd, "tags": [odd], "meta": {odd: [None, 1.5, True]}, "trashed": False}
    app = create_app()
    with database.open_session(app) as session:
        pair = pairs.add(session, question="Q?", answer="A.", by="ada")
        with writing(session):
            history.change(session, history.begin(session, "edited", "ada"), pair, replaced)
            blank = {"answer": "A.", "notes": "", "tags": [], "meta": {}, "trashed": True}
            history.change_many(session, history.begin(session, "edited", "ada"), [(pair, blank)])
        assert history.timeline(session, pair.id)[0].before == replaced
    database.engine(app).dispose()


def test_a_large_change_can_be_stopped_while_its_indexes_are_made(session, make_pair, monkeypatch):
    monkeypatch.setattr(history.indexing, "ANEW", 1)
    pair = make_pair("Is it open?", "Closed.")
    told = []

    def stop(done, total, message):
        told.append((done, total, message))
        if message == "Indexing words":
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt), writing(session), history.in_bulk(session, 1, stop):
        history.change_many(session, history.begin(session, "cleaned", "ada"), [(pair, {"answer": "Open."})])
    assert told[-2:] == [(1, 1, "Indexing near-duplicates"), (1, 1, "Indexing words")]
    assert [count(session, Selection(query=word)) for word in ("closed", "answer:open")] == [1, 0]


def test_new_pairs_are_given_a_value_for_each_of_their_columns():
    assert set(history.PAIR_COLUMNS) == set(Pair.__table__.columns.keys())


def test_the_full_text_index_is_as_usual_after_many_pairs(session):
    with history.in_bulk(session):
        pass
    settings = dict(session.execute(sa.text("SELECT k, v FROM pair_text_config")).all())
    assert (settings["automerge"], settings["hashsize"]) == (4, 2**20)


@pytest.mark.parametrize("fails", [False, True])
def test_indexes_and_trigger_are_as_they_were_after_most_texts_changed(session, make_pair, monkeypatch, fails):
    monkeypatch.setattr(history.indexing, "ANEW", 1)
    pair = make_pair("Is it open?", "Closed.")
    stands = sa.text("SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') ORDER BY name")
    before = session.execute(stands).all()
    with suppress(ZeroDivisionError), writing(session), history.in_bulk(session, texts=1):
        assert len(session.execute(stands).all()) == len(before) - 3
        history.change_many(session, history.begin(session, "cleaned", "ada"), [(pair, {"answer": "Open."})])
        assert 1 / (not fails)
    assert session.execute(stands).all() == before
    assert [count(session, Selection(query=word)) for word in ("closed", "answer:open")] == [fails, not fails]
    assert session.execute(sa.text("PRAGMA integrity_check")).all() == [("ok",)]


def test_the_index_of_fingerprints_is_as_it_was_after_an_import_that_is_mostly_new(session, write, monkeypatch):
    monkeypatch.setattr(history.landing, "LANDED", 2)
    wanted = sa.text("SELECT sql FROM sqlite_master WHERE name = 'ix_pair_fingerprint'")
    before = session.scalar(wanted)
    rows = "".join(f"{number}?,Yes.\n" for number in range(11))
    monkeypatch.setattr(history.landing, "INDEXED_AT_ONCE", 4)
    imports.apply(session, write("faq.csv", "q,a\n" + rows), by="ada")
    assert session.scalar(wanted) == before
    assert session.execute(sa.text("PRAGMA integrity_check")).all() == [("ok",)]
    assert count(session, Selection(query="yes")) == 11
    assert imports.plan(session, write("faq.csv", "q,a\n" + rows)).identical == 11
