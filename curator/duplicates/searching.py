"""Search a data set for near-duplicates: texts stream past once, and what looks alike is read again and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import minhash, neighbours
from curator.duplicates import reading
from curator.duplicates.findings import Findings, newest_changeset
from curator.duplicates.near import REVIEW
from curator.errors import UserError
from curator.models import Dataset, Pair, now
from curator.pairs import dataset_named

AUTOMATIC = 0.9  # from here on what is like the pair to keep may go without a look, unless it differs in a fact
SHINGLE = "char5"
LOWEST = 0.6
OTHERWISE = 0.5  # texts below are about something else: contradictions have such answers, boilerplate such questions
FIELDS = ("pair", "question", "answer", "both")
# What is looked for: the field that matches, and the one that must not.
KINDS = {"duplicates": ("pair", ""), "contradictions": ("question", "answer"), "boilerplate": ("answer", "question")}
PUNCTUATION = bytes(code for code in range(128) if not chr(code).isalnum())
Progress = Callable[[int, int | None, str], object]


def quiet(done: int, total: int | None, message: str) -> None:
    """Hear of progress, and let it be."""


def search(
    session: Session, dataset: str | None = None, field: str = "pair", threshold: float = REVIEW,
    shingle: str = SHINGLE, across: bool = False, engine: str = "auto", kind: str = "duplicates",
    on_progress: Progress = quiet,
) -> Findings:  # fmt: skip
    """Return every two pairs outside the trash that are at least that similar, each similarity counted.

    Data sets are searched each by itself; `across` compares all with all, and with a `dataset` what hangs together
    with one of its pairs is kept. `kind` is one of KINDS: contradictions have questions that match and answers that
    don't, boilerplate has answers that match and questions that don't. All is read as it was at one moment,
    whatever is written meanwhile. `on_progress` is told (done, total, what is going on), and what it raises ends the
    search. Raises UserError where what is asked makes no sense.
    """
    field = checked(field, threshold, engine, kind)
    began = time.monotonic()
    with reading.snapshot(session):
        newest = newest_changeset(session)
        places = [None] if across else [place for place in dataset_ids(session, dataset)]
        parts = [part(session, place, field, threshold, shingle, engine, on_progress) for place in places]
        ids, similar, compared = joined(parts)
        if across and dataset:
            ids, similar = touching(session, ids, similar, dataset_named(session, dataset).id)
        ids, similar = involved(ids, similar)
        prints, weights = weighed(session, ids)
        elsewhere = (
            other_text(session, ids, similar, KINDS[kind][1], shingle) if KINDS[kind][1] else similar.jaccard[:0]
        )
    found = Findings(
        kind=kind, dataset=dataset, field=field, shingle=shingle, across=across, threshold=threshold,
        changeset_id=newest, compared=compared, complete=similar.complete, at=now(), seconds=0.0, ids=ids,
        prints=prints, weights=weights, left=similar.left, right=similar.right, similarity=similar.jaccard,
        copy_of=similar.copy_of, elsewhere=elsewhere,
    )  # fmt: skip
    if KINDS[kind][1]:
        found = apart(found)
    return replace(found, seconds=time.monotonic() - began)


def checked(field: str, threshold: float, engine: str, kind: str) -> str:
    """Return the field that is compared, or raise UserError where what is asked makes no sense."""
    if kind not in KINDS:
        raise UserError(f"There is no kind {kind!r}. Take one of {', '.join(KINDS)}.")
    if field not in FIELDS:
        raise UserError(f"There is no field {field!r}. Take one of {', '.join(FIELDS)}.")
    if not LOWEST <= threshold <= 1:
        raise UserError(f"The threshold {threshold:g} is not between {LOWEST:g} and 1.")
    if engine not in minhash.ENGINES:
        raise UserError(f"There is no engine {engine!r}. Take one of {', '.join(minhash.ENGINES)}.")
    return field if kind == "duplicates" else KINDS[kind][0]


def dataset_ids(session: Session, dataset: str | None) -> list[int]:
    """Return the data sets to be searched: the named one, or each."""
    if dataset:
        return [dataset_named(session, dataset).id]
    return list(session.scalars(sa.select(Dataset.id).order_by(Dataset.id)))


def part(
    session: Session, dataset_id: int | None, field: str, threshold: float, shingle: str, engine: str,
    on_progress: Progress,
) -> tuple[Any, minhash.Similar]:  # fmt: skip
    """Search one data set, or all as one. Return the ids of its pairs, and what is similar by their places."""
    from array import array

    import numpy as np

    total = reading.count(session, dataset_id)
    ids = array("q")

    def texts() -> Iterator[minhash.Joined]:
        for some, joined in reading.joined(session, field, dataset_id):
            ids.extend(some)
            yield joined

    def take(places: Sequence[int]) -> minhash.Joined:
        return reading.joined_of_ids(session, field, [ids[place] for place in places])

    def tell(stage: str, done: int, of: int) -> None:
        on_progress(done, of or total, minhash.STAGES[stage])

    similar = minhash.find_similar(texts(), threshold, shingle, take=take, count=total, engine=engine, on_progress=tell)
    return np.array(ids, np.int64), similar


def texts_in(field: str) -> Callable[[tuple[Any, ...]], Any]:
    """Return what takes the texts that are compared out of a row that begins with an id."""
    return itemgetter(1, 2) if field == "both" else itemgetter(1)


def joined(parts: Sequence[tuple[Any, minhash.Similar]]) -> tuple[Any, minhash.Similar, int]:
    """Return what several searches found as one, and how many pairs they read."""
    import numpy as np

    starts = np.cumsum([0, *(len(ids) for ids, _ in parts)])[:-1].tolist()
    both = list(zip(starts, (similar for _, similar in parts), strict=True))
    none = np.empty(0, np.int64)
    whole = minhash.Similar(
        np.concatenate([none, *(similar.left + start for start, similar in both)]),
        np.concatenate([none, *(similar.right + start for start, similar in both)]),
        np.concatenate([np.empty(0), *(similar.jaccard for _, similar in both)]),
        np.concatenate([none, *(similar.copy_of + start for start, similar in both)]),
        all(similar.complete for _, similar in both),
    )
    ids = np.concatenate([none, *(ids for ids, _ in parts)])
    return ids, whole, len(ids)


def touching(session: Session, ids: Any, similar: minhash.Similar, dataset_id: int) -> tuple[Any, minhash.Similar]:
    """Leave out what does not hang together with a pair of one data set."""
    import numpy as np

    label = components(len(ids), similar.left, similar.right)
    ours = np.fromiter(reading.ids(session, dataset_id), np.int64)
    wanted = np.zeros(len(ids), bool)
    wanted[label[np.isin(ids, ours)]] = True
    return ids, some_of(similar, wanted[label[similar.left]])


def some_of(similar: minhash.Similar, chosen: Any) -> minhash.Similar:
    """Return some of what is similar."""
    return replace(similar, left=similar.left[chosen], right=similar.right[chosen], jaccard=similar.jaccard[chosen])


def components(count: int, left: Any, right: Any) -> Any:
    """Return of each of `count` pairs a number below `count` that all that hang together share."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    net = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return connected_components(net, directed=False)[1]


