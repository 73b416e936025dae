"""Rows on their way in: they wait in a file of their own until all of them are known. Knows no rule of the nouns.

SQLite has one writer at a time. What is read, shaped and compared before the writer's turn, and then lands by a
few statements, keeps nobody waiting meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

from curator import neighbours
from curator.disk import take_turn
from curator.errors import UserError
from curator.models import to_json

# The columns of a pair that a file can give.
TEXTS = ("system", "question", "answer", "status", "source", "notes", "rejected", "key", "fingerprint")
LISTS = ("history", "tags", "meta")
COLUMNS = (*TEXTS, *LISTS)
BATCH = 5000
LOCK, FILE = "lock", "stage.db"
YOUNG_SECONDS = 60  # a folder may be without its lock until then
texts_of, lists_of = itemgetter(*TEXTS), itemgetter(*LISTS)


def folder_of(home: Path) -> Path:
    """Return where the rows of all imports wait."""
    return home / "staging"


def sweep(home: Path, on_left: Callable[[Path], object] = lambda path: None) -> None:
    """Remove what was left by processes that ended before their time: of the others, each holds a lock.

    `on_left` is told the file of each stage that was left, before it goes.
    """
    for folder in folder_of(home).glob("*"):
        with contextlib.suppress(OSError, sqlite3.Error, UserError):  # another process sweeps too
            is_young = time.time() - folder.stat().st_mtime < YOUNG_SECONDS
            if not is_young and (turn := take_turn(folder / LOCK)):
                try:
                    if (folder / FILE).exists():
                        on_left(folder / FILE)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    turn.close()


class Stage:
    """New pairs in the order they came, and changes of pairs that are there; gone when the block ends.

    They wait in a folder below `home`. What a killed process leaves there goes with the next `sweep`.
    """

    def __init__(self, home: Path) -> None:
        place = folder_of(home)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = Path(mkdtemp(dir=place))
        self.turn = take_turn(self.folder / LOCK)
        self.path = self.folder / FILE
        # In no transaction of anybody's.
        self.rows = sqlite3.connect(self.path, isolation_level=None)
        self.rows.execute("PRAGMA journal_mode = OFF")
        self.rows.execute("PRAGMA synchronous = OFF")
        self.rows.execute(f"CREATE TABLE pair (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})")  # from 1 on
        self.rows.execute("CREATE TABLE gone (id INTEGER PRIMARY KEY)")  # those that are left out
        self.rows.execute("CREATE TABLE place (shift)")
        self.rows.execute("CREATE TABLE change (pair_id, after)")
        self.rows.execute("BEGIN")
        self.last = 0  # the number of the last row
        self.bands = neighbours.Bands()  # of the new pairs, by their numbers
        self.removed: set[int] = set()
        self.shift: int | None = None  # what is added to a number for the id of its pair; None: not known yet
        self.entered: tuple[int, int] | None = None  # the first key and id in the index of near-duplicates

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.rows.close()
        if self.turn:
            self.turn.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Take new pairs, each with all of COLUMNS."""
        rows = [texts_of(row) + tuple(map(to_json, lists_of(row))) for row in values]
        marks = ", ".join("?" * len(COLUMNS))
        self.rows.executemany(f"INSERT INTO pair ({', '.join(COLUMNS)}) VALUES ({marks})", rows)
        numbers = range(self.last + 1, self.last + 1 + len(rows))
        self.bands.take(numbers, [neighbours.text_of(row["question"], row["answer"]) for row in values])
        self.last += len(rows)

    def change(self, pair_id: int, after: Mapping[str, Any]) -> None:
        """Take new values of a pair that is there."""
        self.rows.execute("INSERT INTO change VALUES (?, ?)", (pair_id, to_json(after)))

    def close(self) -> None:
        """Let others read the file; nothing is added from here on."""
        self.rows.execute("COMMIT")

    def settle(self, shift: int, words: str) -> None:
        """Give the new pairs their ids; `words` is the statement that makes the view of what full text indexes."""
        self.rows.execute(words)
        self.rows.execute("INSERT INTO place VALUES (?)", (shift,))
        self.shift = shift

    def holds_key(self, keys: Iterable[str]) -> bool:
        """Return whether one of the new pairs has one of these keys."""
        listed = (to_json(list(keys)),)
        found = "SELECT 1 FROM pair WHERE key IN (SELECT value FROM json_each(?)) AND id NOT IN gone LIMIT 1"
        return self.rows.execute(found, listed).fetchone() is not None

    def remove(self, fingerprints: Iterable[str]) -> None:
        """Leave out the new pairs of these texts."""
        listed = (to_json(list(fingerprints)),)
        gone = ("INSERT OR IGNORE INTO gone SELECT id FROM pair WHERE fingerprint IN (SELECT value FROM json_each(?)) "
                "RETURNING id")  # fmt: skip
        self.removed.update(number for (number,) in self.rows.execute(gone, listed))

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the new pairs as they came, some at a time."""
        rows = self.rows.execute(f"SELECT {', '.join(COLUMNS)} FROM pair WHERE id NOT IN gone ORDER BY id")
        while some := rows.fetchmany(BATCH):
            dicts = [dict(zip(COLUMNS, row, strict=True)) for row in some]
            yield [row | {name: json.loads(row[name]) for name in LISTS} for row in dicts]

    def changes(self) -> Iterator[dict[int, dict[str, Any]]]:
        """Yield the new values of pairs that change by the id of the pair, some at a time."""
        rows = self.rows.execute("SELECT pair_id, after FROM change ORDER BY pair_id")
        while some := rows.fetchmany(BATCH):
            yield {pair_id: json.loads(after) for pair_id, after in some}
