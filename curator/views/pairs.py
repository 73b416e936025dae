"""Pairs: the list, one pair, add, edit in place, status, trash, and what became of a pair."""

from __future__ import annotations

from dataclasses import asdict
from math import floor
from typing import Any

from flask import Blueprint, current_app, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import (
    bulk,
    charts,
    cleaning,
    duplicates,
    exports,
    history,
    jobs,
    lineage,
    pairs,
    search,
    signals,
    text,
    tokens,
)
from curator.errors import Busy, Conflict, NotFound, UserError
from curator.models import Changeset, Pair
from curator.search import Selection
from curator.views import door

bp = Blueprint("pairs", __name__, url_prefix="/pairs")
TEXTS = ("question", "answer", "system", "source", "notes")
PLACES = ("cluster", "queue", "page")  # where the form opens beside the pair; what is around it shows what comes of it


@bp.get("/")
def index() -> str | tuple[str, int]:
    """Show the pairs of a selection a page at a time, with what they can be narrowed by.

    What can't be searched for is said above the list of all pairs, and stays in the search field.
    """
    selection, error = door.selection(), None
    door.checked_dataset()
    try:
        page = read_page(selection)
    except UserError as fault:
        error, selection = fault, selection.but(query=None)
        page = read_page(selection, is_first=True)
    shown = render_template(
        "pairs/index.html",
        selection=selection,
        page=page,
        sort=sort() if error is None else None,
        sorts=search.SORTS,
        facets=search.facets(door.session(), selection),
        exported=search.count(door.session(), exports.exportable(selection)),
        shell=door.command("flask", "export", "--jsonl", pairs=selection),
        asked=search.asked(selection),
        without=search.without_each(selection),
        narrowed=search.narrowed,
        error=error,
        as_text=as_text(request.args.get("query", "")),
    )
    return (shown, 400) if error else shown


def as_text(query: str) -> str:
    """Return a search for the very words of another one; empty where there are none, which would be refused again."""
    words = query.replace('"', "")
    return f'"{words}"' if any(map(str.isalnum, words)) else ""


def read_page(selection: search.Selection, is_first: bool = False) -> search.Page:
    """Return the page of a selection that the address means, or its first."""
    size = current_app.config["CURATOR_PAGE_SIZE"]
    if is_first:
        return search.page(door.session(), selection, size=size)
    return search.page(
        door.session(),
        selection,
        after=door.integer("after"),
        before=door.integer("before"),
        size=size,
        sort=sort() or "oldest",
        last="last" in request.args,
    )


def sort() -> str | None:
    """Return in which order the list stands, None for that of the numbers."""
    return request.args.get("sort") or None


@bp.get("/new")
def new() -> str:
    """Show an empty form for one pair."""
    return render_template(
        "pairs/new.html",
        typed={"dataset": request.args.get("into") or door.dataset() or pairs.DEFAULT_DATASET},
    )


@bp.post("/new")
def add() -> Response | str | tuple[str, int]:
    """Add one pair, and show the form again for the next; what cannot be added stays in the form."""
    typed = read_form() | {"dataset": request.form.get("into", "").strip()}
    named = {"earlier" if name == "history" else name: value for name, value in typed.items()}
    try:
        pair = pairs.add(door.session(), **named, by=door.who())
    except UserError as error:
        page = door.show("pairs/new.html", "pairs/_new.html", typed=typed, error=error)
        return page, 400
    made = next(iter(history.timeline(door.session(), pair.id))).changeset
    door.tell(
        f"Added pair {pair.id}." + likeness(pair), made, href=url_for("pairs.show", pair_id=pair.id), link="Open it"
    )
    if door.wants_fragment():
        return door.show("pairs/new.html", "pairs/_new.html", typed={"dataset": typed["dataset"]})
    return door.go(url_for("pairs.new", into=typed["dataset"]))


