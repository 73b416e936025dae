"""The process of a run: how it is started, whether it is there, how it is ended. Knows locks and signals.

The trainer is a program of its own, and is started as one; nothing of it ever lies in the memory of the web app. It
goes on where the web app ends, and is found again: it holds a lock on its log, which ends with it however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curator import exports, reports
from curator.errors import UserError
from curator.training.folder import PROMPT, RATES, log_of, marker_of, record_of
from curator.training.form import words

HERE = Path(__file__).parents[2]  # where `trainer` lies beside this package
TRAINER = [sys.executable, "-m", "trainer"]
STOP_SECONDS = 600  # a step and a checkpoint of a large model take minutes; then it is ended at once

children: dict[Path, subprocess.Popen[bytes]] = {}  # those that this process started, to be waited for at their end


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
