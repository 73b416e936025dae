"""Which of the pairs that are alike state different facts. Reads what pairs say; knows no cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from threading import Lock
from typing import Any

from sqlalchemy.orm import Session

from curator import minhash
from curator.duplicates import reading
from curator.duplicates.findings import Findings
from curator.duplicates.searching import Progress, as_text, quiet

READ_AT_ONCE = 250  # two pairs each: texts may have a megabyte
SECONDS = 0.2  # between two words of progress: a job is cancelled when it hears one
FEW = 500  # two pairs each; fewer are judged before what makes many quick is loaded
REMEMBERED = 8  # searches
Said = tuple[str, str, str]
Differ = Callable[[str, str], str | None]
# What was compared beside what the findings tell: which two, as `keys_of` has them, and whether they differ. It stays
# true: a pair that says something else since is in no cluster any longer.
learnt: dict[Hashable, tuple[Any, Any]] = {}
LEARNING = Lock()


def said(session: Session, ids: Any, places: Iterable[int]) -> dict[int, Said]:
    """Return by place what pairs say: question and answer, the system message, the earlier turns."""
    place_of = {int(ids[place]): place for place in places}
    columns = "id, question || chr(10) || answer, system, CAST(history AS TEXT)"
    rows = reading.of_ids(session, columns, sorted(place_of))
    return {place_of[row[0]]: tuple(map(as_text, row[1:])) for row in rows}  # type: ignore[misc]


def differ_of(count: int) -> Differ:
    """Return what compares the facts of two texts, for so many comparisons."""
    return minhash.Facts().differ if count > FEW else minhash.differs_in_fact


def fact(one: Said | None, other: Said | None, differ: Differ = minhash.differs_in_fact) -> str | None:
    """Return why two pairs may state different facts, as half a sentence; None where they don't."""
    if one is None or other is None:
        return "it is gone"
    if one[1] != other[1]:
        return "another system message"
    if one[2] != other[2] and json.loads(one[2]) != json.loads(other[2]):
        return "other turns before it"
    return differ(one[0], other[0])


def differing(
    session: Session, findings: Findings, pairs: Sequence[tuple[int, int]], on_progress: Progress = quiet
) -> Any:
    """Return of each two pairs, by place, whether they may state different facts.

    What the findings tell is taken from them, the rest is read and compared.
    """
    import numpy as np

    places = np.array(pairs, np.int64).reshape(-1, 2)
    keys = keys_of(findings, places)
    judged, differs = learnt.get((findings.key, findings.at), (findings.judged, findings.differs))
    at = np.minimum(np.searchsorted(judged, keys), max(len(judged) - 1, 0))
    known = judged[at] == keys if len(judged) else np.zeros(len(keys), bool)
    found = np.zeros(len(keys), bool)
    found[known] = differs[at[known]]
    # Those of one cluster follow each other, with texts that are alike: what was learnt of one serves the next.
    unknown = [tuple(both) for both in places[~known].tolist()]
    differ = differ_of(len(unknown))
    answers: list[bool] = []
    due = time.monotonic()
    for start in range(0, len(unknown), READ_AT_ONCE):
        some = unknown[start : start + READ_AT_ONCE]
        told = said(session, findings.ids, {place for both in some for place in both})
        for one, other in some:
            answers.append(fact(told.get(one), told.get(other), differ) is not None)
            if time.monotonic() > due:
                on_progress(len(answers), len(unknown), "Comparing facts")
                due = time.monotonic() + SECONDS
    found[~known] = answers
    if answers:
        keys, first = np.unique(np.concatenate([judged, keys[~known]]), return_index=True)
        with LEARNING:
            learnt[findings.key, findings.at] = keys, np.concatenate([differs, answers])[first]
            while len(learnt) > REMEMBERED:
                del learnt[next(iter(learnt))]
    return found


def keys_of(findings: Findings, pairs: Any) -> Any:
    """Return one number for each two pairs, by place, whichever comes first."""
    return pairs.min(axis=1) * len(findings.ids) + pairs.max(axis=1)
