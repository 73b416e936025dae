"""What a disk does: it holds a lock that a killed process lets go of, and it gets full. Knows no table."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curator.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


def take_turn(path: Path) -> sqlite3.Connection | None:
    """Return a lock that lasts as long as this process, None where another one has it.

    An SQLite file that is held exclusively is a lock on every system, and a killed process lets go of it.
    """
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        connection.close()
        return None
    return connection


@contextmanager
def with_room() -> Iterator[None]:
    """Raise UserError where the disk gets full inside the block, which must leave nothing half-done."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", None) or error  # SQLAlchemy's errors hold those of SQLite
        is_full = isinstance(cause, OSError) and cause.errno in FULL
        if not is_full and getattr(cause, "sqlite_errorcode", None) not in FULL_SQLITE:
            raise
        raise UserError("The disk is full, so nothing was changed. Make room on it, and do this again.") from error
