"""What a run goes on from: folders that are there whole or not at all. Knows files and tensors; no model, no trainer.

A checkpoint is written beside its place, flushed to the disk, and renamed; files.json, its last file, holds the
sha256 of each other one. So whatever ends a save, at any byte, the checkpoints before it stay good, and a reader can
tell. Tensors are in safetensors and the rest in JSON: nothing in a run's folder is code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import UserError
from trainer.record import is_full

FOLDER = "checkpoints"
MANIFEST = "files.json"
STATE = "state.json"
STAGING = ".saving-"

Tensors = Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole: where it is, the last step it has seen, and what is not a tensor."""

    path: Path
    step: int
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Any]:
        """Return the tensors saved under a name, on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.path / f"{name}.safetensors")


def save(run: Path, step: int, tensors: Mapping[str, Tensors], state: Mapping[str, Any]) -> Path:
    """Keep a step of a run: one safetensors file for each group of `tensors`, and `state` as JSON.

    Raises UserError where the disk is full or fails; the checkpoints that were there are as before.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder = run / FOLDER
    place = folder / f"step-{step:06d}"
    staging = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
        staging.chmod(0o755)  # mkdtemp lets nobody else read; a checkpoint is as open as its run
        for name, group in tensors.items():
            save_file(dict(group), staging / f"{name}.safetensors")
        write(staging / STATE, {"step": step, **state})
        write(staging / MANIFEST, {file.name: digest_of(file) for file in sorted(staging.iterdir())})
        for file in [*staging.iterdir(), staging]:
            flush(file)
        if place.exists():  # of a run that fell back behind it
            shutil.rmtree(place)
        staging.rename(place)
        flush(folder)
    except (OSError, SafetensorError) as error:
        raise UserError(failure(error, run, step)) from error
    finally:
        if staging is not None and staging.exists():
            shutil.rmtree(staging, ignore_errors=True)
    return place


def failure(error: Exception, run: Path, step: int) -> str:
    """Return what went wrong while saving, what is left, and what to do."""
    there = numbers(run / FOLDER)
    kept = f"That of step {max(there)} is whole" if there else "There is none before it"
    why, remedy = (f"the disk of {run}/ is full", "Make room") if is_full(error) else (str(error), "Mend that")
    return (
        f"The checkpoint of step {step} could not be saved, since {why}. {kept}. {remedy}, then go on with: "
        f"python -m trainer resume {run}"
    )


def write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def flush(path: Path) -> None:
    """Let nothing of a file, or of a folder's names, be in memory alone."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Take away what saves that were killed have left."""
    for left in folder.glob(f"{STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)


def numbers(folder: Path) -> list[int]:
    """Return the steps of which there is a checkpoint, whole or not, oldest first."""
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return sorted(int(name) for name in names if name.isdecimal())


def read(path: Path) -> Checkpoint:
    """Return a checkpoint. Raises ValueError with what is wrong with it, in words."""
    try:
        digests = json.loads((path / MANIFEST).read_text("utf-8"))
        if STATE not in digests:
            raise ValueError(f"{MANIFEST} does not name {STATE}")
        for name, digest in digests.items():
            if digest_of(path / name) != digest:
                raise ValueError(f"{name} is not as it was saved")
        state = json.loads((path / STATE).read_text("utf-8"))
        return Checkpoint(path, state["step"], state)
    except FileNotFoundError as error:
        raise ValueError(f"{Path(error.filename).name} is missing") from None
    except OSError as error:
        raise ValueError(f"{Path(error.filename or path).name} cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        raise ValueError(f"{MANIFEST} or {STATE} is not as it was saved") from None


def newest_whole(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest checkpoint that is whole, and why each newer one is not."""
    reasons: list[str] = []
    for step in reversed(numbers(run / FOLDER)):
        try:
            return read(run / FOLDER / f"step-{step:06d}"), reasons
        except ValueError as fault:
            reasons.append(f"The checkpoint of step {step} is not whole: {fault}.")
    return None, reasons


def read_step(run: Path, step: int) -> Checkpoint:
    """Return the checkpoint of a step. Raises UserError where it is gone or not whole."""
    try:
        return read(run / FOLDER / f"step-{step:06d}")
    except ValueError as fault:
        raise UserError(f"The checkpoint of step {step} in {run}/ is not whole: {fault}.") from None


def keep_only(run: Path, steps: Collection[int]) -> None:
    """Take away the checkpoints of all other steps. One taken away by half is never found whole."""
    for step in numbers(run / FOLDER):
        if step not in steps:
            path = run / FOLDER / f"step-{step:06d}"
            with contextlib.suppress(FileNotFoundError):
                (path / MANIFEST).unlink()
            shutil.rmtree(path, ignore_errors=True)


def keep_until(run: Path, step: int) -> None:
    """Take away the checkpoints behind a step, from which a run goes on: what is noted of their steps is no more."""
    keep_only(run, [each for each in numbers(run / FOLDER) if each <= step])


def remove_all(run: Path) -> None:
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# State that is not JSON by itself


def pack_optimizer(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an optimizer remembers as tensors by name and as JSON, the reverse of `unpack_optimizer`."""
    tensors = {
        f"{place}.{name}": value.full_tensor() if hasattr(value, "full_tensor") else value  # where FSDP has divided it
        for place, name, value in entries(state["state"])
        if hasattr(value, "shape")
    }
    rest = [[place, name, value] for place, name, value in entries(state["state"]) if not hasattr(value, "shape")]
    groups = [
        {name: {"tensor": value.item()} if hasattr(value, "shape") else value for name, value in group.items()}
        for group in state["param_groups"]
    ]
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {
        "rest": rest,
        "groups": groups,
    }


def entries(state: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[int, str, Any]]:
    for place, memory in state.items():
        for name, value in memory.items():
            yield place, name, value


def unpack_optimizer(tensors: Mapping[str, Any], packed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `load_state_dict` of an optimizer takes."""
    import torch

    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    for place, name, value in packed["rest"]:
        state.setdefault(int(place), {})[name] = value
    groups = [
        {name: torch.tensor(value["tensor"]) if isinstance(value, dict) else value for name, value in group.items()}
        for group in packed["groups"]
    ]
    return {"state": state, "param_groups": groups}
