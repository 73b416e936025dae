"""Where backups are made and kept: beside the database. Knows folders and names; knows no rows."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from curator import database
from curator.errors import NotFound, UserError
from curator.models import now

if TYPE_CHECKING:
    from flask import Flask

WORK_SECONDS = 24 * 3600  # what a killed process left in the work folder is removed after a day
# Of the copies that restores and migrations keep, the newest stay, and the others for as long as a mistake may hide.
KEPT_COPIES = 5
KEPT_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Kept:
    """A database that was kept beside the present one."""

    path: Path
    size_bytes: int
    made: datetime


def shelf(app: Flask) -> Path:
    """Return the path that copies are named after: the file of SQLite; one in the home for PostgreSQL."""
    url = make_url(app.config["DATABASE_URL"])
    if url.get_backend_name() != "sqlite":
        return database.home(app) / "curator.db"
    if not url.database or url.database == ":memory:":
        raise UserError("A database in memory has no backups. Set DATABASE_URL to a file.")
    return Path(url.database).absolute()


def make_workplace(app: Flask) -> Path:
    """Make an empty folder beside the database, named by chance; those left by killed processes are removed."""
    work = shelf(app).with_name("work")
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in work.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > WORK_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    place = work / secrets.token_urlsafe(16)
    place.mkdir(mode=0o700)
    return place


def find_workplace(app: Flask, token: str) -> Path:
    """Return the folder of that name. Raises NotFound where it is gone or was never there."""
    place = shelf(app).with_name("work") / token
    if re.fullmatch(r"[A-Za-z0-9_-]{22}", token) and place.is_dir():
        return place
    raise NotFound("This upload is no longer here: it was restored or discarded. Upload the file again.")


@contextlib.contextmanager
def workplace(app: Flask) -> Iterator[Path]:
    """Make a folder for the block, beside the database so that a file can be moved there by its name alone."""
    place = make_workplace(app)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def is_live(app: Flask, path: Path) -> bool:
    """Whether a path leads to the database itself, by whatever name."""
    return path.exists() and shelf(app).exists() and path.samefile(shelf(app))


def put_beside(app: Flask, copy: Path, word: str) -> Path:
    """Move a copy to its name beside the database, never over another one."""
    place = shelf(app)
    stem = f"{place.name}.{word}-{now():%Y-%m-%d-%H%M%S}"
    path, number = place.with_name(stem), 1
    while path.exists():
        number += 1
        path = place.with_name(f"{stem}-{number}")
    os.utime(copy)  # it is as old as its name says
    return copy.rename(path)


def all_kept(app: Flask) -> list[Kept]:
    """Return what was kept before restores and migrations, the newest first."""
    place = shelf(app)
    pattern = re.compile(re.escape(place.name) + r"\.(before|\d+-before)-[\d-]+")
    paths = [path for path in place.parent.glob(f"{place.name}.*") if pattern.fullmatch(path.name)]
    paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [Kept(path, path.stat().st_size, datetime.fromtimestamp(path.stat().st_mtime, UTC)) for path in paths]


def take_out(app: Flask, name: str, target: Path) -> None:
    """Put what is kept under a name at another path too. Raises NotFound where it is gone or was never there."""
    path = next((kept.path for kept in all_kept(app) if kept.path.name == name), None)
    if path is None:
        raise NotFound("This copy is no longer kept. Choose another one on the page Backups.")
    try:
        os.link(path, target)  # at once, however large; it is read only
    except OSError:  # a disk that knows no links
        shutil.copyfile(path, target)


def sweep(app: Flask) -> None:
    """Remove kept copies that are older than a month, but never the newest five."""
    for kept in all_kept(app)[KEPT_COPIES:]:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - kept.path.stat().st_mtime > KEPT_SECONDS:
                kept.path.unlink()
