"""The index itself: a bitmap for each value, an array for each measure, kept in step by the journal.

What the pairs of a selection have in common is counted a million times by intersecting sets, in microseconds each,
where SQL would read a million rows. The index reads what it needs of each pair once, and then what changed: every
write is a changeset, so the changesets since name the pairs to read again.
"""

from __future__ import annotations

import json
from array import array
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock, Thread
from time import monotonic
from typing import Any
from zipfile import BadZipFile

import numpy as np
import sqlalchemy as sa
from pyroaring import BitMap
from sqlalchemy.engine import Connection, Engine

from curator.bitmaps.field import Field
from curator.bitmaps.rows import HAS, MEASURES, microseconds, read_pairs

MOST_CHANGED = 0.3  # share of the pairs above which reading all is quicker
REMEMBERED = 100  # searches for words
GAP_SECONDS = 24 * 3600.0  # how long a changeset may come after a later one
SCHEME = 2  # of the file on disk: one more with each change of what it holds
WORTH_KEEPING = 50_000  # pairs read, until the index is written to disk again
SHIFT, LOW = 26, (1 << 26) - 1  # a place in an order: the measure, then the id, in one whole number of 63 bits
LENGTHS = (0, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400, 12800)  # where bars begin
# By which field of a query.
MEASURED = {"len": "length", "qlen": "asked", "tokens": "size", "updated": "edited", "added": "added"}
CHANGED_BY = "SELECT pair_id FROM revision WHERE changeset_id IN "
START = microseconds(datetime(2024, 1, 1, tzinfo=UTC))


