"""Runs: bring run folders in, see what training did, read base and tuned side by side."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import charts, comparing, lineage, reviews, runs, signals, training, versions
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
        runs=[(run, state_of(run), gained(run)) for run in runs.all(door.session())],
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


@bp.get("/compare")
def compare() -> str:
    """Show runs side by side: what they differ in, their measures, their answers to the same prompts."""
    first = door.integer("first")
    found = comparing.compare(
        door.session(), [min(number, door.LARGEST) for number in request.args.getlist("run", int)], first
    )
    prompts = [prompt for prompt in found.prompts if "differ" not in request.args or not prompt.is_same]
    folders = [training.folder_of(run.key, door.run_folders()) for run in found.runs]
    words = [str(folder) for folder in folders if folder]
    old, new = found.runs[0], found.runs[-1]
    return render_template(
        "runs/compare.html",
        found=found,
        prompts=prompts if "all" in request.args else prompts[:SHOWN],
        number=len(prompts),
        same=sum(prompt.is_same for prompt in found.prompts),
        since=lineage.since(door.session(), new, old.id) if len(found.runs) == 2 else None,
        run=new,
        asked={"run": [run.id for run in found.runs], "first": first},
        shell=door.command("python", "-m", "trainer", "compare", *words) if len(words) == len(folders) else "",
    )


@bp.get("/<int:run_id>")
def show(run_id: int) -> Response | str:
    """Show one run: how its loss fell, base beside tuned, their answers, and what came since the run before it."""
    run = runs.get(door.session(), run_id)
    if beside := door.integer("beside"):  # where two runs were laid side by side before there was a page for it
        runs.get(door.session(), beside)
        return door.go(url_for("runs.compare", run=[beside, run_id]))
    sides = runs.pairs_of_samples(run)
    rated, total = reviews.progress(door.session(), door.who(), run_id)
    return render_template(
        "runs/show.html",
        run=run,
        again=training.asked_again(run.record) if run.version_id else None,
        method=runs.options(run).get("method"),
        trained_on=runs.trained_on(run),
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
        since=lineage.since(door.session(), run),
        others=lineage.others(door.session(), run),
    )


@bp.post("/lines/<int:pair_id>/fine")
def fine(pair_id: int) -> Response:
    """Take a line from the lines to look at, until its text changes."""
    signals.call_fine(door.session(), pair_id, door.who())
    door.tell(
        f"Pair {pair_id} is fine: its losses are no reason to look at it until its text changes.",
        undo_at=url_for("runs.not_fine", pair_id=pair_id),
    )
    return door.go(door.back(url_for("pairs.show", pair_id=pair_id)))


@bp.post("/lines/<int:pair_id>/not-fine")
def not_fine(pair_id: int) -> Response:
    """Put a line back among those to look at."""
    signals.not_fine(door.session(), pair_id)
    door.tell(f"Pair {pair_id} is to be looked at again where its losses ask for it.")
    return door.go(door.back(url_for("pairs.show", pair_id=pair_id)))


@bp.get("/samples/<int:sample_id>/near")
def near(sample_id: int) -> str:
    """Show the rows that are nearest to what a model answered: why it may have said that."""
    sample = reviews.get(door.session(), sample_id)
    found = lineage.nearest_rows(door.session(), sample)
    return render_template("runs/near.html", sample=sample, run=sample.run, near=found)


def state_of(run: Run) -> str:
    """Return how a run stands: one that was at work when it was brought in may have ended since without a word."""
    folder = training.folder_of(run.key, door.run_folders()) if run.state == "running" else None
    return "interrupted" if folder and not training.is_at_work(folder) else run.state


def gained(run: Run) -> runs.Measure | None:
    """Return the perplexity of base and of tuned, where both were measured."""
    return next((measure for measure in runs.comparison(run) if measure.name == "perplexity"), None)
