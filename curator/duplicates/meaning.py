"""Search a data set for pairs that say the same in other words: their vectors point the same way. Knows no model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curator import minhash
from curator.duplicates import reading
from curator.duplicates.findings import Findings, newest_changeset
from curator.duplicates.searching import (
    Progress,
    as_text,
    checked,
    dataset_ids,
    involved,
    joined,
    quiet,
    texts_in,
    touching,
    weighed,
)
from curator.models import now
from curator.pairs import dataset_named

# Of 20 questions with answers that were both reworded, 18 have this cosine or more under all-MiniLM-L6-v2; of 20 about
# something next to it (fry an egg, boil an egg) none has: they end at 0.79. Of questions alone, 3 of these 20 do.
SAME = 0.8


def search_meaning(
    session: Session, home: Path, model: str, dataset: str | None = None, field: str = "pair",
    threshold: float = SAME, across: bool = False, on_progress: Progress = quiet,
) -> Findings:  # fmt: skip
    """Return every two pairs outside the trash whose vectors have at least that cosine, as `search` does for Jaccard.

    `model` is a sentence-transformers model: its name on the hub, or a folder. What has no vector of it yet is
    embedded, and its vector kept in `home` by what the text says; what `on_progress` raises ends that too, and finished
    batches stay. With the field "both" the similarity is the lesser of the two cosines. The pairs are those of
    one moment, before the embedding. Raises UserError as `search` does, and where the model can't be had.
    """
    import numpy as np

    from curator import vectors

    checked(field, threshold, "auto", "duplicates")
    began = time.monotonic()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = vectors.Store(home)
    folder = Path(model).expanduser()
    known_as = str(folder.resolve()) if folder.is_dir() else model  # a folder is the same from wherever it is named
    with reading.snapshot(session):
        newest = newest_changeset(session)
        places = [None] if across else [place for place in dataset_ids(session, dataset)]
        read = [read_texts(session, place, field, on_progress) for place in places]
        everyone = np.sort(np.array([pair_id for ids, _ in read for pair_id in ids], np.int64))
        prints, weights = weighed(session, everyone)
    # What follows may take hours: a snapshot held that long would make the database grow with every write.
    told = list(chain.from_iterable(texts for _, texts in read))
    spoken = list(chain.from_iterable(told)) if field == "both" else told
    made = vectors.embed(store, spoken, known_as, lambda done, total: on_progress(done, total, "Embedding"))
    parts = [
        (np.array(ids, np.int64), compare(vectors_of(store, known_as, texts, field), threshold, on_progress))
        for ids, texts in read
    ]
    if made.texts:  # so there may be as many that nobody says any longer
        store.forget_all_but(every_text(session))
    ids, similar, compared = joined(parts)
    if across and dataset:
        with reading.snapshot(session):
            ids, similar = touching(session, ids, similar, dataset_named(session, dataset).id)
    ids, similar = involved(ids, similar)
    where = np.searchsorted(everyone, ids)
    return Findings(
        kind="duplicates", dataset=dataset, field=field, shingle="", across=across, threshold=threshold,
        changeset_id=newest, compared=compared, complete=similar.complete, at=now(),
        seconds=time.monotonic() - began, ids=ids, prints=prints[where], weights=weights[where],
        left=similar.left, right=similar.right,
        similarity=similar.jaccard, copy_of=similar.copy_of, elsewhere=similar.jaccard[:0], measure="cosine",
        model=model,
    )  # fmt: skip


def read_texts(
    session: Session, dataset_id: int | None, field: str, on_progress: Progress
) -> tuple[list[int], list[Any]]:
    """Return the ids of the pairs of a data set, or of all, and of each its text, or question and answer."""
    total = reading.count(session, dataset_id)
    rest = texts_in(field)
    ids: list[int] = []
    texts: list[Any] = []
    for rows in reading.texts(session, field, dataset_id):
        ids += map(itemgetter(0), rows)
        texts += (tuple(map(as_text, text)) if field == "both" else as_text(text) for text in map(rest, rows))
        on_progress(len(ids), total, "Reading")
    return ids, texts


def every_text(session: Session) -> Iterator[str]:
    """Yield what the vectors may be of: the question, the answer, and both as one, of each pair outside the trash."""
    with reading.snapshot(session):
        for field in ("question", "answer", "pair"):
            for rows in reading.texts(session, field, None):
                yield from (as_text(text) for _, text in rows)


def vectors_of(store: Any, model: str, texts: Sequence[Any], field: str) -> list[Any]:
    """Return the unit vectors of texts, or of questions and of answers, a row for each; zeros for what is blank."""
    import numpy as np

    from curator.vectors import near

    columns = ([text[0] for text in texts], [text[1] for text in texts]) if field == "both" else (texts,)
    found = []
    for column in columns:
        filled = [place for place, text in enumerate(column) if text.strip()]
        rows = store.read(model, [column[place] for place in filled])
        whole = np.zeros((len(column), rows.shape[1]), np.float32)
        whole[filled] = rows
        found.append(near.unit_vectors(whole))
    return found


def compare(columns: Sequence[Any], threshold: float, on_progress: Progress) -> minhash.Similar:
    """Return what is near by the least cosine of its columns; the cosine stands where Jaccard usually does.

    Not `complete` where an index proposed what to compare, since it misses some.
    """
    import numpy as np

    from curator import vectors

    tell: Callable[[int, int], object] = lambda done, total: on_progress(done, total, "Comparing")  # noqa: E731
    # Side by side, two unit vectors have the mean of their cosines: never below the lesser one, so none is missed.
    rows = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
    left, right, cosine = vectors.find_similar(rows, threshold, on_progress=tell)
    copy_of = vectors.first_of(rows)
    if len(columns) > 1:
        cosine = np.minimum.reduce([vectors.cosines(column, left, right) for column in columns])
        # The cosine of a vector and itself is 1, but for rounding; where one of the texts is blank it is 0.
        cosine[(copy_of[right] == left) & (cosine > 0)] = 1.0
        chosen = cosine >= threshold
        left, right, cosine = left[chosen], right[chosen], cosine[chosen]
    distinct = int(np.count_nonzero(copy_of == np.arange(len(copy_of))))
    return minhash.Similar(left, right, cosine, copy_of, complete=distinct <= vectors.EXACT_UP_TO)
