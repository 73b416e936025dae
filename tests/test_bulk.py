"""One act on many pairs: exactly those that were meant, said with their number, and taken back as one."""

import json
import random
import re

import pytest
import sqlalchemy as sa
from waiting import ended

from curator import bulk, history, minhash, neighbours, pairs, search
from curator.bulk import Act
from curator.errors import NotFound, UserError
from curator.models import Changeset, Pair, writing
from curator.search import Selection

DRAFTS = Selection(statuses=("draft",))


def do(session, which, name, **words):
    return bulk.do(session, Act(name, **words), which, by="ada")


def statuses(session):
    return list(session.scalars(sa.select(Pair.status).order_by(Pair.id)))


def test_all_that_match_are_approved_and_come_back_as_one(session, make_pair):
    for _ in range(3):
        make_pair(status="rejected")
    for _ in range(4):
        make_pair()
    done = do(session, DRAFTS, "approve")
    assert (done.told, statuses(session)) == ("4 pairs approved.", ["rejected"] * 3 + ["approved"] * 4)
    assert history.undo(session, done.changeset.id, "ada").told == "Undone: 4 pairs as before."
    assert statuses(session) == ["rejected"] * 3 + ["draft"] * 4


def test_pairs_that_stand_so_already_are_counted_apart(session, make_pair):
    make_pair(status="approved")
    make_pair()
    assert do(session, Selection(), "approve").told == "1 pair approved; 1 was so already."
    done = do(session, Selection(), "approve")
    assert (done.told, done.changeset) == ("0 pairs approved; 2 were so already.", None)
    assert session.scalar(sa.select(sa.func.count()).select_from(Changeset)) == 3


def test_nothing_is_done_where_another_number_matches_than_was_said(session, make_pair):
    make_pair()
    make_pair()
    with pytest.raises(bulk.Otherwise, match=r"2 match now; it was 1\. Nothing was changed"):
        bulk.do(session, Act("approve"), DRAFTS, by="ada", expected=1)
    assert statuses(session) == ["draft"] * 2


def test_tags_are_added_beside_those_there_and_taken_off(session, make_pair):
    one, other = make_pair(tags=["fees"]), make_pair()
    do(session, [one.id, other.id], "tag", tags=["late", "fees"])
    assert (one.tags, other.tags) == (["fees", "late"], ["late", "fees"])
    do(session, Selection(tag="fees"), "untag", tags=["fees"])
    assert (one.tags, other.tags) == (["late"], ["late"])


def test_a_pair_whose_text_is_in_the_other_data_set_stays_and_is_named(session, make_pair):
    make_pair("Open?", "Yes.", dataset="faq")
    same, other = make_pair("Open?", "Yes."), make_pair("Closed?", "No.")
    again = make_pair("Closed?", "No.", dataset="old")
    done = do(session, [same.id, other.id, again.id], "move", into="faq")
    assert (done.changed, done.same) == (1, [same.id, again.id])
    assert (
        done.told
        == f"1 pair moved into faq. Left where they are, as the same text is in faq already: {same.id}, {again.id}."
    )
    assert other.dataset.name == "faq"


def test_a_data_set_that_got_no_pair_is_not_made(session, make_pair):
    with pytest.raises(NotFound, match="no pair 99"):
        do(session, [99], "move", into="new")
    assert [name for name, _ in pairs.datasets(session)] == []


@pytest.mark.parametrize(
    ("act", "says"),
    [({"name": "burn"}, "can't be done"), ({"name": "tag"}, "No tag is named"), ({"name": "move"}, "No data set")],
)
def test_an_act_that_lacks_something_says_what(act, says):
    with pytest.raises(UserError, match=says):
        Act(**act)


def words_of(session):
    """Return what the full-text index holds: each word with its pair and column, by SQLite's own way of reading it."""
    session.execute(
        sa.text("CREATE VIRTUAL TABLE IF NOT EXISTS temp.held USING fts5vocab('main', 'pair_text', 'instance')")
    )
    return sorted(map(tuple, session.execute(sa.text('SELECT term, doc, col, "offset" FROM temp.held'))))


