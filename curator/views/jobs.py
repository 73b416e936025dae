"""Jobs: long work, followed while it goes on, cancelled, started again."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, current_app, render_template, url_for
from werkzeug.wrappers import Response

from curator import history, jobs, runs
from curator.models import Job
from curator.views import door

bp = Blueprint("jobs", __name__, url_prefix="/jobs")
bp.add_app_template_global(jobs.seconds_left, "seconds_left")
COUNT_ROWS = ("look", "import")


@bp.get("/")
def index() -> str:
    """Show the latest jobs and what became of each."""
    return render_template("jobs/index.html", jobs=jobs.recent(current_app))


@bp.get("/<int:job_id>")
def show(job_id: int) -> Response | str:
    """Show how far a job is, or what came of it; once a file was looked at, go on to what it would bring."""
    job = jobs.get(current_app, job_id)
    onward = ""
    if job.kind == "look" and job.state in ("done", "failed"):
        onward = url_for("imports.preview", token=job.arguments["token"], look=job.id)
        if not door.wants_fragment():
            return door.go(onward)
    if job.kind in ("find duplicates", "find meaning") and job.state == "done" and door.wants_fragment():
        onward = found_at(job)  # who follows it goes on by himself; who comes later finds a link
    if job.kind == "look through" and job.state == "done" and door.wants_fragment():
        onward = url_for("cleaning.index", **job.result["page"])
    if job.kind == "plan training" and job.state == "done":
        onward = url_for("training.plan", job_id=job.id)
    if job.kind == "find rate" and job.state == "done":
        options = job.arguments["options"] | {"learning_rate": f"{job.result['rates']['suggestion']:g}"}
        asked = {"data": job.arguments["data"], "name": job.arguments["name"], **options}
        onward = url_for("training.new", **asked, rates=job.id)
    if job.kind == "train" and (run := runs.in_folder(door.session(), Path(job.arguments["folder"]))):
        onward = url_for("runs.show", run_id=run.id)
    if onward and job.kind in ("plan training", "find rate", "train") and not door.wants_fragment():
        return door.go(onward)
    changeset = job.result.get("changeset")
    undone = changeset is not None and history.is_undone(door.session(), changeset)
    return door.show("jobs/show.html", "jobs/_job.html", job=job, onward=onward, undone=undone)


@bp.post("/<int:job_id>/cancel")
def cancel(job_id: int) -> Response:
    """Stop a job; what it did so far is taken back."""
    return door.go(place_of(jobs.cancel(current_app, job_id, door.who())))


@bp.post("/<int:job_id>/again")
def again(job_id: int) -> Response:
    """Start a job once more that did not come to its end."""
    return door.go(place_of(jobs.again(current_app, job_id, door.who())))


def place_of(job: Job) -> str:
    """Return the address of a job."""
    return url_for("jobs.show", job_id=job.id)


@bp.app_template_global()
def counted_in(job: Job) -> str:
    """Return what the figures of a job count."""
    return "steps" if job.kind == "train" else "rows" if job.kind in COUNT_ROWS else "pairs"


@bp.app_template_global()
def found_at(job: Job) -> str:
    """Return the address of what a search for duplicates found."""
    result = job.result
    return url_for(
        "duplicates.index", dataset=result["dataset"] or "", kind=result["kind"], field=result["field"],
        across=1 if result["across"] else None, measure="cosine" if result["measure"] == "cosine" else None,
    )  # fmt: skip
