"""What became of the pairs since a search: which of its findings still stand, how old they are, how many are open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator.duplicates.clusters import clusters, gone_since, of_print
from curator.duplicates.findings import FOLDER, Findings, kept, key_of
from curator.duplicates.remembering import once
from curator.duplicates.searching import AUTOMATIC
from curator.models import Dataset, Pair, Revision

MOST_CHANGED = 10_000  # changed pairs; beyond, it is "more than" that many


def changed_since(session: Session, findings: Findings) -> int:
    """Return how many pairs the findings don't know as they are now: new ones, and those that say something else.

    Counts to MOST_CHANGED and one more. What was trashed or merely tagged since needs no new search.
    """
    return once(session, ("changed", findings.key, findings.at), lambda: count_changed(session, findings))


def count_changed(session: Session, findings: Findings) -> int:
    revised = sa.select(Revision.pair_id).where(
        Revision.changeset_id > findings.changeset_id,
        sa.or_(
            Revision.before.is_(sa.null()),  # added
            Revision.fingerprint.is_not(None),  # its text changed
            Revision.before["trashed"].as_boolean(),  # taken out of the trash
        ),
    )
    changed = sa.select(Pair.id, Pair.fingerprint).where(Pair.id.in_(revised), sa.not_(Pair.trashed))
    if findings.dataset and not findings.across:
        changed = changed.join(Dataset).where(Dataset.name == findings.dataset)
    known = of_print(findings)
    rows = session.execute(changed.limit(MOST_CHANGED + 1 + len(findings.ids)))
    return min(sum(known.get(pair_id) != int(print_[:16], 16) for pair_id, print_ in rows), MOST_CHANGED + 1)


def without_gone(session: Session, findings: Findings) -> Findings:
    """Return the findings without what went into the trash or says something else since."""
    gone = gone_since(session, findings)
    there = ~(gone[findings.left] | gone[findings.right])
    return replace(
        findings, left=findings.left[there], right=findings.right[there], similarity=findings.similarity[there]
    )


def open_clusters(session: Session, home: Path, dataset: str | None) -> int | None:
    """Return how many clusters above AUTOMATIC the last search of a data set left open; None where there was none."""
    path = home / FOLDER / f"{key_of('duplicates', dataset, 'pair', 'char5', False)}.npz"
    try:
        made = path.stat().st_mtime_ns
    except OSError:
        return None

    def count() -> int | None:
        findings = kept(home, dataset)
        return clusters(session, findings, AUTOMATIC, limit=0).total if findings else None

    return once(session, (str(path), made), count)
