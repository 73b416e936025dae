"""Script that somebody stored, in whatever text there is, stays text on every page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import every_page
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Dialog, Page
from sqlalchemy.orm import Session

BAD = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7*7 }}"
# None of this stands on a page unless a text became markup.
MARKUP = "img[src=x], script:not([src]), [onerror], a[href^='javascript:'], style, iframe"


def test_stored_script_stays_text_on_every_page(
    page: Page, settle: Callable[[], None], app: Flask, client: FlaskClient, session: Session, home: Path
):
    known = every_page.fill(app, client, session, home, BAD)
    places = every_page.places(app, client, known)
    assert len(places) >= 20
    asked = [f"/pairs/?tag={BAD}", f"/pairs/?query={BAD}", f"/queue/?dataset={BAD}", f"/pairs/?dataset={BAD}no",
             f"/queue/?status={BAD}", f"/queue/?pair={BAD}", f"/clean/?step={BAD}",
             f"/clean/?step=replace:nine=>{BAD}", f"/nowhere/{BAD}"]  # fmt: skip
    ran: list[Dialog] = []
    page.on("dialog", lambda dialog: (ran.append(dialog), dialog.dismiss()))
    seen = 0
    for place in places + asked:
        answer = page.goto(place.replace("#", "%23"))
        settle()
        assert answer is not None and "script-src 'self'" in answer.headers["content-security-policy"], place
        assert page.locator(MARKUP).count() == 0, place
        assert "49" not in page.locator("main").inner_text().split(), place
        seen += BAD in page.locator("body").inner_text()
    assert ran == []
    assert seen >= 12, "it was hardly anywhere to be seen, so this says little"


def test_stored_script_stays_text_in_what_opens_in_a_page(
    page: Page, settle: Callable[[], None], app: Flask, client: FlaskClient, session: Session, home: Path
):
    every_page.fill(app, client, session, home, BAD)
    ran: list[Dialog] = []
    page.on("dialog", lambda dialog: (ran.append(dialog), dialog.dismiss()))
    for place, keys in (("/pairs/", "j Enter e"), ("/queue/", "t e"), ("/queue/", "a"), ("/pairs/1", "e")):
        page.goto(place)
        settle()
        for key in keys.split():
            page.keyboard.press(key)
            if key == "t":
                page.keyboard.press("Escape")
            settle()
            assert page.locator(MARKUP).count() == 0, (place, key)
    assert ran == []
