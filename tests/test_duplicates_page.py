"""The Duplicates page and what stands beside a pair form, without a browser: what they show, do, refuse and undo."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from curator import duplicates, jobs, pairs
from curator.models import Pair
from curator.views import duplicates as page_of

HOURS = "The library opens at nine in the morning and closes at seven in the evening on every weekday of the year"
MakePair = Callable[..., Pair]


def text_of(answer: TestResponse) -> str:
    """Return what a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.get_data(as_text=True))).split())


def said(client: FlaskClient, answer: TestResponse) -> str:
    """Follow the redirect after a form, and return what the message there says."""
    assert answer.status_code == 303, text_of(answer)
    page = client.get(answer.location).text
    found = re.search(r"data-message>\s*<p>(.*?)</p>", page, re.DOTALL)
    assert found, "no message was shown"
    return unescape(re.sub(r"<[^>]*>", "", found[1])).strip()


@pytest.fixture
def alike(make_pair: MakePair) -> list[Pair]:
    """Three pairs that say nearly the same, the second of them approved."""
    return [
        make_pair("When are you open?", HOURS),
        make_pair("When are you open?", HOURS + "!", status="approved"),
        make_pair("When are you open?", HOURS + ", more or less", tags=["hours"], notes="Ask Bo."),
    ]


def test_a_cluster_shows_the_best_first_and_what_differs(client: FlaskClient, alike: list[Pair]):
    page = client.get("/duplicates/?threshold=75")
    assert re.findall(r'id="cluster-(\d+)"', page.text) == ["2"]
    assert ", more or less</ins>" in page.text
    assert "gets all tags, hours too, and 1 note of the others" in text_of(page)


def test_a_pair_that_differs_in_a_fact_is_marked_and_stays(client: FlaskClient, make_pair: MakePair, session: Session):
    make_pair("How long is a loan of a book from this library?", f"{HOURS}. A loan ends after 14 days.")
    make_pair("How long is a loan of a book from this library?", f"{HOURS}. A loan ends after 30 days.")
    page = text_of(client.get("/duplicates/"))
    assert "Differs in a fact: another number: 14 / 30" in page and "1 pair more that differs in a fact stays" in page
    assert "Nothing above 0.9 is left" in text_of(client.post("/duplicates/resolve-all"))


def test_a_threshold_is_a_share_or_per_cent(client: FlaskClient, alike: list[Pair]):
    share, per_cent = (client.get(f"/duplicates/?threshold={written}").text for written in ("0.95", "95"))
    assert re.findall(r'id="cluster-\d+"', share) == re.findall(r'id="cluster-\d+"', per_cent)
    assert 'value="95" required' in share


@pytest.mark.parametrize(
    "query", ["threshold=nan", "threshold=0", "threshold=1.1", "threshold=59", "threshold=101", "below=x"]
)
def test_a_threshold_that_makes_no_sense_is_answered_with_what_to_write(client: FlaskClient, query: str):
    answer = client.get(f"/duplicates/?{query}")
    assert answer.status_code == 400 and "Write a number from 60 to 100 per cent." in text_of(answer)


def test_odd_texts_are_shown_like_any_other(client: FlaskClient, make_pair: MakePair):
    """Punctuation alone says nothing; one skin of a hand is not another; an accent may be a letter or a mark."""
    for question, answer in [
        ("?!…", "..."),
        ("?!...", "…"),
        ("🙂", "👍🏽"),
        ("🙂", "👍🏿"),
        ("a", "b"),
        ("क्षि", "नमस्ते"),
    ]:
        make_pair(question, answer)
    make_pair("Wo ist das Café?", "Am Markt")
    make_pair("Wo ist das Cafe\u0301?", "Am Markt")
    for kind in duplicates.KINDS:
        assert client.get(f"/duplicates/?kind={kind}&threshold=60").status_code == 200
    assert re.findall(r'id="cluster-(\d+)"', client.get("/duplicates/").text) == ["7"]


