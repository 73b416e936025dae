"""The pages as a browser without script gets them: empty and full, and what their plain forms do."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from curator import formats, history, pairs, reviews, runs, search, versions
from curator.models import Pair
from curator.search import Selection
from curator.settings import SHELF

PAGES = (
    "/", "/pairs/", "/pairs/new", "/import/", "/export/", "/convert/", "/duplicates/", "/clean/", "/versions/",
    "/runs/", "/review/", "/changes/", "/backups/",
)  # fmt: skip
SCRIPT = "<script>alert('x')</script>"
MakePair = Callable[..., Pair]


def text_of(answer: TestResponse) -> str:
    """Return what a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.get_data(as_text=True))).split())


def said(client: FlaskClient, answer: TestResponse) -> str:
    """Follow the redirect after a form, and return what the message there says."""
    assert answer.status_code == 303, text_of(answer)
    page = client.get(answer.location)
    found = re.search(r"data-message>\s*<p>(.*?)</p>", page.get_data(as_text=True), re.DOTALL)
    assert found, "no message was shown"
    return unescape(re.sub(r"<[^>]*>", "", found[1])).strip()


def upload(client: FlaskClient, name: str, content: str | bytes) -> str:
    """Upload a file and return the address of its preview."""
    data = content.encode() if isinstance(content, str) else content
    answer = client.post("/import/", data={"file": (io.BytesIO(data), name)})
    assert answer.status_code == 303
    return answer.location


def read_again(session: Session, pair: Pair) -> None:
    """Read a pair as the last request left it: a transaction sees what was there when it began."""
    session.rollback()
    session.refresh(pair)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_to_do_while_there_is_nothing(client: FlaskClient, page: str):
    answer = client.get(page)
    assert answer.status_code == 200
    assert answer.text.count("<h1") == 1
    assert 'class="command"' in answer.text or page in ("/", "/pairs/new")
    assert "style=" not in answer.text and "onclick" not in answer.text  # the CSP would refuse them


@pytest.mark.parametrize("page", (*PAGES, "/pairs/1", "/pairs/1/edit", "/versions/1", "/runs/1"))
def test_every_page_renders_with_real_content(client: FlaskClient, session: Session, run_folder: Path, page: str):
    runs.import_run(session, run_folder)
    assert client.get(page).status_code == 200


def test_home_names_the_one_next_step(client: FlaskClient, make_pair: MakePair):
    assert text_of(client.get("/")).count("Import a file") == 1
    make_pair()
    page = client.get("/").text
    assert page.count("station next") == 1 and page.count("button primary") == 1


def test_home_leads_to_answers_of_a_run_that_has_some(client: FlaskClient, run_folder: Path):
    """While a run was at work or after it failed, home asked to read its answers, of which there were none."""
    record = run_folder / "run.json"
    client.post("/runs/import", data={"folder": run_folder})
    late = {"id": "k2", "name": "wren", "state": "failed", "started": "2999-01-01T00:00:00Z"}
    record.write_text(json.dumps(json.loads(record.read_text()) | late))
    client.post("/runs/import", data={"folder": run_folder})
    assert re.search(r'5. Read.*Run kestrel.*href="/runs/1">Read its answers', client.get("/").text, re.DOTALL)


