"""Backups of PostgreSQL: rows, written to a file of SQLite and put back in one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from curator import database, neighbours
from curator.backups.places import put_beside, workplace
from curator.errors import UserError
from curator.models import Base, open_engine

if TYPE_CHECKING:
    from flask import Flask

# Every table that holds rows of ours: not the full-text index, which follows the pairs by itself.
ROW_TABLES = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
    "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name != 'alembic_version' "
    "AND name NOT LIKE 'pair!_band%' ESCAPE '!'"  # an index: see `neighbours`
)


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


def replace_rows(app: Flask, live: Engine, backup: Path, *, has_tables: bool) -> Path | None:
    """Put the rows of a backup in the place of those that are there, in one transaction of PostgreSQL."""
    source = sa.create_engine(f"sqlite:///{backup}")
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
                f"The tables of PostgreSQL are in use: {error.orig}. "
                "Wait until nobody reads or writes them, then try again."
            ) from error
        if isinstance(error, sa.exc.DBAPIError):
            raise UserError(f"PostgreSQL refused a row: {error.orig}. Nothing was changed.") from error
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
