"""Very many changes: one batch is written while the next is read and made ready. Knows no field of a pair.

SQLite leaves Python alone for as long as a statement takes, so that a thread can write while another one works out what
is written next. That one reads the pairs as they were before the first change, on a connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.history.changing import Wanted, change_many, lay_down, made_ready, write_down
from curator.models import Changeset

Change = Callable[[Iterable[Wanted]], None]


@contextmanager
def in_step(session: Session, changeset: Changeset) -> Iterator[tuple[sa.Connection, Change]]:
    """Give a connection to read pairs by, and what changes some of them as `change_many` does, maybe a little later.

    It belongs inside `writing`, and nothing but the changeset may have been written before. In the block the session
    is not to be used, and no pair is to come twice. What went wrong in a change is raised by the next, or at the end.
    """
    if not can_be_read_beside(session):
        yield session.connection(), partial(change_many, session, changeset)
        return
    with session.get_bind().engine.connect() as reader, ThreadPoolExecutor(1) as hand:
        reader.detach()  # its cache is gone with it
        reader.exec_driver_sql("PRAGMA cache_size = -4096")  # KiB: each page is read once
        last: Future[None] | None = None

        def change(changes: Iterable[Wanted]) -> None:
            nonlocal last
            ready = made_ready(changes)
            if last is not None:
                last.result()
            lay_down(session, ready)
            last = hand.submit(write_down, session, changeset, ready)

        yield reader, change
        if last is not None:
            last.result()


def can_be_read_beside(session: Session) -> bool:
    """Return whether another connection sees the pairs as they were before this act, and neither has to wait."""
    if session.get_bind().dialect.name != "sqlite" or session.info.get("writing") != 1:
        return False
    return session.connection().exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
