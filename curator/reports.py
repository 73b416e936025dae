"""Run folders that a trainer on another machine sends: piece by piece, each file checked before it is taken over.

A piece says which file it belongs to, at which place, and the sha256 that the file has when it is whole. So the same
piece may come twice, a file that grew is sent from where it grew, and what was cut off goes on where it was cut.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curator import exports, runs
from curator.errors import Conflict, UserError
from curator.models import Run

KEY = re.compile(r"[0-9a-f]{8,64}")  # a run's id, which names its folder here
SHA256 = re.compile(r"[0-9a-f]{64}")
PROGRESS = re.compile(r"progress/samples-\d{1,12}\.jsonl")
WEIGHTS = "adapter/adapter_model.safetensors"
TEXTS = {"adapter/chat_template.jinja", "adapter/README.md", "adapter/merges.txt"}
OBJECTS = {"run.json", "evaluation.json", "lr.json", "adapter/adapter_config.json", "adapter/tokenizer.json"}
OBJECTS |= {f"adapter/{name}.json" for name in ("tokenizer_config", "special_tokens_map", "added_tokens", "vocab")}
FOLLOWED = "metrics.jsonl"  # read from the folder while the run is at work
NOTE = "reported.json"  # ours: who sent it, when something came last, and what of it was brought in
SILENT_SECONDS = 90  # a trainer that has nothing new says so every quarter of a minute


class Behind(Conflict):
    """A piece does not go on where the file ends here: it has `there` bytes, and is to be sent from there."""

    def __init__(self, name: str, there: int) -> None:
        super().__init__(f"{name} has {there:,} bytes here. Send it from there.")
        self.there = there


def place_of(key: str, home: Path) -> Path:
    """Return the folder of a reported run. Raises UserError for what is no id of a run."""
    if not KEY.fullmatch(key):
        raise UserError(f"{key[:80]!r} is no id of a run, which has hexadecimal digits alone.")
    return home / "runs" / key


def files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the files of a run that are here whole: size and sha256 by name."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = path.relative_to(folder).as_posix()
        if path.is_file() and is_known(name):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                found[name] = {"size": file.tell(), "sha256": digest}
    return found


def is_known(name: str) -> bool:
    """Whether a run has a file of this name that may be sent: no other is ever written."""
    return name in runs.LINES or name in OBJECTS or name in TEXTS or name == WEIGHTS or bool(PROGRESS.fullmatch(name))


def receive(folder: Path, name: str, piece: bytes, *, at: int, size: int, sha256: str) -> int:
    """Put a piece of a file in its place, and return how much of the file is here.

    Once all of it is, it is checked and takes its name; until then what was there before stays. Raises Behind where the
    piece begins after what is here, UserError where the file is not one that the trainer writes.
    """
    if not is_known(name):
        raise UserError(f"{name[:80]!r} is not sent: a report holds what a run is read from, and safetensors.")
    if not SHA256.fullmatch(sha256) or not 0 <= at <= at + len(piece) <= size:
        raise UserError(f"The piece of {name} does not say where it belongs: {at=}, {size=}, sha256={sha256[:64]}.")
    if name != "run.json" and not (folder / "run.json").is_file():
        raise Conflict("Send run.json first: it says whose file that is.")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name.replace('/', '-')}-{sha256[:16]}.part"
    try:
        if not part.exists():
            copy_beginning(folder / name, part, at)
        with part.open("r+b") as file:
            there = file.seek(0, os.SEEK_END)
            if at > there:
                raise Behind(name, there)
            file.seek(at)
            file.truncate()
            file.write(piece)
            if file.tell() == size:
                file.flush()
                os.fsync(file.fileno())
        if at + len(piece) == size:
            settle(part, folder, name, sha256)
    except FileNotFoundError:  # another piece of the same file was the last one meanwhile
        raise Behind(name, 0) from None
    return at + len(piece)


def copy_beginning(whole: Path, part: Path, length: int) -> None:
    """Begin a new state of a file with as much of the old one as it has in common with it."""
    there = whole.stat().st_size if whole.is_file() else 0
    if length > there:
        raise Behind(whole.name, 0)
    with part.open("wb") as new:
        if length:
            with whole.open("rb") as old:
                new.write(old.read(length))


def settle(part: Path, folder: Path, name: str, sha256: str) -> None:
    """Give a file its name if it is what was announced, and one that the trainer writes."""
    with part.open("rb") as file:
        is_whole = hashlib.file_digest(file, "sha256").hexdigest() == sha256
    try:
        if not is_whole:
            raise Behind(name, 0)
        try:
            check(part, folder, name)
        except UserError as error:
            raise UserError(str(error).replace(str(part), name)) from error
    except UserError:
        part.unlink(missing_ok=True)
        if not (folder / "run.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / name).parent.mkdir(exist_ok=True)
    os.replace(part, folder / name)
    for old in folder.glob(f".{name.replace('/', '-')}-*.part"):
        old.unlink(missing_ok=True)


def check(part: Path, folder: Path, name: str) -> None:
    """Raise UserError where a file is not what its name says."""
    if name == "run.json":
        record = runs.read_json(part)
        if record.get("id") != folder.name or record.get("state") not in runs.STATES:
            raise UserError(f"{part} is not that of run {folder.name}. It was not written by the trainer.")
    elif name in OBJECTS:
        runs.read_json(part)
    elif name in runs.LINES or PROGRESS.fullmatch(name):
        for _ in runs.lines_of(part, like=name if name in runs.LINES else "samples.jsonl"):
            pass
    elif name in TEXTS:
        try:
            part.read_text("utf-8")
        except ValueError as error:
            raise UserError(f"{part} is no text: {error}.") from error
    elif not is_safetensors(part):
        raise UserError(f"{part} is not safetensors, and nothing else is taken for weights.")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object, and that.

    Source: https://github.com/huggingface/safetensors, Format.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 100_000_000:
            return False
        try:
            return isinstance(json.loads(file.read(length)), dict)
        except ValueError:
            return False


def hear(session: Session, folder: Path, by: str, *, is_over: bool) -> Run:
    """Note that a trainer was heard of, and bring in what came since: while it trains its record, then all of it.

    `is_over`: nobody trains there any more, whatever run.json says. Raises UserError where a file can't be read.
    """
    runs.read_record(folder)
    known = note_of(folder)
    run = runs.in_folder(session, folder)
    stands = standing(folder)
    if run is None or known.get("brought") != stands:
        run = runs.import_run(session, folder)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    note = {"by": by, "at": moment, "is_over": is_over, "brought": stands}
    exports.write_file([json.dumps(note, indent=2) + "\n"], folder / NOTE)
    return run


def standing(folder: Path) -> dict[str, list[int]]:
    """Return size and moment of the files that a run is read from; while it trains, of its record alone."""
    is_at_work = runs.read_record(folder)["state"] == "running"
    names = ["run.json"] if is_at_work else ["run.json", "evaluation.json", "lr.json", *runs.LINES]
    found = {name: (folder / name).stat() for name in names if (folder / name).is_file()}
    return {name: [facts.st_size, facts.st_mtime_ns] for name, facts in found.items()}


def note_of(folder: Path) -> dict[str, Any]:
    """Return what is noted of a reported run; nothing where the run is of this machine."""
    try:
        return runs.read_json(folder / NOTE) if (folder / NOTE).is_file() else {}
    except UserError:
        return {}


def is_reported(folder: Path) -> bool:
    """Whether the run of a folder trains on another machine."""
    return (folder / NOTE).is_file()


def is_heard(folder: Path) -> bool:
    """Whether a trainer on another machine was heard of a moment ago, and is at it."""
    note = note_of(folder)
    at = runs.moment(note.get("at"))
    is_recent = at is not None and (datetime.now(UTC) - at).total_seconds() < SILENT_SECONDS
    return is_recent and not note.get("is_over")