def bands_of(session):
    live = session.execute(sa.select(Pair.id, Pair.question, Pair.answer).where(~Pair.trashed)).all()
    keys = minhash.band_keys([neighbours.text_of(q, a) for _, q, a in live], neighbours.SCHEME)
    return sorted((key, row[0]) for row, some in zip(live, keys, strict=True) for key in some)


@pytest.mark.parametrize("seed", range(3))
def test_both_indexes_are_those_of_the_texts_after_any_acts(session, seed, monkeypatch):
    monkeypatch.setattr(history.indexing, "ANEW", 1)  # so that some acts make the indexes anew
    chance = random.Random(seed)
    words = [f"{a}{b}" for a in "bdfgklmn" for b in ("an", "el", "ir", "oto")]

    def text():
        return " ".join(chance.choices(words, k=chance.randint(1, 30)))

    with writing(session):
        place = pairs.dataset_named(session, "main", create=True)
        changeset = history.begin(session, "imported", "ada")
        history.add(
            session, changeset, [{"dataset_id": place.id, "question": text(), "answer": text()} for _ in range(60)]
        )
    for _ in range(25):
        act = chance.choice(["edit", "edit", "undo", *bulk.ACTS])
        if act == "edit":
            with writing(session), history.in_bulk(session, texts=chance.choice([0, 60])):
                changeset = history.begin(session, "cleaned", "ada")
                for _ in range(2):  # the same pair may come twice in one changeset
                    some = session.execute(sa.select(*history.CHANGEABLE).order_by(sa.func.random()).limit(20)).all()
                    edits = [(pair, {"answer": chance.choice([text(), pair.answer + " more", "?"])}) for pair in some]
                    history.change_many(session, changeset, edits)
        elif act == "undo":
            last = history.recent(session)[: chance.randint(1, 4)][-1]
            if last.undoing is None:
                try:
                    history.undo(session, last.id, "ada")
                except UserError:
                    session.rollback()
        else:
            which = Selection(trash=act == "restore", query=chance.choice([None, chance.choice(words)]))
            do(session, which, act, tags=["new"], into="main")
    held, bands = words_of(session), sorted(map(tuple, session.execute(sa.text("SELECT key, pair_id FROM pair_band"))))
    session.execute(sa.text("INSERT INTO pair_text (pair_text) VALUES ('delete-all')"))
    columns = "question, answer, system, notes, turns, fields"
    session.execute(sa.text(f"INSERT INTO pair_text (rowid, {columns}) SELECT id, {columns} FROM pair_words"))
    assert len(held) > 100 and held == words_of(session)
    assert bands == bands_of(session)
    session.rollback()


def test_the_bar_of_the_list_offers_all_that_match_and_posts_the_query(client, session, make_pair, app):
    app.config["CURATOR_PAGE_SIZE"] = 2
    for number in range(5):
        make_pair(f"Question {number}?", "Late fee." if number else "No.")
    assert "Select all 4 that match" in client.get("/pairs/?query=fee").text
    page = client.get("/pairs/?query=fee&selected=all").text
    assert "All 4 pairs that match" in page and '<span class="number" data-number>4</span>' in page
    address = re.search(r'id="selected" method="post" action="([^"]+)"', page)[1].replace("&amp;", "&")
    answer = client.post(address, data={"act": "tag", "tags": "fees, late", "whole": "1", "expected": "4"})
    session.rollback()
    assert (answer.status_code, search.count(session, Selection(tag="late"))) == (303, 4)
    assert "4 pairs tagged." in client.get("/pairs/").text


def test_the_page_says_where_the_number_changed_meanwhile_and_shows_the_new_button(client, session, make_pair):
    make_pair()
    make_pair()
    form = {"act": "move", "into": "<b>faq</b>", "whole": "1", "expected": "1"}
    answer = client.post("/pairs/selected?status=draft", data=form)
    assert answer.status_code == 409 and "2 match now; it was 1." in answer.text and "<b>faq" not in answer.text
    assert 'name="expected" value="2"' in answer.text and search.count(session, DRAFTS) == 2


