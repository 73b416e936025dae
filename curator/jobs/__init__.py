"""Long work: queued, run one after the other by a thread of the web process, followed, cancelled, started again.

Training has a queue and a thread of its own: it takes hours, and an import waits for none of it. Its process goes on
where the web process ends, and the job finds it again.

`kinds` knows which noun does which kind of work; nobody here knows a request or a command. What keeps Python busy from
end to end has a process of its own, which that thread starts.

Jobs stand in a file of their own, `jobs.db` in CURATOR_HOME, beside Huey's queue of them, and never in the
database of the pairs. SQLite has one writer at a time, and a long import is that writer: progress, a cancel,
or the next job would wait for its end. Nor does a job belong into a backup, where it would be found running.
On PostgreSQL it is the same file: the upload that a job reads lies in the same folder.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, defer

from curator import bitmaps, database
from curator.disk import take_turn
from curator.errors import NotFound, UserError
from curator.jobs import apart
from curator.jobs.kinds import KINDS
from curator.jobs.kinds import rejects_of as rejects_of
from curator.jobs.progress import Cancelled, Left, Progress
from curator.models import Job, make_sessions, now, open_engine, writing

if TYPE_CHECKING:
    from flask import Flask

LANES = ("curator", "train")  # queues, each with its thread
TRAINING = ("train", "find rate")  # kinds of the second, as they take all of a machine for hours
OUTLIVING = ("train",)  # kinds whose process goes on without this one
APART = ("look", "import")  # kinds that have a process of their own, as they keep Python busy from end to end
FAULT = "This is a fault of Curator, not of yours. Nothing was changed."
AT_WORK = ("waiting", "running")
KEPT = 200  # jobs, the oldest are forgotten
LOG_CHARACTERS = 20_000
OPENING = Lock()


@dataclass
class Lane:
    """A queue of jobs that run one after the other."""

    huey: Any
    put: Callable[[int], object]  # puts the number of a job into the queue
    consumer: Any = None  # Huey's, with the thread that works


@dataclass
class Desk:
    """What a process has open for the jobs of one home."""

    engine: Engine
    tried: float = 0.0  # when this process last asked for the turn to run them
    turn: sqlite3.Connection | None = None  # held as long as this process is the one that runs them
    lanes: dict[str, Lane] = field(default_factory=dict)
    leaving: Event = field(default_factory=Event)  # set where this process ends: what outlives it is let go


def start(app: Flask, kind: str, by: str, title: str, **arguments: Any) -> Job:
    """Queue a job of one of KINDS; it begins when those before it have ended. `arguments` must be fit for JSON."""
    with opened(app, create=True) as session, writing(session):
        job = Job(kind=kind, title=title, by=by, arguments=arguments, log=line(f"Started by {by}."))
        session.add(job)
        session.flush()
        session.execute(sa.delete(Job).where(Job.id <= job.id - KEPT, Job.state.not_in(AT_WORK)))
    enqueue(app, job)
    return job


def again(app: Flask, job_id: int, by: str) -> Job:
    """Queue a job once more that failed, was cancelled or was interrupted. Raises UserError for any other."""
    with opened(app) as session, writing(session):
        job = found(session, job_id)
        if job.state in (*AT_WORK, "done"):
            raise UserError(f"Job {job_id} is {job.state}, so it can't be started again.")
        job.state, job.is_cancel_asked, job.done, job.total, job.rate = "waiting", False, 0, None, 0.0
        job.message, job.error, job.started_at, job.ended_at = "", "", None, None
        note(job, f"Started again by {by}.")
    enqueue(app, job)
    return job


def get(app: Flask, job_id: int) -> Job:
    """Return a job as it stands now. Raises NotFound."""
    with opened(app) as session:
        return found(session, job_id)


def cancel(app: Flask, job_id: int, by: str) -> Job:
    """Stop a job: one that waits at once, one that runs within a moment. One that has ended stays as it is.

    One that waits to be found again runs all the same, so that is stopped once it is found.
    """
    with opened(app) as session, writing(session):
        job = found(session, job_id)
        if job.state in AT_WORK and not job.is_cancel_asked:
            job.is_cancel_asked = True
            note(job, f"Cancelled by {by}.")
            if job.state == "waiting" and job.started_at is None:
                job.state, job.ended_at = "cancelled", now()
        return job


def recent(app: Flask, limit: int = 50) -> list[Job]:
    """Return the latest jobs, the newest first, without their logs and results, which may be long."""
    if not place_of(app).exists():
        return []
    with opened(app) as session:
        return list(
            session.scalars(
                sa.select(Job).options(defer(Job.log), defer(Job.result)).order_by(Job.id.desc()).limit(limit)
            )
        )


def unended(app: Flask, kind: str) -> list[Job]:
    """Return the jobs of a kind that wait or run, the oldest first."""
    if not place_of(app).exists():
        return []
    with opened(app) as session:
        return list(session.scalars(sa.select(Job).where(Job.kind == kind, Job.state.in_(AT_WORK)).order_by(Job.id)))


def at_work(app: Flask) -> int:
    """Return how many jobs wait or run."""
    if not place_of(app).exists():
        return 0
    with opened(app) as session:
        return session.scalar(sa.select(sa.func.count()).where(Job.state.in_(AT_WORK))) or 0


def refuse_at_work(app: Flask, what: str) -> None:
    """Raise UserError while a job waits or runs, since what it does would be lost; `what` is what has to wait."""
    if not at_work(app):
        return
    turn = take_turn(place_of(app).with_name("jobs.lock"))
    if turn:  # nobody runs jobs: what is left of them stands still
        turn.close()
        return
    titles = ", ".join(job.title for job in recent(app) if job.state in AT_WORK)
    raise UserError(f"{what} has to wait for: {titles}. Wait for the end of it, or cancel it on the page Jobs.")


def wake(app: Flask) -> None:
    """Let this process run the jobs of its home, unless another one does. Cheap, so that every request may ask.

    What a killed process left running is marked interrupted; what waited goes on.
    """
    if not place_of(app).exists():
        return
    here = desk(app)
    with OPENING:
        if here.turn or time.monotonic() - here.tried < 1:
            return
        here.tried = time.monotonic()
        here.turn = take_turn(place_of(app).with_name("jobs.lock"))
        if here.turn is None:
            return
        take_over(here)
        begin(app, here)


def stop(app: Flask) -> None:
    """End the thread of the jobs once the one at work has ended, and close what is open."""
    here: Desk | None = app.extensions["curator"].pop("jobs", None)
    if here is None:
        return
    here.leaving.set()
    for lane in here.lanes.values():
        if lane.consumer:
            lane.consumer.stop(graceful=True)
        lane.huey.storage.close()
    if here.turn:
        here.turn.close()
    here.engine.dispose()


def place_of(app: Flask) -> Path:
    """Return the file of the jobs; it is made with the first of them."""
    return Path(app.config["CURATOR_HOME"]) / "jobs.db"


def desk(app: Flask) -> Desk:
    """Return what this process has open for jobs."""
    with OPENING:
        state = app.extensions["curator"]
        if "jobs" not in state:
            engine = open_engine(f"sqlite:///{place_of(app)}")
            try:
                Job.metadata.create_all(engine)
            except sa.exc.OperationalError:  # another process made it a moment ago
                Job.metadata.create_all(engine)
            there = {column["name"] for column in sa.inspect(engine).get_columns("job")}
            if there != set(Job.__table__.columns.keys()):
                # Jobs of another Curator: of passing interest, and not worth a migration.
                Job.metadata.drop_all(engine)
                Job.metadata.create_all(engine)
            state["jobs"] = Desk(engine)
        return state["jobs"]


@contextlib.contextmanager
def opened(app: Flask, create: bool = False) -> Iterator[Session]:
    """Open the table of jobs. Raises NotFound where there never was one, unless it is to be made."""
    if create:
        database.home(app)
    elif not place_of(app).exists():
        raise NotFound("There is no such job.")
    with make_sessions(desk(app).engine)() as session:
        yield session


def found(session: Session, job_id: int) -> Job:
    """Return a job. Raises NotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}. The last {KEPT} are kept.")
    return job