@bp.post("/near")
def near() -> str:
    """Show which pairs say nearly the same as what is typed so far, beside the form."""
    question, answer = request.form.get("question", ""), request.form.get("answer", "")
    try:
        found = nearest(question, answer, door.integer("pair"))
    except UserError as error:  # there is no index yet: the form works without
        return render_template("pairs/_near.html", unable=str(error))
    return render_template("pairs/_near.html", near=found)


@bp.get("/<int:pair_id>")
def show(pair_id: int) -> str:
    """Show one pair whole, with its place in the selection and everything that became of it."""
    pair = pairs.get(door.session(), pair_id)
    if door.wants_fragment():
        return render_template("pairs/_pair.html", pair=pair, back=door.back("/pairs/"))
    selection = door.selection().but(trash=pair.trashed)
    previous, following, place, total = search.neighbours(door.session(), selection, pair_id, sort() or "oldest")
    return render_template(
        "pairs/show.html",
        pair=pair,
        back=door.here(),
        selection=selection,
        sort=sort(),
        previous=previous,
        following=following,
        place=place,
        total=total,
        steps=history.timeline(door.session(), pair_id),
        held=lineage.versions_of(door.session(), pair),
        seen=lineage.runs_of(door.session(), pair_id),
        spark=charts.spark_line,
        called_fine=signals.fine_one(door.session(), pair),
        dataset_names=pairs.dataset_names(door.session()),
    )


@bp.get("/<int:pair_id>/tokens")
def show_tokens(pair_id: int) -> str | tuple[str, int]:
    """Show what of a pair a base would read and what it would be trained on, token by token."""
    pair = pairs.get(door.session(), pair_id)
    usual = current_app.config["CURATOR_BASE"]
    choices = tokens.bases(door.session(), usual)
    base, view, error = request.args.get("base", usual), None, None
    try:
        if base not in choices:
            raise UserError(f"{base} is no base that Curator knows of. Choose one below, or set CURATOR_BASE.")
        view = tokens.view(pair, base)
    except UserError as fault:
        error = fault
    export = door.command("flask", "export", "--jsonl", "--query", f"id:{pair_id}")
    shown = door.show(
        "pairs/tokens.html",
        "pairs/_tokens.html",
        pair=pair,
        base=base,
        choices=choices,
        view=view,
        error=error,
        names=tokens.NAMES,
        visible=tokens.visible,
        command=f"{export} | {door.command('python', '-m', 'trainer', 'plan', '--show', '-', '--base', base)}",
    )
    return (shown, 400) if error else shown


@bp.get("/<int:pair_id>/row")
def row(pair_id: int) -> str:
    """Show one pair as its row in the list: what an opened row closes to."""
    pair = pairs.get(door.session(), pair_id)
    return door.show("pairs/one.html", "pairs/_row.html", pair=pair, back=door.back("/pairs/"))


@bp.get("/<int:pair_id>/edit")
def edit(pair_id: int) -> str:
    """Show the form that changes one pair."""
    pair = pairs.get(door.session(), pair_id)
    return form(pair, as_typed(pair))


@bp.post("/<int:pair_id>/edit")
def save(pair_id: int) -> Response | str | tuple[str, int]:
    """Save one pair and show it where it stood; where it changed meanwhile, show both and lose neither."""
    try:
        pair = pairs.get(door.session(), pair_id)
    except NotFound as error:  # what was typed can still become a pair
        sentence = UserError(f"{error} What you typed stands here: add it as a new pair, or leave.")
        typed = read_form() | {"dataset": door.dataset() or pairs.DEFAULT_DATASET}
        return door.show("pairs/new.html", "pairs/_new.html", typed=typed, error=sentence), 404
    typed = read_form(pair)
    if (taken := request.form.get("take")) in pairs.EDITABLE:
        return take(pair, typed, taken), 409
    restore = "restore" in request.form
    try:
        changeset = pairs.edit(
            door.session(), pair_id, typed, revision=door.integer("revision") or 0, by=door.who(), restore=restore
        )
    except UserError as error:
        # Read again: the other change came after this request began to look.
        door.session().rollback()
        pair = pairs.get(door.session(), pair_id)
        theirs = differences(pair, typed) if isinstance(error, Conflict) else None
        return form(pair, typed, error, theirs), {Conflict: 409, Busy: 503}.get(type(error), 400)
    restored = " and took it out of the trash" if restore else ""
    told = f"Saved pair {pair_id}{restored}." + likeness(pair) if changeset else f"Pair {pair_id} is as it was."
    door.tell(told, changeset, **as_rule(pair_id, changeset))
    return row_or_go(pair_id, door.back(url_for("pairs.show", pair_id=pair_id)))


