"""Clean: choose rules, see every difference they make, leave out what they get wrong, apply the rest."""

from __future__ import annotations

from itertools import groupby

from flask import Blueprint, render_template, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from curator import cleaning
from curator.search import Selection
from curator.views import door

bp = Blueprint("cleaning", __name__, url_prefix="/clean")


@bp.get("/")
def index() -> str:
    """Show the rules with what each would change, and the differences that the chosen ones make."""
    selection, names = door.selection(), rules_in(request.args)
    door.checked_dataset()
    every = cleaning.preview(door.session(), list(cleaning.RULES), selection, limit=0)
    preview = cleaning.preview(door.session(), names, selection) if names else None
    changes = groupby(preview.changes, lambda change: change.pair) if preview else ()
    words = ["flask", "clean", *(word for name in names for word in ("--rule", name))]
    return render_template(
        "cleaning/index.html",
        selection=selection,
        rules=[(rule, every.counts[rule.name]) for rule in cleaning.RULES.values()],
        suggestions=cleaning.suggestions(door.session(), selection),
        names=names,
        own=next((name for name in names if name.startswith("remove:")), "").partition(":")[2],
        preview=preview,
        changes=[(pair, list(fields)) for pair, fields in changes],
        shell=door.command(*words, pairs=selection) if names else "",
    )


@bp.post("/")
def apply() -> Response:
    """Apply the rules to every selected pair but those that were left out."""
    selection, names = Selection.from_args(request.form), rules_in(request.form)
    left_out = request.form.getlist("except", type=int)
    changeset = cleaning.apply(door.session(), names, selection, door.who(), left_out)
    said = f"Cleaned {door.plural(changeset.rows)}." if changeset else "Nothing was left to clean."
    door.tell(said, changeset)
    return door.go(url_for("cleaning.index", **selection.to_args()))


def rules_in(form: MultiDict[str, str]) -> list[str]:
    """Return the rules that were ticked, with the text to remove that was typed."""
    names = [name for name in form.getlist("rule") if name]
    typed = form.get("remove", "").strip()
    return list(dict.fromkeys(names + ([f"remove:{typed}"] if typed else [])))
