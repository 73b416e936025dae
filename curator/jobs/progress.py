"""How far a job is, kept where everybody can see it, and whether it is to go on. Knows no queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from sqlalchemy.orm import Session

from curator.models import Job, writing

SECONDS_BETWEEN_NOTES = 0.25


class Cancelled(Exception):
    """Somebody asked for the job to stop. Raised inside its work, so that its transaction is rolled back."""


class Left(Exception):
    """This process ends, and what the job follows goes on without it."""


@dataclass
class Progress:
    """Keeps how far a job is, and stops it where somebody asked for that."""

    sessions: Callable[[], Session]
    job_id: int
    leaving: Event | None = None  # set where the process ends, of work that goes on without it
    began: float = field(default_factory=time.monotonic)
    noted: float = 0.0
    message: str = ""
    first: int = 0  # what was done when this part of the work was first heard of

    def __call__(self, done: int, total: int | None = None, message: str = "") -> None:
        """Take note, a few times a second at most. Raises Cancelled, and Left."""
        if self.leaving and self.leaving.is_set():
            raise Left
        moment = time.monotonic()
        if moment - self.noted < SECONDS_BETWEEN_NOTES and message == self.message:
            return
        if message != self.message:
            if self.message:  # the next part of the work goes at a pace of its own, known from the second note on
                self.began, self.first = moment, done
            self.message = message
        self.noted = moment
        rate = (done - self.first) / max(moment - self.began, 1e-3)
        with self.sessions() as session, writing(session):
            job = session.get_one(Job, self.job_id)
            job.done, job.total, job.rate, job.message = done, total, rate, message
        if job.is_cancel_asked:
            raise Cancelled
