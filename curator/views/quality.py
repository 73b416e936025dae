"""Check: what may be wrong with which pairs, and what they are like in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, current_app, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from curator import charts, jobs, quality
from curator.errors import NotFound
from curator.flags import FLAGS, Rules
from curator.models import Job
from curator.views import door

bp = Blueprint("quality", __name__, url_prefix="/check")
EXAMPLES = 3
AT_ONCE = 500  # changed pairs that are looked at while the page waits


@bp.get("/")
def index() -> str:
    """Show the flags with their counts and examples, and how many pairs changed since they were found."""
    dataset, wanted = door.checked_dataset(), rules()
    found = quality.flagged(door.session(), dataset)
    behind = quality.behind(door.session(), wanted)
    return render_template(
        "quality/index.html",
        flags=[
            (one, quality.examples(door.session(), one.flag.name, dataset, EXAMPLES) if one.pairs else [])
            for one in sorted(found.flags, key=lambda one: not one.pairs)
        ],
        flagged=found.pairs,
        total=sum(number for name, number in door.datasets() if dataset in (None, name)),
        behind=behind,
        seconds=quality.look_seconds(behind),
        last=quality.last_check(door.session()),
        is_of=quality.is_of(door.session(), wanted),
        is_finished=quality.is_finished(door.session()),
        working=at_work(),
        shell=door.command("flask", "check", *(("--dataset", dataset) if dataset else ())),
    )


@bp.post("/")
def check() -> Response:
    """Look at the pairs that changed: at once where they are few, else by a job."""
    wanted = rules()
    behind = quality.behind(door.session(), wanted)
    if behind <= AT_ONCE and not at_work():
        done = quality.check(door.session(), wanted, door.home())
        door.tell(f"Checked {door.plural(done.looked_at)}.")
        return door.go(url_for("quality.index"))
    job = at_work() or jobs.start(
        current_app, "check", door.who(), f"Check {door.plural(behind)}", home=str(door.home()),
        context=current_app.config["CURATOR_CONTEXT"], tokenizer=current_app.config["CURATOR_TOKENIZER"],
    )  # fmt: skip
    return door.go(url_for("jobs.show", job_id=job.id))


@bp.get("/statistics")
def statistics() -> str:
    """Show what the pairs are like: lengths, tokens, days, statuses, tags, sources, flags."""
    dataset, wanted = door.checked_dataset(), rules()
    found = quality.statistics(door.session(), dataset, wanted)
    flagged = quality.flagged(door.session(), dataset)
    days = []
    for day in found.days:
        added, approved = (f"{door.plural(number)} {day.label}" for number in (day.number, day.other))
        days.append(charts.Bar(day.label, day.number, f"added: {added}", opened(day.query), "added"))
        days.append(charts.Bar(day.label, day.other, f"approved: {approved}", opened(day.others), "approved"))
    tokens = f"Tokens of question, answer and system message, {told(found, wanted)}"
    by_day = "Added, and approved by the day of their last change"
    figures = [(by_day, charts.bars(days, by_day, "day"), found.days)]
    for title, bars, unit in (
        ("Length of the answer, in characters", found.answers, "characters"),
        ("Length of the question, in characters", found.questions, "characters"),
        (tokens, found.tokens, "tokens"),
    ):
        figures.append((title, drawn(bars, title, unit), bars))
    marked = [quality.Bar(one.flag.title, one.pairs, f"flag:{one.flag.name}") for one in flagged.flags if one.pairs]
    lists = [("Status", found.statuses), ("Flags", marked), ("Tags", found.tags), ("Sources", found.sources)]
    return render_template("quality/statistics.html", found=found, figures=figures, lists=lists)


@bp.post("/fine/<int:pair_id>/<flag>")
def fine(pair_id: int, flag: str) -> Response:
    """Take a flag from a pair until its text changes."""
    if flag not in FLAGS:
        raise NotFound(f"There is no flag {flag!r}.")
    quality.call_fine(door.session(), pair_id, flag, door.who())
    door.tell(
        f"“{FLAGS[flag].title}” is fine in pair {pair_id}, until its text changes.",
        undo_at=url_for("quality.not_fine", pair_id=pair_id, flag=flag),
    )
    return door.go(door.back(url_for("quality.index")))


@bp.post("/not-fine/<int:pair_id>/<flag>")
def not_fine(pair_id: int, flag: str) -> Response:
    """Look at a pair again of which a flag was called fine."""
    quality.not_fine(door.session(), pair_id, flag)
    door.tell(f"Pair {pair_id} was looked at again.")
    return door.go(door.back(url_for("quality.index")))


def rules() -> Rules:
    """Return the rules that the settings ask for."""
    return quality.rules_of(current_app.config["CURATOR_CONTEXT"], current_app.config["CURATOR_TOKENIZER"])


def at_work() -> Job | None:
    """Return the job that checks just now."""
    found = (job for job in jobs.recent(current_app) if job.kind == "check" and job.state in jobs.AT_WORK)
    return next(found, None)


def opened(query: str) -> str:
    """Return the address of the pairs behind a bar."""
    return url_for("pairs.index", query=query, dataset=request.args.get("dataset") or None) if query else ""


bp.add_app_template_global(opened, "opened")


def drawn(some: Sequence[quality.Bar], title: str, unit: str) -> Markup:
    """Draw lengths; below each bar stands where it begins."""
    bars = []
    for bar in some:
        begins, said = bar.label.partition("–")[0].partition(" ")[0], f"of {bar.label} {unit}"
        bars.append(charts.Bar(begins, bar.number, f"{door.plural(bar.number)} {said}", opened(bar.query)))
    return charts.bars(bars, title, unit)


def told(found: quality.Statistics, wanted: Rules) -> str:
    """Say how tokens were counted."""
    if not found.sampled:
        return "estimated at 4 bytes each"
    return f"counted in {door.plural(found.sampled)} by {wanted.tokenizer.rpartition('/')[2]}"
