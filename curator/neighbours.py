"""Which stored pairs may be like a text: an index of the bands of every pair outside the trash.

Written by `history` in the pair's own transaction. What it proposes still has to be counted: it knows no similarity.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import minhash
from curator.errors import Conflict, UserError
from curator.models import Pair, writing

# Another shingle or other bands make another index: the one that is stored says which it was made with.
SCHEME = minhash.stored()
HELD = 1_000_000  # pairs whose keys are held before they are written
WRITTEN = 200_000  # rows at a time, and by one transaction where the index is built anew
SORTED = 500_000  # rows at once
LOOKED = 100_000  # pairs at once that are looked through for them
PACKED = "SELECT value >> 32, value & 4294967295 FROM json_each(?)"
TOUCHED = 5000  # changed pairs at once whose old keys are compared with the new
PROPOSED = 50  # pairs that one band of a text proposes at most: a crowd of copies needs no more
Change = tuple[int, str | None, str | None]
Rows = Iterator[tuple[Any, Any]]  # keys, and the ids of their pairs: int64
Progress = Callable[[int, int | None, str], object]


class NotIndexed(UserError):
    """The index is missing, or was made by another Curator."""

    def __init__(self) -> None:
        super().__init__("The index of near-duplicates has to be built. Do it with: flask init-db")


def text_of(question: str, answer: str) -> str:
    """Return the text of a pair that is compared."""
    return f"{question}\n{answer}"


def is_current(session: Session, hold: bool = False) -> bool:
    """Return whether the index is whole and of this Curator's scheme; `hold` keeps PostgreSQL from building it now."""
    share = " FOR SHARE" if hold and on_postgresql(session) else ""
    return session.connection().exec_driver_sql(f"SELECT scheme FROM pair_band_scheme{share}").scalar() == SCHEME.id


def on_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def forget(connection: sa.Connection) -> None:
    """Let the index be known as missing, where pairs were written past it."""
    connection.execute(sa.text("UPDATE pair_band_scheme SET scheme = ''"))


def quiet(done: int, total: int | None, message: str) -> None:
    """Take no note of progress."""


def note(session: Session, changes: Iterable[Change]) -> None:
    """Take what became of pairs: the id, the text it had, the text it has; None for a text in the trash or nowhere."""
    differing = [change for change in changes if change[1] != change[2]]
    if differing:
        with holding(session) as held:
            held.take(differing)


@contextmanager
def holding(session: Session, on_progress: Progress = quiet) -> Iterator[Held]:
    """Hold what is noted in the block, and write it down at its end, in the order of the keys.

    So an import of a million pairs goes through the index once, not once for every few thousand.
    """
    outer: Held | None = session.info.get("neighbours")
    held = session.info["neighbours"] = outer or Held(session, on_progress)
    try:
        yield held
        if outer is None:
            held.flush()
    finally:
        if outer is None:
            del session.info["neighbours"]


class Bands:
    """The keys of texts, 80 bytes each, in the order they came."""

    def __init__(self) -> None:
        self.pieces: list[tuple[Any, Any]] = []  # ids, and keys of shape (ids, bands)

    def __len__(self) -> int:
        return sum(len(ids) for ids, _ in self.pieces)

    def take(self, ids: Iterable[int], texts: Sequence[str]) -> None:
        """Add texts by the ids of their pairs; an empty one has no keys."""
        import numpy as np

        keys, filled = minhash.band_arrays(texts, SCHEME)
        self.pieces.append((np.fromiter(ids, np.int64, len(texts))[filled], keys[filled]))

    def take_some(self, ids: Any, keys: Any, chosen: Any) -> None:
        """Add the keys that are chosen, an array of yes and no like that of the keys."""
        import numpy as np

        self.pieces.append((np.repeat(ids, chosen.sum(axis=1)), keys[chosen].reshape(-1, 1)))

    def rows(self, shift: int = 0, without: Collection[int] = ()) -> Rows:
        """Yield keys and ids in the order of the index, some at a time; `shift` is added to the ids."""
        import numpy as np

        if not self.pieces:
            return
        ids = np.concatenate([some for some, _ in self.pieces])
        keys = np.concatenate([keys for _, keys in self.pieces])
        self.pieces = [(ids, keys)]  # each once in memory
        if without:
            kept = ~np.isin(ids, list(without))
            ids, keys = ids[kept], keys[kept]
        if not len(ids):
            return
        ids = ids + shift
        # Sorted by pieces: keys are spread evenly, and all at once would take as much memory again.
        parts = 1 + keys.size // SORTED
        edges = np.linspace(-(1 << 31), 1 << 31, parts + 1).astype(np.int64)
        for low, high in pairwise(edges.tolist()):
            rows = np.concatenate([
                np.stack([some[inside].astype(np.int64), np.broadcast_to(their[:, None], some.shape)[inside]], axis=1)
                for some, their in ((keys[start : start + LOOKED], ids[start : start + LOOKED])
                                    for start in range(0, len(keys), LOOKED))
                for inside in [(some >= low) & (some < high)]
            ])  # fmt: skip
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            for start in range(0, len(rows), WRITTEN):
                yield rows[start : start + WRITTEN, 0], rows[start : start + WRITTEN, 1]


