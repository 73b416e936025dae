"""Clean: put steps together, see every difference they make, leave out what they get wrong, apply the rest."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from curator import cleaning, jobs, pairs, search
from curator.cleaning import KINDS, Step
from curator.errors import UserError
from curator.models import Job
from curator.search import Selection
from curator.views import door

bp = Blueprint("cleaning", __name__, url_prefix="/clean")

SECONDS = 1.0  # that a page looks through pairs; who wants to know of all is followed by a job
BY_JOB = 5000  # pairs that are changed while the browser waits; more is a job
SHOWN = 20  # pairs on a page
MOST_EXCEPTED = 1000  # pairs that an address can leave out


@dataclass
class Draft:
    """A step as it stands in the form: what was said, the step if it can be one, else why not."""

    said: dict[str, Any]
    step: Step | None = None
    fault: str = ""
    fields: tuple[str, ...] = field(default=cleaning.TEXTS)

    @property
    def kind(self) -> cleaning.Kind:
        return KINDS[self.said["kind"]]

    def value(self, option: cleaning.Option) -> Any:
        """Return what stands in the field of an option."""
        return self.said.get(option.name, option.default)

    @property
    def word(self) -> str:
        """The step as it stands in an address."""
        return str(self.step) if self.step else json.dumps(self.said, ensure_ascii=False)


@bp.get("/")
def index() -> Response | str:
    """Show the steps that are chosen, and the differences they make, a page at a time."""
    door.checked_dataset()
    selection = door.selection()
    drafts = drafts_in(request.args)
    excepted = excepted_in(request.args)
    if is_typed(request.args):
        return redirect(address(acted(drafts), selection, excepted, request.args.get("at")), 303)
    steps = [draft.step for draft in drafts if draft.step]
    context: dict[str, Any] = {"found": None}
    if steps and len(steps) == len(drafts):
        try:
            context = preview(steps, selection, excepted)
        except UserError as error:
            context = {"found": None, "fault": str(error)}
    return render_template(
        "cleaning/index.html",
        selection=selection,
        drafts=drafts,
        words=[draft.word for draft in drafts],
        kinds=KINDS,
        presets=cleaning.PRESETS,
        rules=cleaning.rules(door.session()),
        suggestions=[] if steps else cleaning.suggestions(door.session(), selection),
        fields=cleaning.FIELDS,
        shell=shell_of(steps, selection, excepted),
        **context,
    )


@bp.post("/")
def apply() -> Response:
    """Clean the pairs that were shown but for those that were left out; many of them by a job."""
    selection = Selection.from_args(request.form)
    steps = cleaning.steps_named(door.session(), words_in(request.form))
    excepted = excepted_in(request.form)
    digest = door.integer("digest")
    place = url_for("cleaning.index", step=list(map(str, steps)), **selection.to_args())
    found = cleaning.kept(steps, selection, home())
    if found is None or digest not in (None, found.digest):
        found = cleaning.look(door.session(), steps, selection)
    if digest is not None and found.digest != digest:
        door.tell(str(cleaning.changed_since()))
        return redirect(place, 303)
    left = len(found.ids) - len(among(excepted, found))
    if left > BY_JOB:
        job = start("clean", f"Clean {door.plural(left)}", steps, selection,
                    digest=found.digest, except_ids=sorted(excepted))  # fmt: skip
        return redirect(url_for("jobs.show", job_id=job.id), 303)
    done = cleaning.apply(door.session(), steps, selection, door.who(), except_ids=excepted, found=found).changeset
    door.tell(f"Cleaned {door.plural(done.rows)}." if done else "Nothing was left to clean.", done)
    return redirect(place, 303)


@bp.post("/look")
def look() -> Response:
    """Look through all pairs by a job."""
    selection = Selection.from_args(request.form)
    steps = cleaning.steps_named(door.session(), words_in(request.form))
    total = search.count(door.session(), selection)
    job = start("look through", f"Look through {door.plural(total)}", steps, selection)
    return redirect(url_for("jobs.show", job_id=job.id), 303)


@bp.post("/rules")
def save() -> Response:
    """Keep the steps under a name."""
    steps = cleaning.steps_named(door.session(), words_in(request.form))
    rule = cleaning.save(door.session(), request.form.get("name", ""), steps, door.who())
    door.tell(f"Kept as “{rule.name}”.")
    return redirect(
        url_for("cleaning.index", step=list(map(str, steps)), **Selection.from_args(request.form).to_args()), 303
    )


@bp.post("/rules/delete")
def delete() -> Response:
    """Forget a rule."""
    name = request.form.get("name", "")
    cleaning.delete(door.session(), name)
    door.tell(f"The rule “{name}” is gone. What it cleaned stays clean.")
    return door.go(door.back(url_for("cleaning.index")))


@bp.get("/edit/<int:pair_id>/<int:number>")
def of_edit(pair_id: int, number: int) -> Response | str:
    """Show the rules that one change of a pair amounts to; where it is one, go on to what that would change."""
    selection = Selection(dataset=door.dataset())
    offers = cleaning.offers(door.session(), pair_id, number, selection)
    if len(offers) == 1:
        return redirect(url_for("cleaning.index", step=str(offers[0].step)), 303)
    return render_template("cleaning/edit.html", pair=pairs.get(door.session(), pair_id), offers=offers)


def preview(steps: list[Step], selection: Selection, excepted: set[int]) -> dict[str, Any]:
    """Return what the page shows of what steps would change. Raises UserError where a pattern is stopped."""
    session = door.session()
    found = cleaning.kept(steps, selection, home())
    if found is None or found.as_of != cleaning.last_changeset(session):
        anew = cleaning.look(session, steps, selection, seconds=SECONDS)
        found = anew if anew.is_whole or found is None else found
    excepted = among(excepted, found)
    at = max(0, door.integer("at") or 0)
    at = at - at % SHOWN if at < len(found.ids) else 0
    shown = found.ids[at : at + SHOWN].tolist()
    return {
        "found": found,
        "is_old": found.as_of != cleaning.last_changeset(session),
        "changes": cleaning.changes(session, steps, shown),
        "at": at,
        "size": SHOWN,
        "shown": shown,
        "excepted": excepted,
        "elsewhere": excepted - set(shown),
        "left": len(found.ids) - len(excepted),
        "total": search.count(session, selection),
    }


def among(excepted: set[int], found: cleaning.Found) -> set[int]:
    """Return those of some pairs that would change."""
    places = {pair_id: bisect_left(found.ids, pair_id) for pair_id in excepted}
    return {pair_id for pair_id, place in places.items() if found.ids[place : place + 1].tolist() == [pair_id]}


def start(kind: str, title: str, steps: Iterable[Step], selection: Selection, **more: Any) -> Job:
    """Start a job of cleaning."""
    asked = cleaning.asked(list(steps), selection)
    return jobs.start(current_app, kind, door.who(), title, home=str(home()), asked=asked, **more)


def home() -> Path:
    """Return where what was found is kept."""
    return Path(current_app.config["CURATOR_HOME"])


def words_in(form: MultiDict[str, str]) -> list[str]:
    """Return the words for steps in an address or a form: steps, and rules by name."""
    return [word for name in ("rule", "step") for word in form.getlist(name) if word.strip()]


def is_typed(args: MultiDict[str, str]) -> bool:
    """Return whether the form was sent, rather than an address opened."""
    return any(name in args for name in ("act", "add", "shown", "kinds", "rule"))


def drafts_in(args: MultiDict[str, str]) -> list[Draft]:
    """Return the steps as the form holds them, else as the address does. Raises UserError for an unknown word."""
    if "kinds" in args:
        kinds = args.getlist("kinds")
        return [draft_of(typed(args, number, kind)) for number, kind in enumerate(kinds) if kind in KINDS]
    found = []
    for word in words_in(args):
        said: Any = None
        if word.lstrip().startswith("{"):
            try:
                said = json.loads(word)
            except ValueError as error:
                raise UserError(f"The address holds a step that is no JSON: {error}.") from None
        if isinstance(said, dict) and said.get("kind") in KINDS:
            found.append(draft_of(said))
        elif word in KINDS:
            found.append(draft_of({"kind": word}))
        else:
            found += [draft_of(step.to_json()) for step in cleaning.steps_named(door.session(), [word])]
    return found


def typed(args: MultiDict[str, str], number: int, kind: str) -> dict[str, Any]:
    """Return what the form says of one step."""
    said: dict[str, Any] = {"kind": kind, "fields": args.getlist(f"{number}.fields")}
    for option in KINDS[kind].options:
        name = f"{number}.{option.name}"
        if isinstance(option.default, bool):
            said[option.name] = name in args
        elif isinstance(option.default, tuple):
            said[option.name] = args.getlist(name)
        else:
            said[option.name] = args.get(name, option.default).replace("\r\n", "\n")
    return said


def draft_of(said: Mapping[str, Any]) -> Draft:
    """Return a step as the form shows it: whole, or with what is missing or wrong."""
    try:
        step = cleaning.make(said)
        step.clean()
    except UserError as error:
        is_new = any(option.needed and not said.get(option.name) for option in KINDS[said["kind"]].options)
        fields = tuple(name for name in cleaning.FIELDS if name in (said.get("fields") or cleaning.TEXTS))
        return Draft(dict(said), fault="" if is_new else str(error), fields=fields or cleaning.TEXTS)
    return Draft(step.to_json(), step, fields=step.fields)


def acted(drafts: list[Draft]) -> list[Draft]:
    """Return the steps once the button that was pressed has done its work: one more, one less, another order."""
    act, _, place = request.args.get("act", "").partition(":")
    number = int(place) if place.isdecimal() and int(place) < len(drafts) else None
    if number is not None and act == "drop":
        del drafts[number]
    if number is not None and act in ("up", "down"):
        other = number + (1 if act == "down" else -1)
        if 0 <= other < len(drafts):
            drafts[number], drafts[other] = drafts[other], drafts[number]
    for word in request.args.getlist("add"):
        drafts += drafts_in(MultiDict([("step", word)])) if word else []
    return drafts


def address(drafts: list[Draft], selection: Selection, excepted: set[int], at: str | None) -> str:
    """Return the address of the page with these steps."""
    left_out = ",".join(map(str, sorted(excepted))) or None
    here = selection.to_args() | {"step": [draft.word for draft in drafts], "excepted": left_out, "at": at}
    if "dataset" in request.args:  # all of them is a choice too
        here["dataset"] = request.args["dataset"]
    return url_for("cleaning.index", **here)


def excepted_in(form: MultiDict[str, str]) -> set[int]:
    """Return the pairs that were left out: those of other pages, and those ticked on the one that was shown."""
    before = {int(part) for part in form.get("excepted", "").split(",") if part.isdecimal()}
    shown = {int(part) for part in form.get("shown", "").split(",") if part.isdecimal()}
    found = (before - shown) | set(form.getlist("except", type=int))
    if len(found) > MOST_EXCEPTED:
        raise UserError(f"{len(found):,} pairs are too many to leave out one by one. Narrow the steps, or the search.")
    return found


def shell_of(steps: list[Step], selection: Selection, excepted: set[int]) -> str:
    """Return the command that does the same."""
    words = ["flask", "clean", *(word for step in steps for word in ("--step", str(step)))]
    if excepted:
        words += ["--except-ids", ",".join(map(str, sorted(excepted)))]
    return door.command(*words, pairs=selection) if steps else ""
