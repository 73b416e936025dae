"""How a database is opened, and how it is written to: one act at a time, all of it or nothing. Knows no table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

from curator.disk import with_room
from curator.errors import Busy
from curator.turns import Turns

TURNS: WeakKeyDictionary[Engine, Turns] = WeakKeyDictionary()  # of each open SQLite
ASKS_FOR_MS = 10  # asking for a turn after 1, 2, 5 and 10 ms, and then from the beginning
LOG_BYTES = 64 << 20  # of the write-ahead log; one that a large act made is cut by the next act
BUSY = "The database is busy with a large change. Nothing of yours was saved: try again in a minute."

# Writes JSON as people and full-text search read it: non-ASCII as it is.
to_json = json.JSONEncoder(ensure_ascii=False).encode


def from_json(stored: str) -> Any:
    """Read JSON as the database holds it. Most lists and objects of pairs are empty, and known at sight."""
    if stored == "[]":
        return []
    return {} if stored == "{}" else json.loads(stored)


def open_engine(url: str, busy_timeout_seconds: float = 30) -> Engine:
    """Open a database: SQLite with WAL, foreign keys and a busy timeout, or PostgreSQL as it is."""
    if not url.startswith("sqlite"):
        return sa.create_engine(
            url, pool_pre_ping=True, max_overflow=40, json_serializer=to_json, json_deserializer=from_json
        )
    # Who has a connection may ask for a second one, to see what was committed since: all must not wait for each other.
    pool = {"max_overflow": -1} if sa.engine.make_url(url).database else {}
    engine = sa.create_engine(
        url, connect_args={"timeout": busy_timeout_seconds}, json_serializer=to_json, json_deserializer=from_json,
        **pool,
    )  # fmt: skip
    TURNS[engine] = Turns(busy_timeout_seconds)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # Python's own transaction handling would begin too late for a consistent read: SQLAlchemy begins.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # in WAL mode safe against a killed process
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -65536")  # KiB; the default of 2 MB thrashes on large imports

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later fails at once, whatever the timeout, when
        # another wrote in between. One that means to write therefore takes its turn at the start.
        if not connection.get_execution_options().get("write", False):
            connection.exec_driver_sql("BEGIN")
            return
        # After a quarter of a second SQLite asks every tenth of one, and would miss the pauses that an import makes.
        ends = monotonic() + busy_timeout_seconds
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {ASKS_FOR_MS}")
        try:
            while True:
                try:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    return
                except sa.exc.OperationalError as error:
                    if "locked" not in str(error.orig) or monotonic() > ends:
                        raise
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(1000 * busy_timeout_seconds)}")

    return engine


def make_sessions(engine: Engine, home: Path | None = None) -> sessionmaker[Session]:
    """Return a maker of sessions; `autoflush` on, nothing expires at commit, so pages can still read.

    What has to wait on the disk waits in `home`, which each session has as `info["home"]`.
    """
    return sessionmaker(engine, expire_on_commit=False, info={"home": home})


@contextmanager
def writing(session: Session) -> Iterator[Session]:
    """Take the writer's turn, then commit all of the block or none of it.

    What the session had read before may have changed while it waited, so it is read again. Raises Busy
    where the turn did not come within CURATOR_BUSY_TIMEOUT, UserError where the disk is full.
    """
    if session.info.get("writing"):  # a noun called by another noun joins its act
        session.info["writing"] += 1
        try:
            yield session
        finally:
            session.info["writing"] -= 1
        return
    session.rollback()
    turns = TURNS.get(session.get_bind().engine)
    with turns.taken() if turns else nullcontext(True) as is_ours:
        if not is_ours:
            raise Busy(BUSY)
        try:
            session.connection(execution_options={"write": True})
        except sa.exc.OperationalError as error:
            if "locked" not in str(error.orig):
                raise
            raise Busy(BUSY) from error
        session.info["writing"] = 1  # how many acts are in each other
        session.info["acts"] = session.info.get("acts", 0) + 1
        try:
            with with_room():
                yield session
                session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.info["writing"] = 0
