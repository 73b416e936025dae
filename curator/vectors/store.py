"""Where vectors are kept: a SQLite file of their own, by model and by the text they are of. Knows no pair.

A text that changes has another key and is embedded anew, one that does not never twice, whichever pair it is
in and whichever database holds the pairs. All of it can be made again, so no backup needs it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from curator.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SCHEMA = """
CREATE TABLE IF NOT EXISTS model (name TEXT PRIMARY KEY, fingerprint BLOB NOT NULL, dimensions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS vector (
    fingerprint BLOB NOT NULL, text BLOB NOT NULL, numbers BLOB NOT NULL, PRIMARY KEY (fingerprint, text)
);
CREATE TEMP TABLE wanted (place INTEGER PRIMARY KEY, text BLOB NOT NULL);
"""
FOUND = """
FROM wanted LEFT JOIN vector ON vector.text = wanted.text
AND vector.fingerprint = (SELECT fingerprint FROM model WHERE name = ?)
"""


def key_of(text: str) -> bytes:
    """Return what a text is found by: 128 bits, so that two texts share them never."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


class Store:
    """The vectors of texts, half precision, in `vectors.db` of a folder: 0.9 kB a text at 384 dimensions."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vectors.db"

    @contextmanager
    def open(self, texts: Iterable[str] = ()) -> Iterator[sqlite3.Connection]:
        """Open the file for one act, whole or not at all, with the keys of `texts` in the table `wanted`."""
        try:
            with closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(SCHEMA)
                connection.executemany("INSERT INTO wanted (text) VALUES (?)", ((key_of(text),) for text in texts))
                yield connection
        except sqlite3.OperationalError as error:  # a full disk, a folder that cannot be written
            raise UserError(f"{self.path} cannot be used: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self.path} cannot be used: {error}. It can be made again: move it away, and start once more."
            ) from error

    def missing(self, model: str, texts: Iterable[str]) -> list[str]:
        """Return the texts that have no vector of a model yet, each once, in their order."""
        distinct = list(dict.fromkeys(texts))
        with self.open(distinct) as connection:
            rows = connection.execute(f"SELECT place {FOUND} WHERE numbers IS NULL ORDER BY place", [model])
            return [distinct[place - 1] for (place,) in rows]

    def read(self, model: str, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts, a row for each, in single precision. Raises UserError where one has none."""
        import numpy as np

        with self.open(texts) as connection:
            known = connection.execute("SELECT dimensions FROM model WHERE name = ?", [model]).fetchone()
            rows = [row for (row,) in connection.execute(f"SELECT numbers {FOUND} ORDER BY place", [model])]
        if lacking := sum(row is None for row in rows):
            raise UserError(f"{lacking:,} of {len(rows):,} texts have no vector of {model} yet. Embed them first.")
        flat = np.frombuffer(b"".join(rows), dtype="<f2")
        return flat.reshape(len(rows), known[0] if known else 0).astype(np.float32)

    def add(self, model: str, texts: Sequence[str], file: Path) -> None:
        """Keep what `python -m trainer embed` made of texts: the rows of a .npy file, in their order.

        Where the model of this name has other weights than before, its old vectors are dropped, since cosines
        between the two would mean nothing. Raises UserError where file and texts do not belong together.
        """
        import numpy as np

        try:
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
            facts = json.loads(file.with_suffix(".json").read_text("utf-8"))
            fingerprint = bytes.fromhex(facts["fingerprint"])[:16]
            shape = (len(texts), facts["dimensions"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} and its .json are not what an embedding leaves. Embed the texts again.") from error
        if vectors.shape != shape:
            raise UserError(f"{file} holds {len(vectors):,} vectors for {len(texts):,} texts. Embed the texts again.")
        halves = (row.astype("<f2").tobytes() for row in vectors)
        rows = ((fingerprint, key_of(text), half) for text, half in zip(texts, halves, strict=True))
        with self.open() as connection:
            connection.execute("INSERT OR REPLACE INTO model VALUES (?, ?, ?)", [model, fingerprint, shape[1]])
            connection.execute("DELETE FROM vector WHERE fingerprint NOT IN (SELECT fingerprint FROM model)")
            connection.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", rows)

    def forget_all_but(self, texts: Iterable[str]) -> int:
        """Drop the vectors of every other text, such as those edited since. Return how many there were."""
        with self.open(texts) as connection:
            return connection.execute("DELETE FROM vector WHERE text NOT IN (SELECT text FROM wanted)").rowcount
