"""Curator in a real browser: the loop from a file to a rating by hand and key, and what script adds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Dialog, Page, expect
from sqlalchemy.orm import Session

from curator import exports, jobs, pairs, reviews, search
from curator.models import Job, Pair, writing
from curator.search import Selection

MakePair = Callable[..., Pair]


def message(page: Page, words: str) -> None:
    """Wait until a message says these words, and the page listens to keys."""
    expect(page.locator("#messages .message")).to_contain_text(words)
    page.wait_for_load_state()


def test_the_loop_from_a_file_to_a_rating(
    page: Page, library: Path, session: Session, request: pytest.FixtureRequest, home: Path
):
    page.goto("/")
    page.get_by_role("link", name="Import a file").click()
    page.get_by_label("CSV, TSV, JSONL, JSON or Parquet").set_input_files(library)
    page.get_by_role("button", name="Look at it").click()
    page.get_by_role("button", name="Import 3 pairs").click()
    message(page, "Imported 3 pairs from library.csv.")

    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("e")
    answer = page.get_by_label("Answer", exact=True)
    expect(answer).to_have_value("Two pounds, paid at the desk.")
    answer.fill("Two pounds, at the desk.")
    page.keyboard.press("Control+Enter")
    message(page, "Saved pair 2.")
    expect(page.locator("#pair-2 [data-row]")).to_be_focused()

    page.get_by_role("link", name="Export 3 pairs").click()
    with page.expect_download() as started:
        page.get_by_role("button", name="Download 3 pairs").click()
    assert started.value.suggested_filename == "main.jsonl"
    written = "".join(exports.lines(session, Selection())).encode()
    assert Path(started.value.path()).read_bytes() == written and b"Two pounds, at the desk." in written
    session.rollback()

    request.getfixturevalue("run_folder")
    page.wait_for_load_state("load")  # the keys listen by then
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.get_by_role("button", name="Bring in kestrel").click()
    message(page, "Brought run kestrel in, with")
    expect(page.get_by_role("img", name="Loss of run kestrel")).to_be_visible()

    page.get_by_role("link", name="Rate").first.click()
    expect(page.get_by_role("heading", name="A model answered")).to_be_visible()
    page.wait_for_load_state()  # keys pressed before the script is there are lost: the note's letters became keys
    page.keyboard.press("m")
    page.keyboard.type("Right, but dull.")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    message(page, "Rated 4. That was the")
    page.keyboard.press("2")
    message(page, "Rated 2. That was the")
    session.rollback()
    assert reviews.progress(session, "ada")[0] == 2


def test_a_row_is_approved_and_the_next_one_is_in_hand(page: Page, make_pair: MakePair):
    first, second = make_pair(), make_pair()
    page.goto("/pairs/?status=draft")
    page.keyboard.press("j")
    page.keyboard.press("a")
    message(page, f"Pair {first.id} approved.")
    expect(page.locator(f"#pair-{first.id}")).to_contain_text("approved")
    expect(page.locator(f"#pair-{second.id} [data-row]")).to_be_focused()
    page.keyboard.press("u")
    message(page, "Undone: 1 pair as before.")
    expect(page.locator(f"#pair-{first.id}")).to_contain_text("draft")


def test_keys_are_letters_inside_a_text_field(page: Page, make_pair: MakePair):
    pair = make_pair("Open?", "Yes.")
    page.goto("/pairs/")
    page.keyboard.press("/")
    page.keyboard.type("ar#eg p")
    expect(page.get_by_label("Search the pairs")).to_have_value("ar#eg p")
    expect(page.locator(f"#pair-{pair.id}")).to_contain_text("draft")


def test_leaving_a_form_keeps_the_draft(page: Page, make_pair: MakePair, session: Session):
    pair = make_pair("Open?", "Yes.")
    page.goto("/pairs/")
    page.keyboard.press("j")
    page.keyboard.press("e")
    page.get_by_label("Answer", exact=True).fill("Yes, all day.")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Answer", exact=True)).to_have_count(0)
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("e")
    expect(page.get_by_label("Answer", exact=True)).to_have_value("Yes, all day.")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_label("Answer", exact=True)).to_have_value("Yes.")
    session.refresh(pair)
    assert pair.answer == "Yes."


def test_tags_are_one_key_away(page: Page, make_pair: MakePair):
    pair = make_pair()
    page.goto("/pairs/")
    page.keyboard.press("j")
    page.keyboard.press("t")
    expect(page.get_by_label("Tags, with commas between")).to_be_focused()
    page.keyboard.type("hours, desk")
    page.keyboard.press("Control+Enter")
    expect(page.locator(f"#pair-{pair.id} .tag")).to_have_text(["hours", "desk"])


def test_a_conflict_in_place_shows_both_and_saves_mine_over_it(page: Page, make_pair: MakePair, session: Session):
    pair = make_pair("Open?", "Yes.")
    page.goto("/pairs/")
    page.keyboard.press("j")
    page.keyboard.press("e")
    page.get_by_label("Answer", exact=True).fill("Yes, until seven.")
    pairs.edit(session, pair.id, {"answer": "Yes, until six."}, revision=1, by="bo")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("changed by bo")
    expect(page.locator("ins")).to_have_text("seven")
    page.get_by_role("button", name="Keep mine").click()
    expect(page.locator(f"#pair-{pair.id} .answer")).to_have_text("Yes, until seven.")


def test_pairs_are_added_one_after_the_other(page: Page, session: Session):
    page.goto("/pairs/new")
    for number in (1, 2):
        page.get_by_label("Question").fill(f"Question {number}?")
        page.get_by_label("Answer", exact=True).fill("Yes.")
        page.keyboard.press("Control+Enter")
        message(page, f"Added pair {number}.")
        expect(page.get_by_label("Question")).to_have_value("")
        expect(page.get_by_label("Question")).to_be_focused()
    assert search.count(session, Selection()) == 2


def test_the_bar_counts_what_is_selected_and_acts_on_it(page: Page, make_pair: MakePair):
    for _ in range(3):
        make_pair()
    page.goto("/pairs/")
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    expect(page.get_by_text("2 pairs selected")).to_be_visible()
    page.get_by_role("button", name="Trash 2").click()
    message(page, "2 pairs trashed.")
    expect(page.locator("main [data-row]")).to_have_count(1)


LOAN = "Three weeks, and you can renew it twice at the desk or on the website of the library"


def make_cluster(make_pair: MakePair, number: int, *marks: str) -> None:
    """Make pairs that say nearly the same, and not what those of another number say."""
    about = ("a book", "a map of the county", "one of the old records", "the key to a study room")[number]
    for mark in marks:
        make_pair(f"How long can I keep {about}, and whom do I ask for {about}?", f"{about.title()}: {LOAN}{mark}")


def test_the_best_of_a_cluster_is_kept_with_enter(page: Page, make_pair: MakePair):
    make_cluster(make_pair, 0, "", "!")
    page.goto("/duplicates/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    message(page, "Kept pair 1 and trashed 2.")
    expect(page.get_by_text("No two pairs are this much alike.")).to_be_visible()
    page.keyboard.press("u")
    message(page, "Undone: 1 pair as before.")
    expect(page.locator(".cluster")).to_have_count(1)


def test_clusters_are_decided_by_keys_alone(page: Page, make_pair: MakePair, session: Session):
    for number in range(4):
        make_cluster(make_pair, number, "", "!")
    page.goto("/duplicates/")
    page.keyboard.press("j")
    expect(page.locator("#cluster-1")).to_be_focused()
    page.keyboard.press("2")
    message(page, "Kept pair 2 and trashed 1.")
    expect(page.locator("#cluster-3")).to_be_focused()
    page.keyboard.press("n")
    message(page, "Pairs 3, 4 are no duplicates, you said.")
    expect(page.locator("#cluster-5")).to_be_focused()
    page.keyboard.press("u")
    message(page, "Taken back: pairs 3, 4 may be duplicates again.")
    expect(page.locator(".cluster")).to_have_count(3)
    page.locator("#cluster-5").focus()
    page.keyboard.press("j")
    expect(page.locator("#cluster-7")).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("e")
    expect(page.get_by_label("Question")).to_be_focused()
    page.keyboard.press("Tab")
    page.get_by_label("Answer", exact=True).fill("Ask at the desk: ")
    page.keyboard.type("2nj")
    page.keyboard.press("Control+Enter")
    message(page, "Saved pair 5.")
    expect(page.locator(".cluster")).to_have_count(2)
    session.rollback()  # and see what was saved
    assert session.get_one(Pair, 5).answer == "Ask at the desk: 2nj"


def test_leaving_the_form_in_a_cluster_leaves_the_cluster_as_it_was(page: Page, make_pair: MakePair):
    make_cluster(make_pair, 0, "", "!")
    page.goto("/duplicates/")
    page.keyboard.press("j")
    page.keyboard.press("e")
    page.get_by_label("Question").fill("")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".cluster form.form")).to_have_count(0)
    expect(page.locator("#cluster-1")).to_be_focused()


def test_all_clusters_above_a_threshold_go_with_one_press_and_come_back_with_one(page: Page, make_pair: MakePair):
    for number in range(3):
        make_cluster(make_pair, number, "", "!", "?!")
    page.goto("/duplicates/")
    page.get_by_role("button", name="Resolve all 3 above 90 %: trash 6 pairs").click()
    message(page, "Kept the best of 3 clusters, trashed 6 pairs.")
    expect(page.get_by_text("No two pairs are this much alike.")).to_be_visible()
    page.keyboard.press("u")
    message(page, "Undone: 6 pairs as before.")
    expect(page.get_by_role("button", name="Resolve all 3 above 90 %: trash 6 pairs")).to_be_visible()


def test_the_slider_moves_the_columns_and_then_the_clusters(page: Page, make_pair: MakePair):
    make_cluster(make_pair, 0, "", ", or so they say at the desk")
    page.goto("/duplicates/?threshold=75")
    expect(page.locator(".cluster")).to_have_count(1)
    page.get_by_label("Alike from, as a slider").press("End")
    expect(page.locator(".histogram .out")).to_have_count(25)
    expect(page.get_by_text("No two pairs are this much alike.")).to_be_visible()
    expect(page.get_by_label("Alike from, in per cent")).to_have_value("100")


def test_near_duplicates_stand_beside_what_is_typed(page: Page, make_pair: MakePair):
    make_cluster(make_pair, 0, "")
    page.goto("/pairs/new")
    page.get_by_label("Question").fill("How long can I keep a book, and whom do I ask for a book")
    page.get_by_label("Answer", exact=True).fill(f"A Book: {LOAN}!")
    expect(page.get_by_role("heading", name="One pair says nearly the same")).to_be_visible()
    page.keyboard.press("Control+Enter")
    message(page, "Added pair 2.")
    expect(page.locator(".near")).to_have_count(0)


def test_the_button_counts_what_is_left_to_clean(page: Page, make_pair: MakePair):
    make_pair(answer="<p>Yes.</p>", dataset="faq")
    make_pair(answer="<p>No.</p>", dataset="faq")
    page.goto("/clean/?dataset=faq")
    page.get_by_role("button", name="HTML to text").click()
    expect(page.get_by_role("button", name="Clean 2 pairs")).to_be_visible()
    page.get_by_label("Leave it").first.check()
    page.get_by_role("button", name="Clean 1 pair").click()
    message(page, "Cleaned 1 pair.")


def test_a_look_at_some_pairs_names_no_number_to_clean(
    page: Page, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("curator.cleaning.passes.BATCH", 1)
    monkeypatch.setattr("curator.views.cleaning.SECONDS", 0)
    make_pair(answer="<p>Yes.</p>")
    make_pair(answer="<p>No.</p>")
    page.goto("/clean/?step=html")
    expect(page.get_by_role("button", name="Look through all 2")).to_be_visible()
    page.get_by_label("Leave it").first.check()  # the page's script complains of nothing: see the fixture


def test_a_file_can_be_dropped_on_any_page(page: Page):
    page.goto("/versions/")
    file = page.evaluate_handle(
        "() => { const data = new DataTransfer();"
        "data.items.add(new File(['question,answer\\nOpen?,Yes.\\n'], 'faq.csv')); return data; }"
    )
    page.dispatch_event("main", "drop", {"dataTransfer": file})
    expect(page.get_by_role("button", name="Import 1 pair")).to_be_visible()


AWKWARD = """Kunden-Frage;Unsere Antwort;Thema
Wie lange darf ich ein Buch behalten, wenn ich es verlängert habe?;Drei Wochen, danach am Schalter noch einmal.;Ausleihe
Darf mein Hund mit?;;Besuch
Was kostet eine Karte?;Zwei Pfund – am Schalter;Karten
Nenne drei Früchte;Apfel;Birne;Feige
"""


def test_an_awkward_table_is_mapped_its_rejects_mended_and_imported_again(
    page: Page, write: Callable[[str, str | bytes], Path], make_pair: MakePair, session: Session
):
    make_pair("Wie lange darf ich ein Buch behalten, wenn ich es verlängert habe?",
              "Drei Wochen, danach am Schalter noch einmal!")  # fmt: skip

    def look_at(path: Path) -> None:
        page.goto("/import/")
        page.get_by_label("CSV, TSV, JSONL, JSON or Parquet").set_input_files(path)
        page.get_by_role("button", name="Look at it").click()

    def choose_columns() -> None:
        page.get_by_label("Column of the question").select_option("Kunden-Frage")
        page.get_by_label("Column of the answer").select_option("Unsere Antwort")
        page.get_by_role("button", name="Look again").click()

    look_at(write("faq.csv", AWKWARD.encode("cp1252")))
    expect(page.get_by_role("alert")).to_contain_text("has no column for the question")
    choose_columns()
    expect(page.get_by_label("Encoding")).to_have_attribute("placeholder", "Windows-1252")
    expect(page.get_by_label("Delimiter")).to_contain_text("found: semicolon")
    expect(page.locator(".refused tbody tr")).to_have_count(2)
    expect(page.get_by_text("Line 2 is 100 % like pair 1")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("link", name="download them").click()
    rejects = Path(started.value.path()).read_text()
    page.get_by_role("button", name="Import 2 pairs").click()
    message(page, "Imported 2 pairs from faq.csv. 2 refused.")

    mended = (
        rejects.replace("Hund mit?,,Besuch", "Hund mit?,Ja.,Besuch").replace("Birne,", '"Obst",').replace("Feige", "")
    )
    look_at(write("mended.csv", mended))
    choose_columns()
    page.get_by_role("button", name="Import 2 pairs").click()
    message(page, "Imported 2 pairs from mended.csv.")
    session.rollback()
    assert [search.count(session, Selection(query=word)) for word in ("hund", "obst", "buch")] == [1, 1, 2]


def test_a_large_import_is_followed_cancelled_and_started_again(
    page: Page, write: Callable[[str, str | bytes], Path], session: Session
):
    row = "Question {0} about the opening hours of the library?,Answer {0}: from nine to seven.\n"
    page.goto("/import/")
    page.get_by_label("CSV, TSV, JSONL, JSON or Parquet").set_input_files(
        write("big.csv", "question,answer\n" + "".join(row.format(n) for n in range(30_000)))
    )
    page.get_by_role("button", name="Look at it").click()
    with writing(session):  # somebody else's turn to write, so that the import is not done before it is cancelled
        page.get_by_role("button", name="Import 30,000 pairs").click()
        expect(page.locator(".job .pace")).to_contain_text("rows/s")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".job .pace")).to_contain_text("Stopping")
    expect(page.locator(".job .told")).to_have_text("Stopped. Nothing was changed.")
    assert search.count(session, Selection()) == 0
    session.rollback()
    page.get_by_role("button", name="Start again").click()
    expect(page.locator(".job .told")).to_have_text("Imported 30,000 pairs from big.csv.", timeout=60_000)
    expect(page.locator(".rail .count.waiting", has_text="at work")).to_have_count(0)
    page.get_by_role("link", name="Show the pairs").click()
    expect(page.get_by_role("heading", name="Pairs 30,000")).to_be_visible()


def test_a_job_is_followed_further_when_the_server_is_back(page: Page, app: Flask):
    with jobs.opened(app, create=True):
        page.goto("/jobs/")  # from here on nothing that is running is taken for what a killed process left
    with jobs.opened(app) as files, writing(files):
        files.add(Job(kind="check", title="Check", arguments={}, by="ada", state="running"))
    page.goto("/jobs/1")
    with page.expect_event("requestfailed"):
        page.route("**/jobs/1", lambda route: route.abort(), times=1)
    with jobs.opened(app) as files, writing(files):
        files.get_one(Job, 1).state = "cancelled"
    expect(page.locator(".job .told")).to_have_text("Stopped. The next check goes on from here.")


def test_stored_script_does_not_run(page: Page, make_pair: MakePair):
    ran: list[Dialog] = []
    page.on("dialog", lambda dialog: (ran.append(dialog), dialog.dismiss()))
    bad = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    pair = make_pair(bad + "?", bad, tags=[bad], notes=bad, system=bad)
    page.goto("/pairs/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".opened")).to_contain_text("<script>alert(2)</script>")
    page.keyboard.press("e")
    expect(page.get_by_label("Answer", exact=True)).to_have_value(bad)
    page.goto(f"/pairs/{pair.id}")
    assert ran == []


def test_the_theme_switches_at_once_and_stays(page: Page, settle: Callable[[], None]):
    page.goto("/")
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    settle()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_keys_are_shown_when_asked_for(page: Page):
    page.goto("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_server_that_is_gone_loses_nothing_that_was_typed(page: Page, make_pair: MakePair):
    make_pair("Open?", "Yes.")
    page.goto("/pairs/")
    page.keyboard.press("j")
    page.keyboard.press("e")
    page.get_by_label("Answer", exact=True).fill("Yes, all day.")
    page.route("**/edit", lambda route: route.abort())
    page.keyboard.press("Control+Enter")
    message(page, "Curator does not answer.")
    expect(page.get_by_label("Answer", exact=True)).to_have_value("Yes, all day.")


def test_every_control_has_a_label_and_every_id_is_its_own(page: Page, make_pair: MakePair):
    make_pair(system="Be brief.")
    make_pair(dataset="other")
    for place in ("/pairs/", "/pairs/1/edit", "/pairs/new", "/export/", "/clean/", "/versions/", "/duplicates/"):
        page.goto(place)
        unlabelled = page.locator("input:not([type=hidden]), select, textarea").evaluate_all(
            "all => all.filter(e => !e.labels.length).map(e => e.outerHTML)"
        )
        ids = page.locator("[id]").evaluate_all("all => all.map(e => e.getAttribute('id'))")
        assert (unlabelled, sorted(ids)) == ([], sorted(set(ids))), place


@pytest.mark.parametrize("width", [360, 1600])
def test_no_page_scrolls_sideways(page: Page, make_pair: MakePair, width: int):
    long = "Averylongwordwithoutanybreak" * 12
    make_pair(long, "    indented\n" + long, tags=[long], source=long, system=long, notes=long, dataset="main")
    make_pair("وما هي ساعات العمل؟", "من التاسعة إلى السابعة 📚\n" * 40, dataset="other")
    page.set_viewport_size({"width": width, "height": 740})
    places = [
        "/",
        "/pairs/",
        "/pairs/1",
        "/pairs/1/edit",
        "/pairs/new",
        "/import/",
        "/jobs/",
        "/export/",
        "/duplicates/",
        "/queue/?pair=1",
        "/queue/?pair=2",
    ]
    for place in [
        *places,
        "/queue/?pair=1",
        "/queue/?pair=2",
        "/clean/?step=whitespace&step=mask&step=regex",
        "/versions/",
        "/runs/",
        "/review/",
        "/changes/",
    ]:
        page.goto(place)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, place


def test_what_can_be_done_with_the_pairs_stands_in_one_line_on_a_small_screen(page: Page, make_pair: MakePair):
    """At 1024 px “New pair” once stood alone below the title."""
    make_pair()
    page.set_viewport_size({"width": 1024, "height": 800})
    page.goto("/pairs/")
    tops = page.locator(".head .button").evaluate_all("those => those.map(one => one.getBoundingClientRect().top)")
    assert len(tops) == 4 and len(set(tops)) == 1