def test_texts_of_a_megabyte_are_shown_in_seconds(client: FlaskClient, make_pair: MakePair):
    long = " ".join(f"Step {number} follows the one before." for number in range(25_000))
    make_pair("How is it done?", long)
    make_pair("How is it done?", f"So: {long} That is all.")
    began = time.process_time()
    assert "trash 1 pair" in text_of(client.get("/duplicates/"))
    assert time.process_time() - began < 10


def test_of_texts_of_a_megabyte_a_little_is_shown_around_what_differs(client: FlaskClient, make_pair: MakePair):
    """Four of them used to make a page of 5.6 MB."""
    long = " ".join(f"Step {number} follows the one before." for number in range(25_000))
    for answer in (
        long,
        long.replace("Step 12000 follows", "Step 12000 now follows"),
        long.replace("follows", "keeps", 900),
    ):
        make_pair("How is it done?", answer)
    page = client.get("/duplicates/")
    assert len(page.data) < 100_000
    assert "<del>now </del>" in page.text and f"{len(long) + 15:,} letters long" in text_of(page)


def test_below_the_usual_threshold_a_small_data_set_is_searched_again(client: FlaskClient, make_pair: MakePair):
    make_pair("When are you open?", HOURS)
    make_pair("When are you open?", HOURS + ", and on Saturdays it closes at noon, says the sign")
    assert "No two pairs are this much alike." in text_of(client.get("/duplicates/"))
    assert "1 cluster" in text_of(client.get("/duplicates/?threshold=60"))


def test_a_column_of_the_histogram_shows_its_clusters(client: FlaskClient, alike: list[Pair]):
    page = client.get("/duplicates/").text
    columns = re.findall(r'<a href="([^"]+)" data-low="[\d.]+" aria-label="([^"]+)"', page)
    assert len(columns) == 25
    (last,) = [href for href, words in columns if words == "99 to 100 %: 1 pair"]
    assert "1 cluster" in text_of(client.get(unescape(last)))
    (none,) = [href for href, words in columns if words.startswith("75 to 76 %: 0")]
    assert "No two pairs are this much alike." in text_of(client.get(unescape(none)))


def test_a_pressed_column_is_the_only_one_that_stands_out(client: FlaskClient, alike: list[Pair]):
    """Those above it stayed blue, as if their clusters were shown too."""
    page = client.get("/duplicates/?threshold=90&below=91").text
    assert page.count(' class="out"') == 24
    assert re.findall(r'data-low="([\d.]+)" aria-label="[^"]+" aria-current', page) == ["0.9"]


def test_what_is_no_duplicate_is_remembered_and_can_be_taken_back(client: FlaskClient, alike: list[Pair]):
    ids = [pair.id for pair in alike[:2]]
    answer = client.post("/duplicates/dismiss", data={"id": ids})
    assert said(client, answer) == "Pairs 1, 2 are no duplicates, you said."
    assert "Pairs 1 and 2 just now by ada" in text_of(client.get("/duplicates/"))
    assert said(client, client.post("/duplicates/take-back?id=1&id=2")).startswith("Taken back: pairs 1, 2")
    assert "by ada Take back" not in text_of(client.get("/duplicates/"))


def test_a_pair_that_changed_since_it_was_looked_at_stops_the_keeping(
    client: FlaskClient, alike: list[Pair], session: Session
):
    pairs.edit(session, 1, {"answer": "It depends."}, revision=1, by="bo")
    answer = client.post("/duplicates/resolve", data={"keep": 2, "id": [1, 2], "seen": "1:1 2:1"})
    assert answer.status_code == 409 and "Pair 1 was changed since you looked at it." in text_of(answer)


