"""Backups of SQLite: pages, copied and replaced in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Engine, make_url

from curator.backups.places import put_beside, shelf, workplace
from curator.errors import UserError

if TYPE_CHECKING:
    from flask import Flask

# Fewer than any database of ours has: a restore has to stop once on its way, with the writer's turn in hand.
STEP_PAGES = 16


def is_sqlite(engine: Engine) -> bool:
    """Whether a database is a file of SQLite."""
    return engine.dialect.name == "sqlite"


def set_aside_rubble(app: Flask) -> None:
    """Keep a file that no SQLite can open under another name: to restore over it is what a backup is for."""
    url = make_url(app.config["DATABASE_URL"])
    if url.get_backend_name() != "sqlite" or not shelf(app).exists():
        return
    with contextlib.closing(sqlite3.connect(shelf(app))) as connection:
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                kept = put_beside(app, shelf(app), "before")
                for end in ("-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        shelf(app).with_name(shelf(app).name + end).rename(kept.with_name(kept.name + end))


def copy_pages(live: Engine, copy: Path) -> None:
    """Copy a database page by page: damaged ones are kept as they are."""
    with contextlib.closing(live.raw_connection()) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        driver(source).backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, readable from a disk that can't be written


def replace_pages(app: Flask, live: Engine, backup: Path, *, has_tables: bool) -> Path | None:
    """Write the pages of a backup over those of the database, in one transaction of SQLite."""
    kept: list[Path] = []
    with workplace(app) as place, contextlib.closing(live.raw_connection()) as target:
        size = driver(target).execute("PRAGMA page_size").fetchone()[0]
        driver(target).execute("PRAGMA synchronous = FULL")  # what was said to be restored survives a power cut

        def hold(status: int, _remaining: int, _total: int) -> None:
            if status == sqlite3.SQLITE_BUSY:  # the busy timeout is over; SQLite would ask for ever
                raise UserError("Curator is busy writing, perhaps an import. Wait until it is done, then try again.")
            if has_tables and not kept:
                # From the first step on the writer's turn is ours: no row can come between this copy and the end.
                copy_pages(live, place / "kept.db")
                kept.append(put_beside(app, place / "kept.db", "before"))

        with contextlib.closing(sqlite3.connect(backup, isolation_level=None)) as source:
            if source.execute("PRAGMA page_size").fetchone()[0] != size:
                source.execute("PRAGMA journal_mode = DELETE")
                source.execute(f"PRAGMA page_size = {size}")
                source.execute("VACUUM")
            try:
                source.backup(driver(target), pages=STEP_PAGES, progress=hold)
            except BaseException as error:
                for path in kept:  # nothing was replaced, so it is a copy of what is there
                    path.unlink()
                if isinstance(error, sqlite3.Error):
                    raise UserError(f"The database can't be replaced: {error}. It is as it was.") from error
                raise
    return kept[0] if kept else None


def driver(connection: Any) -> sqlite3.Connection:
    """Return SQLite's own connection under one of SQLAlchemy's pool."""
    found: sqlite3.Connection = connection.driver_connection
    return found
