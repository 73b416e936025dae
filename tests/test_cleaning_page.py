"""The Clean page: steps put together without script, what would change, leaving pairs out, rules of edits."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from waiting import ended
from werkzeug.test import TestResponse

from curator import cleaning, pairs
from curator.models import Pair
from curator.views import cleaning as page

MakePair = Callable[..., Pair]


def text_of(response: TestResponse) -> str:
    """Return what a person reads on a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", response.text)).split())


def steps_at(response: TestResponse) -> list[str]:
    """Return the steps of the address that a page sends on to."""
    assert response.status_code == 303
    return parse_qs(urlsplit(response.headers["Location"]).query).get("step", [])


def test_a_step_is_added_filled_in_moved_and_taken_out(client: FlaskClient, make_pair: MakePair):
    make_pair()
    assert steps_at(client.get("/clean/?add=html")) == ["html"]
    form = "kinds=html&0.fields=answer&kinds=replace&1.find=teh&1.with=the&1.words=1&1.fields=question"
    filled = ["html@answer", '{"kind": "replace", "find": "teh", "with": "the", "words": true, "fields": ["question"]}']
    assert steps_at(client.get(f"/clean/?{form}&act=show")) == filled
    assert steps_at(client.get(f"/clean/?{form}&act=up:1")) == filled[::-1]
    assert steps_at(client.get(f"/clean/?{form}&act=drop:1")) == filled[:1]
    assert steps_at(client.get(f"/clean/?{form}&add=web")) == [*filled, "unicode", "html", "whitespace"]


def test_a_step_that_is_not_whole_waits_and_a_wrong_one_says_why(client: FlaskClient, make_pair: MakePair):
    make_pair()
    waiting = client.get("/clean/?step=replace")
    assert "would change" not in text_of(waiting).replace("Show what would change", "")
    broken = client.get("/clean/", query_string={"step": '{"kind": "regex", "find": "(a"}'})
    assert "The pattern '(a' can't be read: missing ) at character 3." in text_of(broken)


