"""Which of the pairs that are alike state different facts. Reads what pairs say; knows no cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from curator import minhash
from curator.duplicates import reading
from curator.duplicates.findings import Findings
from curator.duplicates.searching import Progress, as_text, quiet

READ_AT_ONCE = 250  # two pairs each: texts may have a megabyte
SECONDS = 0.2  # between two words of progress: a job is cancelled when it hears one
FEW = 500  # two pairs each; fewer are judged before what makes many quick is loaded
Said = tuple[str, str, str]


def said(session: Session, ids: Any, places: Iterable[int]) -> dict[int, Said]:
    """Return by place what pairs say: question and answer, the system message, the earlier turns."""
    place_of = {int(ids[place]): place for place in places}
    columns = "id, question || chr(10) || answer, system, CAST(history AS TEXT)"
    rows = reading.of_ids(session, columns, sorted(place_of))
    return {place_of[row[0]]: tuple(map(as_text, row[1:])) for row in rows}  # type: ignore[misc]


def fact(one: Said | None, other: Said | None, differ: Any = minhash.differs_in_fact) -> str | None:
    """Return why two pairs may state different facts, as half a sentence; None where they don't."""
    if one is None or other is None:
        return "it is gone"
    if one[1] != other[1]:
        return "another system message"
    if one[2] != other[2] and json.loads(one[2]) != json.loads(other[2]):
        return "other turns before it"
    why: str | None = differ(one[0], other[0])
    return why


def differing(
    session: Session, findings: Findings, pairs: Sequence[tuple[int, int]], on_progress: Progress = quiet
) -> Any:
    """Return of each two pairs, by place, whether they may state different facts.

    What the findings tell is taken from them, the rest is read and compared.
    """
    import numpy as np

    places = np.array(pairs, np.int64).reshape(-1, 2)
    keys = keys_of(findings, places)
    at = np.minimum(np.searchsorted(findings.judged, keys), max(len(findings.judged) - 1, 0))
    known = findings.judged[at] == keys if len(findings.judged) else np.zeros(len(keys), bool)
    found = np.zeros(len(keys), bool)
    found[known] = findings.differs[at[known]]
    # Those of one cluster follow each other, with texts that are alike: what was learnt of one serves the next.
    unknown = [tuple(both) for both in places[~known].tolist()]
    differ = minhash.Facts().differ if len(unknown) > FEW else minhash.differs_in_fact
    judged: list[bool] = []
    due = time.monotonic()
    for start in range(0, len(unknown), READ_AT_ONCE):
        some = unknown[start : start + READ_AT_ONCE]
        told = said(session, findings.ids, {place for both in some for place in both})
        for one, other in some:
            judged.append(fact(told.get(one), told.get(other), differ) is not None)
            if time.monotonic() > due:
                on_progress(len(judged), len(unknown), "Comparing facts")
                due = time.monotonic() + SECONDS
    found[~known] = judged
    return found


def keys_of(findings: Findings, pairs: Any) -> Any:
    """Return one number for each two pairs, by place, whichever comes first."""
    return pairs.min(axis=1) * len(findings.ids) + pairs.max(axis=1)
