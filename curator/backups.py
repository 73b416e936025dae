"""Backups: all rows in one SQLite file, checked before they come back, which they do in one transaction.

A backup of PostgreSQL is such a file too, so either database takes back what the other gave.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import secrets
import shutil
import sqlite3
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.orm import Session

from curator import database, exports, neighbours
from curator.errors import NotFound, UserError
from curator.models import Base, now, open_engine

if TYPE_CHECKING:
    from flask import Flask

WORK_SECONDS = 24 * 3600  # what a killed process left in the work folder is removed after a day
# Fewer than any database of ours has: a restore has to stop once on its way, with the writer's turn in hand.
STEP_PAGES = 16
CHUNK_BYTES = 2**20
# Every table that holds rows of ours: not the full-text index, which follows the pairs by itself.
ROW_TABLES = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
    "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name != 'alembic_version' "
    "AND name NOT LIKE 'pair!_band%' ESCAPE '!'"  # an index: see `neighbours`
)
# What of a database people count, and by which word.
SPOKEN = {"pair": "pair", "changeset": "change", "version": "version", "run": "run", "rating": "rating"}
Counts = dict[str, int]  # rows by table


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


@dataclass(frozen=True)
class Kept:
    """A database that was kept beside the present one."""

    path: Path
    size_bytes: int


def write(app: Flask, path: Path) -> Counts:
    """Write all rows into a file, whole or not at all; packed with gzip where its name ends in .gz."""
    if path.is_dir():
        raise UserError(f"{path} is a folder. Name a file in it.")
    if is_live(app, path):
        raise UserError(f"{path} is the database itself. Name another file.")
    try:
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
            take(app, path, copy, name)
            made_with = check(copy, name)
        except (OSError, EOFError, zlib.error, sqlite3.Error) as error:
            raise UserError(f"{name} is no whole backup: {error}. Nothing was changed.") from error
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
            raise UserError(f"{name} is not as Curator makes it: see its {' '.join(faults[0])}. Nothing was changed.")
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
            kept = replace_pages(app, live, backup, has_tables=made is not None)
        else:
            if made is None:
                database.upgrade(live)
            elif made != wanted:
                raise UserError(f"The database has the tables of another Curator ({made}). First run: flask init-db")
            kept = replace_rows(app, live, backup, has_tables=made is not None)
        with Session(live) as session:
            if not neighbours.is_current(session):
                neighbours.rebuild(session)
    if engine := app.extensions["curator"].get("engine"):
        engine.dispose()  # the next request begins afresh
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
        return put_beside(app, copy, word)


def counts_now(app: Flask) -> Counts:
    """Count the rows of each table of the database."""
    with opened(app) as live:
        return counts_in(live)


def all_kept(app: Flask) -> list[Kept]:
    """Return what was kept before restores and migrations, the newest first."""
    place = shelf(app)
    pattern = re.compile(re.escape(place.name) + r"\.(before|\d+-before)-[\d-]+")
    paths = [path for path in place.parent.glob(f"{place.name}.*") if pattern.fullmatch(path.name)]
    paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [Kept(path, path.stat().st_size) for path in paths]


# Where things are


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


@contextlib.contextmanager
def opened(app: Flask) -> Iterator[Engine]:
    """Open the database, whatever its tables, for the length of the block."""
    engine = database.connect(app)
    try:
        yield engine
    finally:
        engine.dispose()


def is_live(app: Flask, path: Path) -> bool:
    """Whether a path leads to the database itself, by whatever name."""
    return path.exists() and shelf(app).exists() and path.samefile(shelf(app))


def is_sqlite(engine: Engine) -> bool:
    """Whether a database is a file of SQLite."""
    return engine.dialect.name == "sqlite"


def put_beside(app: Flask, copy: Path, word: str) -> Path:
    """Move a copy to its name beside the database, never over another one."""
    place = shelf(app)
    stem = f"{place.name}.{word}-{now():%Y-%m-%d-%H%M%S}"
    path, number = place.with_name(stem), 1
    while path.exists():
        number += 1
        path = place.with_name(f"{stem}-{number}")
    return copy.rename(path)


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


# What a file is


def take(app: Flask, path: Path, copy: Path, name: str) -> None:
    """Copy a backup, unpacked where it is packed. Raises UserError where it is no SQLite database."""
    if not path.is_file():
        raise UserError(f"{path} is {'no file' if path.exists() else 'not there'}. Name one that flask backup wrote.")
    if is_live(app, path):
        raise UserError(f"{path} is the database itself. Name a backup of it.")
    source = path
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            source = copy.with_name("unpacked.db")
            with gzip.open(path) as packed, source.open("wb") as target:
                shutil.copyfileobj(packed, target, CHUNK_BYTES)
    with source.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise UserError(f"{name} is no SQLite database. Name a file that flask backup wrote.")
    # SQLite copies it, since a database that was simply copied may have its newest rows in a -wal beside it.
    with contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as found:
        with contextlib.closing(sqlite3.connect(copy)) as target_file:
            found.backup(target_file)


def check(copy: Path, name: str) -> str:
    """Return the schema of a database that is sound. Raises UserError where it is not, or not one of ours."""
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        fault = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if fault != "ok":
            raise UserError(f"{name} is damaged: {fault}. Nothing was changed.")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            raise UserError(f"{name} is no database of Curator. Name a file that flask backup wrote.")
        revision = (connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("nothing",))[0]
        if revision not in database.all_revisions():
            raise UserError(
                f"{name} was made by another, probably newer Curator ({revision}; this one knows up to "
                f"{database.newest()}). Restore it with that one."
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


# SQLite: pages


def copy_pages(live: Engine, copy: Path) -> None:
    """Copy a database page by page: damaged ones are kept as they are."""
    with contextlib.closing(live.raw_connection()) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        driver(source).backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, readable from a disk that can't be written


def replace_pages(app: Flask, live: Engine, backup: Backup, *, has_tables: bool) -> Path | None:
    """Write the pages of a backup over those of the database, in one transaction of SQLite."""
    kept: list[Path] = []
    with workplace(app) as place, contextlib.closing(live.raw_connection()) as target:
        size = driver(target).execute("PRAGMA page_size").fetchone()[0]
        driver(target).execute("PRAGMA synchronous = FULL")  # what was said to be restored survives a power cut

        def hold(status: int, _remaining: int, _total: int) -> None:
            if status == sqlite3.SQLITE_BUSY:  # the busy timeout is over; SQLite would ask for ever
                raise UserError("Curator is writing, in an import perhaps. Wait until it is done, then try again.")
            if has_tables and not kept:
                # From the first step on the writer's turn is ours: no row can come between this copy and the end.
                copy_pages(live, place / "kept.db")
                kept.append(put_beside(app, place / "kept.db", "before"))

        with contextlib.closing(sqlite3.connect(backup.path, isolation_level=None)) as source:
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


# PostgreSQL: rows


def dump(connection: Connection, copy: Path) -> None:
    """Write the rows that a transaction sees into a new SQLite file with the same schema."""
    connection.execute(sa.text("SET LOCAL TIME ZONE 'UTC'"))  # SQLite keeps moments without a zone
    revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    engine = open_engine(f"sqlite:///{copy}")
    try:
        database.upgrade(engine, revision)
        tables = row_tables(engine)
        with engine.connect().execution_options(write=True) as target, target.begin():
            copy_rows(connection, target, tables)
            # New rows are entered into the full-text index by whoever adds them (history.add), here as well.
            indexed = ", ".join(target.scalars(sa.text("SELECT name FROM pragma_table_info('pair_text')")))
            target.execute(sa.text(f"INSERT INTO pair_text (rowid, {indexed}) SELECT id, {indexed} FROM pair_words"))
            if revision and revision >= "0003":
                neighbours.forget(target)
    finally:
        engine.dispose()
    with contextlib.closing(sqlite3.connect(copy)) as file:
        file.execute("PRAGMA journal_mode = DELETE")


def replace_rows(app: Flask, live: Engine, backup: Backup, *, has_tables: bool) -> Path | None:
    """Put the rows of a backup in the place of those that are there, in one transaction of PostgreSQL."""
    source = sa.create_engine(f"sqlite:///{backup.path}")
    tables = [table for table in row_tables(source) if table.name in Base.metadata.tables]
    quote = live.dialect.identifier_preparer.quote
    names = ", ".join(quote(table.name) for table in tables)
    seconds = app.config["CURATOR_BUSY_TIMEOUT"]
    kept = None
    try:
        with workplace(app) as place, source.connect() as rows, live.begin() as target:
            target.execute(sa.text(f"SET LOCAL lock_timeout = {int(seconds * 1000)}"))
            target.execute(sa.text("SET LOCAL TIME ZONE 'UTC'"))
            target.execute(sa.text(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE"))
            if has_tables:
                dump(target, place / "kept.db")
                kept = put_beside(app, place / "kept.db", "before")
            target.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY"))
            neighbours.forget(target)
            copy_rows(rows, target, tables)
            for table in tables:
                if "id" in table.columns:
                    sequence = f"pg_get_serial_sequence('{quote(table.name)}', 'id')"
                    top = f"(SELECT max(id) FROM {quote(table.name)})"
                    target.execute(sa.text(f"SELECT setval({sequence}, {top}) WHERE {top} IS NOT NULL"))
    except BaseException as error:
        if kept:
            kept.unlink()
        if isinstance(error, sa.exc.OperationalError):
            raise UserError(
                f"PostgreSQL does not hand its tables over: {error.orig}. "
                "Wait until nobody reads or writes them, then try again."
            ) from error
        if isinstance(error, sa.exc.DBAPIError):
            raise UserError(f"PostgreSQL does not take a row: {error.orig}. Nothing was changed.") from error
        raise
    finally:
        source.dispose()
    return kept


def row_tables(engine: Engine) -> list[sa.Table]:
    """Return the tables of an SQLite file that hold rows, as they are there, each after those that it names."""
    metadata = sa.MetaData()
    with engine.connect() as connection:
        names = list(connection.scalars(sa.text(ROW_TABLES)))
        metadata.reflect(connection, only=names)
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, sa.JSON):
                column.type = sa.JSON(none_as_null=True)
    return metadata.sorted_tables


def copy_rows(source: Connection, target: Connection, tables: list[sa.Table]) -> None:
    """Copy the rows of tables in the order of their keys, a thousand at a time: a row names only earlier ones."""
    for table in tables:
        statement = sa.select(table).order_by(*table.primary_key.columns).execution_options(yield_per=1000)
        for rows in source.execute(statement).mappings().partitions():
            target.execute(sa.insert(table), [dict(row) for row in rows])
