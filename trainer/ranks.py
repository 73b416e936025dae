"""The processes of one run: how many, which this one is, and what they tell each other. Knows no model and no file.

`accelerate launch`, torchrun and Ray Train start one command several times and say so in the environment. Whatever one
process alone may fail at is done through `agree`, `together`, `first` or `shared`: then all of them fail alike, and
none waits for ever for one that is gone. In a run of one process they just do what they are asked.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from trainer import UserError

T = TypeVar("T")
Item = TypeVar("Item")

# Others may wait while one writes to a slow disk. One that has died is noticed at once: its connections are closed.
PATIENCE = timedelta(days=1)

_group: Any = None  # in which the processes talk, on the CPU whatever they train on


def count() -> int:
    return int(os.environ.get("WORLD_SIZE") or 1)


def index() -> int:
    return int(os.environ.get("RANK") or 0)


def is_first() -> bool:
    """Whether this is the process that writes, and speaks to the user."""
    return index() == 0


def count_here() -> int:
    """Return how many of the processes share this machine's cores and memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


def index_here() -> int:
    return int(os.environ.get("LOCAL_RANK") or 0)


def name() -> str:
    return f"process {index()} of {count()}, on {socket.gethostname()}"


def is_sharded() -> bool:
    """Whether the launcher asks for FSDP, which lays the weights in pieces over all processes."""
    return count() > 1 and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Let this process work with the others of its run. Raises UserError where they are launched in a way not known."""
    global _group
    if count() == 1 or _group is not None:
        yield
        return
    import torch
    import torch.distributed as dist

    if is_sharded() and os.environ.get("FSDP_VERSION") != "2":
        raise UserError("Of FSDP the second version is used here. Add to accelerate launch: --fsdp_version 2")
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        given = os.environ.get("ACCELERATE_TORCH_DEVICE")  # Ray says which one
        torch.cuda.set_device(given or f"cuda:{index_here() % torch.cuda.device_count()}")
    ours = not dist.is_initialized()  # Ray has it made
    if ours:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    _group = dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        _group = None
    if ours:  # after a fault it would wait for the others
        dist.destroy_process_group()


def gather(found: T) -> list[T]:
    """Return what each process brings, in their order. It is copied between them: no model, no tensor of a GPU.

    Raises UserError where one of them is gone.
    """
    if _group is None:
        return [found]
    import torch.distributed as dist

    brought: list[Any] = [None] * count()
    try:
        dist.all_gather_object(brought, found, group=_group)
    except RuntimeError as error:
        raise UserError(
            "Another process of the run has ended, and the rest cannot go on without it. Look at what it said, then go "
            "on from the last checkpoint with: python -m trainer resume"
        ) from error
    return brought


def together(act: Callable[[], T]) -> list[T]:
    """Return what each process finds by `act`, in their order. A fault of one is raised by all."""
    if _group is None:
        return [act()]
    found, fault = attempt(act)
    outcomes = gather((found, portable(fault)))
    raise_first([theirs for _, theirs in outcomes], fault)
    return [each for each, _ in outcomes]  # type: ignore[misc]


def agree(act: Callable[[], T]) -> T:
    """Return what this process finds by `act`, once all others have found theirs. A fault of one is raised by all."""
    if _group is None:
        return act()
    found, fault = attempt(act)
    raise_first(gather(portable(fault)), fault)
    return found  # type: ignore[return-value]


def first(act: Callable[[], T]) -> T:
    """Let the first process act, and return to all what it found. Its fault is raised by all."""
    return together(act if is_first() else lambda: None)[0]  # type: ignore[return-value]


def shared(items: Sequence[Item], act: Callable[[Sequence[Item]], Sequence[T]]) -> list[T]:
    """Return what `act` finds for each of the items, in their order; each process is asked a part of them."""
    if _group is None:
        return list(act(items))
    mine = items[index() :: count()]
    parts = together(lambda: list(act(mine)) if mine else [])
    found: list[Any] = [None] * len(items)
    for place, part in enumerate(parts):
        found[place :: count()] = part
    return found


def say(words: str) -> None:
    """Let the first process say something to the user."""
    if is_first():
        print(words, file=sys.stderr, flush=True)


# Faults


def attempt(act: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return act(), None
    except Exception as fault:
        return None, fault


def portable(fault: Exception | None) -> Exception | None:
    """Return a fault as it can be sent: one to be told to the user, or handled, as itself; others by their words."""
    if fault is None:
        return None
    kind = type(fault)
    if isinstance(fault, UserError) or kind.__module__.startswith("torch") or kind is RuntimeError:
        return kind(str(fault))
    return RuntimeError(f"{kind.__name__}: {fault}")


def raise_first(theirs: Sequence[Exception | None], own: Exception | None) -> None:
    """Raise the first fault of all processes, if there is one: everywhere, and told to the user by its own process."""
    place = next((place for place, fault in enumerate(theirs) if fault), None)
    if place is None:
        return
    fault = own if own and place == index() else theirs[place]
    assert fault
    raise to_be_told(fault, by_this=place == index())


def to_be_told(fault: Exception, *, by_this: bool) -> Exception:
    """Return a fault marked as one that this process tells the user of, or leaves to another."""
    fault.told_here = by_this  # type: ignore[attr-defined]
    return fault


def tells(fault: Exception) -> bool:
    """Return whether this process tells the user of a fault. The first one tells what all of them have alike."""
    return getattr(fault, "told_here", is_first())