def test_stored_script_stays_text_in_every_field(
    client: FlaskClient, make_pair: MakePair, session: Session, run_folder: Path
):
    pair = make_pair(
        SCRIPT + "?", SCRIPT + "!", system=SCRIPT, earlier=[{"role": "user", "content": SCRIPT}],
        tags=[SCRIPT], source=SCRIPT, notes=SCRIPT, dataset=SCRIPT,
    )  # fmt: skip
    make_pair(SCRIPT + "?", SCRIPT + "!", tags=[SCRIPT], dataset=SCRIPT)
    pairs.edit(session, pair.id, {"answer": SCRIPT * 2}, revision=1, by=SCRIPT)
    record = run_folder / "run.json"
    record.write_text(record.read_text().replace("kestrel", SCRIPT).replace('"builtin"', json.dumps(SCRIPT)))
    samples = run_folder / "samples.jsonl"
    samples.write_text(samples.read_text().replace("The the the.", SCRIPT))
    runs.import_run(session, run_folder)
    versions.freeze(session, Selection(), by=SCRIPT, name=SCRIPT, note=SCRIPT)
    preview = upload(client, f"{SCRIPT}.csv", f"question,answer,tags\n{SCRIPT},{SCRIPT},{SCRIPT}\n{SCRIPT},,\n")
    pages = [*PAGES, f"/pairs/{pair.id}", f"/pairs/{pair.id}/edit", "/versions/1", "/versions/2", "/runs/1"]
    pages += [
        preview,
        "/clean/?step=html",
        "/duplicates/?threshold=0.5",
        f"/pairs/?query=script&tag={SCRIPT}",
    ]
    for page in pages:
        assert "<script>" not in client.get(page).text, page


def test_a_file_is_looked_at_before_anything_is_added(client: FlaskClient, session: Session):
    page = client.get(upload(client, "faq.csv", "question,answer\nOpen?,Yes.\nClosed?,\n"))
    assert "Import 1 pair" in text_of(page)
    assert "3 has an empty answer" in text_of(page)
    assert search.count(session, Selection()) == 0


def test_an_import_adds_what_the_button_said_and_removes_the_upload(client: FlaskClient, session: Session, home: Path):
    preview = upload(client, "faq.csv", "question,answer\nOpen?,Yes.\nClosed?,\n")
    answer = client.post(preview.partition("?")[0], data={"into": "faq"})
    assert said(client, answer) == "Imported 1 pair from faq.csv. 1 refused."
    assert pairs.datasets(session) == [("faq", 1)]
    assert list((home / "uploads").iterdir()) == []
    assert client.get(preview).status_code == 404


def test_refused_lines_are_downloaded_mended_and_uploaded_again(client: FlaskClient, session: Session):
    preview = upload(client, "faq.csv", "question,answer,city\nOpen?,Yes.,Bern\nClosed?,,Ulm\n")
    page = client.get(preview)
    link = unescape(re.search(r'href="(/import/[^"]*/rejects[^"]*)"', page.text).group(1))
    file = client.get(link)
    assert "filename=faq-rejects.csv" in file.headers["Content-Disposition"]
    mended = upload(client, "faq-rejects.csv", file.text.replace("Closed?,", "Closed?,No."))
    assert "Import 1 pair" in text_of(client.get(mended))


def test_a_preview_shows_what_a_row_of_the_same_id_changes(client: FlaskClient, session: Session):
    client.post(upload(client, "a.csv", "id,question,answer\nr1,Open?,Yes.\n").partition("?")[0])
    preview = upload(client, "b.csv", "id,question,answer\nr1,Open?,Until nine.\n")
    assert "Change 1 pair" in text_of(client.get(preview))
    answer = client.post(preview.partition("?")[0])
    assert said(client, answer) == "Imported 0 pairs from b.csv. 1 changed."


def test_a_preview_asks_what_ids_mean_that_name_pairs_of_another_file(client: FlaskClient, session: Session):
    client.post(upload(client, "a.csv", "id,question,answer\n1,Open?,Yes.\n").partition("?")[0])
    preview = upload(client, "b.csv", "id,question,answer\n1,Size?,Large.\n")
    asked = client.get(preview)
    assert "Choose what its ids mean" in text_of(asked) and " disabled>Change" in asked.text
    address = preview.partition("?")[0]
    assert client.post(address).status_code == 400
    assert "Import 1 pair" in text_of(client.get(address, query_string={"ids": "ignore"}))
    answer = client.post(address, data={"ids": "ignore"})
    assert said(client, answer) == "Imported 1 pair from b.csv."


