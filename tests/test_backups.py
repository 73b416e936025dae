"""Backups: whole while others write, checked before they come back, all or nothing when they do."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy.orm import Session
from test_pages import said, text_of
from victims import victims_of

from curator import backups, create_app, database, history, pairs, runs, search
from curator.backups import postgres
from curator.errors import UserError
from curator.models import Changeset, Pair, Revision
from curator.search import Selection

MakePair = Callable[..., Pair]


def questions(app: Flask) -> list[str]:
    """Return the questions of all pairs, from a session of its own."""
    with database.open_session(app) as session:
        return list(session.scalars(sa.select(Pair.question).order_by(Pair.id)))


def restore(app: Flask, path: Path) -> backups.Restored:
    """Check a backup and restore it."""
    with backups.checked(app, path) as found:
        return backups.restore(app, found)


def left_over(home: Path) -> list[Path]:
    """Return what is in the work folder."""
    return list((home / "work").glob("*"))


def edit(path: Path, *statements: str) -> Path:
    """Change a database behind Curator's back."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


@pytest.fixture
def backup(app: Flask, session: Session, make_pair: MakePair, tmp_path: Path) -> Path:
    """A backup of one pair, "Open?"; afterwards the database holds "Closed?" too."""
    make_pair("Open?", "Yes.")
    path = tmp_path / "backup.db"
    backups.write(app, path)
    make_pair("Closed?", "No.")
    session.close()  # PostgreSQL hands its tables over only when nobody reads them
    return path


@pytest.fixture
def next_migration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], str]:
    """Makes this Curator one migration newer, and returns the name of the schema before it."""

    def make() -> str:
        shelf, old = tmp_path / "shelf", database.newest()
        shutil.copytree(database.SHELF / "migrations", shelf / "migrations")
        (shelf / "migrations" / "versions" / "9000_mood.py").write_text(
            f"import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '9000'\ndown_revision = {old!r}\n\n"
            "def upgrade():\n    op.create_table('mood', sa.Column('id', sa.Integer(), primary_key=True))\n"
        )
        monkeypatch.setattr(database, "SHELF", shelf)
        return old

    return make


def test_restoring_brings_every_row_back_and_keeps_what_was_there(app: Flask, backup: Path, home: Path):
    done = restore(app, backup)
    assert questions(app) == ["Open?"]
    assert (done.before["pair"], done.after["pair"]) == (2, 1)
    assert done.kept and done.kept.parent == home and done.kept.name.startswith("curator.db.before-")
    restore(app, done.kept)
    assert questions(app) == ["Open?", "Closed?"]
    assert left_over(home) == []


def test_a_packed_backup_is_a_backup(app: Flask, backup: Path, tmp_path: Path):
    backups.write(app, tmp_path / "both.db.gz")
    assert gzip.decompress((tmp_path / "both.db.gz").read_bytes()).startswith(b"SQLite format 3\0")
    restore(app, backup)
    restore(app, tmp_path / "both.db.gz")
    assert questions(app) == ["Open?", "Closed?"]


@pytest.mark.parametrize("there", ["sqlite", "postgresql"])
@pytest.mark.parametrize("here", ["sqlite", "postgresql"])
def test_each_database_takes_back_what_the_other_gave(
    here: str,
    there: str,
    request: pytest.FixtureRequest,
    run_folder: Path,
    app: Flask,
    session: Session,
    tmp_path: Path,
):
    runs.import_run(session, run_folder)
    odd = pairs.add(session, by="ada", question="Größe? 🐘", answer="a\r\nb\t'\"", tags=["x", "ü"], system="S")
    pairs.edit(session, odd.id, {"answer": "Zwölf."}, revision=1, by="ada")
    first = tmp_path / "first.db"
    backups.write(app, first)
    expected = rows_of(first)
    for number, kind in enumerate((here, there)):
        url = request.getfixturevalue("postgres") if kind == "postgresql" else f"sqlite:///{tmp_path}/{number}.db"
        place = create_app({"DATABASE_URL": url, "CURATOR_HOME": str(tmp_path / f"home{number}")})
        restore(place, first)
        first = tmp_path / f"copy{number}.db"
        backups.write(place, first)
        assert rows_of(first) == expected
    with database.open_session(place) as other:
        assert search.count(other, Selection(query="größe")) == 1
        assert pairs.add(other, by="ada", question="New?", answer="Yes.").id == odd.id + 1
        history.undo(other, 2, "ada")
    place.extensions["curator"]["engine"].dispose()


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of a backup; JSON as its value, since the two databases space it differently."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = {t.name: [tuple(row) for row in connection.execute(t.select())] for t in postgres.row_tables(engine)}
    engine.dispose()
    return found


