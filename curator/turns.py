"""Who writes next: the threads of a process one at a time, in the order they came. Knows no database.

Who waits for SQLite asks again now and then, and whoever asks at the right moment has it: with ten people saving while
a file was imported, one of them waited five seconds for turns of a tenth of a second. Here nobody overtakes, and the
next one is told at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Turns:
    """The threads that want to write, the one that writes first."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds  # how long one waits at most
        self.line: deque[Lock] = deque()
        self.guard = Lock()

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """Wait for the turn, which lasts as long as the block. False where it did not come in time."""
        mine = Lock()
        mine.acquire()
        with self.guard:
            self.line.append(mine)
            if self.line[0] is mine:
                mine.release()
        try:
            yield mine.acquire(timeout=self.seconds)
        finally:
            with self.guard:
                had_turn = self.line[0] is mine
                self.line.remove(mine)
                if had_turn and self.line:
                    self.line[0].release()