def enqueue(app: Flask, job: Job) -> None:
    """Put a job into the queue, for this process or for the one that runs the jobs of this home."""
    wake(app)
    here = desk(app)
    lane_of(connect(app, here), job.kind).put(job.id)


def lane_of(lanes: dict[str, Lane], kind: str) -> Lane:
    """Return the queue that jobs of a kind wait in."""
    return lanes[LANES[kind in TRAINING]]


def take_over(here: Desk) -> None:
    """Say of jobs that a process left at its end what became of them."""
    with make_sessions(here.engine)() as session, writing(session):
        for job in session.scalars(sa.select(Job).where(Job.state == "running")):
            if job.kind in OUTLIVING:
                job.state = "waiting"
                note(job, "Curator was stopped, and looks what became of it.")
                continue
            job.state, job.ended_at = "interrupted", now()
            job.error = "Curator was stopped while this was running. Nothing was left half-done."
            note(job, job.error)


def begin(app: Flask, here: Desk) -> None:
    """Start the thread that runs the jobs, with those that waited first."""
    from huey.consumer import Consumer

    class InThread(Consumer):
        """Huey's consumer as a part of another process, whose signals are its own."""

        def _set_signal_handlers(self) -> None:
            pass

    logging.getLogger("huey").setLevel(logging.WARNING)
    lanes = connect(app, here)
    for lane in lanes.values():
        # A killed process may have taken a job out of the queue and not begun it.
        lane.huey.storage.flush_queue()
    # What goes on without this process first: the next one would else be at work beside it.
    in_order = (Job.started_at.is_(None), Job.id)
    with make_sessions(here.engine)() as session:
        waiting = list(session.execute(sa.select(Job.id, Job.kind).where(Job.state == "waiting").order_by(*in_order)))
    for job_id, kind in waiting:
        lane_of(lanes, kind).put(job_id)
    for lane in lanes.values():
        lane.consumer = InThread(
            lane.huey, workers=1, periodic=False, initial_delay=0.05, max_delay=0.5, scheduler_interval=60,
            check_worker_health=False,
        )  # fmt: skip
        lane.consumer.start()


