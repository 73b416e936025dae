"""The review queue: one pair at a time, decided by one key, and the next one in its place."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import duplicates, pairs, queue, search
from curator.errors import UserError
from curator.models import Pair
from curator.search import Selection
from curator.views import door

bp = Blueprint("queue", __name__, url_prefix="/queue")


@bp.get("/")
def index() -> str:
    """Show the pair that the address names, else the one that needs a look most."""
    selection = door.selection()
    door.checked_dataset()
    pair_id = door.integer("pair") or next(queue.walk(door.session(), selection), None)
    return show(selection, pair_id)


@bp.post("/<int:pair_id>")
def act(pair_id: int) -> Response | str:
    """Approve, reject or trash the pair that was shown, and show the next. What changed meanwhile is shown again."""
    selection, asked = door.selection(), request.form.get("act", "")
    pair = pairs.get(door.session(), pair_id)
    if door.integer("revision") not in (None, pair.revision):
        door.tell(
            f"{pair.updated_by} changed pair {pair_id} since it was shown. Here it is now; nothing else was done."
        )
        return go(selection, pair_id)
    # Asked before the act: a pair in the trash may have lost the flags that gave it its place.
    following = queue.after(door.session(), selection, pair_id)
    if asked in ("trash", "restore"):
        change = pairs.trash if asked == "trash" else pairs.restore
        changeset = change(door.session(), [pair_id], door.who())
    else:
        changeset = pairs.set_status(door.session(), [pair_id], asked, door.who())
    told = f"Pair {pair_id} {changeset.action}." if changeset.rows else f"Pair {pair_id} is {changeset.action} already."
    door.tell(told, changeset)
    return go(selection, pair_id if asked in ("draft", "restore") else following)


@bp.post("/<int:pair_id>/tags")
def tag(pair_id: int) -> Response | str:
    """Add tags to a pair or take one away, and show it again."""
    pair = pairs.get(door.session(), pair_id)
    gone = request.form.get("remove", "")
    kept = [name for name in pair.tags if name != gone]
    tags = list(dict.fromkeys([*kept, *pairs.parse_tags(request.form.get("add", ""))]))
    changeset = pairs.edit(door.session(), pair_id, {"tags": tags}, revision=pair.revision, by=door.who())
    told = f"Tagged pair {pair_id}." if not gone else f"Took the tag {gone} from pair {pair_id}."
    door.tell(told if changeset else f"The tags of pair {pair_id} are as they were.", changeset)
    return go(door.selection(), pair_id)


@bp.get("/tags")
def tags() -> str:
    """Give the tags that are in use, the most used first, to be chosen from."""
    facets = search.facets(door.session(), Selection(dataset=door.dataset()))
    return render_template("queue/_tags.html", tags=[name for name, _ in facets.tags])


def go(selection: Selection, pair_id: int | None) -> Response | str:
    """Answer an act: with the pair that is now at hand for the script, else by going to it."""
    if not door.wants_fragment():
        return door.go(url_for("queue.index", pair=pair_id, **selection.to_args()))
    return show(selection, pair_id)


def show(selection: Selection, pair_id: int | None) -> str:
    """Render one pair of the queue with all there is to know of it, or that nothing is left."""
    session = door.session()
    context: dict[str, Any] = {
        "selection": selection,
        "progress": queue.progress(session, selection, door.who()),
        "shell": door.command("flask", "queue", pairs=selection),
    }
    if pair_id is None:
        return door.show("queue/index.html", "queue/_done.html", **context)
    pair = pairs.get(session, pair_id)
    context |= {
        "pair": pair,
        "reasons": queue.reasons(session, pair),
        "previous": queue.before(session, selection, pair_id),
        "following": queue.after(session, selection, pair_id),
        "address": url_for("queue.index", pair=pair_id, **selection.to_args()),
        **alike(pair),
    }
    return door.show("queue/index.html", "queue/_item.html", **context)


def alike(pair: Pair) -> dict[str, Any]:
    """Return what says nearly the same as a pair, or why that can't be told."""
    try:
        return {"near": duplicates.find_near(door.session(), pair.question, pair.answer, except_id=pair.id)}
    except UserError as error:  # there is no index yet
        return {"unable": str(error)}
