"""What the trainer is asked before a run: what it would do, and which learning rate suits. Waits for its answer."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curator import exports, runs, versions
from curator.errors import UserError
from curator.training import process
from curator.training.folder import RATES, last_error
from curator.training.form import in_words_of_the_form, words

WAIT_SECONDS = 0.5
NO_TRAINER = "The trainer could not be started. Is it installed?"


def export(session: Session, number: int, home: Path) -> Path:
    """Return the folder of a version's lines in CURATOR_HOME, written if it is not there yet."""
    folder = home / "exports" / f"version-{number}"
    frozen = versions.get(session, number)
    manifest = folder / "manifest.json"
    if not manifest.is_file() or runs.read_json(manifest).get("fingerprint") != frozen.fingerprint:
        exports.write_folder(session, number, folder)
    return folder


def plan(data: Path, options: Mapping[str, str], on_wait: Callable[[], object]) -> dict[str, Any]:
    """Return what the trainer says a run would do. `on_wait` is called while it thinks; what it raises ends it.

    Raises UserError with what speaks against it where there is no plan at all.
    """
    said, complaint = answer(["plan", *words(str(data), options), "--json"], on_wait)
    if not said.strip():
        raise UserError(in_words_of_the_form(last_error(complaint)) or NO_TRAINER)
    made: dict[str, Any] = json.loads(said)
    made["left_out"] = len(made.get("left_out", ()))
    for finding in made["findings"]:
        finding["words"] = in_words_of_the_form(finding["words"])
        finding["number"], finding["lines"] = len(finding["lines"]), finding["lines"][:10]
    made["findings"].sort(key=lambda finding: finding["level"] != "stop")
    return made


def find_rate(data: Path, options: Mapping[str, str], folder: Path, on_wait: Callable[[], object]) -> dict[str, Any]:
    """Let the trainer try learning rates, and return lr.json, which it leaves in a new folder; see `plan`."""
    others = {name: value for name, value in options.items() if name != "learning_rate"}
    _, complaint = answer(["find-lr", *words(str(data), others, str(folder))], on_wait)
    if not (folder / RATES).is_file():
        raise UserError(in_words_of_the_form(last_error(complaint)) or NO_TRAINER)
    return runs.read_json(folder / RATES)


def answer(asked: Sequence[str], on_wait: Callable[[], object]) -> tuple[str, str]:
    """Run a command of the trainer to its end, and return what it printed and what it said beside that.

    `on_wait` is called twice a second; what it raises ends the command.
    """
    asking = subprocess.Popen(
        [*process.TRAINER, *asked, f"--config={os.devnull}"],
        cwd=process.HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        env=process.env(),
    )  # fmt: skip
    with asking:
        try:
            while True:
                on_wait()
                try:
                    return asking.communicate(timeout=WAIT_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            asking.kill()
            raise
