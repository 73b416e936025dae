"""Freeze: read, group, deal, prove, keep. Nothing is locked until all is known, and nothing half is left."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import duplicates, history, search
from curator.duplicates import reading
from curator.errors import Conflict, UserError
from curator.models import Changeset, PairFlag, Version, VersionLine, now, writing
from curator.pairs import dataset_named
from curator.search import Selection
from curator.versions import grouping, splits
from curator.versions.frozen import digest_of, digests
from curator.versions.grouping import Rows
from curator.versions.proof import Proof, prove
from curator.versions.splits import SHARES, Shares
from curator.words import SPLITS

Progress = Callable[[int, int | None, str], object]
ATTEMPTS = 3
KEPT_AT_ONCE = 20_000  # lines by one statement
NAMED = 100  # pairs of one kind that a report names
CROWD = 0.2  # a group of more than this share of all is spoken of


class Changed(Exception):
    """Pairs were edited while they were being frozen."""


def quiet(done: int, total: int | None, message: str) -> None:
    """Hear of progress, and let it be."""


@dataclass
class Plan:
    """What is to be frozen: pairs in the order of their ids, each with its side, and what was found out on the way."""

    ids: Any  # int64
    prints: Any  # uint8, shape (pairs, 32)
    sides: Any  # int8
    changeset_id: int | None  # the newest when they were read
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        return digest_of(self.sides, self.prints)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(self.sides.tolist())
        return {side: found[place] for place, side in enumerate(SPLITS)}


def freeze(
    session: Session, selection: Selection, *, by: str, shares: Shares = SHARES, seed: int = 1, name: str = "",
    note: str = "", group_by: str = "", stratify: str = "", keep_out: Sequence[Path] = (), license: str = "",
    language: str = "",
    on_progress: Progress = quiet,
) -> tuple[Version, bool]:  # fmt: skip
    """Keep the text of a selection for ever, with a split. Return the version, and whether it is new.

    Near-duplicates, equal questions, rows of one conversation and of one document (`group_by`: "source" or a field of
    the source) are on one side. A pair keeps the side that it had in any earlier version; one that is new takes that of
    its group. `stratify`, "tag" or "source", balances each of them by itself. Pairs whose question stands in a file of
    `keep_out` are left out. The same content with the same split is the same version.

    Raises UserError where the shares make no sense or too few pairs are there to split, Conflict where pairs are
    edited faster than they can be read.
    """
    asked, about = splits.checked(shares), {"license": checked_code(license), "language": checked_code(language)}
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise UserError(f"The seed {seed} is no whole number from 0 on. For example: --seed 1")
    held = [found for path in keep_out for found in [kept_out(session, path, selection, on_progress)]]
    for _ in range(ATTEMPTS):
        with reading.snapshot(session):
            plan = planned(session, selection, asked, seed, group_by, stratify, held, on_progress)
            plan.report |= about | {"flags": flags(session, plan.ids)}
        try:
            with writing(session):
                return keep(session, plan, selection, asked, seed, by, name, note, on_progress)
        except Changed:
            continue
    raise Conflict("Pairs are being edited faster than they can be frozen. Nothing was kept: try again in a minute.")


def checked_code(words: str) -> str:
    """Return identifiers as a dataset card has them: cc-by-4.0, or en,de. Raises UserError."""
    code = words.replace(" ", "").lower()
    if code and not re.fullmatch(r"[a-z0-9][a-z0-9.,+-]{0,59}", code):
        raise UserError(f"{words!r} is no identifier of a licence or a language. For example: cc-by-4.0, or en,de")
    return code


def flags(session: Session, ids: Any) -> dict[str, int]:
    """Return how many pairs have which flag now, by the last check, the most frequent first."""
    import numpy as np

    found: Counter[str] = Counter()
    rows = session.connection().execute(
        sa.select(PairFlag.flag, PairFlag.pair_id), execution_options={"yield_per": 50_000}
    )
    for part in rows.partitions():
        there = np.isin([pair_id for _, pair_id in part], ids)
        found.update(flag for (flag, _), is_there in zip(part, there.tolist(), strict=True) if is_there)
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def kept_out(session: Session, path: Path, selection: Selection, on_progress: Progress) -> dict[str, Any]:
    """Return which pairs ask what a file asks, and what the report says of that."""
    found = duplicates.search_against(session, path, selection.dataset, on_progress=on_progress)
    return {
        "file": Path(path).name, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "pairs": {match.pair_id: match.line for match in found},
    }  # fmt: skip


def planned(
    session: Session, selection: Selection, shares: Shares, seed: int, group_by: str, stratify: str,
    held: Sequence[dict[str, Any]], on_progress: Progress,
) -> Plan:  # fmt: skip
    """Return what a selection would be frozen as, as the database stands at this moment."""
    import numpy as np

    newest = session.scalar(sa.select(sa.func.max(Changeset.id)))
    earlier = binding(session)
    rows = grouping.read(
        session, search.conditions(session, selection), bool(earlier), group_by, stratify, on_progress
    )  # fmt: skip
    if not rows.chosen.any():
        raise UserError("The selection holds no pair, so there is nothing to freeze.")
    out = {pair_id for one in held for pair_id in one["pairs"]}
    chosen = rows.chosen & ~np.isin(rows.ids, list(out)) if out else rows.chosen
    if not chosen.any():
        raise UserError("All pairs of the selection stand in a file that is to be kept out, so nothing is left.")
    known = known_sides(session, rows, earlier)
    further: list[tuple[Any, Any]] = []
    for _ in range(ATTEMPTS):
        group = grouping.groups(rows, further)
        sides, left = dealt(rows, group, chosen, known, shares, seed)
        kept = np.flatnonzero(chosen & ~left)
        found = look_again(session, rows, kept, sides, on_progress)
        if found.holds:
            break
        # What a hash missed, once in ten thousand near-duplicates, is found by another and dealt once more.
        further += [tuple(kept[np.array(some)].T) for some in (found.near, found.equal) if some]
    else:
        raise UserError("No split was found that keeps near-duplicates together. Remove duplicates first.")
    plan = Plan(rows.ids[kept], rows.prints[kept], sides[kept], newest)
    plan.report = report(rows, group, kept, np.flatnonzero(chosen & left), known, sides, held, found, shares) | {
        "group_by": group_by, "stratify": stratify,
    }  # fmt: skip
    return plan


def binding(session: Session) -> list[int]:
    """Return the versions that decide sides, the newest first: those that held something out."""
    versions = session.execute(sa.select(Version.id, Version.counts).order_by(Version.id.desc()))
    return [number for number, counts in versions if counts.get("validation") or counts.get("test")]


def known_sides(session: Session, rows: Rows, earlier: Sequence[int]) -> Any:
    """Return the side that each pair had in the newest version that held it, or the same text; -1 for none."""
    import numpy as np

    known = np.full(len(rows.ids), -1, np.int8)
    if not earlier:
        return known
    of_line = np.full((session.scalar(sa.text("SELECT max(id) FROM line")) or 0) + 1, -1, np.int8)
    code = sa.case({side: place for place, side in enumerate(SPLITS)}, value=VersionLine.split)
    for number in earlier:
        some = sa.select(VersionLine.pair_id, VersionLine.line_id, code).where(VersionLine.version_id == number)
        for part in session.connection().execute(some, execution_options={"yield_per": 50_000}).partitions():
            ids, lines, side = np.array([tuple(row) for row in part], np.int64).T
            place = np.minimum(np.searchsorted(rows.ids, ids), len(rows.ids) - 1)
            new = (rows.ids[place] == ids) & (known[place] < 0)
            known[place[new]] = side[new]
            new = of_line[lines] < 0
            of_line[lines[new]] = side[new]
    # A pair that was imported anew has another number, and the same text.
    line = "(SELECT line.id FROM line WHERE line.fingerprint = pair.fingerprint) AS line_id"
    for pair_id, line_id in reading.of_ids(session, f"id, {line}", rows.ids[known < 0].tolist()):
        if line_id is not None:
            known[np.searchsorted(rows.ids, pair_id)] = of_line[line_id]
    return known


def dealt(rows: Rows, group: Any, chosen: Any, known: Any, shares: Shares, seed: int) -> tuple[Any, Any]:
    """Return the side of each pair, that of its group, and which are left out since theirs was another.

    A group goes where a pin says, else where most of its pairs were, else it is dealt. Raises UserError where two pins
    of one group disagree.
    """
    import numpy as np

    count = len(group)
    votes = np.zeros((count, len(SPLITS)))  # of each group, at its first place
    for side in range(len(SPLITS)):
        votes[:, side] = np.bincount(group[known == side], minlength=count)
    # Of equally many what was held out wins, so that what was tested stays unseen: test, validation, train.
    best = votes + np.arange(len(SPLITS)) / 10
    of_group = np.where(votes.any(axis=1), best.argmax(axis=1), -1).astype(np.int8)
    pins = np.flatnonzero(rows.pinned >= 0)
    for place in pins.tolist():
        others = pins[(group[pins] == group[place]) & (rows.pinned[pins] != rows.pinned[place])]
        if len(others):
            raise UserError(
                f"Pairs {rows.ids[place]} and {rows.ids[others[0]]} belong together, and their tags pin them to "
                f"{SPLITS[rows.pinned[place]]} and {SPLITS[rows.pinned[others[0]]]}. Change one of the tags."
            )
    of_group[group[pins]] = rows.pinned[pins]
    bound = of_group[group]
    left = (known >= 0) & (known != bound) & (rows.pinned < 0)
    kept = chosen & ~left
    wanted = splits.sizes(shares, int(kept.sum()))
    filled = np.zeros((len(rows.names), len(SPLITS)), np.int64)
    np.add.at(filled, (rows.strata[kept & (bound >= 0)], bound[kept & (bound >= 0)]), 1)
    free, sizes = np.unique(group[kept & (bound < 0)], return_counts=True)
    marks = np.array([mark(seed, rows.prints[place].tobytes()) for place in free.tolist()], np.uint64)
    of_group[free] = splits.deal(sizes, rows.strata[free], marks, filled, wanted)
    return of_group[group], left


def mark(seed: int, fingerprint: bytes) -> int:
    """Return where a group stands in the order of dealing: by its oldest pair and the seed, whatever else is there."""
    return int.from_bytes(hashlib.sha256(f"{seed} {fingerprint.hex()}".encode()).digest()[:8], "big")


def look_again(session: Session, rows: Rows, kept: Any, sides: Any, on_progress: Progress) -> Proof:
    """Return what a second look finds on two sides, by places in `kept`."""
    ids = rows.ids[kept]

    def texts() -> Iterator[tuple[str, str, bool]]:
        columns = "id, question, answer, CAST(history AS TEXT)"
        for _, question, answer, turns in reading.of_ids(session, columns, ids.tolist()):
            yield as_text(question), as_text(answer), as_text(turns) == "[]"

    def take(places: Sequence[int]) -> list[Any]:
        found = reading.of_ids(session, f"id, {reading.TEXTS['pair']}", ids[list(places)].tolist())
        return [row[1] for row in found]

    return prove(texts(), sides[kept], take, on_progress)


def as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def report(
    rows: Rows, group: Any, kept: Any, left: Any, known: Any, sides: Any, held: Sequence[dict[str, Any]], found: Proof,
    shares: Shares,
) -> dict[str, Any]:  # fmt: skip
    """Return what a freeze tells of its split, fit for JSON."""
    import numpy as np

    _, sizes = np.unique(group[kept], return_counts=True)
    largest = int(sizes.max())
    named = np.bincount(rows.sources[kept], minlength=len(rows.source_names)).tolist()
    sources = {name: number for name, number in zip(rows.source_names, named, strict=True) if name and number}
    moved = kept[(known[kept] >= 0) & (known[kept] != sides[kept])]
    return {
        "asked": dict(zip(SPLITS, splits.sizes(shares, len(kept)), strict=True)),
        "groups": len(sizes), "largest": largest, "is_crowded": bool(largest > max(CROWD * len(kept), 1)),
        "joined": {"near-duplicates": len(rows.near[0])} | {name: len(one) for name, (one, _) in rows.links.items()},
        "left_out": {"number": len(left), "pairs": rows.ids[left[:NAMED]].tolist()},
        "moved": {"number": len(moved), "pairs": rows.ids[moved[:NAMED]].tolist()},
        "kept_out": [
            {"file": one["file"], "sha256": one["sha256"], "number": len(one["pairs"]),
             "pairs": (named := sorted(one["pairs"])[:NAMED]), "lines": [one["pairs"][pair] for pair in named]}
            for one in held
        ],
        "sources": dict(sorted(sources.items(), key=lambda one: (-one[1], one[0]))[:NAMED]),
        "proved": found.told() | {"complete": found.complete and rows.complete},
    }  # fmt: skip


def keep(
    session: Session, plan: Plan, selection: Selection, shares: Shares, seed: int, by: str, name: str, note: str,
    on_progress: Progress,
) -> tuple[Version, bool]:  # fmt: skip
    """Store what was planned, or return the version that is the same. Raises Changed."""
    fingerprint = plan.fingerprint
    same = session.scalar(sa.select(Version).where(Version.fingerprint == fingerprint))
    if same is not None:
        return same, False
    version = Version(
        name=name, note=note, dataset_id=dataset_named(session, selection.dataset).id if selection.dataset else None,
        fingerprint=fingerprint, selection=selection.to_args(), shares=dict(shares), counts=plan.counts, seed=seed,
        changeset_id=plan.changeset_id, created_by=by, created_at=now(), report=plan.report,
    )  # fmt: skip
    session.add(version)
    session.flush()
    connection = session.connection()
    at_end = " ON COMMIT DROP" if connection.dialect.name == "postgresql" else ""
    connection.exec_driver_sql("DROP TABLE IF EXISTS to_freeze")
    connection.exec_driver_sql(
        "CREATE TEMPORARY TABLE to_freeze (pair_id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, "
        f"split TEXT NOT NULL){at_end}"
    )
    prints, done = digests(plan.prints), 0
    for start in range(0, len(plan.ids), KEPT_AT_ONCE):
        some = slice(start, start + KEPT_AT_ONCE)
        ids = plan.ids[some].tolist()
        named = [SPLITS[side] for side in plan.sides[some].tolist()]
        history.insert(session, "to_freeze", ("pair_id", "fingerprint", "split"),
                       list(zip(ids, prints(some), named, strict=True)))  # fmt: skip
        limits = {"first": ids[0], "last": ids[-1], "version": version.id}
        session.execute(sa.text(lines_into(connection.dialect.name)), limits)
        done += session.execute(sa.text(PLACES), limits).rowcount  # type: ignore[attr-defined]
        on_progress(done, len(plan.ids), "Keeping")
    connection.exec_driver_sql("DROP TABLE to_freeze")
    if done != len(plan.ids):
        raise Changed
    return version, True


# A text that was edited since it was read is not the one that was dealt: it makes no line, and the places are too few.
LINES = """INSERT INTO line (fingerprint, messages)
SELECT pair.fingerprint, {messages} FROM to_freeze JOIN pair ON pair.id = to_freeze.pair_id
WHERE to_freeze.pair_id BETWEEN :first AND :last AND pair.fingerprint = to_freeze.fingerprint
ORDER BY pair.id ON CONFLICT (fingerprint) DO NOTHING"""
PLACES = """INSERT INTO version_line (version_id, pair_id, line_id, split)
SELECT :version, to_freeze.pair_id, line.id, to_freeze.split
FROM to_freeze JOIN line ON line.fingerprint = to_freeze.fingerprint
WHERE to_freeze.pair_id BETWEEN :first AND :last ORDER BY to_freeze.pair_id"""


def lines_into(dialect: str) -> str:
    """Return the statement that makes lines of pairs: messages as `text.messages` has them, made by the database."""
    turn, end = ("json_object(", ")") if dialect == "sqlite" else ("json_build_object(", ")\\:\\:text")
    turns = "CAST(pair.history AS TEXT)"
    said = {
        name: f"{turn}'role', '{role}', 'content', pair.{name}{end}"
        for name, role in (("system", "system"), ("question", "user"), ("answer", "assistant"))
    }
    messages = (
        f"'[' || CASE WHEN pair.system = '' THEN '' ELSE {said['system']} || ',' END || "
        f"CASE WHEN {turns} = '[]' THEN '' ELSE substr({turns}, 2, length({turns}) - 2) || ',' END || "
        f"{said['question']} || ',' || {said['answer']} || ']'"
    )
    return LINES.format(messages=messages if dialect == "sqlite" else f"CAST({messages} AS JSON)")