def test_a_shape_and_a_pair_for_each_answer_can_be_chosen(client: FlaskClient, session: Session):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}] * 2
    preview = upload(client, "chat.jsonl", json.dumps({"messages": turns, "mood": "glad"}) + "\n").partition("?")[0]
    assert "Import 2 pairs" in text_of(client.get(preview, query_string={"turns": "each"}))
    assert "does not have the columns of alpaca" in text_of(client.get(preview, query_string={"shape": "alpaca"}))
    client.post(preview, data={"turns": "each"})
    (pair, _) = search.page(session, Selection()).pairs
    assert "mood glad" in text_of(client.get(f"/pairs/{pair.id}"))


def test_an_upload_can_be_thrown_away(client: FlaskClient, home: Path):
    preview = upload(client, "faq.csv", "question,answer\nOpen?,Yes.\n")
    answer = client.post(preview.partition("?")[0] + "/discard")
    assert said(client, answer) == "Nothing was imported; the copy of faq.csv is removed."
    assert list((home / "uploads").iterdir()) == []


def test_columns_of_other_names_can_be_chosen(client: FlaskClient, session: Session):
    preview = upload(client, "faq.csv", "Frage,Antwort\nOffen?,Ja.\n")
    page = client.get(preview)
    assert page.status_code == 400 and "has no column for the question" in text_of(page)
    chosen = {"into": "main", "question": "Frage", "answer": "Antwort"}
    assert "Import 1 pair" in text_of(client.get(preview.partition("?")[0], query_string=chosen))
    client.post(preview.partition("?")[0], data=chosen)
    assert search.page(session, Selection()).pairs[0].answer == "Ja."


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\folder\\faq.csv", "", "...", "a" * 300 + ".csv"])
def test_an_upload_stays_in_its_own_folder_whatever_it_is_called(client: FlaskClient, home: Path, name: str):
    client.post("/import/", data={"file": (io.BytesIO(b"question,answer\nOpen?,Yes.\n"), name or "x")})
    (folder,) = (home / "uploads").iterdir()
    (kept,) = folder.iterdir()
    assert kept.is_file() and len(kept.name) <= 200


@pytest.mark.parametrize("token", ["..", "nothing", "A" * 22, "..%2F..%2Fetc"])
def test_a_token_that_was_never_given_finds_nothing(client: FlaskClient, token: str):
    assert client.get(f"/import/{token}").status_code == 404


def test_a_pair_is_added_by_a_plain_form(client: FlaskClient, session: Session):
    form = {
        "question": "Open?",
        "answer": "Yes.\r\nAll day.",
        "into": "main",
        "tags": "hours, desk",
        "status": "draft",
    }
    assert said(client, client.post("/pairs/new", data=form)).startswith("Added pair 1.")
    pair = pairs.get(session, 1)
    assert (pair.answer, pair.tags) == ("Yes.\nAll day.", ["hours", "desk"])


def test_a_pair_that_cannot_be_added_stays_in_the_form(client: FlaskClient, make_pair: MakePair):
    pair = make_pair("Open?", "Yes.")
    answer = client.post("/pairs/new", data={"question": "Open?", "answer": "Yes.", "into": "main"})
    assert answer.status_code == 400
    assert f"Open pair {pair.id}" in text_of(answer) and "Open?</textarea>" in answer.text


def test_an_edit_goes_back_to_its_place_in_the_list(client: FlaskClient, make_pair: MakePair, session: Session):
    pair = make_pair("Open?", "Yes.")
    form = {
        "question": "Open?",
        "answer": "Yes, all day.",
        "revision": "1",
        "status": "draft",
        "back": "/pairs/?after=7",
    }
    answer = client.post(f"/pairs/{pair.id}/edit", data=form)
    assert answer.location == f"/pairs/?after=7#pair-{pair.id}"
    read_again(session, pair)
    assert pair.answer == "Yes, all day."


