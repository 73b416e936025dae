"""Editing a pair where it is seen: nothing typed is lost, and nobody's text is overwritten unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from curator import history, pairs, runs
from curator.models import Pair

MakePair = Callable[..., Pair]
FORM = {"question": "Open?", "answer": "Yes, until seven.", "tags": "mine", "revision": "1", "status": "draft"}


def edit(page: Page, place: str = "/pairs/") -> None:
    """Open the form of the first pair."""
    page.goto(place)
    if place == "/pairs/" or place.startswith("/duplicates/"):
        page.keyboard.press("j")
    page.keyboard.press("e")
    expect(page.get_by_label("Answer", exact=True)).to_be_visible()


def type_answer(page: Page, text: str) -> None:
    page.get_by_label("Answer", exact=True).fill(text)


def saved(session: Session, pair: Pair) -> Pair:
    session.rollback()
    session.refresh(pair)
    return pair


def drafts(page: Page) -> list[str]:
    """The drafts kept, once the page's scripts have run: a page says what was saved before they do."""
    page.wait_for_load_state("load")
    return list(page.evaluate("Object.keys(localStorage)"))


# --- without script -------------------------------------------------------------------------------------


def test_one_field_of_theirs_is_taken_over_and_the_rest_stays_mine(
    client: FlaskClient, make_pair: MakePair, session: Session
):
    pair = make_pair("Open?", "Yes.")
    pairs.edit(session, pair.id, {"answer": "Yes, until six.", "tags": ["theirs"]}, revision=1, by="bo")
    answer = client.post(f"/pairs/{pair.id}/edit", data=FORM | {"take": "tags"})
    assert answer.status_code == 409
    assert 'value="theirs"' in answer.text and "Yes, until seven.</textarea>" in answer.text
    client.post(f"/pairs/{pair.id}/edit", data=FORM | {"tags": "theirs", "revision": "2"})
    assert (saved(session, pair).answer, pair.tags) == ("Yes, until seven.", ["theirs"])


def test_a_pair_that_was_trashed_meanwhile_is_restored_with_what_was_typed(
    client: FlaskClient, make_pair: MakePair, session: Session
):
    pair = make_pair("Open?", "Yes.")
    changeset = pairs.trash(session, [pair.id], "bo")
    answer = client.post(f"/pairs/{pair.id}/edit", data=FORM)
    assert answer.status_code == 409 and "put into the trash by bo" in answer.text
    assert "Restore and save" in answer.text and "Leave it in the trash" in answer.text
    client.post(f"/pairs/{pair.id}/edit", data=FORM | {"revision": "2", "restore": "1"})
    assert (saved(session, pair).answer, pair.trashed) == ("Yes, until seven.", False)
    history.undo(session, changeset.id + 1, "ada")
    assert (saved(session, pair).answer, pair.trashed) == ("Yes.", True)


def test_what_was_typed_into_a_pair_that_is_gone_can_become_a_new_one(client: FlaskClient, make_pair: MakePair):
    make_pair()
    answer = client.post("/pairs/77/edit", data=FORM)
    assert answer.status_code == 404
    assert "There is no pair 77." in answer.text and "Yes, until seven.</textarea>" in answer.text
    assert 'action="/pairs/new"' in answer.text


def test_blank_turns_are_dropped_and_the_others_keep_their_order(
    client: FlaskClient, make_pair: MakePair, session: Session
):
    pair = make_pair("Open?", "Yes.")
    turns = {"role": ["user", "assistant", "user"], "turn": ["Hello", "  ", "Are you there?"]}
    client.post(f"/pairs/{pair.id}/edit", data=FORM | turns)
    assert [turn["content"] for turn in saved(session, pair).history] == ["Hello", "Are you there?"]


