"""Runs: bring run folders in, see what training did, read base and tuned side by side."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import charts, lineage, reviews, runs, signals, versions
from curator.errors import UserError
from curator.models import Run
from curator.views import door

bp = Blueprint("runs", __name__, url_prefix="/runs")
SHOWN = 20


@bp.get("/")
def index() -> str:
    """Show the runs, the newest first, and the run folders that wait to be brought in."""
    return render_template(
        "runs/index.html",
        runs=[(run, gained(run)) for run in runs.all(door.session())],
        waiting=runs.waiting(door.session(), door.run_folders()),
        newest=next(iter(versions.all(door.session())), None),
    )


@bp.post("/import")
def bring() -> Response:
    """Bring one of the waiting run folders in, and show it."""
    folder = Path(request.form.get("folder", ""))
    # Only what this page offered: a request must not make us read any folder of the machine.
    if folder not in runs.waiting(door.session(), door.run_folders()):
        raise UserError(
            f"{folder} is not one of the run folders that wait. Bring others in with: flask import-run FOLDER"
        )
    run = runs.import_run(door.session(), folder)
    door.tell(f"Brought run {run.name} in, with {door.plural(len(run.samples), 'sample')}.")
    return door.go(url_for("runs.show", run_id=run.id))


@bp.get("/<int:run_id>")
def show(run_id: int) -> str:
    """Show one run: how its loss fell, base beside tuned, their answers, and what differs from another run."""
    run = runs.get(door.session(), run_id)
    sides = runs.pairs_of_samples(run)
    rated, total = reviews.progress(door.session(), door.who(), run_id)
    return render_template(
        "runs/show.html",
        run=run,
        curve=charts.loss_curve(run.metrics, f"Loss of run {run.name}") if run.metrics else None,
        rewards=charts.reward_curve(run.metrics, f"Rewards of run {run.name}"),
        rates=charts.rate_curve(run.rates, runs.learning_rate(run), f"Loss by learning rate, before run {run.name}"),
        comparison=runs.comparison(run),
        sides=sides if "all" in request.args else sides[:SHOWN],
        number=len(sides),
        unrated=total - rated,
        tally=reviews.tally(door.session(), run_id),
        look=signals.look(door.session(), run_id, request.args.get("look"), everything="all" in request.args),
        kinds=signals.KINDS,
        spark=charts.spark_line,
        since=lineage.since(door.session(), run, door.integer("beside")),
        others=lineage.others(door.session(), run),
    )


@bp.get("/samples/<int:sample_id>/near")
def near(sample_id: int) -> str:
    """Show the rows that are nearest to what a model answered: why it may have said that."""
    sample = reviews.get(door.session(), sample_id)
    found = lineage.nearest_rows(door.session(), sample)
    return render_template("runs/near.html", sample=sample, run=sample.run, near=found)


def gained(run: Run) -> runs.Measure | None:
    """Return the perplexity of base and of tuned, where both were measured."""
    return next((measure for measure in runs.comparison(run) if measure.name == "perplexity"), None)
