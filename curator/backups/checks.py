"""Whether a file is a whole backup, and what is in it. Knows files; knows nothing of the database in use."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from curator import database
from curator.errors import UserError
from curator.models import Base, open_engine

CHUNK_BYTES = 2**20
ROOMS = 3  # a restore needs room for the copy that is checked, for what is kept and for the journal of the change
Counts = dict[str, int]  # rows by table


def take(path: Path, copy: Path, name: str) -> None:
    """Copy a backup, unpacked where it is packed. Raises UserError where it is not an SQLite database, or too large."""
    free = shutil.disk_usage(copy.parent).free
    if path.stat().st_size > free // ROOMS:
        raise UserError(explain_room(name, free))
    source = path
    with path.open("rb") as file:
        first = file.read(4)
    if first.startswith(b"\x1f\x8b"):
        source = copy.with_name("unpacked.db")
        unpack(path, source, free // ROOMS, explain_room(name, free))
    elif first == b"\x28\xb5\x2f\xfd":
        raise UserError(f"{name} is compressed with zstd. Unpack it first with: unzstd {name}")
    with source.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise UserError(f"{name} is not an SQLite database. Choose a file that came from Curator's own backup.")
    # SQLite copies it, since a database that was simply copied may have its newest rows in a -wal beside it.
    with contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as found:
        with contextlib.closing(sqlite3.connect(copy)) as target_file:
            found.backup(target_file)
    if source != path:
        source.unlink()


def unpack(path: Path, target: Path, limit_bytes: int, refusal: str) -> None:
    """Unpack a file of gzip. Raises UserError, with `refusal`, as soon as it gives more than the limit."""
    with gzip.open(path) as packed, target.open("wb") as out:
        while piece := packed.read(CHUNK_BYTES):
            if out.tell() + len(piece) > limit_bytes:
                raise UserError(refusal)
            out.write(piece)


def explain_room(name: str, free_bytes: int) -> str:
    """Say that a backup is too large for the disk."""
    return (
        f"{name} holds more than a third of the {free_bytes / 2**30:,.1f} GiB that are free on the disk, and a restore "
        "needs room for three copies. Make room, then try again. Nothing was changed."
    )


def check(copy: Path, name: str) -> str:
    """Return the schema of a database that is sound. Raises UserError where it is not, or not one of ours."""
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        fault = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if fault != "ok":
            raise UserError(f"{name} is damaged: {fault}. Nothing was changed.")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            raise UserError(f"{name} is not a database of Curator. Choose a file that came from Curator's own backup.")
        revision = (connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("nothing",))[0]
        if revision not in database.all_revisions():
            raise UserError(
                f"{name} was made by another Curator, probably a newer one ({revision}; this one knows up to "
                f"{database.newest()}). Restore it with the one that made it."
            )
        orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
        if orphan:
            raise UserError(f"{name} is damaged: a row of {orphan[0]} names one of {orphan[2]} that is not there.")
    return str(revision)


def schema(engine: Engine) -> set[tuple[str, str]]:
    """Return the kind and name of all that a database is made of, but what SQLite keeps for itself."""
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'")
        )
        return {(kind, name) for kind, name in found}


def schema_of_this_curator() -> set[tuple[str, str]]:
    """Return what `schema` says of a new database."""
    engine = open_engine("sqlite://")
    try:
        database.upgrade(engine)
        return schema(engine)
    finally:
        engine.dispose()


def counts_of(path: Path) -> Counts:
    """Count the rows of each table of a file."""
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        return counts_in(engine)
    finally:
        engine.dispose()


def counts_in(engine: Engine) -> Counts:
    """Count the rows of each table; none where they can't be read, as in a damaged database."""
    try:
        with engine.connect() as connection:
            there = set(sa.inspect(connection).get_table_names())
            return {
                name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
                for name, table in sorted(Base.metadata.tables.items())
                if name in there
            }
    except sa.exc.DatabaseError:
        return {}