class Held:
    """Keys that are to be entered and removed."""

    def __init__(self, session: Session, on_progress: Progress) -> None:
        self.session, self.on_progress = session, on_progress
        self.is_current = is_current(session, hold=True)
        self.newest = 0  # the highest id whose keys are held
        self.begin()

    def begin(self) -> None:
        """Hold nothing."""
        self.pairs = 0
        self.come, self.gone = Bands(), Bands()  # of pairs that are new to the index, or leave it
        self.other_come, self.other_gone = Bands(), Bands()  # of pairs that change: what their texts don't share

    def take(self, changes: Sequence[Change]) -> None:
        """Hold the keys of changed pairs."""
        if not self.is_current:
            return
        if min(pair_id for pair_id, _, _ in changes) <= self.newest:
            self.flush()  # one of them may be held, and what came last must stay
        for place, into in ((1, self.gone), (2, self.come)):
            some = [(change[0], change[place]) for change in changes if change[3 - place] is None]
            if some:
                ids, texts = zip(*some, strict=True)
                into.take(ids, texts)
        self.exchange([change for change in changes if change[1] is not None and change[2] is not None])
        self.newest = max(self.newest, *(pair_id for pair_id, _, _ in changes))
        self.pairs += len(changes)
        if self.keys >= HELD * SCHEME.bands:
            self.flush()

    @property
    def keys(self) -> int:
        """How many keys are held."""
        return SCHEME.bands * (len(self.come) + len(self.gone)) + len(self.other_come) + len(self.other_gone)

    def exchange(self, changes: Sequence[Change]) -> None:
        """Hold the keys that a pair had and has no more, and those that it has now: of a small edit they are few."""
        import numpy as np

        for start in range(0, len(changes), TOUCHED):
            ids, before, after = zip(*changes[start : start + TOUCHED], strict=True)
            pairs = np.array(ids, np.int64)
            (old, was), (new, stands) = (minhash.band_arrays(texts, SCHEME) for texts in (before, after))
            both = (old[:, :, None] == new[:, None, :]) & (was & stands)[:, None, None]
            self.other_gone.take_some(pairs, old, ~both.any(axis=2) & was[:, None])
            self.other_come.take_some(pairs, new, ~both.any(axis=1) & stands[:, None])

    def flush(self) -> None:
        """Write down what is held."""
        total, done = self.keys, 0
        for put, some in ((remove, (self.gone, self.other_gone)), (enter, (self.come, self.other_come))):
            for rows in chain.from_iterable(bands.rows() for bands in some):
                put(self.session, iter([rows]))
                done += len(rows[0])
                self.on_progress(self.pairs * done // total, self.pairs, "Indexing near-duplicates")
        self.newest = 0
        self.begin()


def holds(session: Session, key: int, pair_id: int) -> bool:
    """Return whether a row is in the index."""
    row = sa.text("SELECT 1 FROM pair_band WHERE key = :key AND pair_id = :pair_id")
    return session.scalar(row, {"key": key, "pair_id": pair_id}) is not None


def enter(session: Session, rows: Rows) -> None:
    """Add rows to the index."""
    connection = session.connection()
    for keys, ids in rows:
        if on_postgresql(session):
            statement = "INSERT INTO pair_band SELECT * FROM unnest(%s::int[], %s::int[]) ON CONFLICT DO NOTHING"
            connection.exec_driver_sql(statement, (keys.tolist(), ids.tolist()))
            continue
        statement = f"INSERT OR IGNORE INTO pair_band {PACKED}"
        connection.exec_driver_sql(statement, (packed(keys, ids),))


def remove(session: Session, rows: Rows) -> None:
    """Take rows out of the index."""
    connection = session.connection()
    for keys, ids in rows:
        if on_postgresql(session):
            statement = ("DELETE FROM pair_band USING unnest(%s::int[], %s::int[]) AS gone (key, pair_id) "
                         "WHERE pair_band.key = gone.key AND pair_band.pair_id = gone.pair_id")  # fmt: skip
            connection.exec_driver_sql(statement, (keys.tolist(), ids.tolist()))
        else:
            statement = f"DELETE FROM pair_band WHERE (key, pair_id) IN ({PACKED})"
            connection.exec_driver_sql(statement, (packed(keys, ids),))


def packed(keys: Any, ids: Any) -> str:
    """Return rows as one text of numbers, each a key above an id, that SQLite goes through without Python.

    Where a statement comes back to Python for every few rows, threads that serve pages take the interpreter each
    time, and a turn to write of one second lasts half a minute.
    """
    return str((keys << 32 | ids).tolist())


def candidates(session: Session, texts: Sequence[str], most: int = PROPOSED) -> list[list[int]]:
    """Return for each text the ids of pairs that share a band with it, those that share the most first.

    A band proposes at most `most` pairs. Raises NotIndexed.
    """
    if not is_current(session):
        raise NotIndexed
    bands = minhash.band_keys(texts, SCHEME)
    wanted = sorted({key for keys in bands for key in keys})
    connection = session.connection()
    found: dict[int, list[int]] = {}
    for start in range(0, len(wanted), WRITTEN):
        some = wanted[start : start + WRITTEN]
        if on_postgresql(session):
            statement = (
                "SELECT wanted.key, array_agg(near.pair_id) FROM unnest(%s::int[]) AS wanted (key) CROSS JOIN "
                "LATERAL (SELECT pair_id FROM pair_band WHERE key = wanted.key ORDER BY pair_id LIMIT %s) AS near "
                "GROUP BY wanted.key"
            )
            found.update(tuple(row) for row in connection.exec_driver_sql(statement, (some, most)))
        else:
            statement = (
                "SELECT value, (SELECT group_concat(pair_id) FROM (SELECT pair_id FROM pair_band WHERE key = value "
                "LIMIT ?)) FROM json_each(?)"
            )
            rows = connection.exec_driver_sql(statement, (most, json.dumps(some)))
            found.update((key, [int(pair_id) for pair_id in ids.split(",")]) for key, ids in rows if ids)
    return [
        [pair_id for pair_id, _ in Counter(i for key in keys for i in found.get(key, ())).most_common()]
        for keys in bands
    ]


def rebuild(session: Session, on_progress: Progress = lambda done, total, message: None) -> int:
    """Build the index anew of all pairs outside the trash. Return how many there are.

    Others may write meanwhile, as each transaction is short: what they change is entered at the end, and until then
    nothing is proposed. Raises Conflict where somebody else began to build it after us.
    """
    import numpy as np

    building = f"building {uuid4()}"
    with writing(session):
        session.execute(sa.text("DELETE FROM pair_band"))
        session.execute(sa.text("UPDATE pair_band_scheme SET scheme = :building"), {"building": building})
    total = session.scalar(sa.text("SELECT count(*) FROM pair WHERE NOT trashed")) or 0
    bands, seen, done = Bands(), [np.empty((0, 2), np.int64)], 0
    for read, texts in live_pairs(session):
        bands.take(read[:, 0].tolist(), texts)
        seen.append(read)
        done += len(read)
        on_progress(done, total, "Reading for the index")
    session.rollback()
    entered = 0
    for rows in bands.rows():
        with writing(session):
            still_ours(session, building)
            enter(session, iter([rows]))
        entered += len(rows[0])
        on_progress(entered // SCHEME.bands, done, "Writing the index")
    with writing(session):
        still_ours(session, building)
        live = sa.select(Pair.id, Pair.revision).where(~Pair.trashed).order_by(Pair.id)
        lists = session.execute(live.execution_options(yield_per=10_000)).partitions()
        now = np.concatenate([seen[0], *(np.array(list(map(tuple, some)), np.int64) for some in lists)])
        then = np.concatenate(seen)
        place = np.minimum(np.searchsorted(now[:, 0], then[:, 0]), max(len(now) - 1, 0))
        same = (now[place] == then).all(axis=1) if len(now) else np.zeros(len(then), bool)
        if not same.all():
            remove(session, bands.rows(without=then[same, 0].tolist()))
        session.execute(sa.text("UPDATE pair_band_scheme SET scheme = :scheme"), {"scheme": SCHEME.id})
        changed = np.setdiff1d(now[:, 0], then[same, 0]).tolist()
        with holding(session):
            for start in range(0, len(changed), 500):
                some = sa.select(Pair.id, Pair.question, Pair.answer).where(Pair.id.in_(changed[start : start + 500]))
                note(session, [(i, None, text_of(question, answer)) for i, question, answer in session.execute(some)])
    return len(now)


def live_pairs(session: Session) -> Iterator[tuple[Any, list[str]]]:
    """Yield ids and revisions, and texts, of the pairs outside the trash, some at a time."""
    import numpy as np

    last = 0
    some = sa.text("SELECT id, revision, question, answer FROM pair WHERE id > :last AND NOT trashed ORDER BY id "
                   "LIMIT 5000")  # fmt: skip
    while rows := session.execute(some, {"last": last}).all():
        yield np.array([row[:2] for row in rows], np.int64), [text_of(row[2], row[3]) for row in rows]
        last = rows[-1][0]


def still_ours(session: Session, building: str) -> None:
    """Raise Conflict where somebody else builds the index by now; else nobody does until this transaction ends."""
    ours = sa.text("UPDATE pair_band_scheme SET scheme = scheme WHERE scheme = :building")
    if not session.execute(ours, {"building": building}).rowcount:  # type: ignore[attr-defined]
        raise Conflict("The index of near-duplicates is being built elsewhere. Wait until that is done.")
