"""Training started from a page: its plan, its process, how far it is, how it is stopped. Knows no torch and no table.

The trainer is a program of its own, and is started as one; nothing of it ever lies in the memory of the web app. It
goes on where the web app ends, and is found again: it holds a lock on its log, which ends with it however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from curator import exports, reports, runs, versions
from curator.errors import UserError

HERE = Path(__file__).parent.parent  # where `trainer` lies beside this package
TRAINER = [sys.executable, "-m", "trainer"]
POLL_SECONDS = 0.5
STOP_SECONDS = 600  # a step and a checkpoint of a large model take minutes; then it is ended at once
LAST_BYTES = 8_000  # of metrics, which have the newest step; a row has 300
LOG_BYTES = 12_000  # shown of the end of a log
RATES = "lr.json"  # what find-lr leaves in a folder
NO_TRAINER = "The trainer could not be started. Is it installed?"
PROMPT = "$ "  # before each command in a log
DRAWN = 300  # points of a curve; more are thinned out
USUAL = "as usual"
COMMAND = re.compile(r"\b(flask|python -m) \w")
NAME = re.compile(r"[^\W_][\w.-]{0,63}")


class Option(NamedTuple):
    """An option of the trainer as the form asks for it; the trainer itself says what is wrong with a value."""

    name: str
    title: str
    hint: str
    choices: Mapping[str, str] = MappingProxyType({})  # what the trainer takes, and what the form calls it


CHOICES = {
    "quantisation": {"": USUAL, "nf4": "4 bits (NF4)", "int8": "8 bits (INT8)", "none": "as it is"},
    "adapter": {"": USUAL, "lora": "LoRA", "rslora": "rsLoRA", "dora": "DoRA", "none": "none"},
    "schedule": {"": USUAL, **{name: name for name in ("cosine", "linear", "constant", "plateau")}},
}
FEW = (
    Option("epochs", "Epochs", "passes over the lines; empty: 3, or 12 for a small base"),
    Option("learning_rate", "Learning rate", "empty: by the width of the base"),
    Option("quantisation", "Base kept in", "4 bits take the least memory", CHOICES["quantisation"]),
)
MORE = (
    Option("adapter", "Adapter", "none trains all weights", CHOICES["adapter"]),
    Option("rank", "Rank", "empty: 16, or 64 for a narrow base"),
    Option("alpha", "Alpha", "empty: twice the rank"),
    Option("dropout", "Dropout", "share from 0 to below 1"),
    Option("batch_size", "Lines a step", "empty: 16"),
    Option("max_tokens", "Tokens of a line", "longer lines are left out; empty: 99.5\u00a0% fit"),
    Option("schedule", "Schedule", "of the learning rate", CHOICES["schedule"]),
    Option("patience", "Patience", "evaluations without gain; empty: 4"),
    Option("seed", "Seed", "empty: 1"),
)
TITLES = {"base": "Base", **{option.name: option.title for option in (*FEW, *MORE)}}
OPTIONS = ("base", *(option.name for option in (*FEW, *MORE)))


def export(session: Session, number: int, home: Path) -> Path:
    """Return the folder of a version's lines in CURATOR_HOME, written if it is not there yet."""
    folder = home / "exports" / f"version-{number}"
    frozen = versions.get(session, number)
    manifest = folder / "manifest.json"
    if not manifest.is_file() or runs.read_json(manifest).get("fingerprint") != frozen.fingerprint:
        exports.write_folder(session, number, folder)
    return folder


def exported(places: list[Path]) -> list[Path]:
    """Return the folders of exports in these places."""
    return [file.parent for place in places if place.is_dir() for file in sorted(place.glob("*/manifest.json"))]


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


def words(data: str, options: Mapping[str, str], output: str = "") -> list[str]:
    """Return the words after `run` or `plan` that mean these options."""
    found = [data, *(f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value)]
    return [*found, f"--output={output}"] if output else found


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


def in_words_of_the_form(said: str) -> str:
    """Return what the trainer says of its options with the names that the form has for them; commands stay as they are.

    Of the one that the form leaves out on purpose, it says where there is one.
    """

    def titled(found: re.Match[str]) -> str:
        title = TITLES.get(found[1].replace("-", "_"))
        if COMMAND.search(said[: found.start()].rpartition(": ")[2]):
            return found[0]
        return f"“{title}”" if title else f"{found[0]}, in a terminal" if found[1] == "force" else found[0]

    return re.sub(r"(?<!\S)--([a-z]+(?:-[a-z]+)*)", titled, said)


