"""What is frozen: versions, their lines in order, what came before and what changed since. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.duplicates import reading
from curator.errors import NotFound, UserError
from curator.models import Changeset, Line, Pair, Revision, Version, VersionLine
from curator.words import SPLITS


def all(session: Session) -> list[Version]:
    """Return every version, the newest first."""
    return list(session.scalars(sa.select(Version).order_by(Version.id.desc())))


def count(session: Session) -> int:
    """Return how many versions there are."""
    return session.scalar(sa.select(sa.func.count(Version.id))) or 0


def get(session: Session, number: int) -> Version:
    """Return one version by its number."""
    version = session.get(Version, number)
    if version is None:
        known = ", ".join(str(v.id) for v in all(session)[:10]) or "none yet; make one with: flask freeze"
        raise NotFound(f"There is no version {number}. There is: {known}.")
    return version


def digest_of(sides: Any, prints: Any) -> str:
    """Return the fingerprint of a version: sha256 over the split and the fingerprint of each line, in order."""
    digest, written = hashlib.sha256(), digests(prints)
    for start in range(0, len(sides), 10_000):
        some = slice(start, start + 10_000)
        named = zip(sides[some].tolist(), written(some), strict=True)
        digest.update("".join([f"{SPLITS[side]} {fingerprint}\n" for side, fingerprint in named]).encode())
    return digest.hexdigest()


def digests(prints: Any) -> Callable[[slice], list[str]]:
    """Return what writes rows of 32 bytes as fingerprints, some at a time."""

    def written(some: slice) -> list[str]:
        words = prints[some].tobytes().hex()
        return [words[at : at + 64] for at in range(0, len(words), 64)]

    return written


def chats(session: Session, number: int, split: str | None = None) -> Iterator[list[dict[str, str]]]:
    """Yield the frozen messages of a version in their order, or those of one split."""
    for messages in session.scalars(frozen(session, number, split, Line.messages).execution_options(yield_per=1000)):
        yield [{"role": message["role"], "content": message["content"]} for message in messages]


def frozen(session: Session, number: int, split: str | None, *columns: Any) -> sa.Select[Any]:
    """Return what asks for columns of the lines of a version in their order, or of one split of it.

    Raises UserError where there is no such version or split.
    """
    checked(session, number, split)
    return (
        sa.select(*columns)
        .join_from(VersionLine, Line, Line.id == VersionLine.line_id)
        .where(VersionLine.version_id == number, *([VersionLine.split == split] if split else []))
        .order_by(VersionLine.pair_id)
    )


def kept_out(session: Session, version: Version) -> list[tuple[str, int, list[tuple[int, str, int]]]]:
    """Return of each file that was kept out its name, how many pairs ask what it asks, and the first of them.

    Of each of those there is its number, its question as it is now, and the line of the file; 0 where none was noted.
    """
    files = version.report.get("kept_out", [])
    wanted = {pair_id for one in files for pair_id in one["pairs"]}
    asks = dict(session.execute(sa.select(Pair.id, Pair.question).where(Pair.id.in_(wanted))).all())
    return [
        (one["file"], one["number"], [(pair_id, asks.get(pair_id, ""), line) for pair_id, line in
                                      zip(one["pairs"], one.get("lines") or [0] * len(one["pairs"]), strict=True)])
        for one in files
    ]  # fmt: skip


def places(session: Session, number: int) -> tuple[Any, Any, Any]:
    """Return pair, line and side of each line of a version, in the order of the pairs."""
    import numpy as np

    get(session, number)
    code = " ".join(f"WHEN '{side}' THEN {place}" for place, side in enumerate(SPLITS))
    rows = reading.lists(
        session,
        f"SELECT pair_id, line_id, CASE split {code} END FROM version_line "
        f"WHERE version_id = {int(number)} ORDER BY pair_id",
    )
    parts = [np.array(part, np.int64) for part in rows]
    ids, lines, sides = np.concatenate([np.empty((0, 3), np.int64), *parts]).T
    return ids, lines, sides


def stored(
    session: Session, number: int, split: str | None = None, size: int = reading.LIST
) -> Iterator[list[tuple[int, str | bytes]]]:
    """Yield, by lists of a size, the pair and the JSON of the messages of each line of a version in their order.

    As `reading.lists` has them, which takes a third less than `chats`. Raises UserError as `frozen` does.
    """
    checked(session, number, split)
    yield from reading.lists(
        session,
        "SELECT version_line.pair_id, CAST(line.messages AS TEXT) FROM version_line "
        f"JOIN line ON line.id = version_line.line_id WHERE version_line.version_id = {int(number)}"
        + (f" AND version_line.split = '{split}'" if split else "")
        + " ORDER BY version_line.pair_id",
        size=size,
    )


def checked(session: Session, number: int, split: str | None) -> None:
    """Raise UserError where there is no such version or split."""
    get(session, number)
    if split is not None and split not in SPLITS:
        raise UserError(f"There is no split {split!r}. Choose one of: {', '.join(SPLITS)}.")


def sample_lines(session: Session, number: int, split: str, limit: int = 5) -> list[list[dict[str, str]]]:
    """Return the first lines of a split, to look at."""
    return [chat for chat, _ in zip(chats(session, number, split), range(limit), strict=False)]


def changed_since(session: Session, version: Version) -> int:
    """Return how many pairs of its data set were added or changed since a version was frozen."""
    where = [Revision.changeset_id > (version.changeset_id or 0)]
    if version.dataset_id:
        where.append(Pair.dataset_id == version.dataset_id)
    touched = sa.select(sa.func.count(Revision.pair_id.distinct())).join(Pair, Pair.id == Revision.pair_id)
    return session.scalar(touched.where(*where)) or 0


def cleaning_before(session: Session, version: Version) -> list[dict[str, Any]]:
    """Return the changesets that cleaned or de-duplicated its pairs and were not undone when it was frozen."""
    newest = version.changeset_id or 0  # what was undone later was still done to what was frozen
    undone = sa.select(Changeset.undoes_id).where(Changeset.undoes_id.is_not(None), Changeset.id <= newest)
    rows = session.scalars(
        sa.select(Changeset)
        .where(
            Changeset.action.in_(("cleaned", "merged duplicates")),
            Changeset.id <= newest,
            Changeset.id.not_in(undone),
        )
        .order_by(Changeset.id)
    )
    return [
        {"changeset": c.id, "action": c.action, "reason": c.reason, "rows": c.rows, "at": c.at.isoformat()}
        for c in rows
    ]