# --- in a browser ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/pairs/", "/pairs/1", "/queue/", "/pairs/1/edit"])
def test_a_pair_is_edited_where_it_is_seen(page: Page, make_pair: MakePair, session: Session, place: str):
    pair = make_pair("Open?", "Yes.")
    if place.endswith("edit"):
        page.goto(place)
        page.get_by_label("Answer", exact=True).focus()
    else:
        edit(page, place)
    type_answer(page, "Yes, until seven.")
    page.get_by_label("Notes, not exported").fill("Ask Bo.")
    page.locator("select[name=status]").select_option("approved")
    page.get_by_label("Notes, not exported").press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text("Saved pair 1.")
    expect(page.locator("main")).to_contain_text("Yes, until seven.")
    expect(page.locator("main .form")).to_have_count(0)
    assert (saved(session, pair).answer, pair.notes, pair.status) == ("Yes, until seven.", "Ask Bo.", "approved")
    assert drafts(page) == []


def test_a_pair_is_edited_in_its_cluster_of_duplicates_with_all_that_other_places_have(
    page: Page, make_pair: MakePair, session: Session
):
    long = "The library opens at nine in the morning and closes at seven in the evening on every weekday"
    make_pair("When are you open?", long)
    make_pair("When are you open?", long + "!")
    edit(page, "/duplicates/?threshold=75")
    type_answer(page, "From nine to seven.")
    edit(page, "/duplicates/?threshold=75")
    expect(page.locator(".restored")).to_be_in_viewport()
    best = int(str(page.locator("form[data-draft]").get_attribute("data-draft")).partition("-")[2])
    pairs.edit(session, best, {"answer": "From nine to six."}, revision=1, by="bo")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("changed by bo")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text(f"Saved pair {best}.")
    assert saved(session, pairs.get(session, best)).answer == "From nine to seven."
    assert drafts(page) == []


def test_a_note_on_a_sample_is_no_draft_once_it_was_rated(
    page: Page, settle: Callable[[], None], session: Session, run_folder: Path
):
    runs.import_run(session, run_folder)
    page.goto("/review/")
    page.get_by_label("Note").fill("Right, but dull.")
    page.reload()
    expect(page.get_by_label("Note")).to_have_value("Right, but dull.")
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    expect(page.locator("#messages")).to_contain_text("Rated 4.")
    settle()
    assert drafts(page) == []


def test_earlier_turns_are_added_moved_and_removed(page: Page, make_pair: MakePair, session: Session):
    said = ("Hello", "Good day", "Where are you?", "In the park")
    pair = make_pair(
        earlier=[{"role": "user" if n % 2 == 0 else "assistant", "content": t} for n, t in enumerate(said)]
    )
    edit(page)
    page.locator(".turnform").nth(0).get_by_role("button", name="Remove").click()
    page.locator(".turnform").nth(0).get_by_role("button", name="Remove").click()
    page.locator(".turnform").nth(1).get_by_role("button", name="Move this turn up").click()
    page.get_by_role("button", name="Add a turn").click()
    page.keyboard.type("Thanks")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text("Saved pair 1.")
    assert [turn["content"] for turn in saved(session, pair).history] == ["In the park", "Where are you?", "Thanks"]


@pytest.mark.parametrize("place", ["/pairs/", "/queue/", "/pairs/1"])
def test_what_was_typed_survives_a_closed_tab(page: Page, make_pair: MakePair, place: str):
    make_pair("Open?", "Yes.")
    edit(page, place)
    type_answer(page, "Yes, all day.")
    page.locator(".turnform textarea").first.evaluate("e => e.closest('details').open = true")
    page.get_by_role("button", name="Add a turn").click()
    page.keyboard.type("Hello")
    again = page.context.new_page()
    page.close()
    edit(again, place)
    expect(again.get_by_label("Answer", exact=True)).to_have_value("Yes, all day.")
    expect(again.locator(".turnform textarea").nth(2)).to_have_value("Hello")
    expect(again.locator(".restored")).to_contain_text("Unsaved text from")
    again.get_by_role("button", name="Discard").click()
    expect(again.get_by_label("Answer", exact=True)).to_have_value("Yes.")
    expect(again.locator(".turnform textarea").first).to_have_value("")
    assert drafts(again) == []


def test_a_draft_over_a_text_that_changed_since_saves_as_a_conflict(page: Page, make_pair: MakePair, session: Session):
    pair = make_pair("Open?", "Yes.")
    edit(page)
    type_answer(page, "Yes, until seven.")
    page.keyboard.press("Escape")
    expect(page.locator("main .form")).to_have_count(0)
    pairs.edit(session, pair.id, {"answer": "Yes, until six."}, revision=1, by="bo")
    edit(page)
    expect(page.locator(".restored")).to_contain_text("The pair was changed since")
    page.get_by_label("Answer", exact=True).press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("changed by bo")
    assert saved(session, pair).answer == "Yes, until six."


