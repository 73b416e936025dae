"""What a search found as rows of a table, for a spreadsheet or a script: each pair, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from curator.duplicates.against import Match
from curator.duplicates.clusters import each_cluster
from curator.duplicates.findings import Findings
from curator.duplicates.reading import of_ids
from curator.duplicates.resolving import Above
from curator.formats.writing import NUMBER, TEXT
from curator.models import Pair

COLUMNS = {
    "cluster": NUMBER, "pair": NUMBER, "act": TEXT, "kept": NUMBER, "similarity": NUMBER, "elsewhere": NUMBER,
    "fact": TEXT, "question": TEXT, "answer": TEXT, "dataset": TEXT, "source": TEXT,
}  # fmt: skip
MATCHED = {
    "pair": NUMBER, "line": NUMBER, "similarity": NUMBER, "text": TEXT, "question": TEXT, "answer": TEXT,
}  # fmt: skip


def report(session: Session, findings: Findings, would: Above | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each pair of each cluster, with COLUMNS: the ones that are kept first.

    `act` is "keep", "review", or "drop" for what `would` go; `kept` is the pair that stays for it, and `similarity`
    how similar the two are.
    """
    going = {one.pair_id: one for one in would.going} if would else {}
    for number, cluster in enumerate(each_cluster(session, findings), 1):
        for star in cluster.stars:
            for pair, member in [(star.kept, None), *((member.pair, member) for member in star.members)]:
                act, kept, score = ("review", star.kept.id, member.similarity) if member else ("keep", pair.id, None)
                if pair.id in going:
                    act, (_, kept, score) = "drop", going[pair.id]
                yield {
                    "cluster": number, "act": act, "kept": kept, "similarity": rounded(score),
                    "elsewhere": rounded(member.elsewhere if member else None),
                    "fact": (member.fact if member and act != "drop" else "") or "", **shown(pair),
                }  # fmt: skip


def shown(pair: Pair) -> dict[str, Any]:
    """Return what a table shows of a pair."""
    return {
        "pair": pair.id, "question": pair.question, "answer": pair.answer, "dataset": pair.dataset.name,
        "source": pair.source,
    }  # fmt: skip


def matched(session: Session, matches: list[Match]) -> Iterator[dict[str, Any]]:
    """Yield a row for each match with a file, with MATCHED."""
    for start in range(0, len(matches), 1000):
        some = matches[start : start + 1000]
        ids = sorted(match.pair_id for match in some)
        texts = {row[0]: row[1:] for row in of_ids(session, "id, question, answer", ids)}
        for match in some:
            question, answer = (t.decode() if isinstance(t, bytes) else t for t in texts.get(match.pair_id, ("", "")))
            yield {
                "pair": match.pair_id, "line": match.line, "similarity": rounded(match.similarity), "text": match.text,
                "question": question, "answer": answer,
            }  # fmt: skip


def rounded(score: float | None) -> float | None:
    """Return a similarity with four places; 1 is for those that are the same."""
    return score if score is None or score == 1 else min(round(score, 4), 0.9999)