def test_an_edit_keeps_earlier_turns_and_the_system_message(client: FlaskClient, make_pair: MakePair, session: Session):
    earlier = [{"role": "user", "content": "On Monday?"}, {"role": "assistant", "content": "Yes."}]
    pair = make_pair("And on Sunday?", "No.", system="Be brief.", earlier=earlier)
    form = {
        "question": "And on Sunday?", "answer": "No, never.", "system": "Be brief.",
        "status": "draft", "revision": "1",
        "role": ["user", "assistant", "user", "assistant"], "turn": ["On Monday?", "Yes.", "", ""],
    }  # fmt: skip
    client.post(f"/pairs/{pair.id}/edit", data=form)
    read_again(session, pair)
    assert (pair.system, pair.history, pair.answer) == ("Be brief.", earlier, "No, never.")


@pytest.mark.parametrize("stored", ["one\r\ntwo", "one\rtwo", "\n\nindented", "trailing  \n"])
def test_saving_a_form_untouched_changes_no_byte(
    client: FlaskClient, make_pair: MakePair, session: Session, stored: str
):
    pair = make_pair("Open?", stored)
    page = client.get(f"/pairs/{pair.id}/edit").text
    area = re.search(r'name="answer"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert area
    # A browser reads any line end as one, and sends CR LF.
    sent = unescape(area[1]).replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    form = {"question": "Open?", "answer": sent, "revision": "1", "status": "draft"}
    assert said(client, client.post(f"/pairs/{pair.id}/edit", data=form)) == f"Pair {pair.id} is as it was."
    read_again(session, pair)
    assert pair.answer == stored and pair.revision == 1


def test_a_conflict_shows_both_texts_and_loses_neither(client: FlaskClient, make_pair: MakePair, session: Session):
    pair = make_pair("Open?", "Yes.")
    pairs.edit(session, pair.id, {"answer": "Yes, until six."}, revision=1, by="bo")
    form = {"question": "Open?", "answer": "Yes, until seven.", "revision": "1", "status": "draft"}
    answer = client.post(f"/pairs/{pair.id}/edit", data=form)
    assert answer.status_code == 409
    assert "changed by bo" in text_of(answer)
    assert "<del>six</del><ins>seven</ins>" in answer.text and "Yes, until seven.</textarea>" in answer.text
    assert 'name="revision" value="2"' in answer.text
    client.post(f"/pairs/{pair.id}/edit", data=form | {"revision": "2"})
    read_again(session, pair)
    assert pair.answer == "Yes, until seven."


def test_trash_and_its_undo_are_one_form_each(client: FlaskClient, make_pair: MakePair, session: Session):
    pair = make_pair()
    assert said(client, client.post(f"/pairs/{pair.id}/trash")) == f"Trashed pair {pair.id}."
    session.rollback()
    last = history.recent(session)[0]
    assert said(client, client.post(f"/changes/{last.id}/undo")) == "Undone: 1 pair as before."
    read_again(session, pair)
    assert not pair.trashed


def test_selected_pairs_are_approved_together(client: FlaskClient, make_pair: MakePair):
    ids = [make_pair().id for _ in range(3)]
    answer = client.post("/pairs/selected", data={"id": ids[:2], "act": "approve"})
    assert said(client, answer) == "2 pairs approved."


def test_the_list_says_its_place_and_turns_its_pages(app: Flask, client: FlaskClient, make_pair: MakePair):
    app.config["CURATOR_PAGE_SIZE"] = 2
    for _ in range(3):
        make_pair()
    page = client.get("/pairs/").text
    assert "1–2 of 3" in page
    onward = re.search(r'rel="next" href="([^"]*)"', page)
    assert onward and "3–3 of 3" in client.get(unescape(onward[1])).text


def test_a_list_shows_the_command_that_exports_the_same(client: FlaskClient, make_pair: MakePair):
    make_pair("A lost card?", "Two pounds.", status="approved", tags=["cards"])
    page = text_of(client.get("/pairs/?status=approved&tag=cards&query=lost+card"))
    assert "flask export --jsonl --status approved --tag cards --query 'lost card'" in page


def test_every_command_that_a_page_shows_can_be_given_as_it_stands(
    client: FlaskClient, runner: FlaskCliRunner, make_pair: MakePair
):
    narrowed = "status=draft&tag=cards&query=lost+card&dataset=main"
    pages = [*PAGES, f"/pairs/?{narrowed}", f"/export/?{narrowed}", f"/versions/?{narrowed}", "/pairs/?trash=1"]
    pages += [f"/clean/?{narrowed}&step=html&step=remove:Best+wishes", "/duplicates/?dataset=main"]
    pages += [upload(client, "it's.csv", "question,answer\nOpen?,Yes.\n,\n")]
    empty = [client.get(page).text for page in pages]
    make_pair("A lost card?", "Two pounds.", tags=["cards"])
    full = [client.get(page).text for page in pages]
    shown = set(re.findall(r"<code>(flask .*?)</code>", "".join(empty + full)))
    assert len(shown) >= 12
    for line in shown:
        done = runner.invoke(args=shlex.split(unescape(line))[1:])
        assert done.exit_code != 2, f"{line}: {done.output}"  # 2: click does not know an option


@pytest.mark.parametrize("kind", formats.KINDS)
@pytest.mark.parametrize("format", [*formats.FORMATS, "table"])
def test_a_download_holds_the_bytes_that_the_command_writes(
    client: FlaskClient,
    make_pair: MakePair,
    runner: FlaskCliRunner,
    write: Callable[[str, str], Path],
    format: str,
    kind: str,
):
    runner.invoke(args=["import", str(write("in.csv", "question,answer,rejected\nOù?,Là-bas 📚.,Ici\n"))])
    make_pair(status="rejected")
    answer = client.get(f"/export/download?format={format}&kind={kind}", buffered=True)
    wanted = runner.invoke(args=["export", f"--{kind}", "--format", format]).stdout_bytes
    assert answer.data == wanted and answer.content_length == len(wanted) > 0
    assert "attachment" in answer.headers["Content-Disposition"]


def test_a_database_of_the_pairs_is_downloaded(client: FlaskClient, make_pair: MakePair):
    make_pair()
    answer = client.get("/export/download?kind=db", buffered=True)
    assert answer.data.startswith(b"SQLite format 3\0") and "pairs.db" in answer.headers["Content-Disposition"]


def test_the_export_page_says_what_would_be_refused(client: FlaskClient, make_pair: MakePair):
    make_pair(earlier=[{"role": "user", "content": "Hello?"}])
    page = text_of(client.get("/export/"))
    assert "would refuse the file: it has fewer than 10 examples." in page
    assert "would refuse 1: turns of user and assistant that don't alternate (pair 1)." in page


def test_a_pair_that_a_format_cannot_hold_is_told_on_a_page(client: FlaskClient, make_pair: MakePair):
    make_pair(earlier=[{"role": "user", "content": "Hello?"}])
    answer = client.get("/export/download?format=alpaca")
    assert answer.status_code == 400 and "Alpaca can't hold" in text_of(answer)


def test_the_best_of_a_cluster_is_kept_with_the_tags_of_all(client: FlaskClient, make_pair: MakePair, session: Session):
    words = "You can keep a book for three weeks and renew it twice at the desk or on the website"
    kept = make_pair("How long can I keep it?", words, tags=["loans"], status="approved")
    other = make_pair("How long can I keep it?", words + "!", tags=["renewing"])
    assert "1 cluster" in text_of(client.get("/duplicates/"))
    answer = client.post("/duplicates/resolve", data={"id": [kept.id, other.id], "keep": kept.id})
    assert said(client, answer) == f"Kept pair {kept.id} and trashed {other.id}."
    read_again(session, kept)
    read_again(session, other)
    assert (kept.tags, other.trashed) == (["loans", "renewing"], True)


def test_all_clusters_are_resolved_with_one_button(client: FlaskClient, make_pair: MakePair):
    for mark in ("", "!", "?!"):
        make_pair("How long can I keep a book from here?", "Three weeks, and you can renew it twice" + mark)
    assert "Resolve all 1 above 90 %: trash 2 pairs" in text_of(client.get("/duplicates/"))
    answer = client.post("/duplicates/resolve-all", data={"threshold": "0.8"})
    assert said(client, answer) == "Kept the best of 1 cluster, trashed 2 pairs."


def test_cleaning_shows_every_difference_and_leaves_out_what_was_ticked(
    client: FlaskClient, make_pair: MakePair, session: Session
):
    first, second = make_pair(answer="<p>Yes.</p>"), make_pair(answer="<b>No.</b>")
    page = client.get("/clean/?step=html")
    assert "<del>&lt;p&gt;</del>Yes." in page.text and "Clean 2 pairs" in text_of(page)
    answer = client.post("/clean/", data={"step": "html", "except": second.id})
    assert said(client, answer) == "Cleaned 1 pair."
    read_again(session, first)
    read_again(session, second)
    assert (first.answer, second.answer) == ("Yes.", "<b>No.</b>")


def test_a_version_is_frozen_and_says_how_to_train_on_it(client: FlaskClient, make_pair: MakePair):
    for number in range(10):
        make_pair(f"What is {number} times {number}?")
    shares = {"train": "60", "validation": "20", "test": "20", "seed": "1"}
    assert said(client, client.post("/versions/", data=shares)) == "Froze version 1: 10 lines."
    assert "python -m trainer run exports/version-1" in text_of(client.get("/versions/1"))
    assert client.get("/versions/1/download?split=train", buffered=True).data.count(b"\n") == 6
    again = client.post("/versions/", data=shares)
    assert said(client, again) == "Nothing differs from version 1, so there is no new one."


def test_a_waiting_run_is_brought_in(client: FlaskClient, run_folder: Path):
    assert "Bring in kestrel" in text_of(client.get("/runs/"))
    answer = client.post("/runs/import", data={"folder": str(run_folder)})
    assert said(client, answer) == "Brought run kestrel in, with 2 samples."
    page = client.get("/runs/1")
    assert "Perplexity 41.2 6.9 better" in text_of(page) and "<svg" in page.text


def test_only_a_run_that_waits_can_be_brought_in(client: FlaskClient, tmp_path: Path, home: Path):
    answer = client.post("/runs/import", data={"folder": str(tmp_path)})
    assert answer.status_code == 400 and "not one of the run folders that wait" in text_of(answer)


def test_the_model_is_named_only_after_its_answer_was_rated(client: FlaskClient, session: Session, run_folder: Path):
    runs.import_run(session, run_folder)
    page = text_of(client.get("/review/"))
    assert "A model answered" in page and "tuned model" not in page and "base model" not in page
    sample = reviews.next_unrated(session, "ada")
    assert sample
    answer = client.post(f"/review/{sample.id}", data={"stars": "2", "note": "Dull."})
    assert said(client, answer).startswith(f"Rated 2. That was the {sample.model} model.")
    assert f"The {sample.model} model of run kestrel answered" in text_of(client.get(f"/review/{sample.id}"))


def test_a_better_answer_becomes_the_answer_of_a_pair(client: FlaskClient, session: Session, run_folder: Path):
    runs.import_run(session, run_folder)
    sample = reviews.next_unrated(session, "ada")
    assert sample
    answer = client.post(f"/review/{sample.id}/correct", data={"answer": "Exactly so."})
    found = re.search(r"pair (\d+)", said(client, answer))
    assert found
    session.rollback()
    assert pairs.get(session, int(found[1])).answer == "Exactly so."


def test_the_choice_of_a_data_set_is_kept_on_the_next_page(client: FlaskClient, make_pair: MakePair):
    make_pair(dataset="one")
    make_pair(dataset="two")
    assert "Pairs 1 " in text_of(client.get("/pairs/?dataset=one"))
    assert "1 pair of one" in text_of(client.get("/export/"))
    client.get("/pairs/?dataset=")
    assert "2 pairs, all but the rejected" in text_of(client.get("/export/"))


def test_a_theme_is_kept_for_the_next_page(client: FlaskClient):
    client.post("/theme", data={"theme": "dark"})
    assert '<html lang="en" data-theme="dark">' in client.get("/").text


@pytest.mark.parametrize("place", ["//elsewhere.org", "https://elsewhere.org", "/\\elsewhere.org", "/\t/elsewhere.org"])
def test_going_back_stays_on_this_site(client: FlaskClient, make_pair: MakePair, place: str):
    pair = make_pair()
    answer = client.post(f"/pairs/{pair.id}/trash", data={"back": place})
    assert answer.location.startswith(f"/pairs/{pair.id}")


def test_a_fragment_is_the_same_markup_as_in_the_page(client: FlaskClient, make_pair: MakePair):
    pair = make_pair()
    row = client.get(f"/pairs/{pair.id}/row", headers={"X-Fragment": "1"}).text
    assert "<html" not in row and "data-row" in row
    assert row.split("data-row")[1].split("<a")[0] in client.get("/pairs/").text


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/pairs/99", 404, "There is no pair 99."),
        (f"/pairs/{10**20}", 404, "There is no such page."),
        (f"/pairs/?after={10**20}", 400, "larger than any number here"),
        ("/pairs/?after=x", 400, "After is 'x', which is no whole number."),
        ("/pairs/?dataset=nope", 404, "There is no data set 'nope'."),
        ("/pairs/?status=great", 400, "'great' is no status."),
        ("/duplicates/?threshold=nan", 400, "Write a number from 60 to 100 per cent."),
        ("/versions/3", 404, "There is no version 3."),
        ("/review/7", 404, "There is no sample 7."),
        ("/export/download?format=xml", 400, "There is no format 'xml'."),
        ("/export/download?kind=xls", 400, "There is no kind of file 'xls'."),
    ],
)
def test_an_address_that_is_wrong_is_answered_in_words(client: FlaskClient, address: str, status: int, words: str):
    answer = client.get(address)
    assert answer.status_code == status and words in text_of(answer)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21. Source: WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_reads_at_AA_contrast_on_every_ground_it_stands_on(theme: str):
    css = (SHELF / "static" / "tokens.css").read_text("utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    colour = {name: (light if theme == "light" else dark) for name, light, dark in pairs}
    grounds = {
        "ink": "paper paper-2 paper-3 accent-2 good-2 warn-2 bad-2",
        "ink-2": "paper paper-2 paper-3 accent-2",
        "accent": "paper paper-2 paper-3 accent-2",
        "on-accent": "accent",
        "good": "paper paper-2 good-2",
        "bad": "paper paper-2 bad-2",
        "warn": "paper paper-2",
    }
    weak = [
        f"{ink} on {ground}: {ratio:.2f}"
        for ink, several in grounds.items()
        for ground in several.split()
        if (ratio := contrast(colour[ink], colour[ground])) < 4.5
    ]
    edges = [g for g in ("paper", "paper-2") if contrast(colour["line-2"], colour[g]) < 3]
    assert (weak, edges) == ([], [])


@pytest.mark.parametrize("place", ["/changes/2", "/pairs/1"])
def test_markup_in_a_text_stands_in_the_history_as_it_was_written(client: FlaskClient, session: Session, place: str):
    """Differences used to be escaped twice: readers saw &lt;b&gt;."""
    pair = pairs.add(session, question="Bold?", answer="<b>Yes</b> & so", by="ada")
    pairs.edit(session, pair.id, {"answer": "Yes & so"}, revision=pair.revision, by="ada")
    page = client.get(place).get_data(as_text=True)
    assert "&lt;b&gt;" in page and "&amp;lt;" not in page and "&amp;amp;" not in page


def test_a_page_without_pairs_says_that_they_are_in_the_trash(client, session, make_pair):
    pairs.trash(session, [make_pair().id, make_pair().id], "ada")
    for address in ("/pairs/", "/queue/", "/clean/", "/check/", "/check/statistics", "/export/", "/versions/"):
        assert "All 2 pairs are in the trash." in client.get(address).text
    assert "The trash holds 2 pairs." in client.get("/").text