def involved(ids: Any, similar: minhash.Similar) -> tuple[Any, minhash.Similar]:
    """Leave out the pairs that are like nothing, ids in ascending order."""
    import numpy as np

    places = np.unique(np.concatenate([similar.left, similar.right]))
    order = places[np.argsort(ids[places])]
    new = np.zeros(len(ids), np.int32)
    new[order] = np.arange(len(order))
    left, right = new[similar.left], new[similar.right]
    copy_of = new[similar.copy_of[order]] if len(order) else new[:0]
    return ids[order], replace(similar, left=left, right=right, copy_of=copy_of)


def weighed(session: Session, ids: Any) -> tuple[Any, Any]:
    """Return of each pair how its fingerprint begins, and how much its answer says: letters, and not all capitals."""
    import numpy as np

    prints, weights = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
    for rows in reading.lists_of_ids(session, "substr(fingerprint, 1, 16), answer", ids.tolist()):
        beginnings, answers = zip(*rows, strict=True)
        prints.append(np.array([int(beginning, 16) for beginning in beginnings], np.uint64))
        weights.append(np.array([weight(answer) for answer in answers], np.int32))
    return np.concatenate(prints), np.concatenate(weights)


def weight(answer: str | bytes) -> int:
    raw = answer if isinstance(answer, bytes) else answer.encode()
    return 2 * len(raw.translate(None, PUNCTUATION)) + (not raw.isupper())


def other_text(session: Session, ids: Any, similar: minhash.Similar, field: str, shingle: str) -> Any:
    """Return of every two similar pairs how similar their other texts are."""
    import numpy as np

    found = np.empty(len(similar.left))
    order = np.argsort(similar.left, kind="stable")
    for start in range(0, len(order), 5000):
        some = order[start : start + 5000]
        left, right = similar.left[some], similar.right[some]
        texts = dict(reading.of_ids(session, f"id, {reading.TEXTS[field]}", ids[np.union1d(left, right)].tolist()))
        for place in np.unique(left).tolist():
            edges = some[left == place]
            others = [texts[pair_id] for pair_id in ids[similar.right[edges]].tolist()]
            found[edges] = minhash.scores(texts[int(ids[place])], others, shingle)
    return found


def apart(found: Findings) -> Findings:
    """Leave out what is similar in the other text too. No pair stands for its copies: they are none in that text."""
    import numpy as np

    chosen = found.elsewhere < OTHERWISE
    similar = minhash.Similar(found.left[chosen], found.right[chosen], found.similarity[chosen],
                              np.arange(len(found.ids)), found.complete)  # fmt: skip
    places = np.unique(np.concatenate([similar.left, similar.right]))
    ids, fewer = involved(found.ids, similar)
    return replace(
        found, ids=ids, prints=found.prints[places], weights=found.weights[places], left=fewer.left,
        right=fewer.right, similarity=fewer.jaccard, copy_of=fewer.copy_of, elsewhere=found.elsewhere[chosen],
    )  # fmt: skip


def as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def similar(pairs: Sequence[Pair], threshold: float = AUTOMATIC) -> minhash.Similar:
    """Return which pairs, by their place, say nearly the same, and how much."""
    return minhash.find_similar([neighbours.text_of(pair.question, pair.answer) for pair in pairs], threshold, SHINGLE)
