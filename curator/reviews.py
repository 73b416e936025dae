"""Judging what models say: the next sample to rate, ratings, better answers, and the preferences they make."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import history, pairs, runs, text
from curator.errors import NotFound, UserError
from curator.models import Pair, Rating, Run, Sample, now, writing


def get(session: Session, sample_id: int) -> Sample:
    """Return one sample with its run."""
    sample = session.get(Sample, sample_id, options=[joinedload(Sample.run)])
    if sample is None:
        raise NotFound(f"There is no sample {sample_id}.")
    return sample


def queue(session: Session, by: str, run_id: int | None = None) -> list[int]:
    """Return the samples that a person has not judged: the newest run first, prompt by prompt.

    Which model's answer comes first is drawn by a hash of the sample, so that the order tells nothing.
    """
    rows = session.execute(
        sa.select(Sample.id, Sample.run_id, Sample.number, Sample.model, Sample.fingerprint)
        .outerjoin(Rating, sa.and_(Rating.sample_id == Sample.id, Rating.by == by))
        .where(Rating.id.is_(None), *([Sample.run_id == run_id] if run_id else []))
    )

    def order(row: Any) -> tuple[int, int, str]:
        drawn = hashlib.sha256(f"{row.fingerprint} {row.model} {row.run_id}".encode()).hexdigest()
        return -row.run_id, row.number, drawn

    return [row.id for row in sorted(rows, key=order)]


def next_unrated(session: Session, by: str, run_id: int | None = None, after: int | None = None) -> Sample | None:
    """Return the next sample for a person to judge; `after` names one to leave for later."""
    waiting = queue(session, by, run_id)
    if after in waiting:
        place = waiting.index(after) + 1
        waiting = waiting[place:] + waiting[:place]
    return get(session, waiting[0]) if waiting else None


def progress(session: Session, by: str, run_id: int | None = None) -> tuple[int, int]:
    """Return how many samples a person has judged, and how many there are."""
    where = [Sample.run_id == run_id] if run_id else []
    total = session.scalar(sa.select(sa.func.count(Sample.id)).where(*where)) or 0
    mine = sa.select(sa.func.count(Rating.id)).join(Sample).where(Rating.by == by, *where)
    return session.scalar(mine) or 0, total


def rating_of(session: Session, sample_id: int, by: str) -> Rating | None:
    """Return what a person said of a sample, None where they have not yet."""
    return session.scalar(sa.select(Rating).where(Rating.sample_id == sample_id, Rating.by == by))


def rate(session: Session, sample_id: int, stars: int, by: str, note: str = "") -> Rating:
    """Give a sample 1 to 5 stars and a note; rating again replaces both."""
    if not 1 <= stars <= 5:
        raise UserError(f"A rating of {stars} is not between 1 and 5 stars.")
    if fault := pairs.unstorable(note):
        raise UserError(f"The note holds {fault}. Remove it.")
    with writing(session):
        get(session, sample_id)
        rating = rating_of(session, sample_id, by) or Rating(sample_id=sample_id, by=by)
        rating.stars, rating.note, rating.at = stars, note.strip(), now()
        session.add(rating)
    return rating


def correct(session: Session, sample_id: int, answer: str, by: str) -> Pair:
    """Write the answer that a sample should have given: it becomes the pair's answer, approved.

    A sample whose pair is gone makes a new one. The correction stands with the person's rating too,
    and is the better answer of a preference.
    """
    pairs.checked({"answer": answer})
    with writing(session):
        sample = get(session, sample_id)
        values = {"answer": answer, "status": "approved"}
        reason = f"better answer than a sample of run {sample.run.name}"
        changeset = history.begin(session, "corrected", by, reason)
        pair = session.get(Pair, sample.pair_id) if sample.pair_id else None
        if pair is not None and not pair.trashed:
            if not history.change(session, changeset, pair, values):
                session.delete(changeset)
        else:
            system, earlier, question = runs.taken_apart(sample.messages)
            place = pairs.dataset_named(session, pairs.DEFAULT_DATASET, create=True)
            row = values | {
                "dataset_id": place.id, "system": system, "history": earlier,
                "question": question, "source": f"run {sample.run.name}",
            }  # fmt: skip
            (pair_id,) = history.add(session, changeset, [row])
            sample.pair_id = pair_id
            pair = pairs.get(session, pair_id)
        rating = rating_of(session, sample_id, by) or Rating(sample_id=sample_id, by=by, note="")
        rating.correction, rating.at = answer, now()
        session.add(rating)
    return pair


def tally(session: Session, run_id: int) -> dict[str, dict[str, float]]:
    """Return the number of ratings and their mean, for base and for tuned."""
    rows = session.execute(
        sa.select(Sample.model, sa.func.count(Rating.stars), sa.func.avg(Rating.stars))
        .join(Rating, Rating.sample_id == Sample.id)
        .where(Sample.run_id == run_id, Rating.stars.is_not(None))
        .group_by(Sample.model)
    )
    return {model: {"n": n, "mean": float(mean)} for model, n, mean in rows}


def preferences(session: Session) -> Iterator[dict[str, Any]]:
    """Yield {"prompt", "chosen", "rejected"}, the rows that DPO learns from: pairs first, then samples in order.

    The answer of a pair is chosen over the one that was rejected where it came from. A corrected answer is
    chosen over what it corrected; else, among the answers to one prompt, the best-rated is chosen over the
    worst-rated where their mean stars differ.
    """
    for prompt, pair in with_rejected(session):
        yield preference(prompt, pair.answer, pair.rejected)
    rows = session.execute(
        sa.select(Sample, Rating)
        .join(Rating, Rating.sample_id == Sample.id)
        .join(Run, Run.id == Sample.run_id)
        .order_by(Sample.run_id, Sample.number, Sample.id, Rating.id)
    )
    prompts: dict[tuple[int, int], list[tuple[Sample, Rating]]] = defaultdict(list)
    for sample, rating in rows:
        prompts[sample.run_id, sample.number].append((sample, rating))
    for judged in prompts.values():
        stars: dict[Sample, list[int]] = defaultdict(list)
        for sample, rating in judged:
            if rating.correction and rating.correction != sample.text:
                yield preference(sample.messages, rating.correction, sample.text)
            if rating.stars:
                stars[sample].append(rating.stars)
        ranked = sorted(stars, key=lambda s: -sum(stars[s]) / len(stars[s]))
        if len(ranked) > 1:
            best, worst = ranked[0], ranked[-1]
            differ = sum(stars[best]) / len(stars[best]) > sum(stars[worst]) / len(stars[worst])
            if differ and best.text != worst.text:
                yield preference(best.messages, best.text, worst.text)


def with_rejected(session: Session) -> Iterator[tuple[list[text.Message], Pair]]:
    """Yield each pair that came with an answer that was rejected, and its prompt."""
    kept = sa.select(Pair).where(Pair.rejected.not_in(["", Pair.answer]), ~Pair.trashed, Pair.status != "rejected")
    for pair in session.scalars(kept.order_by(Pair.id).execution_options(yield_per=1000)):
        yield text.messages(pair.question, pair.answer, pair.system, pair.history)[:-1], pair


def judgements(session: Session) -> Iterator[dict[str, Any]]:
    """Yield {"prompt", "completion", "label"}, the rows that KTO learns from: pairs first, then samples in order.

    The answer of a pair is good (true) where it came with a rejected one, which is bad. A sample of 4 or 5
    stars is good and one of 1 or 2 bad; one of 3, or of a mean between 2 and 4 where several people differ,
    is left out. A corrected answer is good, and what it corrected is bad where it has no stars.
    """
    for prompt, pair in with_rejected(session):
        yield judgement(prompt, pair.answer, True)
        yield judgement(prompt, pair.rejected, False)
    rows = session.execute(
        sa.select(Sample, Rating)
        .join(Rating, Rating.sample_id == Sample.id)
        .order_by(Sample.run_id, Sample.number, Sample.id, Rating.id)
    )
    judged: dict[Sample, list[Rating]] = defaultdict(list)
    for sample, rating in rows:
        judged[sample].append(rating)
    for sample, ratings in judged.items():
        better = [r.correction for r in ratings if r.correction and r.correction != sample.text]
        stars = [r.stars for r in ratings if r.stars] or ([1] if better else [])
        mean = sum(stars) / len(stars) if stars else 3
        if mean >= 4 or mean <= 2:
            yield judgement(sample.messages, sample.text, mean >= 4)
        for correction in better:
            yield judgement(sample.messages, correction, True)


def judgement(messages: list[dict[str, str]], completion: str, label: bool) -> dict[str, Any]:
    """Return one row in TRL's conversational form."""
    return {
        "prompt": prompt_of(messages),
        "completion": [{"role": "assistant", "content": completion}],
        "label": label,
    }


def preference(messages: list[dict[str, str]], chosen: str, rejected: str) -> dict[str, Any]:
    """Return one row in TRL's conversational form."""
    return {
        "prompt": prompt_of(messages),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def prompt_of(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the messages of a prompt, with their roles and texts alone."""
    return [{"role": m["role"], "content": m["content"]} for m in messages]
