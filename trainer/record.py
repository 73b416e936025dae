"""The folder of a run: run.json first and replaced whole, then what the run brings. Knows no model."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
import platform
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer import UserError
from trainer.config import FilledConfig, RunConfig

RUNS = Path("runs")
STOP = "stop"  # a file in the folder of a run that asks it to stop, where no signal reaches it
NAMES = (
    "kestrel wren heron swift plover finch lapwing merlin curlew robin linnet osprey avocet dunlin siskin "
    "redstart goldcrest bittern sandpiper nuthatch"
).split()
SOFTWARE = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "tokenizers", "datasets")
TRIES, PAUSE_SECONDS = 10, 0.05  # who asks whether a run is at work holds its lock for a moment


def choose_folder(output: str | None) -> Path:
    """Return where a run will be kept: the folder asked for, else the first free name under runs/.

    Raises UserError where it holds something already, other than what find-lr put there. Makes nothing.
    """
    if output is None:
        names = (f"{name}-{n}" if n > 1 else name for n in range(1, 1000) for name in NAMES)
        return next(RUNS / name for name in names if not (RUNS / name).exists())
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(path.name != "lr.json" for path in folder.iterdir())):
        raise UserError(f"{folder} exists already. Choose another folder with -o, or take this one away.")
    return folder


def make_folder(output: str | None) -> Path:
    """Make the folder of a run and return it: a free name may have been taken since it was chosen. Raises UserError."""
    while True:
        folder = choose_folder(output)
        try:
            folder.mkdir(parents=True, exist_ok=output is not None)
        except OSError as error:
            if output is None and folder.exists():
                continue
            raise UserError(f"{folder} cannot be made: {error.strerror}. Choose another folder with -o.") from None
        return folder


def is_full(error: BaseException) -> bool:
    """Whether something could not be written since the disk is full: of safetensors, its words alone say so."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder of a run, so that no other process writes to it. Raises UserError where one does, or none is."""
    if os.name == "nt":
        yield
        return
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder} is no run: {error.strerror}. Start one with: python -m trainer run") from None
    try:
        for left in reversed(range(TRIES)):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not left:
                    raise UserError(
                        f"{folder} is at work in another process. Stop that first, or wait for it."
                    ) from None
                time.sleep(PAUSE_SECONDS)
        yield
    finally:
        os.close(handle)


def is_at_work(folder: Path) -> bool:
    """Whether a process trains into a folder: it is held by `alone`."""
    if os.name == "nt":
        return False
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal break off what takes a moment: where one ends a run, others often follow."""
    if threading.current_thread() is not threading.main_thread():  # which alone gets any
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Record:
    """A run as it is written down, used as a context: what ends the run is its last line.

    The state is running, then done; stopped after Ctrl-C; failed, with the error, after anything else.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = dict(facts)

    @classmethod
    def begin(cls, folder: Path, asked: RunConfig, resolved: FilledConfig, **facts: Any) -> Record:
        """Write run.json into the folder of a run, which is held by now: a crash leaves its trace."""
        record = cls(
            folder,
            {
                "id": secrets.token_hex(8),
                "name": folder.name,
                "state": "running",
                "config": {"asked": asdict(asked), "resolved": asdict(resolved)},
                "seed": resolved.seed,
                **facts,
                "software": software_versions(),
                "started": now(),
                "ended": None,
                "error": None,
            },
        )
        record.write()
        return record

    @classmethod
    def reopen(cls, folder: Path) -> Record:
        """Return the record of a run that did not come to its end. Raises UserError where there is none."""
        file = folder / "run.json"
        try:
            facts = json.loads(file.read_text("utf-8"))
            state = facts["state"]
            FilledConfig(**facts["config"]["resolved"])
            _ = facts["base"], facts["data"]["path"], facts["data"]["sha256"]
        except FileNotFoundError:
            raise UserError(
                f"{folder} is no run: it holds no run.json. Start one with: python -m trainer run"
            ) from None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from None
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{file} is not what this version writes: {type(error).__name__}: {error}. Put it back, or start "
                "another run with: python -m trainer run"
            ) from None
        if state == "done":
            raise UserError(
                f"{folder} is done: there is nothing to go on with. Start another with: python -m trainer run"
            )
        return cls(folder, facts)

    def go_on(self, step: int) -> None:
        """Note that the run goes on after a step, and forget what was noted of the steps behind it."""
        self.facts.setdefault("resumed", []).append({"at": now(), "step": step, "was": self.facts["state"]})
        self.facts |= {"state": "running", "ended": None, "error": None, "software": software_versions()}
        for left in [each for folder in (self.folder, self.folder / "progress") for each in folder.glob(".*.json*-*")]:
            left.unlink()  # of a process that was killed while it wrote
        self.keep_lines("metrics.jsonl", [line for line in self.metrics() if line["step"] <= step])
        self.write()

    def metrics(self) -> list[dict[str, Any]]:
        return list(self.lines("metrics.jsonl"))

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the objects of a file of the run; a last line that was broken off is none."""
        with contextlib.suppress(FileNotFoundError), (self.folder / name).open(encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.facts["state"] = "stopped"
        elif error is not None:
            words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self.facts |= {"state": "failed", "error": words}
        else:
            self.facts["state"] = "done"
        self.facts["ended"] = now()
        # On a full disk the sentence that says so is worth more than the record that cannot be written.
        with undisturbed(), contextlib.suppress(OSError) if error else contextlib.nullcontext():
            self.write()

    def write(self) -> None:
        write_json(self.folder / "run.json", self.facts)

    def note(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl, there to be read while the run goes on."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

    def keep(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one object as a file of the run."""
        write_json(self.folder / name, content)

    def keep_lines(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write objects, one a line, as a file of the run."""
        write_whole(self.folder / name, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines))


class Unwritten(Record):
    """The record of a run as the processes beside its first one have it: to be read, and written by the first."""

    def write(self) -> None:
        pass

    def note(self, metrics: Mapping[str, Any]) -> None:
        pass

    def keep(self, name: str, content: Mapping[str, Any]) -> None:
        pass

    def keep_lines(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        pass


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Replace a file so that a reader, or a power cut, finds all of the old text or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp lets nobody else read; a run is as open as the folder it lies in
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def software_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in SOFTWARE}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
