"""The database of an application: where it is, its tables made and kept up to date, a session on it."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.orm import Session

from curator import history, staging
from curator.errors import UserError
from curator.models import make_sessions, open_engine
from curator.settings import SHELF

if TYPE_CHECKING:
    from flask import Flask

OPENING = Lock()


def init_app(app: Flask) -> None:
    """Give an application its place for an open database; it is opened when first used."""
    app.extensions["curator"] = {}


def home(app: Flask) -> Path:
    """Return CURATOR_HOME, made where it is not there, closed to others."""
    path = Path(app.config["CURATOR_HOME"])
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"CURATOR_HOME {path} can't be made: {error.strerror}. Set it to another folder.") from error
    return path


def engine(app: Flask) -> Engine:
    """Return the open database of an application.

    A database without tables gets them. One of another Curator is not touched: UserError says what to do.
    """
    with OPENING:
        state: dict[str, Any] = app.extensions["curator"]
        if "engine" not in state:
            opened = connect(app)
            made, wanted = revisions(opened)
            if made is None:
                upgrade(opened)
            elif made != wanted:
                opened.dispose()
                raise UserError(
                    f"{describe(opened)} has the tables of another Curator ({made}, this one makes {wanted}). "
                    "Bring it up to date, which keeps a copy first, with: flask init-db"
                )
            state["engine"] = opened
            state["sessions"] = make_sessions(opened, home(app))
            with state["sessions"]() as session:
                staging.sweep(home(app), lambda left: history.withdraw(session, left))
        return state["engine"]


def connect(app: Flask) -> Engine:
    """Open the database of an application without looking at its tables."""
    url = app.config["DATABASE_URL"]
    try:
        place = make_url(url)
        if place.drivername == "postgresql":  # the driver that [postgres] brings
            place = place.set(drivername="postgresql+psycopg")
        if place.get_backend_name() not in ("sqlite", "postgresql"):
            raise UserError(f"DATABASE_URL names {place.get_backend_name()}. Use sqlite:/// or postgresql://.")
        if place.get_backend_name() == "sqlite" and place.database:
            home(app)
        opened = open_engine(place.render_as_string(False), app.config["CURATOR_BUSY_TIMEOUT"])
        with opened.connect():
            return opened
    except sa.exc.ArgumentError as error:
        raise UserError("DATABASE_URL is no address of a database. Use sqlite:///… or postgresql://….") from error
    except ModuleNotFoundError as error:
        raise UserError("PostgreSQL needs its driver. Install it with: pip install 'qa-curator[postgres]'") from error
    except sa.exc.DBAPIError as error:
        raise UserError(f"{describe_url(url)} can't be opened: {error.orig}") from error


def describe(opened: Engine) -> str:
    """Say where a database is, without its password."""
    return describe_url(opened.url.render_as_string(False))


def describe_url(url: str) -> str:
    """Say where a database is, without its password: the file of SQLite, the address of PostgreSQL."""
    place = make_url(url)
    return place.database or "memory" if place.get_backend_name() == "sqlite" else place.render_as_string(True)


def alembic_config(opened: Engine) -> Any:
    """Return Alembic's configuration for a database: no file, the folder and the engine are all it needs."""
    from alembic.config import Config  # a tenth of a second, and only for a new or an old database

    config = Config(stdout=sys.stderr)
    config.set_main_option("script_location", str(SHELF / "migrations"))
    config.attributes["engine"] = opened
    return config


def revisions(opened: Engine) -> tuple[str | None, str]:
    """Return the schema that a database has, None where it has none, and the one that this Curator makes."""
    with opened.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None, newest()
        return connection.scalar(sa.text("SELECT version_num FROM alembic_version")), newest()


def newest() -> str:
    """Return the name of the newest migration."""
    return all_revisions()[-1]


def all_revisions() -> list[str]:
    """Return the names of the migrations in their order: the first word of each file, as in 0001_the_loop.py."""
    return sorted(path.name.partition("_")[0] for path in (SHELF / "migrations" / "versions").glob("[0-9]*.py"))


def upgrade(opened: Engine, revision: str = "head") -> None:
    """Make the tables, or bring them up to date: each migration whole or not at all."""
    from alembic import command

    command.upgrade(alembic_config(opened), revision)


def open_session(app: Flask) -> Session:
    """Return a session on the database of an application; who opens it closes it."""
    engine(app)
    session: Session = app.extensions["curator"]["sessions"]()
    return session
