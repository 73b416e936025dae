"""Run folders in: record, metrics, evaluation, samples and losses, each tied to its pair by fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from curator import history, signals
from curator.errors import NotFound, UserError
from curator.models import Line, Loss, Pair, Run, Sample, Version, VersionLine, writing

# Name in evaluation.json, what to call it, which is better.
MEASURES = (
    ("perplexity", "Perplexity", "lower"),
    ("bits_per_byte", "Bits per byte", "lower"),
    ("preferred", "Prefers the better answer", "higher"),
    ("rougeL", "ROUGE-L", "higher"),
    ("rouge1", "ROUGE-1", "higher"),
    ("rouge2", "ROUGE-2", "higher"),
    ("bleu", "BLEU", "higher"),
    ("chrf", "chrF", "higher"),
    ("token_f1", "Token F1", "higher"),
    ("exact_match", "Exact match", "higher"),
    ("truncated", "Truncated", "lower"),
    ("repetition", "Repetitive", "lower"),
    ("echo", "Echoes question", "lower"),
    ("empty", "Empty", "lower"),
    ("templated", "Templated", "lower"),
)
STATES = ("running", "done", "failed", "stopped")
# What each line of a file must have, and what that is: without these it can't be read.
LINES = {
    "metrics.jsonl": {"step": "a whole number"},
    "samples.jsonl": {"fingerprint": "text", "messages": "a list of turns", "model": "text", "text": "text"},
    "losses.jsonl": {"fingerprint": "text", "base_loss": "a number", "tuned_loss": "a number"},
    "train_losses.jsonl": {"fingerprint": "text", "losses": "a list of numbers"},
    "signals.jsonl": {"fingerprint": "text"},
}
IS: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "a whole number": lambda value: isinstance(value, int),
    "a number": lambda value: isinstance(value, int | float),
    "a list of numbers": lambda value: (
        isinstance(value, list) and not any(not isinstance(one, int | float) for one in value)
    ),
    "a list of turns": lambda value: (
        isinstance(value, list) and bool(value) and not any(not is_turn(turn) for turn in value)
    ),
}
OF_ALL_LINES = {"perplexity", "bits_per_byte", "preferred"}  # the others are of the prompts that were answered
ENOUGH_LINES = 10  # below so many, intervals of resampled lines are too narrow to tell a change from chance


class Interval(NamedTuple):
    """Where a number lies in 95 of 100 draws of as many test lines."""

    low: float
    high: float


class Measure(NamedTuple):
    """One number of the base beside the same of the tuned model.

    `better` is the one that is better by more than chance, as far as there are intervals to tell; None where neither
    is. `chance` says in words why neither is: "may be chance" or "too few lines", empty where that was not the reason.
    """

    name: str
    title: str
    base: float
    tuned: float
    better: str | None
    intervals: dict[str, Interval]  # of "base", of "tuned", and of the "change" between them
    chance: str


@dataclass(frozen=True)
class SideBySide:
    """One prompt, and what each model answered."""

    number: int
    system: str
    history: list[dict[str, str]]
    question: str
    reference: str
    base: Sample | None
    tuned: Sample | None
    pair: Pair | None


def all(session: Session) -> list[Run]:
    """Return every run, the newest first."""
    return list(session.scalars(sa.select(Run).order_by(Run.started_at.desc(), Run.id.desc())))


def count(session: Session) -> int:
    """Return how many runs there are."""
    return session.scalar(sa.select(sa.func.count(Run.id))) or 0


def get(session: Session, run_id: int) -> Run:
    """Return one run."""
    run = session.get(Run, run_id, options=[joinedload(Run.version)])
    if run is None:
        raise NotFound(f"There is no run {run_id}. Bring one in with: flask import-run runs/NAME")
    return run


def in_folder(session: Session, folder: Path) -> Run | None:
    """Return the run of a folder, None where it was not brought in yet."""
    try:
        key = str(read_record(folder)["id"])
    except UserError:
        return None
    return session.scalar(sa.select(Run).where(Run.key == key))


def import_run(session: Session, folder: Path) -> Run:
    """Bring a run folder in, or bring what is there up to date: doing it twice changes nothing.

    Raises UserError naming file and line where the folder is no run folder or is damaged; nothing
    is kept of it then.
    """
    record = read_record(folder)
    metrics, samples, losses, histories, told = ([*lines_of(folder / name)] for name in LINES)
    evaluation, rates = (
        read_json(folder / name) if (folder / name).is_file() else {} for name in ("evaluation.json", "lr.json")
    )
    with writing(session):
        run = session.scalar(sa.select(Run).where(Run.key == str(record["id"])))
        if run is None:
            run = Run(key=str(record["id"]))
            session.add(run)
        base = record.get("base")
        manifest = (record.get("data") or {}).get("manifest") or {}
        run.name = str(record.get("name") or folder.resolve().name)
        run.state = str(record["state"])
        run.base = str(base.get("name") if isinstance(base, dict) else base)
        run.record, run.metrics, run.evaluation, run.rates = record, metrics, evaluation, rates
        run.started_at, run.ended_at = moment(record.get("started")), moment(record.get("ended"))
        run.version_id = session.scalar(
            sa.select(Version.id).where(Version.fingerprint == manifest.get("fingerprint", ""))
        )
        session.flush()
        pairs = pairs_of(session, run, (row["fingerprint"] for row in [*samples, *losses, *histories]))
        keep_samples(session, run, samples, pairs)
        keep_losses(session, run, losses, pairs)
        signals.keep(session, run, histories, told, pairs)
    return run


def pairs_of(session: Session, run: Run, fingerprints: Iterable[str]) -> dict[str, int]:
    """Return the pair of each fingerprint: as the run's version froze it, else as it stands or stood."""
    wanted = list(dict.fromkeys(fingerprints))
    found = history.find(session, wanted)
    if run.version_id:
        missing = set(wanted)
        places = sa.select(Line.fingerprint, VersionLine.pair_id).join_from(
            VersionLine, Line, Line.id == VersionLine.line_id
        )
        rows = session.execute(places.where(VersionLine.version_id == run.version_id).execution_options(yield_per=5000))
        found.update({fingerprint: pair_id for fingerprint, pair_id in rows if fingerprint in missing})
    return found


