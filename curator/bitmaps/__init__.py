"""Which pairs have which value, kept in memory as sets of ids: one index for each open database."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.orm import Session

OPENING = Lock()
INDEXES: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def of(session: Session) -> Any:
    """Return the `Index` of a session's database, not yet read where nobody asked it before."""
    from curator.bitmaps.index import Index  # NumPy and bitmaps take a tenth of a second

    engine: Any = session.get_bind()
    with OPENING:
        if engine not in INDEXES:
            INDEXES[engine] = Index(engine, place(session.info.get("home"), engine.url))
        return INDEXES[engine]


def place(home: Path | None, url: Any) -> Path | None:
    """Return where the index of a database is kept: in the home of Curator, under a name made of its address."""
    return home / f"index-{sha256(str(url).encode()).hexdigest()[:12]}.npz" if home else None


def ready(session: Session) -> Any:
    """Return the `Index` where it may be asked at once, else None: it is read, and sees all that the session wrote."""
    if session.info.get("writing") or session.new or session.dirty:
        return None
    index = INDEXES.get(session.get_bind())
    return index if index is not None and index.is_built else None
