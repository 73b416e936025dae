"""Training: choose data, base and options, see what the run would do, start it, follow it, stop it, go on with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flask import Blueprint, current_app, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from curator import charts, jobs, reports, runs, tokens, training, versions
from curator.errors import NotFound, UserError
from curator.models import Job, Run
from curator.views import door

bp = Blueprint("training", __name__, url_prefix="/training")


@bp.get("/")
def new() -> str:
    """Ask what to train on, which base, and how; where a learning rate was looked for, show how it was found."""
    return form_of(request.args)


def form_of(given: Mapping[str, str], refused: str = "") -> str:
    """Show the form with what was given, and why it was refused."""
    base = current_app.config["CURATOR_BASE"]
    found = rates_of(door.integer("rates"))
    return render_template(
        "training/new.html",
        versions=versions.all(door.session()),
        exports=training.exported(export_folders()),
        bases=tokens.bases(door.session(), base),
        few=training.FEW,
        more=training.MORE,
        values={"base": base, "name": training.free_name(door.home()), **given},
        is_more=any(given.get(option.name) for option in training.MORE),
        refused=refused,
        found=found,
        curve=charts.rate_curve(found, None, "Loss by learning rate") if found else None,
    )


@bp.post("/plan")
def ask() -> Response | tuple[str, int]:
    """Let the trainer say what the run would do, before anything is trained."""
    try:
        asked = asked_for()
    except UserError as error:
        return form_of(request.form, str(error)), 400
    rates = door.integer("rates")
    rates_of(rates)
    return follow_job(
        jobs.start(current_app, "plan training", door.who(), f"Plan {asked['name']}", **asked, rates=rates)
    )


@bp.post("/rate")
def find_rate() -> Response | tuple[str, int]:
    """Let the trainer look for a learning rate, and go on with the form."""
    try:
        asked = asked_for()
    except UserError as error:
        return form_of(request.form, str(error)), 400
    return follow_job(
        jobs.start(current_app, "find rate", door.who(), f"Find a learning rate for {asked['name']}", **asked)
    )


def follow_job(job: Job) -> Response:
    return door.go(url_for("jobs.show", job_id=job.id))


def asked_for() -> dict[str, Any]:
    """Return what the form asks for, as jobs take it. Raises UserError for data that it did not offer."""
    data, name = request.form.get("data", ""), request.form.get("name", "").strip()
    # Only what the form offered: a request must not make us read any folder of the machine.
    if not data.isdecimal() and Path(data) not in training.exported(export_folders()):
        raise UserError("Choose a version or an export to train on. Freeze a version first where there is none.")
    if data.isdecimal():
        versions.get(door.session(), int(data))
    training.checked_name(name, door.home())
    options = {key: request.form.get(key, "").strip() for key in training.OPTIONS}
    options = {key: value for key, value in options.items() if value}
    return {"home": str(door.home()), "data": data, "name": name, "options": options}


def rates_of(job_id: int | None) -> dict[str, Any] | None:
    """Return what a search for a learning rate found. Raises NotFound where that job was another one."""
    if job_id is None:
        return None
    job = jobs.get(current_app, job_id)
    if job.kind != "find rate" or job.state != "done":
        raise NotFound(f"Job {job_id} found no learning rate. Look for one on the page Train.")
    return dict(job.result["rates"])


@bp.get("/plan/<int:job_id>")
def plan(job_id: int) -> Response | str:
    """Show what a run would do, and what speaks against it; go to the job where that is not known yet."""
    job = jobs.get(current_app, job_id)
    if job.kind != "plan training" or job.state != "done":
        return door.go(url_for("jobs.show", job_id=job_id))
    words = training.words(job.result["folder"], job.arguments["options"], f"runs/{job.arguments['name']}")
    return render_template(
        "training/plan.html",
        job=job,
        plan=job.result["plan"],
        name=job.arguments["name"],
        spoken=training.spoken,
        shell=door.command("python", "-m", "trainer", "run", *words),
        ahead=jobs.unended(current_app, "train"),
    )


@bp.post("/start/<int:job_id>")
def start(job_id: int) -> Response:
    """Start the run of a plan; it waits where another one is at work."""
    job = planned(job_id)
    name = job.arguments["name"]
    folder = training.checked_name(name, door.home())
    if other := at_work(folder):
        return door.go(url_for("jobs.show", job_id=other.id))
    begun = jobs.start(
        current_app, "train", door.who(), f"Train {name}", folder=str(folder), data=job.result["folder"],
        options=job.arguments["options"], rates=rates_of(job.arguments.get("rates")),
    )  # fmt: skip
    return follow_job(begun)


@bp.get("/<int:run_id>/live")
def follow(run_id: int) -> str:
    """Show how far a run is; the script asks for this alone."""
    run = runs.get(door.session(), run_id)
    return render_template("training/_live.html", run=run, live=live_of(run) or ENDED)


@bp.post("/<int:run_id>/resume")
def resume(run_id: int) -> Response:
    """Go on with a run that was stopped, failed or was killed, from its last checkpoint."""
    run = runs.get(door.session(), run_id)
    folder = training.folder_of(run.key, door.run_folders())
    if folder is None:
        raise UserError(f"The folder of run {run.name} is not on this machine. Go on with it where it is.")
    if reports.is_reported(folder):
        raise UserError(f"Run {run.name} trains on another machine. Go on with it there: python -m trainer resume RUN")
    if training.is_at_work(folder):
        raise UserError(f"Run {run.name} is at work already.")
    if not at_work(folder):
        jobs.start(current_app, "train", door.who(), f"Go on with {run.name}", folder=str(folder))
    return door.go(url_for("runs.show", run_id=run_id))


class Following(NamedTuple):
    """A run that did not come to its end yet, as its page shows it."""

    job_state: str  # waiting, running, stopped, failed, interrupted, done
    job: Job | None  # that does it
    live: training.Live | None
    curve: Markup | None


ENDED = Following("done", None, None, None)


@bp.app_template_global()
def live_of(run: Run) -> Following | None:
    """Return how a run stands in its folder, None where it was brought in done, or its folder is elsewhere."""
    folder = None if run.state == "done" else training.folder_of(run.key, door.run_folders())
    if folder is None:
        return None
    live, job = training.live(folder), at_work(folder)
    state = job.state if job and live.state != "running" else live.state
    if state == "done":
        return None
    curve = charts.loss_curve(live.metrics, f"Loss of run {run.name}") if live.metrics else None
    return Following(state, job, live, curve)


def at_work(folder: Path) -> Job | None:
    """Return the job that trains into a folder, or waits to."""
    unended = jobs.unended(current_app, "train")
    return next((job for job in unended if job.arguments["folder"] == str(folder)), None)


def planned(job_id: int) -> Job:
    """Return the job that made a plan. Raises NotFound where it is another one."""
    job = jobs.get(current_app, job_id)
    if job.kind != "plan training" or job.state != "done":
        raise NotFound(f"Job {job_id} is no plan of a run. Make one on the page Train.")
    return job


def export_folders() -> list[Path]:
    """Return where exports are looked for: `exports/` here. Those of CURATOR_HOME are versions, which have a name."""
    return [Path("exports").absolute()]


@bp.app_template_global()
def memory_parts(plan: dict[str, Any]) -> dict[str, float]:
    """Return what takes memory at the peak of a planned run, in bytes, the largest first."""
    parts = {name: value for name, value in plan["predicted"]["memory"].items() if name != "total"}
    numbers = {name: value for name, value in parts.items() if isinstance(value, int | float) and value > 1}
    return dict(sorted(numbers.items(), key=lambda part: -part[1]))
