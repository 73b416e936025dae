"""Backups: all rows in one SQLite file, checked before they come back, which they do in one transaction.

A backup of PostgreSQL is such a file too, so either database takes back what the other gave.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from curator import database, exports, neighbours
from curator.backups.checks import (
    CHUNK_BYTES,
    Counts,
    check,
    counts_in,
    counts_of,
    schema,
    schema_of_this_curator,
    take,
)
from curator.backups.places import (
    Kept,
    all_kept,
    find_workplace,
    is_live,
    make_workplace,
    put_beside,
    sweep,
    take_out,
    workplace,
)
from curator.backups.postgres import dump, replace_rows
from curator.backups.sqlite import copy_pages, driver, is_sqlite, replace_pages, set_aside_rubble
from curator.errors import UserError
from curator.models import open_engine

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["SPOKEN", "Backup", "Kept", "Restored", "all_kept", "checked", "counts_now", "find_workplace", "keep"]
__all__ += ["make_workplace", "opened", "restore", "take_out", "write", "write_to"]

# What of a database people count, and by which word.
SPOKEN = {"pair": "pair", "changeset": "change", "version": "version", "run": "run", "rating": "rating"}


@dataclass(frozen=True)
class Backup:
    """A backup that passed every check: a copy of it, brought up to date."""

    path: Path
    made_with: str  # the schema that it was written with
    counts: Counts

    @property
    def is_older(self) -> bool:
        """Whether it had to be brought up to date."""
        return self.made_with != database.newest()


@dataclass(frozen=True)
class Restored:
    """What a restore did. `kept` is where the rows from before are now, None where there were no tables."""

    before: Counts
    after: Counts
    kept: Path | None


def write(app: Flask, path: Path) -> Counts:
    """Write all rows into a file, whole or not at all; packed with gzip where its name ends in .gz."""
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder. Name a file in it.")
        if is_live(app, path):
            raise UserError(f"{path} is the database itself. Name another file.")
        with exports.atomically(path) as file:
            return write_to(app, file, packed=path.suffix == ".gz")
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}.") from error


def write_to(app: Flask, file: IO[bytes], *, packed: bool = False) -> Counts:
    """Write all rows of one moment as an SQLite file; the app may go on writing meanwhile."""
    with workplace(app) as place, opened(app) as live:
        copy = place / "copy.db"
        if database.revisions(live)[0] is None:
            database.upgrade(live)
        if is_sqlite(live):
            try:
                with contextlib.closing(live.raw_connection()) as connection:
                    # One read transaction, which in WAL mode no writer waits for; it leaves free pages out.
                    driver(connection).execute("VACUUM INTO ?", (str(copy),))
            except sqlite3.Error as error:
                raise UserError(f"The database can't be copied: {error}.") from error
        else:
            with live.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                dump(connection, copy)
        target = gzip.GzipFile("", "wb", 6, file) if packed else contextlib.nullcontext(file)
        with copy.open("rb") as source, target as out:
            shutil.copyfileobj(source, out, CHUNK_BYTES)
        return counts_of(copy)


@contextlib.contextmanager
def checked(app: Flask, path: Path, name: str = "") -> Iterator[Backup]:
    """Check a backup in a copy, which vanishes with the block, and bring that up to date.

    `name` is what to call it where `path` is a stored upload.
    Raises UserError where it is no whole database of this Curator or of an older one.
    """
    name = name or path.name
    with workplace(app) as place:
        copy = place / "copy.db"
        try:
            if not path.is_file():
                what = "no file" if path.exists() else "not there"
                raise UserError(f"{path} is {what}. Name one that flask backup wrote.")
            if is_live(app, path):
                raise UserError(f"{path} is the database itself. Name a backup of it.")
            take(path, copy, name)
            made_with = check(copy, name)
        except PermissionError as error:
            raise UserError(f"{name} can't be read: {error.strerror}. Check who may read it.") from error
        except (OSError, EOFError, zlib.error, sqlite3.Error) as error:
            raise UserError(f"{name} is not a whole backup: {error}. Nothing was changed.") from error
        engine = open_engine(f"sqlite:///{copy}")
        try:
            if made_with != database.newest():
                database.upgrade(engine)
            found, wanted = schema(engine), schema_of_this_curator()
        except sa.exc.DBAPIError as error:
            raise UserError(f"{name} can't be brought up to date: {error.orig}. Nothing was changed.") from error
        finally:
            engine.dispose()
        # An index of the user's own does no harm; a trigger would act on every edit.
        faults = sorted(wanted - found) + sorted(each for each in found - wanted if each[0] == "trigger")
        if faults:
            raise UserError(
                f"{name} was changed outside of Curator: look at its {' '.join(faults[0])}. Nothing was changed."
            )
        yield Backup(copy, made_with, counts_of(copy))


def restore(app: Flask, backup: Backup) -> Restored:
    """Replace all rows by those of a checked backup, in one transaction; what was there is kept beside.

    Whoever has the database open sees all of the old rows before and all of the new ones after, in
    this process and in others: no file is swapped under them. A kill leaves the one or the other.
    """
    set_aside_rubble(app)
    with opened(app) as live:
        made, wanted = database.revisions(live)
        before = {} if made is None else counts_in(live)
        if is_sqlite(live):
            kept = replace_pages(app, live, backup.path, has_tables=made is not None)
        else:
            if made is None:
                database.upgrade(live)
            elif made != wanted:
                raise UserError(f"The database has the tables of another Curator ({made}). First run: flask init-db")
            kept = replace_rows(app, live, backup.path, has_tables=made is not None)
        with Session(live) as session:
            if not neighbours.is_current(session):
                neighbours.rebuild(session)
    if engine := app.extensions["curator"].get("engine"):
        engine.dispose()  # the next request begins afresh
    sweep(app)
    return Restored(before, backup.counts, kept)


def keep(app: Flask, word: str) -> Path:
    """Keep a copy of the database beside it, named with a word and the date, and return its path."""
    with workplace(app) as place, opened(app) as live:
        copy = place / "copy.db"
        if is_sqlite(live):
            copy_pages(live, copy)
        else:
            with live.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                dump(connection, copy)
        kept = put_beside(app, copy, word)
    sweep(app)
    return kept


def counts_now(app: Flask) -> Counts:
    """Count the rows of each table of the database."""
    with opened(app) as live:
        return counts_in(live)


@contextlib.contextmanager
def opened(app: Flask) -> Iterator[Engine]:
    """Open the database, whatever its tables, for the length of the block."""
    engine = database.connect(app)
    try:
        yield engine
    finally:
        engine.dispose()
