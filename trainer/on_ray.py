"""A run whose processes Ray Train starts, on one machine or many. Knows Ray; what the processes do is as ever."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainer import Stopped, UserError, base, report
from trainer.config import RunConfig
from trainer.environment import SETTINGS, prepare_environment
from trainer.record import STOP, Record, choose_folder

SAID = "said.txt"  # by the first process
SECONDS = 0.5  # between two looks at it


def run(asked: RunConfig, address: str, workers: int | None, token: str | None = None) -> Path:
    """Do what `trainer.run.run` does in processes on a Ray cluster. Return the folder; raises UserError and Stopped."""
    from trainer import dataset

    folder = choose_folder(asked.output).absolute()
    data = Path(asked.data) if asked.data else dataset.newest_export()
    source = Path(asked.base)
    everywhere = replace(
        asked,
        data=str(data.absolute()),
        base=str(source.absolute()) if source.is_dir() else asked.base,
        output=str(folder),
    )
    launch(folder, {"command": "run", "config": asdict(everywhere), "token": token}, address, workers)
    return folder


def resume(folder: Path, address: str, workers: int | None, reported: Mapping[str, str | None] | None = None) -> Path:
    """Go on with a run in processes on a Ray cluster. Return its folder; raises UserError and Stopped."""
    Record.reopen(folder)  # a folder without a run is refused before a cluster is asked
    task = {"command": "resume", "folder": str(folder.absolute()), "reported": dict(reported or {})}
    launch(folder.absolute(), task, address, workers)
    return folder


def launch(folder: Path, task: dict[str, Any], address: str, workers: int | None) -> None:
    """Let the processes of a run do a task, and wait for them. The first signal asks them to save and stop."""
    with cluster(address) as resources:
        import ray.train
        from ray.train.torch import TorchTrainer

        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        count = workers or gpus or 1
        if count > (gpus or cores):
            there = f"{gpus} GPUs" if gpus else f"{cores} CPU cores"
            raise UserError(f"The Ray cluster has {there}, so it cannot take --workers {count}. Ask for fewer.")
        scratch = folder.with_name(f".{folder.name}-ray")  # of Ray's own, and as reachable as the run
        scratch.mkdir(parents=True, exist_ok=True)
        trainer = TorchTrainer(
            work,
            train_loop_config=task | {"cwd": os.getcwd(), "said": str(scratch / SAID)},
            scaling_config=ray.train.ScalingConfig(num_workers=count, use_gpu=gpus > 0),
            run_config=ray.train.RunConfig(name=scratch.name, storage_path=str(scratch.parent)),
        )
        (folder / STOP).unlink(missing_ok=True)
        try:
            told = waiting(trainer, folder, scratch / SAID)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            (folder / STOP).unlink(missing_ok=True)
    if "error" in told:
        raise UserError(told["error"])
    if "signal" in told:
        raise Stopped(told["signal"], told["words"])


def waiting(trainer: Any, folder: Path, said: Path) -> dict[str, Any]:
    """Say what the first process says, as it does, and return what it told at its end."""
    found: Future[dict[str, Any]] = Future()

    def fit() -> None:
        try:
            found.set_result(trainer.fit().return_value or {})
        except BaseException as error:
            found.set_exception(error)

    # Not in this thread, where Ray would take the signals, and end all processes at once.
    threading.Thread(target=fit, daemon=True).start()
    asked: int | None = None
    heard = 0
    while not found.done():
        try:
            wait([found], timeout=SECONDS)
            heard = pass_on(said, heard)
        except KeyboardInterrupt as stopped:
            if asked is not None or not folder.is_dir():
                raise
            asked = getattr(stopped, "signal", signal.SIGINT)
            (folder / STOP).touch()
            print("Stopping after this step, and saving it. Once more stops at once.", file=sys.stderr, flush=True)
    pass_on(said, heard)
    told = found.result()
    return told | {"signal": asked} if "signal" in told and asked is not None else told


def pass_on(said: Path, heard: int) -> int:
    """Say what was added to a file behind its first `heard` bytes; return how many there are now."""
    with contextlib.suppress(FileNotFoundError), said.open("rb") as file:
        file.seek(heard)
        words = file.read()
        print(words.decode("utf-8", "replace"), end="", file=sys.stderr, flush=True)
        heard += len(words)
    return heard


def work(task: dict[str, Any]) -> dict[str, Any]:
    """Be one process of a run. Return how it ended, where the user is to know."""
    with contextlib.suppress(OSError):  # paths in a run that goes on may lead from where it was started
        os.chdir(task["cwd"])
    prepare_environment()
    from trainer import ranks, run

    # Of what Ray would pass on by itself little is news to the user.
    said = open(task["said"] if ranks.is_first() else os.devnull, "w", buffering=1, encoding="utf-8")
    try:
        with said, contextlib.redirect_stderr(said):
            if task["command"] == "run":
                run.run(RunConfig(**task["config"]), task["token"])
            else:
                run.resume(Path(task["folder"]), **task["reported"])
    except UserError as error:
        return {"error": str(error)}
    except Stopped as stopped:
        return {"signal": int(stopped.signal), "words": str(stopped)}
    return {}


@contextlib.contextmanager
def cluster(address: str) -> Iterator[dict[str, float]]:
    """Join a Ray cluster, or start one here for "local", and leave it whatever happens. Yield what it has."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs a package that is not installed: pip install 'qa-curator[ray]'") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    environment = {
        **{name: os.environ.get(name, value) for name, value in SETTINGS.items()},  # Ray itself imports torch
        "CURATOR_HOME": str(base.home().absolute()),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it says everything twice
    }
    environment |= {name: os.environ[name] for name in [report.TOKEN] if name in os.environ}
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    options: dict[str, Any] = quiet | {"runtime_env": {"env_vars": environment}}
    if address == "local":
        options |= {"address": "local", "include_dashboard": False}
    else:
        knock(address)
        options |= {"address": address}
    ends = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
        signal.signal(signal.SIGTERM, ends)  # Ray has put one of its own in place, which ends all at once
    except (ConnectionError, ValueError) as error:
        raise UserError(f"There is no Ray cluster at {address}: {error}") from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def knock(address: str) -> None:
    """Raise UserError where nobody listens at HOST:PORT, for which Ray waits for ever."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address:  # "auto", which Ray knows by itself
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UserError(f"Nobody answers at {address}: {error}. Start Ray with: ray start --head") from None