def take(pair: Pair, typed: dict[str, Any], name: str) -> str:
    """Show the form of a conflict again, with one field as the other person left it."""
    typed[name] = as_typed(pair)[name]
    theirs = differences(pair, typed)
    said = "You took that over. This still differs." if theirs else "Nothing differs any more. Save, or leave."
    return form(pair, typed, UserError(said), theirs)


def form(
    pair: Pair, typed: dict[str, Any], error: UserError | None = None, theirs: list[tuple[str, str, str]] | None = None
) -> str:
    """Render the form that changes a pair, with what was typed and why it was refused."""
    back = door.back(url_for("pairs.show", pair_id=pair.id))
    at = request.values.get("at", "")
    at = at if at in PLACES else ""
    return door.show(
        "pairs/edit.html", "pairs/_edit.html", pair=pair, typed=typed, error=error, theirs=theirs, back=back, at=at
    )


@bp.post("/<int:pair_id>/status")
def status(pair_id: int) -> Response | str:
    """Approve one pair, reject it, or put it back to draft."""
    changeset = pairs.set_status(door.session(), [pair_id], request.form.get("status", ""), door.who())
    door.tell(f"Pair {pair_id} {changeset.action}.", changeset)
    return row_or_go(pair_id, door.back(url_for("pairs.show", pair_id=pair_id)))


@bp.post("/<int:pair_id>/trash")
def trash(pair_id: int) -> Response | str:
    """Put one pair into the trash."""
    door.tell(f"Trashed pair {pair_id}.", pairs.trash(door.session(), [pair_id], door.who()))
    return row_or_go(pair_id, door.back(url_for("pairs.show", pair_id=pair_id)))


@bp.post("/<int:pair_id>/restore")
def restore(pair_id: int) -> Response | str:
    """Take one pair out of the trash."""
    door.tell(f"Restored pair {pair_id}.", pairs.restore(door.session(), [pair_id], door.who()))
    return row_or_go(pair_id, door.back(url_for("pairs.show", pair_id=pair_id)))


@bp.post("/<int:pair_id>/version")
def restore_version(pair_id: int) -> Response:
    """Give a pair the text that it had after one of its changes."""
    number = door.integer("number") or 0
    changeset = pairs.restore_version(
        door.session(), pair_id, number, revision=door.integer("revision") or 0, by=door.who()
    )  # fmt: skip
    done = f"Pair {pair_id} is as in version {number}." if changeset else f"Pair {pair_id} is like that already."
    door.tell(done, changeset)
    return door.go(door.back(url_for("pairs.show", pair_id=pair_id)))


@bp.post("/selected")
def selected() -> Response | str | tuple[str, int]:
    """Do one thing to the pairs that are ticked, or to all that match; a large act becomes a job.

    Where another number matches than the page showed, nothing is done, and the button is shown with the new one.
    """
    act = bulk.Act(
        request.form.get("act", ""), pairs.parse_tags(request.form.get("tags", "")), request.form.get("into", "")
    )
    whole = bool(request.form.get("whole"))
    which: bulk.Which = door.selection() if whole else door.chosen_ids()
    expected, place = door.integer("expected") if whole else None, door.back(url_for("pairs.index"))
    number = bulk.count(door.session(), which)
    try:
        if expected is not None and number != expected:
            raise bulk.Otherwise(expected, number)
        if number > bulk.LARGE:
            job = jobs.start(
                current_app, "act", door.who(), f"{act.name.capitalize()} {door.plural(number)}",
                act=asdict(act), selection=door.selection().to_args(), expected=number,
            )  # fmt: skip
            return door.go(url_for("jobs.show", job_id=job.id))
        done = bulk.do(door.session(), act, which, by=door.who(), expected=expected)
    except bulk.Otherwise as error:
        page = render_template(
            "pairs/otherwise.html", error=error, act=act, selection=door.selection(), back=place
        )  # fmt: skip
        return page, 409
    door.tell(done.told, done.changeset)
    return door.go(place)


