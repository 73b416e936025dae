"""Every page for everybody: axe finds nothing serious, and the keyboard alone is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import every_page
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from curator import pairs, search
from curator.models import Pair
from curator.search import Selection

MakePair = Callable[..., Pair]
GRAVE = ("serious", "critical")
COLOURS = ["color-contrast", "link-in-text-block"]
# Pages as they are after some keys: what opens in them is theirs too.
OPENED = (
    ("/pairs/", ("j", "Enter")),
    ("/pairs/", ("j", "e")),
    ("/pairs/", ("j", "x")),
    ("/pairs/1", ("e",)),
    ("/queue/", ("e",)),
    ("/queue/", ("a",)),
    ("/queue/?tag=nobody-has-it", ()),
    ("/pairs/?trash=1", ()),
    ("/pairs/?query=library", ()),
    ("/clean/?step=html&step=whitespace", ()),
    ("/clean/?step=replace:nine=>ten&step=mask", ()),
    ("/duplicates/?threshold=60", ()),
    ("/pairs/999", ()),
    ("/", ("?",)),
)


def faults(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """Return what axe finds serious or critical on a page, or what some of its rules do."""
    # No rule that is on asks for what "preload" fetches again: style sheets (css-orientation-lock), sound and films.
    asked: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        asked["runOnly"] = {"type": "rule", "values": list(rules)}
    found = page.evaluate("asked => axe.run(asked)", asked)["violations"]
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:160]}"
        for each in found
        if each["impact"] in GRAVE
        for node in each["nodes"][:3]
    ]


def test_axe_finds_what_is_put_there_for_it(page: Page):
    page.set_content("<html lang=en><title>A page</title><main><input><p style='color: #ddd'>Pale.</p></main>")
    page.evaluate(AXE_SCRIPT)
    assert [fault.partition(":")[0] for fault in faults(page)] == ["color-contrast", "label"]
    assert [fault.partition(":")[0] for fault in faults(page, COLOURS)] == ["color-contrast"]


def test_axe_finds_nothing_serious_on_any_page(
    page: Page, settle: Callable[[], None], app: Flask, client: FlaskClient, session: Session, home: Path
):
    known = every_page.fill(app, client, session, home)
    places = every_page.places(app, client, known)
    assert len(places) >= 20
    found: dict[str, list[str]] = {}
    page.emulate_media(reduced_motion="reduce")
    for place, keys in [*((place, ()) for place in places), *OPENED]:
        page.set_viewport_size({"width": 1280, "height": 800})
        page.emulate_media(color_scheme="light")
        page.goto(place)
        settle()
        for key in keys:
            page.keyboard.press(key)
            settle()
        page.evaluate(AXE_SCRIPT)
        said = faults(page)
        page.emulate_media(color_scheme="dark")  # which changes colours and nothing else
        said += faults(page, COLOURS)
        page.set_viewport_size({"width": 360, "height": 800})
        said += faults(page)
        page.emulate_media(color_scheme="light")
        said += faults(page, COLOURS)
        if said:
            found[f"{place} {' '.join(keys)}"] = said
    assert found == {}


def focused(page: Page) -> str:
    """Return what has the focus, as a selector; "body" where it is lost."""
    return str(
        page.evaluate(
            "(e => e.getAttribute('aria-label') ?? e.id ?? e.tagName.toLowerCase())(document.activeElement)"
        ) or page.evaluate("document.activeElement.tagName.toLowerCase()")
    )  # fmt: skip


def test_the_keyboard_alone_finds_opens_edits_approves_tags_and_takes_back(
    page: Page, settle: Callable[[], None], make_pair: MakePair, session: Session
):
    make_pair("May I bring my dog?", "Assistance dogs are welcome.")
    late, later = make_pair("What is a late fee?", "Two pound."), make_pair("When is a fee due?", "At once.")
    page.goto("/")
    keys = page.keyboard

    keys.press("/")
    keys.type("fee")
    keys.press("Enter")
    expect(page.locator("main [data-row]")).to_have_count(2)
    settle()

    keys.press("j")
    expect(page.locator("main [data-row]").first).to_be_focused()
    keys.press("Enter")
    expect(page.locator(f"#pair-{late.id} .opened")).to_be_focused()
    keys.press("e")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    keys.press("Tab")
    keys.press("End")
    keys.press("Backspace")
    keys.type("s.")
    keys.press("Control+Enter")
    expect(page.locator("#messages")).to_contain_text("Saved pair 2.")
    assert focused(page) == "Pair 2"

    keys.press("t")
    expect(page.get_by_label("Tags, with commas between")).to_be_focused()
    keys.type("fees")
    keys.press("Control+Enter")
    expect(page.locator(f"#pair-{late.id} .tag")).to_have_text(["fees"])
    assert focused(page) == "Pair 2"

    keys.press("a")
    expect(page.locator("#messages")).to_contain_text("Pair 2 approved.")
    assert focused(page) == "Pair 3"
    keys.press("u")
    expect(page.locator("#messages")).to_contain_text("Undone")
    assert focused(page) != "body"

    keys.press("k")
    keys.press("x")
    keys.press("j")
    keys.press("x")
    expect(page.locator(".selection")).to_be_visible()
    for _ in range(40):
        keys.press("Tab")
        if page.evaluate("document.activeElement.matches('.selection button[value=reject]')"):
            break
    keys.press("Enter")
    expect(page.locator("#messages")).to_contain_text("2 pairs rejected.")
    settle()
    keys.press("u")
    expect(page.locator("#messages")).to_contain_text("Undone: 2 pairs as before.")
    session.rollback()
    assert search.count(session, Selection(statuses=("draft",))) == 3
    assert (pairs.get(session, late.id).answer, pairs.get(session, later.id).answer) == ("Two pounds.", "At once.")


def test_the_queue_is_worked_by_keys_alone(page: Page, make_pair: MakePair, session: Session):
    first, second, third = (make_pair(tags=["old"] if n else []) for n in range(3))
    page.goto("/queue/")
    keys = page.keyboard
    keys.press("t")
    expect(page.get_by_label("Add a tag")).to_be_focused()
    keys.type("ar#j")  # letters, in a field
    keys.press("Enter")
    expect(page.locator("#messages")).to_contain_text("Tagged pair 3.")
    assert focused(page) == "Pair 3"
    keys.press("t")
    keys.press("Escape")
    assert focused(page) == "Pair 3"
    keys.press("a")
    expect(page.locator("[data-item]")).to_have_attribute("aria-label", "Pair 2")
    assert focused(page) == "Pair 2" and page.url.endswith("?pair=2")
    keys.press("j")
    expect(page.locator("[data-item]")).to_have_attribute("aria-label", "Pair 1")
    keys.press("k")
    expect(page.locator("[data-item]")).to_have_attribute("aria-label", "Pair 2")
    keys.press("e")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    keys.press("Escape")
    expect(page.locator("main .form")).to_have_count(0)
    assert focused(page) == "Pair 2"
    keys.press("#")
    expect(page.locator("[data-item]")).to_have_attribute("aria-label", "Pair 1")
    expect(page.locator("#messages")).to_contain_text("Pair 2 trashed.")
    keys.press("u")
    expect(page.locator("[data-item]")).to_have_attribute("aria-label", "Pair 2")
    assert focused(page) == "Pair 2" and page.url.endswith("?pair=2")
    keys.press("r")
    expect(page.locator("[data-item]")).to_have_attribute("aria-label", "Pair 1")
    keys.press("r")
    expect(page.locator("main")).to_contain_text("Nothing left to review.")
    assert focused(page) != "body"
    session.rollback()
    for pair in (first, second, third):
        session.refresh(pair)
    assert [first.status, second.status, third.status] == ["rejected", "rejected", "approved"]
    assert third.tags == ["old", "ar#j"] and not second.trashed


@pytest.mark.parametrize("width", [360, 1024, 1600])
def test_the_next_pair_comes_with_its_acts_in_the_same_place(page: Page, make_pair: MakePair, width: int):
    make_pair("Short?", "Yes.")
    make_pair("Long?", "A very long answer that goes on.\n" * 60, tags=["a"])
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/queue/")
    button = page.get_by_role("button", name="Approve")
    before = button.bounding_box()
    page.keyboard.press("a")
    expect(page.locator("[data-item]")).to_have_attribute("aria-label", "Pair 1")
    after = button.bounding_box()
    assert before and after and abs(before["y"] - after["y"]) < 4 and before["x"] == after["x"]
