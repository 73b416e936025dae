"""Pairs that say what a file says: a benchmark, for one, that a model must not have seen before it is measured."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curator import formats, minhash
from curator.duplicates import reading
from curator.duplicates.near import REVIEW
from curator.duplicates.searching import SHINGLE, Progress, checked, quiet, texts_in
from curator.errors import UserError
from curator.formats import Record, Refusal
from curator.pairs import dataset_named

# A benchmark often has no answers: then this is its question, the surest name first.
QUESTIONS = ("question", "prompt", "instruction", "query", "problem", "input", "q", "text")


@dataclass(frozen=True)
class Match:
    """A pair that says what a file says."""

    pair_id: int
    line: int
    similarity: float
    text: str  # of the file


def search_against(
    session: Session, path: Path | str, dataset: str | None = None, field: str = "question",
    threshold: float = REVIEW, shingle: str = SHINGLE, engine: str = "auto", on_progress: Progress = quiet,
) -> list[Match]:  # fmt: skip
    """Return the pairs that say what a row of a file says, the most alike first, each with the row most like it.

    The file is any that `formats.read` takes; for the questions alone it needs no answers. Raises UserError as
    `search` does, and where the file holds nothing to compare.
    """
    import numpy as np

    checked(field, threshold, engine, "duplicates")
    lines, given = array("q"), []
    for line, text in texts_of(path, field):
        lines.append(line)
        given.append(text)
    if not given:
        raise UserError(f"{Path(path).name} holds no {field} to compare with. Name a file with a column for it.")
    dataset_id = dataset_named(session, dataset).id if dataset else None
    ids = array("q")
    first, rest = itemgetter(0), texts_in(field)

    def stored() -> Iterator[Any]:
        for rows in reading.texts(session, field, dataset_id):
            ids.extend(map(first, rows))
            yield from map(rest, rows)

    def take(places: Sequence[int]) -> list[Any]:
        ours = [given[place] for place in places if place < len(given)]
        theirs = [ids[place - len(given)] for place in places if place >= len(given)]
        return ours + list(map(rest, reading.of_ids(session, f"id, {reading.TEXTS[field]}", theirs)))

    def tell(stage: str, done: int, of: int) -> None:
        on_progress(done, of or total, minhash.STAGES[stage])

    with reading.snapshot(session):
        total = len(given) + reading.count(session, dataset_id)
        similar = minhash.find_similar(
            chain(given, stored()), threshold, shingle, take=take, count=total, engine=engine, on_progress=tell
        )
    places, scores = likest(similar, len(given))
    found = [
        Match(ids[place - len(given)], lines[row], score, shown(given[row]))
        for place, row, score in zip(np.flatnonzero(scores).tolist(), places[scores > 0].tolist(),
                                     scores[scores > 0].tolist(), strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda match: (-match.similarity, match.pair_id))


def likest(similar: minhash.Similar, given: int) -> tuple[Any, Any]:
    """Return of each text the one most like it among the first `given`, and how much; 0 for these themselves.

    They were read first, so of copies the first is one of them, if any is.
    """
    import numpy as np

    ours = np.arange(len(similar.copy_of))
    across = (similar.left < given) & (similar.right >= given)
    left, right, jaccard = similar.left[across], similar.right[across], similar.jaccard[across]
    row, score = np.zeros(len(ours), np.int64), np.zeros(len(ours))
    order = np.lexsort((-left, jaccard))  # the last one written stays: the most alike, then the earliest row
    row[right[order]], score[right[order]] = left[order], jaccard[order]
    # What a text is like, its copies are like; those of a row stand in `right` themselves.
    own = similar.copy_of[ours]
    copied = (ours >= given) & (own >= given)
    row[copied], score[copied] = row[own[copied]], score[own[copied]]
    score[:given] = 0
    return row, score


def texts_of(path: Path | str, field: str) -> Iterator[tuple[int, Any]]:
    """Yield the line and the text, or the question and the answer, of each row of a file that has them."""
    reader = formats.read(path)
    columns: dict[tuple[str, ...], formats.Columns | None] = {}
    for record in reader:
        if isinstance(record, Refusal):
            continue
        names = tuple(record.fields)
        if names not in columns:
            columns[names] = columns_of(names, reader.name, field)
        known = columns[names]
        rows = formats.to_rows(record, known) if known else Refusal(record.line, "")
        if not isinstance(rows, Refusal):
            yield from ((row.line, chosen(row.question, row.answer, field)) for row in rows)
        elif field == "question" and (question := question_in(record)):
            yield record.line, question


def columns_of(names: tuple[str, ...], name: str, field: str) -> formats.Columns | None:
    """Return what the columns of a file are; None where it has questions without answers, and these are enough."""
    try:
        return formats.find_columns(names)
    except UserError as error:
        if field == "question" and any(str(each).casefold() in QUESTIONS for each in names):
            return None
        raise UserError(f"{name} {error}") from error


def question_in(record: Record) -> str:
    """Return the question of a row that has no answer."""
    by_name = {str(name).casefold(): value for name, value in record.fields.items()}
    return next((value for name in QUESTIONS if isinstance(value := by_name.get(name), str) and value.strip()), "")


def chosen(question: str, answer: str, field: str) -> Any:
    """Return of a question and its answer what is compared."""
    texts = {"question": question, "answer": answer, "both": (question, answer)}
    return texts.get(field) or f"{question}\n{answer}"


def shown(text: Any) -> str:
    return text if isinstance(text, str) else text[0]