def test_questions_with_contradicting_answers_have_their_own_list(client: FlaskClient, make_pair: MakePair):
    question = "How long can I keep a book that I borrowed at the desk?"
    make_pair(question, "Three weeks, and you can renew it twice.")
    make_pair(question, "Nobody has asked us that before; the manager will write to you.")
    page = client.get("/duplicates/?kind=contradictions")
    assert "Questions 100 % alike" in text_of(page) and "Resolve all" not in page.text
    assert "No answer stands below" in text_of(client.get("/duplicates/?kind=boilerplate"))


def test_the_report_is_a_table_of_what_would_become_of_each(client: FlaskClient, alike: list[Pair]):
    answer = client.get("/duplicates/report", buffered=True)
    rows = list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))
    assert [(row["pair"], row["act"], row["similarity"]) for row in rows] == [
        ("2", "keep", ""), ("1", "drop", "1.0"), ("3", "review", "0.8926"),
    ]  # fmt: skip
    assert "duplicates.csv" in answer.headers["Content-Disposition"]


def test_many_pairs_are_looked_through_by_a_job_that_leads_to_what_it_found(
    client: FlaskClient, app: Flask, alike: list[Pair], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page_of, "AT_SIGHT", 0)
    monkeypatch.setattr(page_of, "AT_ONCE", 0)
    assert "Look through 3 pairs" in text_of(client.get("/duplicates/"))
    job = client.post("/duplicates/look").location
    jobs.stop(app)  # once the one at work has ended
    onward = re.search(r'data-onward="([^"]+)"', client.get(job, headers={"X-Fragment": "1"}).text)
    assert onward and "1 cluster" in text_of(client.get(unescape(onward[1])))


def test_what_was_found_says_how_old_it_is_and_what_changed_since(
    client: FlaskClient, alike: list[Pair], make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
):
    client.get("/duplicates/")
    monkeypatch.setattr(page_of, "AT_SIGHT", 0)
    assert "Looked at 3 pairs just now . Look again" in text_of(client.get("/duplicates/"))
    make_pair("When are you open?", HOURS + "?")
    assert "Looked at 3 pairs just now ; 1 pair has come or changed since. Look again" in text_of(
        client.get("/duplicates/")
    )
    client.post("/duplicates/look")
    assert "Looked at 4 pairs just now . Look again" in text_of(client.get("/duplicates/"))


def test_trashing_and_tagging_need_no_new_search(either: str, session: Session, alike: list[Pair]):
    findings = duplicates.search(session)
    pairs.trash(session, [1], "ada")
    pairs.edit(session, 2, {"tags": ["x"]}, revision=1, by="ada")
    assert duplicates.changed_since(session, findings) == 0
    pairs.restore(session, [1], "ada")
    pairs.edit(session, 3, {"answer": "It depends."}, revision=1, by="ada")
    assert duplicates.changed_since(session, findings) == 1
    assert duplicates.clusters(session, findings).total == 1


def test_a_cluster_that_was_decided_is_counted_no_more(session: Session, alike: list[Pair]):
    findings = duplicates.search(session)
    duplicates.resolve(session, [(2, [1, 3])], "ada")
    assert duplicates.clusters(session, findings).total == 0


def test_the_rail_counts_the_clusters_once_somebody_looked(client: FlaskClient, alike: list[Pair], home: Path):
    assert "cluster to decide" not in text_of(client.get("/pairs/"))
    client.get("/duplicates/")
    assert "Duplicates 1 cluster to decide" in text_of(client.get("/pairs/"))
    client.post("/duplicates/resolve", data={"keep": 2, "id": [1, 2, 3]})
    assert "to decide" not in text_of(client.get("/pairs/"))


def test_what_is_typed_is_compared_with_what_is_there(client: FlaskClient, alike: list[Pair]):
    typed = {"question": "When are you open?", "answer": HOURS}
    page = text_of(client.post("/pairs/near", data=typed))
    assert page.startswith("3 pairs say nearly the same 100 %")
    assert text_of(client.post("/pairs/near", data=typed | {"pair": 1})).startswith("2 pairs say nearly the same")
    assert text_of(client.post("/pairs/near", data={"question": " ", "answer": ""})) == ""