@pytest.mark.parametrize("place", ["/pairs/", "/queue/", "/pairs/1"])
def test_what_was_typed_survives_a_conflict_and_a_closed_tab(
    page: Page, make_pair: MakePair, session: Session, place: str
):
    pair = make_pair("Open?", "Yes.")
    edit(page, place)
    type_answer(page, "Yes, until seven.")
    pairs.edit(session, pair.id, {"answer": "Yes, until six."}, revision=1, by="bo")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("changed by bo")
    edit(page, place)
    expect(page.get_by_label("Answer", exact=True)).to_have_value("Yes, until seven.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text("Saved pair 1.")
    assert saved(session, pair).answer == "Yes, until seven."
    assert drafts(page) == []


@pytest.mark.parametrize("place", ["/pairs/", "/queue/", "/pairs/1"])
def test_taking_theirs_drops_mine(page: Page, make_pair: MakePair, session: Session, place: str):
    pair = make_pair("Open?", "Yes.")
    edit(page, place)
    type_answer(page, "Yes, until seven.")
    pairs.edit(session, pair.id, {"answer": "Yes, until six."}, revision=1, by="bo")
    page.keyboard.press("Control+Enter")
    page.get_by_role("link", name="Take theirs").click()
    expect(page.locator("main .form")).to_have_count(0)
    expect(page.locator("main")).to_contain_text("Yes, until six.")
    assert drafts(page) == []


def test_two_texts_are_merged_by_hand(page: Page, make_pair: MakePair, session: Session):
    pair = make_pair("Open?", "Yes.")
    edit(page)
    type_answer(page, "Yes, until seven.")
    page.get_by_label("Tags, with commas between").fill("mine")
    pairs.edit(session, pair.id, {"answer": "Yes, on Sundays too.", "tags": ["theirs"]}, revision=1, by="bo")
    page.keyboard.press("Control+Enter")
    theirs = page.get_by_role("alert").locator("div", has_text="Tags")
    theirs.get_by_role("button", name="Take theirs").last.click()
    expect(page.get_by_label("Tags, with commas between")).to_have_value("theirs")
    type_answer(page, "Yes, until seven, on Sundays too.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text("Saved pair 1.")
    assert (saved(session, pair).answer, pair.tags) == ("Yes, until seven, on Sundays too.", ["theirs"])


def test_a_pair_that_was_trashed_meanwhile_is_restored_with_the_text(page: Page, make_pair: MakePair, session: Session):
    pair = make_pair("Open?", "Yes.")
    edit(page, "/queue/")
    type_answer(page, "Yes, until seven.")
    pairs.trash(session, [pair.id], "bo")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("put into the trash by bo")
    page.get_by_role("button", name="Restore and save").click()
    expect(page.locator("#messages")).to_contain_text("Saved pair 1 and took it out of the trash.")
    assert not saved(session, pair).trashed


def test_a_form_that_the_server_never_got_keeps_its_draft(page: Page, make_pair: MakePair):
    """A form that loads another page used to drop its draft as it was sent, whatever came back."""
    make_pair("Open?", "Yes.")
    page.goto("/pairs/1/edit")
    type_answer(page, "Yes, until seven.")
    page.route("**/edit", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    with page.expect_event("requestfailed"):
        page.get_by_label("Answer", exact=True).press("Control+Enter")
    page.unroute("**/edit")
    page.goto("/pairs/1/edit")
    expect(page.get_by_label("Answer", exact=True)).to_have_value("Yes, until seven.")


def test_areas_grow_with_their_text(page: Page, make_pair: MakePair):
    make_pair("Open?", "Yes.")
    edit(page)
    area = page.get_by_label("Answer", exact=True)
    low = area.evaluate("e => e.clientHeight")
    area.fill("line\n" * 12)
    assert area.evaluate("e => e.clientHeight") > low + 100
    assert area.evaluate("e => e.scrollHeight <= e.clientHeight + 1")