def test_postgresql_is_kept_before_it_is_replaced(postgres: str, app: Flask, backup: Path, home: Path):
    done = restore(app, backup)
    assert questions(app) == ["Open?"] and done.kept and done.kept.parent == home
    restore(app, done.kept)
    assert questions(app) == ["Open?", "Closed?"]


def test_a_backup_of_a_database_in_use_is_one_moment_of_it(app: Flask, make_pair: MakePair, tmp_path: Path):
    make_pair()
    numbers = itertools.count()
    stop = threading.Event()

    def write() -> None:
        with database.open_session(app) as session:
            while not stop.is_set():
                pairs.add(session, by="bob", question=f"Number {next(numbers)}?", answer="Yes.")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            backups.write(app, tmp_path / f"{number}.db")
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        with backups.checked(app, tmp_path / f"{number}.db") as found:
            # Each pair was added with its revision in one change: a backup has all three or none.
            assert found.counts["pair"] == found.counts["revision"] == found.counts["changeset"] > 0


def test_no_row_written_during_a_restore_is_lost(app: Flask, backup: Path):
    """A row between the copy of the old and the swap would be in neither."""
    written: list[str] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with database.open_session(app) as session:
                question = f"Number {len(written)}?"
                pairs.add(session, by="bob", question=question, answer="Yes.")
                written.append(question)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.2)
        kept = restore(app, backup).kept
        time.sleep(0.2)
    finally:
        stop.set()
        writer.join()
    after = questions(app)
    assert kept
    restore(app, kept)
    before = questions(app)
    assert sorted([*before[2:], *after[1:]]) == sorted(written)


def test_a_connection_that_was_open_before_sees_what_was_restored(app: Flask, backup: Path, home: Path):
    with contextlib.closing(sqlite3.connect(home / "curator.db")) as other:
        assert other.execute("SELECT count(*) FROM pair").fetchone() == (2,)
        restore(app, backup)
        assert other.execute("SELECT count(*) FROM pair").fetchone() == (1,)
        assert other.execute("SELECT count(*) FROM pair_text WHERE pair_text MATCH 'closed'").fetchone() == (0,)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_restore_waits_its_turn_and_then_says_who_has_it(
    kind: str, request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    if kind == "postgresql":
        request.getfixturevalue("postgres")
    monkeypatch.setenv("CURATOR_BUSY_TIMEOUT", "0.2")
    app = create_app()
    with database.open_session(app) as session:
        pairs.add(session, by="ada", question="Open?", answer="Yes.")
        session.rollback()
        backups.write(app, tmp_path / "backup.db")
        session.connection(execution_options={"write": True})
        session.add(Changeset(action="importing", by="bob"))
        session.flush()
        with pytest.raises(UserError, match="try again"):
            restore(app, tmp_path / "backup.db")
        session.commit()
        assert search.count(session, Selection()) == 1
    app.extensions["curator"]["engine"].dispose()
    assert backups.all_kept(app) == [] and left_over(home) == []


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 9] = os.urandom(4096 * 6)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda p: p.write_bytes(b""), "is not an SQLite database"),
        (lambda p: p.write_text("question,answer\n"), "is not an SQLite database"),
        (lambda p: p.write_bytes(gzip.compress(b"hello")), "is not an SQLite database"),
        (lambda p: p.write_bytes(gzip.compress(p.read_bytes())[:-9]), "is not a whole backup"),
        (lambda p: p.write_bytes(b"\x28\xb5\x2f\xfd" + os.urandom(80)), "zstd. Unpack it first with: unzstd backup.db"),
        (lambda p: p.write_bytes(b"SQLite format 3\0" + os.urandom(8000)), "is not a whole backup"),
        (truncated, "is (not a whole backup|damaged)"),
        (overwritten, "is (not a whole backup|damaged)"),
        (lambda p: (p.unlink(), edit(p, "CREATE TABLE pair (id)")), "is not a database of Curator"),
        (lambda p: edit(p, "UPDATE alembic_version SET version_num = '9999'"), "probably a newer one .9999"),
        (lambda p: edit(p, "DELETE FROM alembic_version"), "probably a newer one .nothing"),
        (lambda p: edit(p, "UPDATE pair SET dataset_id = 77"), "a row of pair names one of dataset"),
        (lambda p: edit(p, "DROP TABLE rating"), "was changed outside of Curator"),
        (
            lambda p: edit(p, "CREATE TRIGGER evil AFTER INSERT ON pair BEGIN DELETE FROM rating; END"),
            "look at its trigger evil",
        ),
        (lambda p: edit(p, "DROP TABLE pair_text"), "look at its table pair_text"),
        (lambda p: (p.unlink(), p.mkdir()), "is no file"),
        (lambda p: (p.unlink(), os.mkfifo(p)), "is no file"),
        (lambda p: p.unlink(), "is not there"),
    ],
)
def test_what_is_no_whole_backup_is_refused_and_nothing_changes(
    app: Flask, backup: Path, home: Path, spoil: Callable[[Path], object], sentence: str
):
    spoil(backup)
    with pytest.raises(UserError, match=sentence):
        restore(app, backup)
    assert questions(app) == ["Open?", "Closed?"]
    assert backups.all_kept(app) == [] and left_over(home) == []


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_a_backup_larger_than_the_disk_has_room_for_is_refused_before_it_fills_it(
    app: Flask, backup: Path, home: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
):
    """A gzip of a gigabyte of zeros is a megabyte, and used to be unpacked to its end, wherever that was."""
    backup.write_bytes(pack(backup.read_bytes() + bytes(30 * 2**20)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=24 * 2**20))
    with pytest.raises(UserError, match="holds more than a third of the 0.0 GiB that are free on the disk"):
        restore(app, backup)
    assert questions(app) == ["Open?", "Closed?"]
    assert backups.all_kept(app) == [] and left_over(home) == []


