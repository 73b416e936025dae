"""Pictures of the running app for the README, for `make screenshots`: of what `make demo` left."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from curator import create_app, database, imports, pairs, quality, reviews, search
from curator.flags import Rules
from curator.search import Selection

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "instance" / "demo"
PICTURES = ROOT / "docs" / "pictures"
SIZE = {"width": 1280, "height": 900}
# What checks are for.
FLAWED = (
    ("How long may I keep a DVD?", "You may keep a DVD for one week. You can renew it twice, online or at the"),
    ("Who has borrowed the book I am waiting for?", "I'm sorry, but I can't help with that."),
    ("Whom do I ask about school visits?", "Write to maria.lopez@stadtbibliothek.de, who plans them."),
    ("Where can I have a coffee?", "The cafÃ© is on the ground floor, beside the children's corner."),
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main() -> None:
    if not (DEMO / "runs").is_dir():
        subprocess.run([sys.executable, str(ROOT / "examples" / "demo.py")], check=True)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        copy_demo(home)
        os.environ.update(CURATOR_HOME=str(home), CURATOR_USER="ada")
        os.chdir(home)
        app = create_app()
        # Older demos' tables are brought up to date before anything is asked of them.
        app.test_cli_runner().invoke(args=["init-db"], catch_exceptions=False)
        with database.open_session(app) as session:
            work_a_little(session)
            quality.check(session, Rules(), home)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        take_all(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def copy_demo(home: Path) -> None:
    """Copy what the demo left, but for the base model and earlier demos, so that it stays as it is."""
    for path in DEMO.iterdir():
        if path.is_file():
            shutil.copy(path, home)
    shutil.copytree(DEMO / "runs", home / "runs", ignore=shutil.ignore_patterns("adapter", "checkpoints"))


def work_a_little(session: Session) -> None:
    """Leave traces of an afternoon: pairs approved and rejected, answers rated, a second file not yet cleaned."""
    ids = search.ids(session, Selection())
    pairs.set_status(session, ids[:140], "approved", "ada")
    pairs.set_status(session, ids[60:64], "rejected", "ada")
    imports.apply(
        session, ROOT / "examples" / "library.csv", imports.Reading(dataset="inbox"), by="ada", skip_refused=True
    )
    for question, answer in FLAWED:
        pairs.add(session, question=question, answer=answer, dataset="inbox", source="email", by="ada")
    for _ in range(12):
        sample = reviews.next_unrated(session, "ada")
        if sample:
            shared = len(set(sample.text.split()) & set(sample.reference.split()))
            reviews.rate(session, sample.id, 2 + (shared > 4) + (shared > 12), "ada")


def take_all(address: str) -> None:
    """Take each picture in its theme."""
    path = os.environ.get("CURATOR_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, theme, take in SHOTS:
            page = browser.new_page(base_url=address, viewport=SIZE, color_scheme=theme)
            take(page)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=PICTURES / f"{name}-{theme}.png")
        browser.close()


def list_of_pairs(page: Page) -> None:
    page.goto("/pairs/?dataset=main")
    for key in ("j", "j", "e"):
        page.keyboard.press(key)
    page.get_by_label("Answer", exact=True).wait_for()
    page.evaluate("scrollTo(0, 0)")


def clean(page: Page) -> None:
    page.goto("/clean/?dataset=inbox&step=html&step=boilerplate")


def run(page: Page) -> None:
    page.goto("/runs/?dataset=main")
    page.locator("main tbody a").first.click()
    page.locator("figure").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, 0)")


def queue(page: Page) -> None:
    page.goto("/queue/?dataset=inbox")


def duplicates(page: Page) -> None:
    page.goto("/duplicates/?dataset=inbox")


def check(page: Page) -> None:
    page.goto("/check/?dataset=inbox")


def review(page: Page) -> None:
    page.goto("/review/?dataset=main")


SHOTS = (
    ("pairs", "light", list_of_pairs),
    ("queue", "light", queue),
    ("check", "dark", check),
    ("duplicates", "light", duplicates),
    ("clean", "light", clean),
    ("run", "light", run),
    ("review", "dark", review),
)

if __name__ == "__main__":
    main()