def test_without_script_near_duplicates_are_told_after_saving(client: FlaskClient, alike: list[Pair]):
    typed = {"question": "When are you open?", "answer": HOURS + "?!", "into": "main", "status": "draft"}
    answer = client.post("/pairs/new", data=typed)
    assert "Added pair 4. It says nearly the same as pair 1 (100 %), 2 (100 %)" in said(client, answer)


def test_a_pair_edited_in_its_cluster_goes_back_to_the_cluster(client: FlaskClient, alike: list[Pair]):
    form = client.get("/pairs/2/edit?at=cluster&back=/duplicates/", headers={"X-Fragment": "1"}).text
    assert 'data-into="#edit-2" data-quiet' in form and 'name="at" value="cluster"' in form
    typed = {"question": "", "answer": "x", "revision": "1", "at": "cluster", "back": "/duplicates/"}
    refused = client.post("/pairs/2/edit", data=typed, headers={"X-Fragment": "1"})
    assert refused.status_code == 400 and 'data-into="#edit-2" data-quiet' in refused.text


def test_home_offers_the_clusters_that_are_open(client: FlaskClient, alike: list[Pair]):
    client.get("/duplicates/")
    assert "1 cluster above 90 % Each is kept as one pair" in text_of(client.get("/"))


def test_a_pair_saved_without_script_leads_back_to_its_cluster(client: FlaskClient, alike: list[Pair]):
    typed = {"question": "Open?", "answer": "Yes.", "revision": "1", "at": "cluster"}
    answer = client.post("/pairs/1/edit", data=typed | {"back": "/duplicates/?across=1#cluster-2"})
    assert answer.location == "/duplicates/?across=1#cluster-2"


def test_below_what_was_looked_for_a_large_data_set_says_so_and_offers_to_look(
    client: FlaskClient, alike: list[Pair], monkeypatch: pytest.MonkeyPatch
):
    client.get("/duplicates/")
    monkeypatch.setattr(page_of, "AT_SIGHT", 0)
    page = text_of(client.get("/duplicates/?threshold=65"))
    assert "Nothing below 75 % was looked for" in page and "Look from 65 %" in page and "Resolve all" not in page
    client.post("/duplicates/look?threshold=65")
    assert "Resolve all 1 above 65 %" in text_of(client.get("/duplicates/?threshold=65"))


def test_a_large_table_is_written_by_a_job(
    app: Flask, client: FlaskClient, alike: list[Pair], monkeypatch: pytest.MonkeyPatch
):
    """It used to be written while the browser waited: minutes, for a hundred thousand pairs."""
    small = client.get("/duplicates/report?threshold=75", buffered=True)
    monkeypatch.setattr(page_of, "REPORTED_AT_ONCE", 2)
    assert client.get("/duplicates/report?threshold=75").status_code == 400
    assert 'method="post" action="/duplicates/report?threshold=75"' in client.get("/duplicates/?threshold=75").text
    at = client.post("/duplicates/report?threshold=75").location
    jobs.stop(app)  # once it has ended
    download = re.search(r'href="(/duplicates/report/\d+)"', client.get(at).text)
    assert download
    assert client.get(download[1], buffered=True).text == small.text
    assert len(list(csv.DictReader(io.StringIO(small.text)))) == 3


def test_a_table_that_is_gone_is_said_to_be(app: Flask, client: FlaskClient, alike: list[Pair]):
    at = client.post("/duplicates/report").location
    jobs.stop(app)
    for file in (Path(app.config["CURATOR_HOME"]) / duplicates.FOLDER).glob("*.csv"):
        file.unlink()
    answer = client.get(f"/duplicates/report/{at.rpartition('/')[2]}")
    assert answer.status_code == 404 and "no longer here" in text_of(answer)
