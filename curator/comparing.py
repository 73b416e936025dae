"""Runs side by side: what was asked of each, what they were measured at, and what they answered to the same prompts.

Measures are compared on the same test rows alone. Reads what `runs` keeps, and writes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import runs
from curator.errors import UserError
from curator.models import Loss, Run, Sample
from curator.runs import ENOUGH_LINES, Interval

MOST = 6  # runs on one page: more columns are not read
DRAWS = 1000  # of the rows, for an interval
CHUNK = 2_000_000  # rows drawn at once
PLACES = {"data", "output", "report_to", "config", "tracker", "threads"}  # tell where, not how


class Setting(NamedTuple):
    """What runs differ in, with the words of each run."""

    title: str
    values: list[str]


class Number(NamedTuple):
    """A measure of one run; `verdict` says in words what it is beside the first run's."""

    value: float
    interval: Interval | None
    verdict: str


class Measured(NamedTuple):
    """A measure of all runs."""

    name: str
    title: str
    numbers: list[Number]


class Prompt(NamedTuple):
    """A prompt that all runs were asked, with the answer of each tuned model."""

    system: str
    history: list[dict[str, str]]
    question: str
    reference: str
    answers: list[Sample]

    @property
    def is_same(self) -> bool:
        """Whether all runs said the same."""
        return len({answer.text for answer in self.answers}) == 1


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, the first being the one that the others are compared with."""

    runs: list[Run]
    settings: list[Setting]
    rows: int  # test rows, of the same text, that all runs were measured on
    is_same_test: bool  # whether that are all rows of each
    has_one_base: bool
    measures: list[Measured]
    prompts: list[Prompt]


def compare(session: Session, ids: Sequence[int], first: int | None = None) -> Comparison:
    """Return runs side by side, from the oldest to the newest, or behind the one that is to be `first`.

    Raises UserError for fewer than two runs or more than MOST, NotFound for one that is not there.
    """
    wanted = list(dict.fromkeys(ids))
    if len(wanted) < 2:
        raise UserError("One run has nothing to be compared with. Tick two runs at least.")
    if len(wanted) > MOST:
        raise UserError(f"{len(wanted)} runs are too many to be read side by side. Tick {MOST} at most.")
    found = [runs.get(session, number) for number in wanted]
    found.sort(key=lambda run: (run.id != first, run.started_at is not None, run.started_at, run.id))
    losses = [test_losses(session, run) for run in found]
    common = sorted(set.intersection(*(set(each) for each in losses)))
    is_same = bool(common) and not any(len(each) != len(common) for each in losses)
    measures = [perplexities(losses, common)] if common else []
    if is_same:
        measures += [one for one in whole_measures(found) if one.name != "perplexity"]
    has_one_base = len({base_of(run) for run in found}) == 1
    return Comparison(found, settings(found), len(common), is_same, has_one_base, measures, prompts(found))


def test_losses(session: Session, run: Run) -> dict[str, tuple[float, int]]:
    """Return loss and tokens of each test row of a run, by its fingerprint."""
    rows = sa.select(Loss.fingerprint, Loss.tuned_loss, Loss.tokens)
    return {
        fingerprint: (loss, tokens)
        for fingerprint, loss, tokens in session.execute(rows.where(Loss.run_id == run.id, Loss.split == "test"))
    }


def perplexities(losses: Sequence[dict[str, tuple[float, int]]], common: Sequence[str]) -> Measured:
    """Return the perplexity of each run on the rows that all have, with intervals of it and of its change.

    Both are drawn from the same rows at once, so that rows that are hard for all do not blur what changed.
    """
    import numpy as np

    each = np.array([[one[row][0] for row in common] for one in losses])
    tokens = np.array([[max(one[row][1], 1) for row in common] for one in losses], float)

    def of(weights: Any) -> Any:
        """The perplexities of runs, by draws, where each row counts `weights` times."""
        return np.exp(np.minimum((weights @ (each * tokens).T) / (weights @ tokens.T), 700))

    values = of(np.ones((1, len(common))))[0]
    generator, drawn, at_once = np.random.default_rng(1), [], max(1, CHUNK // len(common))
    for begin in range(0, DRAWS, at_once):
        number = min(at_once, DRAWS - begin)
        drawn.append(
            of(generator.multinomial(len(common), np.full(len(common), 1 / len(common)), number).astype(float))
        )
    draws = np.concatenate(drawn)
    numbers = []
    for place, value in enumerate(values):
        interval = Interval(*(float(edge) for edge in np.percentile(draws[:, place], [2.5, 97.5])))
        change = Interval(*(float(edge) for edge in np.percentile(draws[:, place] - draws[:, 0], [2.5, 97.5])))
        verdict = "" if place == 0 else told(change, len(common), "lower")
        numbers.append(Number(float(value), interval, verdict))
    return Measured("perplexity", "Perplexity", numbers)


def told(change: Interval, rows: int, better: str) -> str:
    """Say what a change amounts to, of which the interval is known."""
    if change.low == change.high == 0:
        return "same"
    if rows < ENOUGH_LINES:
        return "too few rows to tell"
    if change.low <= 0 <= change.high:
        return "may be chance"
    return "better" if (change.low > 0) == (better == "higher") else "worse"


def whole_measures(found: Sequence[Run]) -> list[Measured]:
    """Return the measures that evaluation.json of each run has, of the tuned model."""
    by_name = [{one.name: one for one in runs.comparison(run)} for run in found]
    measured = []
    for name, title, better in runs.MEASURES:
        if any(name not in each for each in by_name):
            continue
        first, numbers = by_name[0][name], []
        for run, each in zip(found, by_name, strict=True):
            measure = each[name]
            interval = measure.intervals.get("tuned")
            lines = run.evaluation.get("n" if name in runs.OF_ALL_LINES else "answered")
            verdict = "" if run is found[0] else apart(first, measure, better, lines)
            numbers.append(Number(measure.tuned, interval, verdict))
        measured.append(Measured(name, title, numbers))
    return measured


def apart(first: runs.Measure, measure: runs.Measure, better: str, lines: Any) -> str:
    """Say what a change amounts to where only the interval of each number is known: some only if these lie apart.

    That is stricter than the interval of the change would be, as the rows are the same.
    """
    if measure.tuned == first.tuned:
        return "same"
    one, other = first.intervals.get("tuned"), measure.intervals.get("tuned")
    if one is None or other is None:
        return "higher" if measure.tuned > first.tuned else "lower"
    if isinstance(lines, int) and lines < ENOUGH_LINES:
        return "too few rows to tell"
    if one.low <= other.high and other.low <= one.high:
        return "may be chance"
    return "better" if (measure.tuned > first.tuned) == (better == "higher") else "worse"


def settings(found: Sequence[Run]) -> list[Setting]:
    """Return what the runs differ in: base, data and options."""
    rows = [
        Setting("Base", [run.base for run in found]),
        Setting("Weights of the base", [facts(run, "base", "weights_sha256")[:12] for run in found]),
        Setting("Version", [str(run.version_id or "") for run in found]),
        Setting("Data", ends([facts(run, "data", "path") for run in found])),
        Setting("Sha256 of the data", [facts(run, "data", "sha256")[:12] for run in found]),
        Setting("Lines to train", [facts(run, "lines", "train") for run in found]),
        Setting("Device", [facts(run, "device", "name") for run in found]),
    ]
    options = [runs.options(run) for run in found]
    for name in sorted({name for each in options for name in each} - PLACES - {"base"}):
        rows.append(Setting(name.replace("_", " ").capitalize(), [spoken(each.get(name)) for each in options]))
    return [row for row in rows if len(set(row.values)) > 1]


def ends(paths: list[str]) -> list[str]:
    """Return the last two parts of each path, or the whole paths where these would not tell them apart."""
    short = ["/".join(PurePath(path).parts[-2:]) for path in paths]
    return short if len(set(short)) == len(set(paths)) else paths


def facts(run: Run, part: str, name: str) -> str:
    """Return what the record of a run says, empty where it says nothing."""
    found = run.record.get(part)
    return spoken(found.get(name)) if isinstance(found, dict) else ""


def spoken(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)


def base_of(run: Run) -> str:
    return facts(run, "base", "weights_sha256") or run.base


def prompts(found: Sequence[Run]) -> list[Prompt]:
    """Return the prompts that all runs were asked, messages and reference alike, as the first run has them."""
    said = [answers(run) for run in found]
    asked = []
    for key, sample in said[0].items():
        if not any(key not in each for each in said):
            system, history, question = runs.taken_apart(sample.messages)
            asked.append(Prompt(system, history, question, sample.reference, [each[key] for each in said]))
    return asked


def answers(run: Run) -> dict[str, Sample]:
    """Return what the tuned model of a run answered, by prompt and reference; the first time where it did twice."""
    found: dict[str, Sample] = {}
    for sample in run.samples:
        if sample.model == "tuned":
            found.setdefault(json.dumps([sample.messages, sample.reference], sort_keys=True), sample)
    return found
