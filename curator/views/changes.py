"""Changes: what was done, by whom, to which pairs, and the way back."""

from __future__ import annotations

from flask import Blueprint, current_app, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import bulk, history, jobs, pairs
from curator.views import door

bp = Blueprint("changes", __name__, url_prefix="/changes")


@bp.get("/")
def index() -> str:
    """Show the changes of everybody or of one person, the newest first, each with its undo."""
    size = current_app.config["CURATOR_PAGE_SIZE"]
    by, action = request.args.get("by", ""), request.args.get("action", "")
    found = history.recent(door.session(), size + 1, door.integer("before"), by, action)
    people, actions = history.who_and_what(door.session())
    return render_template(
        "changes/index.html", changesets=found[:size], older=found[size - 1].id if len(found) > size else None,
        by=by, action=action, people=people, actions=actions,
    )  # fmt: skip


@bp.get("/<int:changeset_id>")
def show(changeset_id: int) -> str:
    """Show what one change made of each of its pairs, a page at a time."""
    changeset = history.changeset(door.session(), changeset_id)
    size = current_app.config["CURATOR_PAGE_SIZE"]
    rows = history.rows_of(door.session(), changeset, door.integer("after") or 0, size + 1)
    return render_template(
        "changes/show.html", changeset=changeset, rows=rows[:size],
        next=rows[size - 1].pair.id if len(rows) > size else None, left=history.left_by(door.session(), changeset),
        dataset_names=pairs.dataset_names(door.session()),
    )  # fmt: skip


@bp.post("/<int:changeset_id>/undo")
def undo(changeset_id: int) -> Response | str:
    """Take one change back, and name the pairs that were left alone because they changed since.

    A large one becomes a job, once it is known that it was not undone before.
    """
    changeset = history.changeset(door.session(), changeset_id)
    if changeset.rows > bulk.LARGE and changeset.undoing is None:
        title = f"Undo change {changeset_id}: {door.plural(changeset.rows)} {changeset.action}"
        job = jobs.start(current_app, "undo", door.who(), title, number=changeset_id)
        return door.go(url_for("jobs.show", job_id=job.id))
    undone = history.undo(door.session(), changeset_id, door.who())
    link = {"href": url_for("changes.show", changeset_id=changeset_id), "link": "Look at them"} if undone.left else {}
    door.tell(undone.told, undone.changeset, **link)
    if door.wants_fragment():
        return render_template("_messages.html")
    return door.go(door.back(url_for("changes.index")))
