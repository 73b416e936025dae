"""How a run stands: what its folder tells, and whether a process is at it. Starts and ends nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from curator import reports
from curator.errors import UserError
from curator.training.folder import (
    LAST_BYTES,
    answers_of,
    last_error,
    log_end,
    metrics_of,
    record_of,
    steps_of,
    thinned,
)
from curator.training.form import in_words_of_the_form
from curator.training.process import is_at_work, let_go

POLL_SECONDS = 0.5


class Now(NamedTuple):
    """How far a run is."""

    step: int
    steps: int | None
    is_recorded: bool  # it has its run.json


def follow(folder: Path) -> Iterator[Now]:
    """Yield how far a run is, twice a second, until its process has ended."""
    while is_at_work(folder):
        yield now(folder)
        time.sleep(POLL_SECONDS)
    let_go(folder)
    yield now(folder)


def now(folder: Path) -> Now:
    record = record_of(folder)
    # Of the end alone: it is asked twice a second, and runs take days.
    last = metrics_of(folder, LAST_BYTES)[-1:]
    return Now(last[0]["step"] if last else 0, steps_of(record), bool(record))


def came_of(folder: Path) -> str:
    """Return in a sentence what came of a run. Raises UserError where it did not come to its end."""
    record = record_of(folder)
    if record.get("state") == "done":
        return f"Run {record.get('name') or folder.name} is trained, and measured beside its base."
    raise UserError(last_words(folder))


def last_words(folder: Path) -> str:
    """Say why a run is not at work any more."""
    record = record_of(folder)
    if error := last_error(log_end(folder)):
        return error
    if record.get("state") == "stopped":
        return f"Stopped after step {now(folder).step}, with a checkpoint to go on from."
    if record.get("state") == "failed":
        return str(record.get("error") or "It failed.")
    note = reports.note_of(folder)
    if note and not note.get("is_over"):
        return "Nothing comes from its machine any more, which may be off or cut off. If it trains, the rest comes."
    if record:
        return "Its process ended too soon: it was killed, or memory ran out."
    return "Its process ended before it began to train. Its log may say why."


@dataclass(frozen=True)
class Live:
    """A run as its folder tells it now."""

    folder: Path
    state: str  # running, stopped, failed, done; interrupted: it says running, and no process is at it
    error: str
    steps: int | None
    metrics: list[dict[str, Any]]
    answers: tuple[int, list[dict[str, Any]]] | None  # the step, and what was answered after it
    log: str
    is_elsewhere: bool  # on another machine, which reports it
    has_checkpoint: bool  # to go on from
    last: dict[str, Any] = field(default_factory=dict)


def live(folder: Path) -> Live:
    """Return how a run stands."""
    record = record_of(folder)
    is_running = is_at_work(folder)
    state = str(record.get("state", "running"))
    if is_running:
        state = "running"
    elif state == "running":
        state = "interrupted"
    metrics = metrics_of(folder)
    error = "" if state in ("running", "done") else in_words_of_the_form(last_words(folder))
    has_checkpoint = any((folder / "checkpoints").glob("*/"))
    return Live(folder, state, error, steps_of(record), thinned(metrics), answers_of(folder), log_end(folder),
                reports.is_reported(folder), has_checkpoint, metrics[-1] if metrics else {})  # fmt: skip
