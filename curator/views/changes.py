"""Changes: what was done lately, and the way back."""

from __future__ import annotations

from flask import Blueprint, render_template, url_for
from werkzeug.wrappers import Response

from curator import history
from curator.views import door

bp = Blueprint("changes", __name__, url_prefix="/changes")


@bp.get("/")
def index() -> str:
    """Show the latest changes, each with who made it, how many pairs it changed, and its undo."""
    return render_template("changes/index.html", changesets=history.recent(door.session(), limit=100))


@bp.post("/<int:changeset_id>/undo")
def undo(changeset_id: int) -> Response | str:
    """Take one change back, and name the pairs that were left alone because they changed since."""
    undone = history.undo(door.session(), changeset_id, door.who())
    said = f"Undone: {door.plural(undone.changeset.rows)} as before."
    if undone.left:
        said += f" Changed since, and left alone: {door.listed(undone.left)}."
    door.tell(said, undone.changeset)
    if door.wants_fragment():
        return render_template("_messages.html")
    return door.go(door.back(url_for("changes.index")))
