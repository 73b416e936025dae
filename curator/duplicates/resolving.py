"""Keep the best of near-duplicates: tags and notes merged, the others to the trash, as one change to be undone."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import history
from curator.duplicates.clusters import Net, Stand, stands
from curator.duplicates.findings import Findings
from curator.duplicates.judging import differing, keys_of
from curator.duplicates.remembering import once, remembered
from curator.duplicates.searching import AUTOMATIC, Progress, quiet
from curator.errors import Conflict, UserError
from curator.models import Changeset, Pair, writing

ACTION = "merged duplicates"
BATCH = 5000
STATE = (Pair.revision, Pair.trashed, Pair.tags, Pair.notes)
Choice = tuple[int, Sequence[int]]  # the pair to keep, and those that go


class Going(NamedTuple):
    """A pair that may go, and the one that is kept for it."""

    pair_id: int
    kept_id: int
    similarity: float


class Counted(NamedTuple):
    """How much would go above a threshold."""

    surplus: int  # pairs that would go to the trash
    clusters: int  # pairs that would be kept for them
    facts: int  # pairs that differ in a fact, and stay


@dataclass(frozen=True)
class Above:
    """What would go above a threshold without a look, and what would not."""

    going: list[Going]
    facts: int  # pairs that differ in a fact from the one that would be kept: they stay

    @property
    def clusters(self) -> int:
        """Of how many pairs others would go."""
        return len({one.kept_id for one in self.going})

    @property
    def surplus(self) -> int:
        """How many pairs would go to the trash."""
        return len(self.going)

    @property
    def choices(self) -> list[tuple[int, list[int]]]:
        """The pairs to keep, each with those that go."""
        by_kept: dict[int, list[int]] = {}
        for one in self.going:
            by_kept.setdefault(one.kept_id, []).append(one.pair_id)
        return list(by_kept.items())


def resolve(
    session: Session, choices: Sequence[Choice], by: str, revisions: Mapping[int, int] | None = None,
    reason: str = "", on_progress: Progress = quiet,
) -> Changeset:  # fmt: skip
    """Keep one pair of each choice, with the tags and notes of all, and trash the others, as one changeset.

    `revisions` are those that were looked at, by pair. Raises UserError where a pair stands on both sides or twice,
    Conflict where one is gone, in the trash, or was changed since.
    """
    kept_by = {other: kept for kept, others in choices for other in others}
    ids = sorted({*kept_by, *(kept for kept, _ in choices)})
    if len(ids) < sum(1 + len(others) for _, others in choices):
        raise twice(choices)
    with writing(session), history.in_bulk(session, on_progress=on_progress):
        changeset = history.begin(session, ACTION, by, reason or f"{len(choices):,} clusters, best kept")
        there = {row.id: row for row in read(session, (Pair.id, *STATE), ids)}
        for pair_id in ids:
            check(there.get(pair_id), pair_id, revisions)
        after: dict[int, dict[str, Any]] = dict.fromkeys(kept_by, {"trashed": True})
        after |= {kept: merged([there[kept], *(there[other] for other in others)]) for kept, others in choices}
        columns = (Pair.id, *STATE, Pair.question, Pair.answer)
        for start in range(0, len(ids), BATCH):
            rows = read(session, columns, ids[start : start + BATCH])
            history.change_many(session, changeset, [(row, after[row.id]) for row in rows])
            on_progress(min(start + BATCH, len(ids)), len(ids), "Saving")
    return changeset


def twice(choices: Sequence[Choice]) -> UserError:
    """Return what is wrong with choices in which a pair stands more than once."""
    keep = {kept for kept, _ in choices}
    both = sorted(other for _, others in choices for other in others if other in keep)
    if both:
        return UserError(f"Pair {both[0]} can't be both kept and trashed.")
    return UserError("A pair stands in two choices. Choose for each pair once.")


def read(session: Session, columns: Sequence[Any], ids: Sequence[int]) -> Iterator[sa.Row[Any]]:
    """Yield columns of pairs, which nobody changes until the end of the transaction."""
    for start in range(0, len(ids), BATCH):
        some = sa.select(*columns).where(Pair.id.in_(ids[start : start + BATCH])).order_by(Pair.id)
        yield from session.execute(some.with_for_update()).all()


def check(row: sa.Row[Any] | None, pair_id: int, revisions: Mapping[int, int] | None) -> None:
    """Raise Conflict where a pair is not as it was when the choice was made."""
    if row is None or row.trashed:
        raise Conflict(f"Pair {pair_id} is {'in the trash' if row else 'gone'} by now. Look at the clusters again.")
    if revisions and row.revision != revisions.get(pair_id, row.revision):
        raise Conflict(f"Pair {pair_id} was changed since you looked at it. Look at the clusters again.")


def merged(rows: Sequence[sa.Row[Any]]) -> dict[str, Any]:
    """Return the tags and the notes of the first, with those of the others that it has not."""
    tags = list(dict.fromkeys(tag for row in rows for tag in row.tags))
    notes = [rows[0].notes] if rows[0].notes else []
    notes += [note for row in rows[1:] if (note := row.notes) and not any(note in other for other in notes)]
    return {"tags": tags, "notes": "\n\n".join(dict.fromkeys(notes))}


def above(session: Session, findings: Findings, threshold: float = AUTOMATIC, on_progress: Progress = quiet) -> Above:
    """Return what `resolve_above` would do, exactly: the same pairs, unless somebody writes in between.

    Raises UserError for findings that are not duplicates, and for a threshold below that of the search.
    """
    if findings.kind != "duplicates":
        raise UserError(f"Of {findings.kind}, nothing goes by itself: each is for a person to judge.")
    if not findings.threshold <= threshold <= 1:
        raise UserError(
            f"The threshold {threshold:g} is not between {findings.threshold:g}, that of the search, and 1."
        )
    on_progress(0, None, "Cutting into clusters")
    standing, near = stars_at(session, findings, threshold)
    differs = differing(session, findings, [(kept, member) for kept, member, _ in near], on_progress)
    going = [
        Going(standing[member].id, standing[kept].id, score)
        for (kept, member, score), stays in zip(near, differs, strict=True) if not stays
    ]  # fmt: skip
    return Above(going, int(differs.sum()))


def stars_at(
    session: Session, findings: Findings, threshold: float
) -> tuple[dict[int, Stand], list[tuple[int, int, float]]]:
    """Return how pairs stand, and by their places each pair that would be kept with one like it, and how like."""
    standing = stands(session, findings, range(len(findings.ids)))
    cut = Net(session, findings, threshold).cut_all(standing)
    return standing, [(kept, *member) for _, stars in cut for kept, members in stars for member in members]


def judge(
    session: Session, findings: Findings, threshold: float = AUTOMATIC, on_progress: Progress = quiet
) -> Findings:
    """Return findings that tell of each pair that is like one to be kept whether the two state different facts.

    They are those to be kept now, and at this threshold; `above` compares what it needs beside.
    """
    import numpy as np

    if not findings.threshold <= threshold <= 1:
        return findings
    on_progress(0, None, "Cutting into clusters")
    pairs = [(kept, member) for kept, member, _ in stars_at(session, findings, threshold)[1]]
    differs = differing(session, findings, pairs, on_progress)
    keys = keys_of(findings, np.array(pairs, np.int64).reshape(-1, 2))
    order = np.argsort(keys)
    return replace(findings, judged=keys[order], differs=differs[order])


def count_above(session: Session, findings: Findings, threshold: float = AUTOMATIC) -> Counted:
    """Return how many pairs `resolve_above` would trash, kept in memory until somebody writes."""

    def count() -> Counted:
        would = above(session, findings, threshold)
        return Counted(would.surplus, would.clusters, would.facts)

    return once(session, about(findings, threshold), count)


def counted_above(session: Session, findings: Findings, threshold: float = AUTOMATIC) -> Counted | None:
    """Return what `count_above` does where somebody asked for it lately: of 100,000 pairs it takes half a second."""
    return remembered(session, about(findings, threshold))


def about(findings: Findings, threshold: float) -> Hashable:
    return "above", findings.key, findings.at, threshold


def resolve_above(
    session: Session, findings: Findings, threshold: float = AUTOMATIC, *, by: str, on_progress: Progress = quiet
) -> tuple[Changeset, Above]:
    """Trash every pair that is at least that similar to the one to keep and differs from it in no fact; tell what.

    Looked at again in the transaction that writes: what went, changed or was dismissed since is left alone.
    Raises UserError where nothing is left to do, and for findings that are not duplicates.
    """
    with writing(session):
        found = above(session, findings, threshold, on_progress)
        if not found.going:
            raise UserError(f"Nothing above {threshold:g} is left that may go without a look, so nothing was trashed.")
        reason = f"{found.clusters:,} clusters above {threshold:g}, best kept"
        return resolve(session, found.choices, by, reason=reason, on_progress=on_progress), found