def test_a_pattern_that_is_stopped_is_said_on_the_page(
    client: FlaskClient, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("curator.cleaning.literal.SECONDS_A_TEXT", 0.05)
    make_pair(answer="a" * 60 + " " + "a" * 60 + "!")
    shown = client.get("/clean/", query_string={"step": r"regex@answer:(a|aa)+$=>x"})
    assert shown.status_code == 200
    assert "was stopped: it took more than 1 s on the answer of pair 1." in text_of(shown)


def test_pairs_left_out_on_one_page_stay_left_out_on_the_next(
    client: FlaskClient, make_pair: MakePair, session: Session, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page, "SHOWN", 2)
    made = [make_pair(answer=f"<b>{number}</b>") for number in range(5)]
    first = client.get("/clean/?step=html")
    assert "5 pairs would change" in text_of(first) and "1–2 of 5" in text_of(first)
    onward = client.get("/clean/?step=html&shown=1,2&excepted=&except=2&at=2")
    following = client.get(onward.headers["Location"])
    assert "3–4 of 5" in text_of(following) and "Clean 4 pairs" in text_of(following)
    assert 'data-countdown="4"' in following.text
    digest = re.search(r'name="digest" value="(\d+)"', following.text)
    assert digest
    client.post("/clean/", data={"step": "html", "digest": digest[1], "shown": "3,4", "excepted": "2", "except": "3"})
    session.rollback()
    session.expire_all()
    assert [pair.answer for pair in made] == ["0", "<b>1</b>", "<b>2</b>", "3", "4"]


def test_nothing_is_cleaned_that_was_not_shown(client: FlaskClient, make_pair: MakePair, session: Session):
    pair = make_pair(answer="<b>1</b>")
    client.post("/clean/", data={"step": "html", "digest": "1"})
    assert "The pairs changed since this was looked at" in text_of(client.get("/clean/?step=html"))
    session.rollback()
    session.refresh(pair)
    assert pair.answer == "<b>1</b>"


def test_many_pairs_are_looked_through_and_cleaned_by_jobs(
    client: FlaskClient, make_pair: MakePair, session: Session, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("curator.cleaning.passes.BATCH", 2)
    monkeypatch.setattr(page, "SECONDS", 0)
    monkeypatch.setattr(page, "BY_JOB", 2)
    made = [make_pair(answer=f"<b>{number}</b>") for number in range(5)]
    shown = client.get("/clean/?step=html")
    assert "2 pairs would change so far" in text_of(shown) and "Look through all 5" in text_of(shown)
    follow(client, client.post("/clean/look", data={"step": "html"}))
    shown = client.get("/clean/?step=html")
    digest = re.search(r'name="digest" value="(\d+)"', shown.text)
    assert digest and "Clean 5 pairs" in text_of(shown)
    follow(client, client.post("/clean/", data={"step": "html", "digest": digest[1], "except": "1"}))
    session.rollback()
    session.expire_all()
    assert [pair.answer for pair in made] == ["<b>0</b>", "1", "2", "3", "4"]
    assert "Pairs were changed since this was counted" in text_of(client.get("/clean/?step=html"))


def follow(client: FlaskClient, answer: TestResponse) -> None:
    """Wait for the end of the job that an answer sends on to."""
    job = ended(client.application, int(answer.headers["Location"].rpartition("/")[2]))
    assert job.state == "done", job.error


def test_an_edit_offers_the_same_to_the_other_pairs(client: FlaskClient, make_pair: MakePair):
    pair = make_pair("Where?", "In the libary.")
    make_pair("And where?", "Not in the libary.")
    form = {"question": "Where?", "answer": "In the library.", "revision": "1", "status": "draft"}
    client.post(f"/pairs/{pair.id}/edit", data=form)
    told = client.get(f"/pairs/{pair.id}")
    assert "Do the same to 1 other pair" in text_of(told) and "Make a rule of this edit" in text_of(told)
    (step,) = steps_at(client.get(f"/clean/edit/{pair.id}/2"))
    shown = client.get("/clean/", query_string={"step": step})
    assert "<del>libary</del><ins>library</ins>" in shown.text and "Clean 1 pair" in text_of(shown)


def test_an_edit_that_fits_no_other_pair_offers_nothing(client: FlaskClient, make_pair: MakePair, session: Session):
    pair = make_pair("Where?", "In the libary.")
    pairs.edit(session, pair.id, {"answer": "In the library."}, revision=1, by="ada")
    assert "Do the same" not in client.get(f"/pairs/{pair.id}").text
    assert client.get(f"/clean/edit/{pair.id}/7").status_code == 404


def test_script_in_a_rule_stays_text(client: FlaskClient, make_pair: MakePair, session: Session):
    make_pair(answer="<script>alert(1)</script>")
    name = "<script>alert(2)</script>"
    assert client.post("/clean/rules", data={"step": "remove:<script>", "name": name}).status_code == 303
    for address in ("/clean/", "/clean/?step=remove:<script>", f"/clean/?rule={name}"):
        shown = client.get(address, follow_redirects=True)
        assert shown.status_code == 200 and "<script>alert" not in shown.text
    session.rollback()
    assert [rule.name for rule in cleaning.rules(session)] == [name]
    client.post("/clean/rules/delete", data={"name": name})
    assert client.get("/clean/", query_string={"rule": name}).status_code == 400


@pytest.mark.parametrize("address", [
    "/clean/?step=shine", "/clean/?step={", "/clean/?step=[1]", "/clean/?excepted=" + ",".join(map(str, range(1001))),
])  # fmt: skip
def test_an_address_that_means_nothing_is_refused(client: FlaskClient, make_pair: MakePair, address: str):
    make_pair()
    assert client.get(address).status_code == 400


def test_no_rule_is_offered_of_an_edit_that_left_the_texts(client: FlaskClient, session: Session, make_pair: MakePair):
    make_pair()
    pairs.edit(session, 1, {"tags": ["hours"]}, revision=1, by="ada")
    assert "Make a rule of this edit" not in client.get("/pairs/1").text
