"""Duplicates: pairs that say the same, with what differs; one is kept, the others go to the trash."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, current_app, render_template, url_for
from werkzeug.wrappers import Response

from curator import duplicates
from curator.errors import UserError
from curator.search import Selection
from curator.views import door

bp = Blueprint("duplicates", __name__, url_prefix="/duplicates")
SHOWN = 25


def found() -> duplicates.Findings:
    """Return what the last search of this data set found, or search now where pairs were written since."""
    session, home, dataset = door.session(), Path(current_app.config["CURATOR_HOME"]), door.checked_dataset()
    findings = duplicates.kept(home, dataset)
    if findings is None or duplicates.is_stale(session, findings):
        findings = duplicates.judge(session, duplicates.search(session, dataset))
        duplicates.keep(findings, home)
    return findings


@bp.get("/")
def index() -> str:
    """Show the clusters of near-duplicates, the most alike first."""
    findings = found()
    threshold = max(door.share("threshold", duplicates.AUTOMATIC), findings.threshold)
    page = duplicates.clusters(door.session(), findings, threshold, limit=SHOWN)
    would = duplicates.count_above(door.session(), findings, threshold)
    return render_template(
        "duplicates/index.html",
        clusters=page.clusters,
        number=page.total,
        would=would,
        threshold=threshold,
        shell=door.command(
            *("flask", "duplicates", "--threshold", f"{threshold:g}", "--resolve", "keep-best"),
            pairs=Selection(dataset=door.dataset()),
        ),
    )


@bp.post("/resolve")
def resolve() -> Response:
    """Keep one pair of a cluster, with the tags of all, and trash the others."""
    keep, ids = door.integer("keep"), door.chosen_ids()
    if keep not in ids:
        raise UserError("The pair to keep is not one of its cluster. Look at the clusters again.")
    others = [pair_id for pair_id in ids if pair_id != keep]
    changeset = duplicates.resolve(door.session(), [(keep, others)], door.who())
    door.tell(f"Kept pair {keep} and trashed {door.listed(others)}.", changeset)
    return door.go(door.back(url_for("duplicates.index")))


@bp.post("/resolve-all")
def resolve_all() -> Response:
    """Keep the best pair of every cluster above a threshold."""
    threshold = door.share("threshold", duplicates.AUTOMATIC)
    changeset, done = duplicates.resolve_above(door.session(), found(), threshold, by=door.who())
    told = f"Kept the best of {door.plural(done.clusters, 'cluster')}, trashed {door.plural(done.surplus)}."
    door.tell(told, changeset)
    return door.go(door.back(url_for("duplicates.index")))
