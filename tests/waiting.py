"""Waiting for what comes by itself: a job, a process. Only a fault waits for as long as it may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from flask import Flask

from curator import jobs
from curator.models import Job

SECONDS = 120  # for what comes in a few on a machine with nothing else to do
Found = TypeVar("Found")


def wait_until(is_so: Callable[[], Found], seconds: float = SECONDS) -> Found:
    """Return what is so, once it is."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def ended(app: Flask, number: int, seconds: float = SECONDS) -> Job:
    """Return a job once it has ended."""
    deadline = time.monotonic() + seconds
    while (job := jobs.get(app, number)).state in jobs.AT_WORK:
        assert time.monotonic() < deadline, (job.state, job.done, job.log)
        time.sleep(0.02)
    return job