def asked_again(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that a run was asked for, as the form takes them; none where its record does not say."""
    match record:
        case {"config": {"asked": {"method": "sft", **asked}}}:
            given = {name: asked[name] for name in OPTIONS if isinstance(asked.get(name), str | int | float)}
            return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in given.items()}
    return {}


def spoken(name: str, value: str) -> str:
    """Return what the form calls a choice of an option."""
    return CHOICES[name].get(value, value)


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
    process = subprocess.Popen(
        [*TRAINER, *asked, f"--config={os.devnull}"],
        cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=env(),
    )  # fmt: skip
    with process:
        try:
            while True:
                on_wait()
                try:
                    return process.communicate(timeout=POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            raise


def begin(folder: Path, data: str, options: Mapping[str, str], rates: Mapping[str, Any] | None = None) -> None:
    """Start to train into a folder, or to go on with the run that is there. `rates` is how its learning rate was found.

    Nothing is started where that was done before and nobody saw its end yet. Raises UserError where another process
    trains there.
    """
    if marker_of(folder).exists():
        return
    at_work = UserError(f"{folder} is at work in another process. Stop that first, or wait for it.")
    if is_at_work(folder):
        raise at_work
    goes_on = (folder / "run.json").is_file()
    asked = ["resume", str(folder)] if goes_on else ["run", *words(data, options, str(folder))]
    if not goes_on:
        asked.append(f"--config={os.devnull}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if rates and not goes_on:
        folder.mkdir(exist_ok=True)
        exports.write_file([json.dumps(rates)], folder / RATES)
    with log_of(folder).open("ab") as log:
        if not hold(log.fileno()):
            raise at_work
        log.write(f"{PROMPT}{shlex.join(['python', '-m', 'trainer', *asked])}\n".encode())
        log.flush()
        children[folder] = process = subprocess.Popen(
            [*TRAINER, *asked], cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env(),
            start_new_session=True,  # Ctrl-C is for the web app alone
        )  # fmt: skip
    marker_of(folder).write_text(str(process.pid))


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
    last = metrics_of(folder, LAST_BYTES)[-1:]  # of the end alone: it is asked twice a second, and runs take days
    return Now(last[0]["step"] if last else 0, steps_of(record), bool(record))


def steps_of(record: Mapping[str, Any]) -> int | None:
    steps = ((record.get("plan") or {}).get("predicted") or {}).get("steps")
    return steps if isinstance(steps, int) else None


def stop(folder: Path) -> None:
    """End a run after its step, with a checkpoint to go on from, and wait for that."""
    began, asked = time.monotonic(), False
    while is_at_work(folder):
        late = time.monotonic() - began > STOP_SECONDS
        if not asked or late:
            send(folder, signal.SIGKILL if late and hasattr(signal, "SIGKILL") else signal.SIGTERM)
            asked = True
        time.sleep(0.1)
    let_go(folder)


def send(folder: Path, what: int) -> None:
    """Send a signal to the process of a run; its lock is held, so the number is still that of no other one."""
    try:
        os.kill(int(marker_of(folder).read_text()), what)
    except (OSError, ValueError):
        return


def let_go(folder: Path) -> None:
    """Forget the process of a run, which has ended."""
    marker_of(folder).unlink(missing_ok=True)
    if child := children.pop(folder, None):
        child.wait()


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


def last_error(said: str) -> str:
    """Return what a program complained of at its end, of the last command in a log."""
    return ("\n" + f"\n{said}".rpartition(f"\n{PROMPT}")[2]).partition("\nError: ")[2].strip()


# What stands on the disk


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


def folder_of(key: str, places: list[Path]) -> Path | None:
    """Return the folder of the run with this id, None where it lies elsewhere."""
    files = (file for place in places if place.is_dir() for file in sorted(place.glob("*/run.json")))
    return next((file.parent for file in files if str(record_of(file.parent).get("id")) == key), None)


def thinned(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return so many of the metrics that a curve can be drawn in a moment: each evaluation, and steps between."""
    each = len(metrics) // DRAWN + 1
    return [row for place, row in enumerate(metrics) if "eval_loss" in row or (len(metrics) - 1 - place) % each == 0]


def answers_of(folder: Path) -> tuple[int, list[dict[str, Any]]] | None:
    files = sorted((folder / "progress").glob("samples-*.jsonl")) if (folder / "progress").is_dir() else []
    if not files:
        return None
    return int(re.sub(r"\D", "", files[-1].stem) or 0), lines_of(files[-1])


def metrics_of(folder: Path, most: int | None = None) -> list[dict[str, Any]]:
    return [row for row in lines_of(folder / "metrics.jsonl", most) if isinstance(row.get("step"), int)]


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


def record_of(folder: Path) -> dict[str, Any]:
    """Return run.json, nothing where it is not there yet."""
    try:
        return runs.read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    except UserError:
        return {}


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


# Whether a process is at it

children: dict[Path, subprocess.Popen[bytes]] = {}  # those that this process started, to be waited for at their end


def is_at_work(folder: Path) -> bool:
    """Whether a process trains into a folder, one that was started here, in a terminal, or on another machine."""
    if reports.is_reported(folder):
        return record_of(folder).get("state") == "running" and reports.is_heard(folder)
    return is_held(log_of(folder)) or (record_of(folder).get("state") == "running" and is_held(folder))


def hold(handle: int) -> bool:
    """Lock an open file, for as long as it or a copy of it in another process is open; return whether nobody else does.

    Who asks whether it is held holds it for a moment, so this is tried again for half a second.
    """
    if os.name == "nt":
        return True
    import fcntl

    for _ in range(10):
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of a file or folder."""
    if os.name == "nt":
        folder = path.with_suffix("")
        return folder in children and children[folder].poll() is None
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def env() -> dict[str, str]:
    return os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