def nearest(question: str, answer: str, pair_id: int | None = None) -> list[duplicates.Near]:
    """Return the pairs that say nearly the same as what is typed, but for the pair that is edited."""
    if not (question.strip() or answer.strip()):
        return []
    return duplicates.find_near(door.session(), question, answer, except_id=pair_id)


def likeness(pair: Pair) -> str:
    """Return a sentence where a pair that was saved says nearly the same as others, for who could not see it before."""
    if door.wants_fragment():  # the script showed it while it was typed
        return ""
    try:
        found = nearest(pair.question, pair.answer, pair.id)
    except UserError:
        return ""
    alike = ", ".join(f"{near.pair.id} ({floor(100 * near.similarity)} %)" for near in found)
    return f" It says nearly the same as pair {alike}." if alike else ""


def as_rule(pair_id: int, changeset: Changeset | None) -> dict[str, str]:
    """Return the link of a message that makes a rule of an edit, where the same edit would fit other pairs."""
    number = pairs.get(door.session(), pair_id).revision
    offer = (
        cleaning.best_offer(door.session(), pair_id, number, Selection(dataset=door.dataset())) if changeset else None
    )
    if offer is None:
        return {}
    others = f"{'more than ' if offer.is_more else ''}{door.plural(offer.others, 'other pair')}"
    return {
        "href": url_for("cleaning.of_edit", pair_id=pair_id, number=number),
        "link": f"Do the same to {others}",
    }


def row_or_go(pair_id: int, place: str) -> Response | str:
    """Answer an act on one pair: with its new row for the script, else with the page it was done on."""
    if not door.wants_fragment():
        return door.go(place, pair_id)
    return door.show("pairs/one.html", "pairs/_row.html", pair=pairs.get(door.session(), pair_id), back=place)


def read_form(pair: Pair | None = None) -> dict[str, Any]:
    """Return the fields of a pair as they were typed; earlier turns that are blank are left out."""
    stored = as_typed(pair) if pair else {}
    before = [turn["content"] for turn in stored.get("history", [])]
    typed: dict[str, Any] = {name: line_ends(request.form.get(name, ""), stored.get(name, "")) for name in TEXTS}
    turns = zip(request.form.getlist("role"), request.form.getlist("turn"), strict=False)
    typed["history"] = [
        {"role": role, "content": line_ends(content, before[place] if place < len(before) else "")}
        for place, (role, content) in enumerate(turns)
        if content.strip()
    ]
    typed["status"] = request.form.get("status", "draft")
    typed["tags"] = pairs.parse_tags(request.form.get("tags", ""))
    return typed


def line_ends(typed: str, stored: str) -> str:
    """Return a text as it was meant: browsers send every line end as CR LF, whatever stood there before."""
    meant = typed.replace("\r\n", "\n")
    return stored if meant == stored.replace("\r\n", "\n").replace("\r", "\n") else meant


def as_typed(pair: Pair) -> dict[str, Any]:
    """Return the fields of a pair as the form holds them."""
    return {name: getattr(pair, name) for name in pairs.EDITABLE}


def differences(pair: Pair, typed: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (field, as it stands, as it was typed) for each field that the two do not share."""
    return [
        (name, text.flat(getattr(pair, name)), text.flat(typed[name]))
        for name in pairs.EDITABLE
        if getattr(pair, name) != typed[name]
    ]