class Index:
    """What is known of all pairs of one database. Each use holds `lock`, so that it sees one state."""

    def __init__(self, engine: Engine, kept: Path | None = None) -> None:
        self.engine, self.kept, self.lock = engine, kept, RLock()
        self.reader: Thread | None = None  # who reads it while pages go on
        self.forget()
        self.is_built = kept is not None and self.recall(kept)

    def forget(self) -> None:
        """Know nothing, as at the beginning."""
        self.newest: tuple[Any, ...] = (0, 0, "")  # changeset: id, rows, at
        self.gaps: dict[int, float] = {}  # changesets of PostgreSQL that may still come, and since when they are missed
        self.live, self.trash = BitMap(), BitMap()
        self.fields: dict[str, Field] = defaultdict(Field)
        # By id: characters of answer and question, octets of all texts, microseconds since 1970.
        self.measures: dict[str, np.ndarray] = {name: np.zeros(1, kind) for name, kind in MEASURES.items()}
        self.sorted: dict[str, np.ndarray] = {}
        self.walks: deque[tuple[str, BitMap, np.ndarray]] = deque(maxlen=4)  # eight megabytes each for a million pairs
        self.words: OrderedDict[Any, tuple[BitMap, BitMap]] = OrderedDict()
        self.versions: list[Any] = []
        self.checked: Any = None
        self.unkept = 0  # pairs that changed since the index was written to disk

    # ── keeping in step ──────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self) -> Index:
        """Read what changed since the last look; everything where that can't be told, as after a restore."""
        with self.lock, self.engine.connect() as connection:
            try:
                self.catch_up(connection)
            except BaseException:  # half of what changed would otherwise pass for all of it
                self.is_built = False
                raise
            return self

    def catch_up(self, connection: Connection) -> None:
        """Do what `refresh` says; where it fails, the index is neither as it was nor as it should be."""
        news = self.news(connection) if self.is_built else None
        rows = sum(changeset.rows for changeset in news or ())
        if news is None or rows > 1000 + MOST_CHANGED * self.size:
            self.is_built, news = False, None
            self.forget()
            self.build(connection)
            self.is_built = True
        elif news:
            self.reread(connection, [changeset.id for changeset in news])
        self.read_splits(connection)
        self.read_flags(connection, [changeset.id for changeset in news or ()])
        self.unkept += self.size if news is None else rows
        if self.kept and self.unkept >= WORTH_KEEPING:
            self.keep(self.kept)

    @property
    def size(self) -> int:
        """How many pairs there are, those in the trash among them."""
        return len(self.live) + len(self.trash)

    @property
    def end(self) -> int:
        """A number above each id."""
        return len(self.measures["length"])

    def news(self, connection: Connection) -> list[Any] | None:
        """Return the changesets since the last look; None where what was the newest then is not there as it was."""
        missed = [number for number, since in self.gaps.items() if monotonic() - since < GAP_SECONDS]
        query = sa.text("SELECT id, rows, at FROM changeset WHERE id >= :known ORDER BY id")
        found = connection.execute(query, {"known": self.newest[0]}).all()
        if self.newest[0] and (not found or mark_of(found[0]) != self.newest):
            return None
        news = [changeset for changeset in found if changeset.id != self.newest[0]]
        if missed:
            late = sa.text("SELECT id, rows, at FROM changeset WHERE id IN :missed")
            late = late.bindparams(sa.bindparam("missed", expanding=True))
            news += connection.execute(late, {"missed": missed}).all()
        self.note(connection, news)
        return news

    def note(self, connection: Connection, news: Sequence[Any]) -> None:
        """Remember up to where the journal was read, and which numbers are missing: PostgreSQL may bring them later."""
        before = self.newest[0]
        for changeset in news:
            self.gaps.pop(changeset.id, None)
            if changeset.id > self.newest[0]:
                self.newest = mark_of(changeset)
        if connection.dialect.name == "postgresql":
            there = {changeset.id for changeset in news}
            missing = set(range(max(before + 1, self.newest[0] - 10_000), self.newest[0])) - there
            self.gaps = {n: t for n, t in self.gaps.items() if monotonic() - t < GAP_SECONDS}
            self.gaps |= dict.fromkeys(missing, monotonic())

    def build(self, connection: Connection) -> None:
        """Read every pair; the journal first: what is written meanwhile is then read twice, and never missed."""
        query = sa.text("SELECT id, rows, at FROM changeset ORDER BY id DESC LIMIT 10000")
        self.note(connection, connection.execute(query).all())
        self.take(connection)

    def reread(self, connection: Connection, changesets: Sequence[int]) -> None:
        """Read the pairs of some changesets again."""
        some = ", ".join(map(str, changesets))
        ids = BitMap(connection.execute(sa.text(f"{CHANGED_BY} ({some})")).scalars())
        known = ids & (self.live | self.trash)
        for order, keys in self.sorted.items():
            self.sorted[order] = np.delete(keys, np.searchsorted(keys, np.sort(self.keys(order, list(known)))))
        self.live -= ids
        self.trash -= ids
        for name in ("dataset", "status", "source", "author", "tag", "has", "length"):
            self.fields[name].remove(ids)
        for _, stale in self.words.values():
            stale |= ids
        self.walks.clear()
        self.take(connection, f"WHERE id IN ({CHANGED_BY} ({some}))")
        for order, keys in self.sorted.items():
            new = np.sort(self.keys(order, list(ids & (self.live | self.trash))))
            self.sorted[order] = np.insert(keys, np.searchsorted(keys, new), new)

    def take(self, connection: Connection, where: str = "") -> None:
        """Enter pairs: all, or those of a condition."""
        found = read_pairs(connection, where)
        if found is None:
            return
        self.measure(found.ids, found.measures)
        for (trashed, dataset, status, source, author, has), alike_ids in found.alike:
            some = bitmap(alike_ids)
            if trashed:
                self.trash |= some
            else:
                self.live |= some
            for name, value in (("dataset", dataset), ("status", status), ("source", source), ("author", author)):
                self.fields[name].add(value, some)
            for bit, name in enumerate(HAS):
                if has >> bit & 1:
                    self.fields["has"].add(name, some)
        of_tag: dict[str, list[np.ndarray]] = defaultdict(list)
        for tags, tagged_ids in found.tagged:
            for tag in dict.fromkeys(json.loads(tags)):
                of_tag[tag].append(tagged_ids)
        for tag, members in of_tag.items():
            self.fields["tag"].add(tag, bitmap(np.concatenate(members)))

    def measure(self, places: np.ndarray, measured: Sequence[np.ndarray]) -> None:
        """Enter the measures of some pairs."""
        most = int(places.max()) + 1
        for (name, known), values in zip(self.measures.items(), measured, strict=True):
            if most > len(known):
                known = np.append(known, np.zeros(most + most // 8 - len(known), known.dtype))
                self.measures[name] = known
            known[places] = values
        bars = np.searchsorted(LENGTHS, measured[0], side="right") - 1
        for bar in np.unique(bars):
            self.fields["length"].add(int(bar), bitmap(places[bars == bar]))

    def read_splits(self, connection: Connection) -> None:
        """Read which side the newest version that holds a pair has put it on, where versions were frozen since."""
        query = sa.text("SELECT id, fingerprint FROM version ORDER BY id")
        versions = [tuple(version) for version in connection.execute(query)]
        if versions == self.versions:
            return
        if versions[: len(self.versions)] != self.versions:
            self.fields.pop("split", None)
            self.versions = []
        split = self.fields["split"]
        for version, _ in versions[len(self.versions) :]:
            lines = connection.execute(
                sa.text("SELECT pair_id, split FROM version_line WHERE version_id = :version"), {"version": version}
            )
            sides: dict[str, list[int]] = defaultdict(list)
            for pair_id, side in lines:
                sides[side].append(pair_id)
            found = {side: BitMap(array("I", ids)) for side, ids in sides.items()}
            for ids in found.values():
                split.remove(ids)
            for side, ids in found.items():
                split.add(side, ids)
        self.versions = versions

    def read_flags(self, connection: Connection, changesets: Sequence[int]) -> None:
        """Read what the checks found, where they found something since; of the changed pairs alone if that is all."""
        query = sa.text("SELECT scheme, stamp, changeset_id FROM checked")
        checked = [tuple(row) for row in connection.execute(query)]
        found = "SELECT flag, pair_id FROM pair_flag"
        if not self.checked or [row[:2] for row in checked] != [row[:2] for row in self.checked]:
            if checked == self.checked and not changesets:
                return
            self.fields.pop("flag", None)
        elif changesets or checked != self.checked:
            first, last = sorted((self.checked[0][2], checked[0][2]))
            some = ", ".join(map(str, [0, *changesets]))
            pairs = f"{CHANGED_BY} ({some}) OR (changeset_id > {first} AND changeset_id <= {last})"
            self.fields["flag"].remove(BitMap(connection.execute(sa.text(pairs)).scalars()))
            found += f" WHERE pair_id IN ({pairs})"
        else:
            return
        self.checked = checked
        flags: dict[str, list[int]] = defaultdict(list)
        for flag, pair_id in connection.execute(sa.text(found)):
            flags[flag].append(pair_id)
        for flag, ids in flags.items():
            self.fields["flag"].add(flag, BitMap(array("I", ids)))

    # ── on disk, since a million pairs take seconds to read, and a minute where the disk has to be waited for ─────────

    def keep(self, path: Path) -> None:
        """Write the index to disk, whole or not at all."""
        sets = {("", "live"): self.live, ("", "trash"): self.trash}
        sets |= {(name, value): ids for name, field in self.fields.items() for value, ids in field.values.items()}
        parts = [ids.serialize() for ids in sets.values()]
        known = {
            "scheme": SCHEME, "newest": self.newest, "gaps": list(self.gaps), "versions": [*map(list, self.versions)],
            "checked": [*map(list, self.checked)], "sets": list(sets), "sizes": [len(part) for part in parts],
            "partial": [name for name, field in self.fields.items() if not field.is_whole],
        }  # fmt: skip
        self.unkept = 0
        written = path.with_suffix(".part")
        try:
            with written.open("wb") as file:
                arrays: dict[str, Any] = self.measures | {
                    "sets": np.frombuffer(b"".join(parts), np.uint8),
                    "known": np.frombuffer(json.dumps(known).encode(), np.uint8),
                }
                np.savez(file, **arrays)
            written.replace(path)
        except OSError:  # a full disk: the next start reads the pairs again
            written.unlink(missing_ok=True)

    def recall(self, path: Path) -> bool:
        """Read the index from disk. Return whether there was one; what changed since is found as always."""
        try:
            with np.load(path) as file:
                known = json.loads(file["known"].tobytes())
                if known["scheme"] != SCHEME:
                    return False
                self.measures, whole = {name: file[name] for name in MEASURES}, file["sets"].tobytes()
            end = 0
            for (name, value), size in zip(known["sets"], known["sizes"], strict=True):
                ids, end = BitMap.deserialize(whole[end : end + size]), end + size
                if name:
                    self.fields[name].values[value] = ids
                elif value == "live":
                    self.live = ids
                else:
                    self.trash = ids
            for name in known["partial"]:
                self.fields[name].is_whole = False
            self.newest = tuple(known["newest"])
            self.gaps = dict.fromkeys(known["gaps"], monotonic())
            self.versions, self.checked = [*map(tuple, known["versions"])], [*map(tuple, known["checked"])]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # none, or one that was not written to its end
            self.forget()
            return False
        return True

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def having(self, field: str, value: Any, is_prefix: bool = False) -> BitMap | None:
        """Return the pairs whose field has a value; None where the index can't tell."""
        return self.fields[field].having(value, is_prefix)

    def within(self, field: str, spans: Iterable[tuple[Any, Any]]) -> BitMap:
        """Return the pairs whose length, number or last change lies in one of some spans."""
        if field == "id":
            return BitMap.union(BitMap(), *(self.range(low, high) for low, high in spans))
        values = self.measures[MEASURED[field]]
        if field == "tokens":  # four octets each
            values = (values + 3) // 4
        met = np.zeros(len(values), bool)
        for low, high in spans:
            span = np.ones(len(values), bool)
            if low is not None:
                span &= values >= (microseconds(low) if isinstance(low, datetime) else low)
            if high is not None:
                span &= values < (microseconds(high) if isinstance(high, datetime) else high)
            met |= span
        known = self.live | self.trash
        if 2 * np.count_nonzero(met) > len(met):  # a bitmap of the fewer is made in less time
            return known - bitmap(np.flatnonzero(~met))
        return known & bitmap(np.flatnonzero(met))

    def measured(self, name: str, chosen: BitMap) -> np.ndarray:
        """Return a measure of chosen pairs, in the order of their ids."""
        return self.measures[name][np.frombuffer(chosen.to_array(), np.uint32)]

    def range(self, low: int | None, high: int | None) -> BitMap:
        """Return the ids from `low` on and before `high`, as far as there are any."""
        first, end = min(low or 0, self.end), self.end if high is None else high
        return BitMap(range(first, max(first, min(end, self.end))))

    def recalled(self, key: Any, read: Callable[[Connection, BitMap | None], BitMap]) -> BitMap:
        """Return the pairs with some words, read once: later only those that changed are read again.

        Not by the session that asks: it may see the database as it was before what the index knows.
        """
        known, stale = self.words.pop(key, (None, BitMap()))
        with self.engine.connect() as connection:
            if known is None or len(stale) > 500:
                known = read(connection, None)
            elif stale:
                known = (known - stale) | (read(connection, stale) & stale)
        self.words[key] = (known, BitMap())
        while len(self.words) > REMEMBERED:
            self.words.popitem(last=False)
        return known

    def keys(self, order: str, ids: list[int]) -> np.ndarray:
        """Return the places of some pairs in an order, as numbers to compare."""
        places = np.array(ids, np.int64)
        # Four milliseconds since 2024 fit into the 37 bits beside the id until 2041.
        measure = self.measures[order][places]
        if order == "edited":
            measure = np.maximum(measure - START, 0) // 4000
        return (measure.astype(np.int64) << SHIFT) | places

    def walk(self, order: str, chosen: BitMap) -> np.ndarray:
        """Return the places of chosen pairs in an order, ascending: the id is `place & LOW`."""
        for before in self.walks:
            if before[0] == order and before[1] == chosen:
                return before[2]
        if order not in self.sorted:
            self.sorted[order] = np.sort(self.keys(order, list((self.live | self.trash).to_array())))
        if len(chosen) < len(self.sorted[order]) // 20:
            found = np.sort(self.keys(order, list(chosen)))
        else:
            is_chosen = np.zeros(self.end, bool)
            is_chosen[np.frombuffer(chosen.to_array(), np.uint32)] = True
            found = self.sorted[order][is_chosen[self.sorted[order] & LOW]]
        self.walks.append((order, chosen.copy(), found))
        return found


def bitmap(ids: np.ndarray) -> BitMap:
    """Return ids as a bitmap; sixteen times as quick as the bitmap reads an array of NumPy by itself."""
    return BitMap(array("I", np.ascontiguousarray(ids, np.uint32).tobytes()))


def mark_of(changeset: Any) -> tuple[Any, ...]:
    """Return what tells a changeset from any other that has its number, as after a restore."""
    return changeset.id, changeset.rows, str(changeset.at)