def keep_samples(session: Session, run: Run, rows: Sequence[dict[str, Any]], pairs: dict[str, int]) -> None:
    """Add the samples of a run, or bring them up to date; ratings of those that are there stay."""
    there = {(s.number, s.model): s for s in session.scalars(sa.select(Sample).where(Sample.run_id == run.id))}
    numbers: dict[str, int] = {}
    for row in rows:
        prompt = json.dumps([row["fingerprint"], row.get("decoding"), row.get("seed")], sort_keys=True)
        number = numbers.setdefault(prompt, len(numbers) + 1)
        sample = there.get((number, row["model"]))
        if sample is None:
            sample = there[number, row["model"]] = Sample(run_id=run.id, number=number, model=row["model"])
            session.add(sample)
        sample.fingerprint, sample.pair_id = row["fingerprint"], pairs.get(row["fingerprint"])
        sample.messages, sample.reference = row["messages"], row.get("reference", "")
        # A model may say anything, a NUL character included, which no database keeps.
        sample.text = row["text"].replace("\0", "\ufffd")
        sample.finish, sample.tokens = row.get("finish", "stop"), int(row.get("tokens", 0))
        sample.decoding, sample.seed = row.get("decoding") or {}, row.get("seed")


def keep_losses(session: Session, run: Run, rows: Sequence[dict[str, Any]], pairs: dict[str, int]) -> None:
    """Replace the per-line losses of a run."""
    session.execute(sa.delete(Loss).where(Loss.run_id == run.id))
    values = {
        row["fingerprint"]: {
            "run_id": run.id, "fingerprint": row["fingerprint"], "pair_id": pairs.get(row["fingerprint"]),
            "split": row.get("split", "train"), "tokens": int(row.get("tokens", 0)),
            "base_loss": float(row["base_loss"]), "tuned_loss": float(row["tuned_loss"]),
        }
        for row in rows
    }  # fmt: skip
    if values:
        session.execute(sa.insert(Loss), list(values.values()))