def test_a_large_act_and_its_undo_are_jobs(client, app, session, make_pair, monkeypatch):
    monkeypatch.setattr(bulk, "LARGE", 2)
    ids = [make_pair().id for _ in range(3)]

    def finished(answer):
        return ended(app, int(answer.location.rpartition("/")[2]))

    job = finished(client.post("/pairs/selected?status=draft", data={"act": "trash", "whole": "1", "expected": "3"}))
    assert job.result["told"] == "3 pairs trashed."
    job = finished(client.post(f"/changes/{job.result['changeset']}/undo"))
    assert job.result["told"] == "Undone: 3 pairs as before."
    session.rollback()
    assert search.ids(session, Selection()) == ids


def test_the_page_of_a_change_shows_what_became_of_each_row(client, session, make_pair):
    one, other = make_pair("Open?", "At nine."), make_pair("Closed?", "At six.")
    changeset = do(session, [one.id, other.id], "tag", tags=["hours"]).changeset
    pairs.edit(session, one.id, {"answer": "At ten.", "tags": []}, revision=2, by="bo")
    page = client.get(f"/changes/{changeset.id}").text
    assert page.count("<ins>hours</ins>") == 2 and "changed since" in page
    client.post(f"/changes/{changeset.id}/undo")
    page = client.get(f"/changes/{changeset.id}").text
    assert "left alone by the undo" in page and "undone in 1 of 2 pairs" in page
    assert "was undone already, by change" in client.post(f"/changes/{changeset.id}/undo").text


def test_changes_are_narrowed_to_a_person_and_an_act_and_paged(client, session, make_pair, app):
    app.config["CURATOR_PAGE_SIZE"] = 2
    ids = [make_pair().id for _ in range(3)]
    pairs.set_status(session, ids, "approved", "bo")
    page = client.get("/changes/?by=bo").text
    assert page.count("data-row tabindex") == 1 and "Approved" in page
    page = client.get("/changes/?action=added").text
    assert page.count("data-row tabindex") == 2
    older = re.search(r'rel="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
    assert client.get(older).text.count("data-row tabindex") == 1


def test_a_version_of_a_pair_is_restored_as_a_change_of_its_own(client, session, make_pair):
    pair = make_pair("Open?", "At nine.")
    pairs.edit(session, pair.id, {"answer": "At ten."}, revision=1, by="bo")
    pairs.edit(session, pair.id, {"answer": "At eleven.", "tags": ["hours"]}, revision=2, by="bo")
    client.post(f"/pairs/{pair.id}/version", data={"number": "2", "revision": "3"})
    session.expire_all()
    assert (pair.answer, pair.tags, pair.revision) == ("At ten.", [], 4)
    assert history.recent(session)[0].reason == "version 2"
    assert client.post(f"/pairs/{pair.id}/version", data={"number": "1", "revision": "3"}).status_code == 409
    assert client.post(f"/pairs/{pair.id}/version", data={"number": "9", "revision": "4"}).status_code == 404


def test_a_pair_that_was_trashed_while_it_was_edited_says_so_and_keeps_what_was_typed(client, session, make_pair):
    pair = make_pair("Open?", "At nine.")
    pairs.trash(session, [pair.id], "bo")
    form = {"question": "Open?", "answer": "At ten, mostly.", "revision": "1", "status": "draft"}
    answer = client.post(f"/pairs/{pair.id}/edit", data=form)
    assert answer.status_code == 409 and "put into the trash by bo" in answer.text and "At ten, mostly." in answer.text


def test_the_terminal_does_the_same(runner, session, make_pair):
    for number in range(3):
        make_pair(f"Fee {number}?", "Two pounds.")
    assert "Which pairs?" in runner.invoke(args=["pairs", "trash"]).output
    dry = runner.invoke(args=["pairs", "tag", "money", "--query", "fee", "--dry-run"])
    assert dry.stdout == "Would be: 3 pairs tagged.\n" and search.count(session, Selection(tag="money")) == 0
    result = runner.invoke(args=["pairs", "tag", "money", "late", "--query", "fee", "--json"])
    assert json.loads(result.stdout)["changed"] == 3 and "flask undo" in result.stderr
    assert runner.invoke(args=["pairs", "move", "faq", "--id", "1"]).stdout == "1 pair moved into faq.\n"
    assert runner.invoke(args=["pairs", "trash", "--all"]).stdout == "3 pairs trashed.\n"
    assert runner.invoke(args=["pairs", "restore", "--tag", "late"]).stdout == "3 pairs restored.\n"
