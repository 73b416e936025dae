"""Duplicates: pairs that say the same, with what differs; one is kept, the others go to the trash."""

from __future__ import annotations

from flask import Blueprint, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import duplicates
from curator.errors import UserError
from curator.search import Selection
from curator.views import door

bp = Blueprint("duplicates", __name__, url_prefix="/duplicates")
SHOWN = 25


@bp.get("/")
def index() -> str:
    """Show the clusters of near-duplicates, the most alike first."""
    threshold = door.share("threshold", duplicates.THRESHOLD)
    clusters = duplicates.find_clusters(door.session(), door.checked_dataset(), threshold)
    return render_template(
        "duplicates/index.html",
        clusters=clusters[:SHOWN],
        number=len(clusters),
        surplus=sum(len(cluster.similarities) for cluster in clusters),
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
    threshold = door.share("threshold", duplicates.THRESHOLD)
    dataset = request.form.get("dataset") or None
    clusters = duplicates.find_clusters(door.session(), dataset, threshold)
    choices = [(c.pairs[0].id, [pair.id for pair in c.pairs[1:]]) for c in clusters]
    if not choices:
        raise UserError(f"No cluster is above {threshold:g} any more, so nothing was trashed.")
    changeset = duplicates.resolve(door.session(), choices, door.who())
    surplus = sum(len(others) for _, others in choices)
    door.tell(f"Kept the best of {door.plural(len(choices), 'cluster')}, trashed {door.plural(surplus)}.", changeset)
    return door.go(door.back(url_for("duplicates.index")))
