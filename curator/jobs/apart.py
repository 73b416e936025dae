"""A job in a process of its own, so that pages have their Python to themselves. Knows no queue and no table.

Python runs one thread at a time. Beside a thread that reads a file, each step of a save waited its five milliseconds,
and one that held the writer's turn held it ten times as long. What the process writes down, it writes as a thread
would: nobody else can tell the difference. One that is killed, as where memory runs out, takes no server with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from threading import Thread
from typing import Any


class Died(Exception):
    """The process ended before its time, or never began; says why in a sentence."""


def call(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process, and return what it returns; fit for pickle, as the arguments are.

    The process ends with this one, however that ends. Raises Died where it ends before its time.
    """
    # Not forked: this process has threads, and a lock that one of them holds would stay locked.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=live, args=(theirs, work, arguments), daemon=True)
    try:
        process.start()
    except OSError as error:
        raise Died(f"No process could be started for it: {error.strerror}. Nothing was changed.") from error
    theirs.close()
    try:
        return ours.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise Died(f"{ended(process.exitcode)} Nothing was left half-done.") from None
    finally:
        ours.close()
        process.join()


def ended(status: int | None) -> str:
    """Say how a process ended that did not come to its end."""
    if status == -getattr(signal, "SIGKILL", 0):
        return "Its process was killed, as happens where memory runs out."
    return f"Its process ended before its time ({status})."


def live(place: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Do the work of the process, as long as the one that started it lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for that one, and both get it
    Thread(target=end_with, args=(place,), daemon=True).start()
    place.send(work(*arguments))


def end_with(place: Any) -> None:
    """End at once when nobody holds the other end; what was not committed is as if it had never been."""
    place.poll(None)  # nothing ever comes but the end
    os._exit(1)