def run(app: Flask, job_id: int) -> None:
    """Do the work of a job, unless it was cancelled meanwhile, and keep what came of it."""
    sessions = make_sessions(desk(app).engine)
    with sessions() as journal:
        with writing(journal):
            job = journal.get(Job, job_id)
            if job is None or job.state != "waiting":
                return
            job.state, job.started_at = "running", now()
        ended = work_apart(app, job) if job.kind in APART else work(app, job)
        if not ended:  # it goes on without this process
            return
        if ended["state"] == "done":
            with database.open_session(app) as session:
                if (index := bitmaps.ready(session)) is not None:
                    bitmaps.read(index)  # here, so that no page waits for it
        said = ended.pop("said")
        if ended.get("error") == FAULT:
            app.logger.error("Job %s failed\n%s", job_id, said)
        with writing(journal):
            journal.refresh(job)
            for name, value in ended.items():
                setattr(job, name, value)
            job.ended_at = now()
            note(job, said)


def work(app: Flask, job: Job) -> dict[str, Any]:
    """Do the work of a job. Return the fields of it that say what came of that, and what is `said` in its log.

    Nothing is returned of what goes on without this process, which ends.
    """
    here = desk(app)
    on_progress = Progress(make_sessions(here.engine), job.id, here.leaving if job.kind in OUTLIVING else None)
    try:
        with database.open_session(app) as session:
            result = KINDS[job.kind](session, by=job.by, on_progress=on_progress, **job.arguments)
        told = result.get("told", "Done.")
        return {"state": "done", "result": result, "message": told, "said": told}
    except Cancelled as cancelled:
        return {"state": "cancelled", "said": str(cancelled) or "Stopped; nothing was changed."}
    except Left:
        return {}
    except UserError as error:
        return {"state": "failed", "error": str(error), "said": str(error)}
    except Exception:
        return {"state": "failed", "error": FAULT, "said": traceback.format_exc()}


def work_apart(app: Flask, job: Job) -> dict[str, Any]:
    """Do what `work` does in a process of its own."""
    try:
        settings = {name: app.config[name] for name in ("CURATOR_HOME", "DATABASE_URL", "CURATOR_BUSY_TIMEOUT")}
        ended: dict[str, Any] = apart.call(work_anew, settings, job.id)
        return ended
    except apart.Died as died:
        return {"state": "failed", "error": str(died), "said": str(died)}


def work_anew(settings: dict[str, Any], job_id: int) -> dict[str, Any]:
    """Do what `work` does in a process that has nothing open yet."""
    from flask import Flask

    app = Flask("curator")
    app.config.update(settings)
    database.init_app(app)
    try:
        return work(app, get(app, job_id))
    finally:
        stop(app)
        database.engine(app).dispose()


def connect(app: Flask, here: Desk) -> dict[str, Lane]:
    """Return the queues of a home. What stands in them is the numbers of jobs, no more."""
    from huey import SqliteHuey

    itself = app.app_context().app  # a view names its app by a stand-in, which means nothing in another thread
    for name in LANES:
        if name not in here.lanes:
            huey = SqliteHuey(
                name, filename=str(place_of(app)), results=False, strict_fifo=True, timeout=30, cache_mb=1
            )
            here.lanes[name] = Lane(huey, huey.task(name="job")(lambda job_id: run(itself, job_id)))
    return here.lanes


def line(text: str) -> str:
    """Return a line of a log."""
    return f"{now():%Y-%m-%d %H:%M:%S} {text.rstrip()}\n"


def note(job: Job, text: str) -> None:
    """Write a line into the log of a job; of a very long one the end is kept."""
    job.log = (job.log + line(text))[-LOG_CHARACTERS:]


def seconds_left(job: Job) -> float | None:
    """Return about how long a running job will take, None where that can't be told yet."""
    if job.state != "running" or not job.total or not job.rate or not job.started_at:
        return None
    if now() - job.started_at < timedelta(seconds=1):
        return None
    return max(job.total - job.done, 0) / job.rate
