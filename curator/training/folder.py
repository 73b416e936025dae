"""What stands in the folder of a run and beside it, and where runs and exports lie. Knows no process and no table."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curator import runs
from curator.errors import UserError

LAST_BYTES = 8_000  # of metrics, which have the newest step; a row has 300
LOG_BYTES = 12_000  # shown of the end of a log
RATES = "lr.json"  # what find-lr leaves in a folder
PROMPT = "$ "  # before each command in a log
DRAWN = 300  # points of a curve; more are thinned out
NAME = re.compile(r"[^\W_][\w.-]{0,63}")


def exported(places: list[Path]) -> list[Path]:
    """Return what was exported to these places: folders with their manifest, then files of lines, by name."""
    there = [place for place in places if place.is_dir()]
    folders = [file.parent for place in there for file in sorted(place.glob("*/manifest.json"))]
    return [*folders, *(file for place in there for file in sorted(place.glob("*.jsonl")))]


def checked_name(name: str, home: Path) -> Path:
    """Return the folder of a new run. Raises UserError where its name is none, or taken."""
    if not NAME.fullmatch(name):
        raise UserError(f"The name {name!r} can't be a folder's. Use letters, digits, dots and hyphens, 64 at most.")
    folder = home / "runs" / name
    if folder.exists() and (not folder.is_dir() or any(path.name != RATES for path in folder.iterdir())):
        raise UserError(f"There is a run {name} already. Choose another name.")
    return folder


def free_name(home: Path) -> str:
    """Return the first name of a run that is not taken."""
    return next(name for number in range(1, 100_000) if not (home / "runs" / (name := f"run-{number}")).exists())


def folder_of(key: str, places: list[Path]) -> Path | None:
    """Return the folder of the run with this id, None where it lies elsewhere."""
    files = (file for place in places if place.is_dir() for file in sorted(place.glob("*/run.json")))
    return next((file.parent for file in files if str(record_of(file.parent).get("id")) == key), None)


def record_of(folder: Path) -> dict[str, Any]:
    """Return run.json, nothing where it is not there yet."""
    try:
        return runs.read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    except UserError:
        return {}


def steps_of(record: Mapping[str, Any]) -> int | None:
    steps = ((record.get("plan") or {}).get("predicted") or {}).get("steps")
    return steps if isinstance(steps, int) else None


def metrics_of(folder: Path, most: int | None = None) -> list[dict[str, Any]]:
    return [row for row in lines_of(folder / "metrics.jsonl", most) if isinstance(row.get("step"), int)]


def thinned(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return so many of the metrics that a curve can be drawn in a moment: each evaluation, and steps between."""
    each = len(metrics) // DRAWN + 1
    return [row for place, row in enumerate(metrics) if "eval_loss" in row or (len(metrics) - 1 - place) % each == 0]


def answers_of(folder: Path) -> tuple[int, list[dict[str, Any]]] | None:
    files = sorted((folder / "progress").glob("samples-*.jsonl")) if (folder / "progress").is_dir() else []
    if not files:
        return None
    return int(re.sub(r"\D", "", files[-1].stem) or 0), lines_of(files[-1])


def lines_of(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    """Return the objects of a file that is being written to, or of its last bytes; a part of a line is none."""
    found = []
    for line in end_of(path, most).splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def log_of(folder: Path) -> Path:
    """Return where the words of a run's process go: beside its folder, which the trainer wants to make itself."""
    return folder.with_name(f"{folder.name}.log")


def marker_of(folder: Path) -> Path:
    """Return the file with the number of a run's process, there until somebody saw its end."""
    return folder.with_name(f"{folder.name}.pid")


def log_end(folder: Path) -> str:
    """Return the end of what the process of a run said."""
    return end_of(log_of(folder), LOG_BYTES)


def end_of(path: Path, most: int | None) -> str:
    """Return the text of a file, or of its last bytes; empty where it can't be read."""
    try:
        with path.open("rb") as file:
            if most is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def last_error(said: str) -> str:
    """Return what a program complained of at its end, of the last command in a log."""
    return ("\n" + f"\n{said}".rpartition(f"\n{PROMPT}")[2]).partition("\nError: ")[2].strip()