def read_record(folder: Path) -> dict[str, Any]:
    """Return run.json of a run folder."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Name a run folder, as in: flask import-run runs/kestrel")
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} is no run folder: it has no run.json. Make one with: python -m trainer run")
    record = read_json(folder / "run.json")
    missing = [key for key in ("id", "state") if not record.get(key)]
    if missing:
        raise UserError(f"{folder / 'run.json'} has no {missing[0]!r}. It was not written by the trainer.")
    if record["state"] not in STATES:
        raise UserError(
            f"{folder / 'run.json'} has the state {record['state']!r}, which is none of {', '.join(STATES)}. "
            "It was not written by the trainer."
        )
    return record


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file, or raise UserError naming the file and the place."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} can't be read: {error}. Run the training again, or mend the file.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object. It was not written by the trainer.")
    return value


def lines_of(path: Path, like: str = "") -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of LINES, or of one that is `like` it; nothing where there is no such file.

    Raises UserError naming the line that is no such object.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path} line {number} is not JSON: {error}. Run the training again.") from error
            for key, kind in LINES[like or path.name].items():
                if not isinstance(row, dict) or key not in row:
                    raise UserError(f"{path} line {number} has no {key!r}. Run the training again.")
                if not IS[kind](row[key]):
                    raise UserError(f"{path} line {number}: its {key!r} is not {kind}. Run the training again.")
            yield row


def is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)


def moment(value: Any) -> datetime | None:
    """Return a moment written in ISO 8601, in UTC where it names no zone; None where it is none."""
    try:
        read = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def waiting(session: Session, places: Iterable[Path]) -> list[Path]:
    """Return the run folders in these places that are not here yet, or changed since they were brought in."""
    known = {run.key: run.record for run in all(session)}
    found = []
    for place in places:
        for path in sorted(place.glob("*/run.json")) if place.is_dir() else []:
            try:
                record = read_record(path.parent)
            except UserError:
                continue  # half-written or not ours: the command says why when it is asked for
            if known.get(str(record["id"])) != record:
                found.append(path.parent)
    return found


def options(run: Run) -> dict[str, Any]:
    """Return the options that a run was trained with; none where its record does not say."""
    match run.record.get("config"):
        case {"resolved": dict() as resolved}:
            return resolved
    return {}


def trained_on(run: Run) -> str:
    """Return what a run of no version here was trained on, by the name of its file or folder; empty where unknown."""
    data = run.record.get("data")
    path = data.get("path") if isinstance(data, dict) else None
    return PurePath(path).name if isinstance(path, str) else ""


def learning_rate(run: Run) -> float | None:
    """Return the learning rate that a run was trained with, at its peak; None where its record does not say."""
    rate = options(run).get("learning_rate")
    return rate if isinstance(rate, int | float) else None


def comparison(run: Run) -> list[Measure]:
    """Return the numbers of base and tuned side by side, on the run's test split."""
    test = run.evaluation.get("test") or {}
    base, tuned = test.get("base") or {}, test.get("tuned") or {}
    found = []
    for name, title, direction in MEASURES:
        if isinstance(base.get(name), int | float) and isinstance(tuned.get(name), int | float):
            gain = (tuned[name] - base[name]) * (1 if direction == "higher" else -1)
            better = "tuned" if gain > 0 else "base" if gain < 0 else None
            intervals = intervals_of(run, name)
            chance = of_chance(run, name, intervals.get("change")) if better else ""
            found.append(Measure(name, title, base[name], tuned[name], None if chance else better, intervals, chance))
    return found


def intervals_of(run: Run, measure: str) -> dict[str, Interval]:
    """Return the intervals of a measure as evaluation.json has them, none where it has none."""
    found = {}
    for name, edges in (run.evaluation.get("intervals") or {}).items():
        pair = edges.get(measure) if isinstance(edges, dict) else None
        match pair:
            case [int() | float() as low, int() | float() as high]:
                found[str(name)] = Interval(low, high)
    return found


def of_chance(run: Run, measure: str, change: Interval | None) -> str:
    """Return in words why a change tells nothing, empty where it tells something or there is no interval."""
    if change is None:
        return ""
    lines = run.evaluation.get("n" if measure in OF_ALL_LINES else "answered")
    if isinstance(lines, int) and lines < ENOUGH_LINES:
        return "too few lines to tell"
    return "may be chance" if change.low <= 0 <= change.high else ""


def pairs_of_samples(run: Run) -> list[SideBySide]:
    """Return the prompts of a run in order, each with the answers of base and tuned."""
    rows: dict[int, dict[str, Sample]] = {}
    for sample in run.samples:
        rows.setdefault(sample.number, {})[sample.model] = sample
    found = []
    for number, by_model in sorted(rows.items()):
        some = next(iter(by_model.values()))
        system, earlier, question = taken_apart(some.messages)
        found.append(
            SideBySide(number, system, earlier, question, some.reference, by_model.get("base"),
                       by_model.get("tuned"), some.pair)
        )  # fmt: skip
    return found


def taken_apart(prompt: list[dict[str, str]]) -> tuple[str, list[dict[str, str]], str]:
    """Return the system message, the earlier turns and the question of a prompt."""
    system = prompt[0]["content"] if len(prompt) > 1 and prompt[0]["role"] == "system" else ""
    return system, prompt[1 if system else 0 : -1], prompt[-1]["content"] if prompt else ""
