"""Which pairs have which value, kept in memory as sets of ids: one index for each open database."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.orm import Session

OPENING = Lock()
MANY = 100_000  # pairs that take about a second to read
INDEXES: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def of(session: Session) -> Any:
    """Return the `Index` of a session's database, not yet read where nobody asked it before."""
    from curator.bitmaps.index import Index  # NumPy and bitmaps take a tenth of a second

    engine: Any = session.get_bind()
    with OPENING:
        if engine not in INDEXES:
            INDEXES[engine] = Index(engine, place(session.info.get("home"), engine.url))
        return INDEXES[engine]


def now(session: Session) -> Any:
    """Return the `Index` of a session's database as things stand; for a page, which only reads, as at its first look.

    So a page asks once what changed, not for each of its counts.
    """
    index, acts = of(session), session.info.get("acts", 0)
    if not (session.info.get("is_page") and session.info.get("looked") == acts and index.is_built):
        index.refresh()
        session.info["looked"] = acts
    return index


def place(home: Path | None, url: Any) -> Path | None:
    """Return where the index of a database is kept: in the home of Curator, under a name made of its address."""
    return home / f"index-{sha256(str(url).encode()).hexdigest()[:12]}.npz" if home else None


def soon(session: Session, seconds: float) -> bool:
    """Return whether the index may be asked now: where many pairs must be read first, a thread does, and is waited for.

    So it is at the start, and after a large act of another process, as `flask import` is. Few pairs are read in less
    time than such a wait takes.
    """
    index = of(session)
    if unread(session, index) >= MANY:
        with OPENING:
            if index.reader is None or not index.reader.is_alive():
                index.reader = Thread(target=read, args=(index,), daemon=True)
                index.reader.start()
        index.reader.join(seconds)
        return not index.reader.is_alive()
    if not index.is_built:
        return True
    if index.lock.acquire(timeout=seconds):  # a job that wrote many pairs reads them in its own thread
        index.lock.release()
        return True
    return False


def unread(session: Session, index: Any) -> int:
    """Return about how many pairs the index has to read before it may be asked."""
    if not index.is_built:
        return session.scalar(sa.text("SELECT max(id) FROM pair")) or 0
    since = sa.text("SELECT sum(rows) FROM changeset WHERE id > :known")
    return session.scalar(since, {"known": index.newest[0]}) or 0


def read(index: Any) -> None:
    """Read an index in a thread. Who asks it next meets what went wrong, and says so."""
    with suppress(Exception):
        index.refresh()


def ready(session: Session) -> Any:
    """Return the `Index` where it may be asked at once, else None: it is read, and sees all that the session wrote."""
    if session.info.get("writing") or session.new or session.dirty:
        return None
    index = INDEXES.get(session.get_bind())
    return index if index is not None and index.is_built else None