def test_a_backup_that_nobody_lets_us_read_says_so(app: Flask, backup: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(backups, "take", refuse)  # root reads whatever its mode
    with pytest.raises(UserError, match="backup.db can't be read: Permission denied. Check who may read it."):
        restore(app, backup)


def test_copies_older_than_a_month_go_but_never_the_newest_five(app: Flask, backup: Path):
    kept = [restore(app, backup).kept for _ in range(7)]
    assert len(backups.all_kept(app)) == 7  # all of today
    for days, path in enumerate(kept, 31):
        assert path
        os.utime(path, (time.time() - days * 86_400,) * 2)
    newest = restore(app, backup).kept
    assert [each.path for each in backups.all_kept(app)] == [newest, *kept[:4]]


def test_a_database_that_is_only_rubble_is_restored_over_and_kept(home: Path, app: Flask, backup: Path):
    app.extensions["curator"].pop("engine").dispose()
    (home / "curator.db").write_text("rubble")
    (home / "curator.db-wal").write_text("of what was there once")
    restore(app, backup)
    assert questions(app) == ["Open?"]
    assert [kept.path.read_text() for kept in backups.all_kept(app)] == ["rubble"]


def test_a_backup_of_an_older_curator_is_brought_up_to_date(
    app: Flask, backup: Path, next_migration: Callable[[], str]
):
    before = backup.read_bytes()
    old = next_migration()
    app.extensions["curator"].pop("engine").dispose()
    with backups.checked(app, backup) as found:
        assert found.made_with == old and found.is_older
        backups.restore(app, found)
    assert questions(app) == ["Open?"]
    assert database.revisions(database.engine(app)) == ("9000", "9000")
    assert backup.read_bytes() == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_migration_keeps_a_copy_first(
    kind: str, request: pytest.FixtureRequest, home: Path, next_migration: Callable[[], str]
):
    if kind == "postgresql":
        request.getfixturevalue("postgres")
    app = create_app()
    with database.open_session(app) as session:
        pairs.add(session, by="ada", question="Open?", answer="Yes.")
    app.extensions["curator"].pop("engine").dispose()
    old = next_migration()
    result = app.test_cli_runner().invoke(args=["init-db"])
    assert result.exit_code == 0 and f"went from {old} to 9000" in result.stdout
    (kept,) = backups.all_kept(app)
    assert kept.path.name.startswith(f"curator.db.{old}-before-") and str(kept.path) in result.stderr
    with backups.checked(app, kept.path) as found:
        assert found.made_with == old and found.counts["pair"] == 1
    assert "is up to date" in app.test_cli_runner().invoke(args=["init-db"]).stdout
    assert len(backups.all_kept(app)) == 1


def test_a_database_of_a_newer_curator_is_not_migrated(home: Path, backup: Path, app: Flask):
    app.extensions["curator"].pop("engine").dispose()
    edit(home / "curator.db", "UPDATE alembic_version SET version_num = '9999'")
    result = app.test_cli_runner().invoke(args=["init-db"])
    assert result.exit_code == 1 and "was made by a newer Curator (9999)" in result.stderr
    restore(app, backup)  # which is how to go back to the older Curator
    assert questions(app) == ["Open?"]


def test_what_a_user_added_to_the_tables_does_no_harm(either: str, app: Flask, backup: Path):
    restore(app, edit(backup, "CREATE INDEX mine ON pair (source)", "CREATE TABLE notebook (page)"))
    assert questions(app) == ["Open?"]


def test_a_backup_with_pages_of_another_size_is_taken(app: Flask, backup: Path):
    restore(app, edit(backup, "PRAGMA page_size = 8192", "VACUUM"))
    assert questions(app) == ["Open?"]


RESTORING = """
from pathlib import Path
from curator import backups, create_app, database
def work(times, *paths):
    app = create_app()
    for path in paths * times:
        with backups.checked(app, Path(path)) as found:
            backups.restore(app, found)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_kill_at_any_point_leaves_the_old_rows_or_the_new(
    app: Flask, session: Session, home: Path, tmp_path: Path, kills: int
):
    pairs.add(session, by="ada", question="Few?", answer="Yes.")
    few, many = tmp_path / "few.db", tmp_path / "many.db"
    backups.write(app, few)
    changeset = history.begin(session, "imported", "ada")
    dataset = session.scalar(sa.select(Pair.dataset_id))
    rows = [{"dataset_id": dataset, "question": f"Question {i}?", "answer": "word " * 50} for i in range(3000)]
    history.add(session, changeset, rows)
    session.commit()
    backups.write(app, many)
    session.close()
    app.extensions["curator"]["engine"].dispose()
    chance = random.Random(3)
    seen = set()
    with victims_of(RESTORING) as victims:
        seconds = victims.spare(1, few, many)
        for _ in range(kills):
            assert victims.kill(chance.uniform(0, seconds), 100, few, many), "it was restoring until then"
            with contextlib.closing(sqlite3.connect(home / "curator.db")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
                pair, revision = (
                    connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("pair", "revision")
                )
                indexed = connection.execute(
                    "SELECT count(*) FROM pair_text WHERE pair_text MATCH 'yes OR word'"
                ).fetchone()
            assert pair == revision == indexed[0] and pair in (1, 3001)
            seen.add(pair)
            for kept in backups.all_kept(app):  # each is whole too
                with contextlib.closing(sqlite3.connect(kept.path)) as connection:
                    assert connection.execute("SELECT count(*) FROM pair").fetchone()[0] in (1, 3001)
                kept.path.unlink()
    assert seen == {1, 3001} or kills < 20


def test_what_a_killed_process_left_is_removed_after_a_day(app: Flask, backup: Path, home: Path):
    old = home / "work" / "abandoned"
    old.mkdir()
    (old / "copy.db").write_bytes(b"half")
    os.utime(old, (0, 0))
    restore(app, backup)
    assert left_over(home) == []


def test_the_commands_tell_the_counts(runner: FlaskCliRunner, backup: Path, tmp_path: Path):
    file = str(tmp_path / "all.db.gz")
    assert "Wrote 2 pairs, 2 changes" in runner.invoke(args=["backup", file]).stdout
    assert json.loads(runner.invoke(args=["backup", file, "--json"]).stdout)["rows"]["pair"] == 2
    assert "is whole: 1 pair" in runner.invoke(args=["restore", str(backup), "--dry-run"]).stdout
    done = runner.invoke(args=["restore", str(backup)])
    assert "Restored 1 pair, 1 change" in done.stdout and "(2 pairs, 2 changes" in done.stderr
    done = json.loads(runner.invoke(args=["restore", file, "--json"]).stdout)
    assert (done["before"]["pair"], done["after"]["pair"]) == (1, 2)


def test_a_backup_is_never_written_over_the_database(runner: FlaskCliRunner, app: Flask, backup: Path, home: Path):
    result = runner.invoke(args=["backup", str(home / "curator.db")])
    assert result.exit_code == 1 and "is the database itself" in result.stderr
    result = runner.invoke(args=["restore", str(home / "curator.db")])
    assert result.exit_code == 1 and "is the database itself" in result.stderr
    assert len(questions(app)) == 2


def test_an_empty_curator_has_a_backup_too(runner: FlaskCliRunner, tmp_path: Path):
    file = str(tmp_path / "empty.db")
    assert "Wrote 0 pairs" in runner.invoke(args=["backup", file]).stdout
    assert "Restored 0 pairs" in runner.invoke(args=["restore", file]).stdout


def test_a_database_too_damaged_to_copy_is_one_sentence_and_can_be_restored(app: Flask, backup: Path, home: Path):
    app.extensions["curator"].pop("engine").dispose()
    overwritten(home / "curator.db")
    with pytest.raises(UserError, match="The database can't be copied"):
        backups.write(app, backup.with_name("second.db"))
    assert not backup.with_name("second.db").exists()
    assert restore(app, backup).kept
    assert questions(app) == ["Open?"]


def test_a_backup_that_fails_leaves_no_file(app: Flask, make_pair: MakePair, tmp_path: Path, home: Path):
    make_pair()
    with pytest.raises(UserError, match="There is no folder"):
        backups.write(app, tmp_path / "nowhere" / "backup.db")
    assert left_over(home) == []


def test_a_backup_downloads_and_comes_back_in_the_browser(client: FlaskClient, app: Flask, backup: Path, home: Path):
    download = client.get("/backups/download", buffered=True)
    assert download.headers["Content-Disposition"].endswith(".db.gz")
    assert int(download.headers["Content-Length"]) == len(download.data)
    preview = client.post("/backups/", data={"file": (backup.open("rb"), "backup.db")}).location
    page = text_of(client.get(preview))
    assert "Pairs 2 1" in page and len(questions(app)) == 2
    assert "Restored 1 pair. What was there is kept in curator.db.before-" in said(client, client.post(preview))
    assert questions(app) == ["Open?"] and left_over(home) == []
    page = client.get("/backups/")
    assert "Take back curator.db.before-" in text_of(page)
    assert '<body data-upload="/backups/">' in page.text  # where a dropped file goes
    preview = client.post("/backups/", data={"file": (io.BytesIO(download.data), "all.db.gz")}).location
    client.post(preview)
    assert questions(app) == ["Open?", "Closed?"]


def test_what_was_kept_comes_back_in_the_browser(client: FlaskClient, app: Flask, backup: Path, home: Path):
    kept = restore(app, backup).kept
    assert kept
    before = kept.read_bytes()
    preview = client.post(f"/backups/kept/{kept.name}").location
    assert "Pairs 1 2" in text_of(client.get(preview))
    client.post(preview)
    assert questions(app) == ["Open?", "Closed?"] and kept.read_bytes() == before and left_over(home) == []
    assert client.post("/backups/kept/curator.db").status_code == 404


def test_an_upload_that_is_no_backup_or_not_wanted_leaves_nothing(
    client: FlaskClient, app: Flask, backup: Path, home: Path
):
    preview = client.post("/backups/", data={"file": (io.BytesIO(b"hello"), "backup.db")}).location
    refused = client.get(preview)
    assert refused.status_code == 400 and "This file is not an SQLite database. Choose a file" in text_of(refused)
    assert left_over(home) == []
    preview = client.post("/backups/", data={"file": (backup.open("rb"), "backup.db")}).location
    assert "Nothing was restored" in said(client, client.post(f"{preview}/discard"))
    assert left_over(home) == [] and len(questions(app)) == 2
    assert client.get("/backups/..%2f..%2fcurator.db").status_code == 404
    assert client.post(preview).status_code == 404


def test_history_goes_on_after_a_restore(app: Flask, backup: Path):
    restore(app, backup)
    with database.open_session(app) as session:
        pair = pairs.add(session, by="ada", question="Again?", answer="Yes.")
        assert session.scalar(sa.select(sa.func.count()).select_from(Revision)) == 2
        assert search.ids(session, Selection(query="again")) == [pair.id]
