"""Duplicates: pairs that say the same, with what differs; one is kept, the others go to the trash."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import charts, duplicates, formats, jobs
from curator.errors import NotFound, UserError
from curator.models import Job
from curator.search import Selection
from curator.views import door

bp = Blueprint("duplicates", __name__, url_prefix="/duplicates")
SHOWN = 25  # clusters on a page
AT_SIGHT = 5_000  # pairs that are searched when the page is opened: a quarter of a second
AT_ONCE = 30_000  # pairs that are searched while the browser waits: two seconds; beyond, it is a job
COUNTED_AT_ONCE = 3_000  # similar pairs whose surplus is counted with the page: beyond, the page comes first
REPORTED_AT_ONCE = 20_000  # pairs whose table is written while the browser waits: five seconds
RESOLVED_AT_ONCE = 2_000  # pairs that are trashed while the browser waits
LOWEST, HIGHEST = 60, 100


@dataclass(frozen=True)
class Question:
    """What the address asks: what is compared, how alike, and which bar of the histogram was pressed."""

    kind: str
    dataset: str | None
    field: str
    across: bool
    threshold: float
    below: float | None
    model: str  # by which meanings are compared; empty where it is the words

    @property
    def kept(self) -> dict[str, Any]:
        """What `duplicates.kept` takes."""
        measure = "cosine" if self.model else "jaccard"
        where = {"dataset": self.dataset, "field": self.field, "across": self.across}
        return {"kind": self.kind, "measure": measure, "model": self.model, **where}

    @property
    def searched(self) -> dict[str, Any]:
        """What `duplicates.search` or `search_meaning` takes: from so low that the threshold can be slid."""
        how = {"model": self.model} if self.model else {"kind": self.kind}
        lowest = min(duplicates.SAME if self.model else duplicates.REVIEW, self.threshold)
        return {"dataset": self.dataset, "field": self.field, "across": self.across, "threshold": lowest, **how}

    @property
    def job(self) -> str:
        """The kind of job that searches."""
        return "find meaning" if self.model else "find duplicates"

    @property
    def may_go(self) -> bool:
        """Whether what is this much alike may go without a look: other words for the same are for people to judge."""
        return self.kind == "duplicates" and (not self.model or self.threshold >= duplicates.AUTOMATIC)

    def number(self, similarity: float) -> str:
        """Write how similar two pairs are, never more than they are: 88 %, or 0.88 for a cosine."""
        return f"{floor(100 * similarity + 1e-9) / 100:.2f}" if self.model else as_percent(similarity)

    def told(self, similarity: float) -> str:
        """Write it with its name."""
        return f"cosine {self.number(similarity)}" if self.model else f"{self.number(similarity)} alike"

    def written(self, similarity: float) -> str:
        """Write it as an address and a form hold it."""
        return f"{round(similarity, 4):g}" if self.model else percent(similarity)

    def args(self, **other: Any) -> dict[str, Any]:
        """Return the question as an address holds it, with other parts."""
        said = {
            "kind": self.kind if self.kind != "duplicates" else None,
            "field": self.field if self.kind == "duplicates" and self.field != "pair" else None,
            "measure": "cosine" if self.model else None,
            "across": 1 if self.across else None,
            "threshold": self.written(self.threshold),
            "below": self.written(self.below) if self.below else None,
        }
        return {name: value for name, value in (said | other).items() if value is not None}


def question() -> Question:
    """Return what the address or the form asks. Raises UserError where it makes no sense."""
    kind, field = request.values.get("kind") or "duplicates", request.values.get("field") or "pair"
    if kind not in duplicates.KINDS:
        raise UserError(f"There is no list of {kind!r}. Take one of {', '.join(duplicates.KINDS)}.")
    if field not in duplicates.FIELDS:
        raise UserError(f"There is no field {field!r}. Take one of {', '.join(duplicates.FIELDS)}.")
    field = field if kind == "duplicates" else duplicates.KINDS[kind][0]
    measure = request.values.get("measure") or "jaccard"
    if measure not in ("jaccard", "cosine") or measure == "cosine" and kind != "duplicates":
        raise UserError(f"There is no measure {measure!r} of {kind}. Take cosine, of duplicates, or leave it out.")
    model = str(current_app.config["CURATOR_MEANING_MODEL"]) if measure == "cosine" else ""
    usual = duplicates.AUTOMATIC if kind == "duplicates" else duplicates.REVIEW
    default = duplicates.SAME if model else usual
    below = share("below", 0)
    return Question(
        kind, door.checked_dataset(), field, bool(request.values.get("across")), share("threshold", default),
        below or None, model,
    )  # fmt: skip


def share(name: str, default: float) -> float:
    """Return a share of the address or the form, written as such or in per cent: 0.9 and 90 are the same."""
    text = request.values.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1
    value = value / 100 if value > 1 else value
    if text and not LOWEST <= 100 * value <= HIGHEST:
        raise UserError(f"{name.capitalize()} is {text!r}. Write a number from {LOWEST} to {HIGHEST} per cent.")
    return value


def percent(value: float) -> str:
    """Write a share as people say it: 90, 87.5."""
    return f"{round(100 * value, 2):g}"


@bp.app_template_filter("percent")
def as_percent(value: float) -> str:
    """Write how similar two pairs are in whole per cents; 100 is for those that are the same."""
    return f"{floor(100 * value + 1e-9)} %"


@bp.get("/")
def index() -> str:
    """Show the clusters of near-duplicates, the most alike first, or offer to look for them."""
    asked = question()
    total = in_scope(asked)
    findings = duplicates.kept(home(), **asked.kept)
    changed = duplicates.changed_since(door.session(), findings) if findings else 0
    if (
        0 < total <= AT_SIGHT
        and not asked.model
        and (findings is None or changed or asked.threshold < findings.threshold)
    ):
        findings, changed = search(asked), 0
    context = {
        "asked": asked, "total": total, "findings": findings, "changed": changed, "counted": duplicates.MOST_CHANGED,
        "kinds": duplicates.KINDS, "fields": duplicates.FIELDS, "shell": command(asked),
        "judged": duplicates.dismissed(door.session()),
        "working": None if findings and not changed else at_work(asked),
    }  # fmt: skip
    if findings is None:
        return render_template("duplicates/index.html", **context)
    threshold = max(asked.threshold, findings.threshold)
    start = max(door.integer("start", 0) or 0, 0)
    page = duplicates.clusters(door.session(), findings, threshold, start, SHOWN, asked.below)
    if start and not page.clusters:  # the last of the last page was decided
        start = max((page.total - 1) // SHOWN, 0) * SHOWN
        page = duplicates.clusters(door.session(), findings, threshold, start, SHOWN, asked.below)
    return render_template(
        "duplicates/index.html",
        **context,
        clusters=page.clusters,
        number=page.total,
        start=start,
        size=SHOWN,
        threshold=threshold,
        histogram=histogram(asked, findings),
        would=would_go(findings, threshold),
        at_once=RESOLVED_AT_ONCE,
        reported_at_once=REPORTED_AT_ONCE,
    )


@bp.get("/above")
def above() -> str:
    """Show how many pairs may go without a look, with the button that does it."""
    asked = question()
    findings = found(asked)
    would = duplicates.count_above(door.session(), findings, asked.threshold)
    return door.show(
        "duplicates/above.html", "duplicates/_above.html", asked=asked, would=would, at_once=RESOLVED_AT_ONCE
    )


@bp.post("/look")
def look() -> Response:
    """Search the pairs again: at once, or as a job where they are many."""
    asked = question()
    if in_scope(asked) <= AT_ONCE and not asked.model:
        findings = search(asked)
        count = door.plural(findings.compared)
        door.tell(f"Looked at {count} in {max(findings.seconds, 0.1):.1f} seconds.")
        return door.go(url_for("duplicates.index", **asked.args()))
    job = at_work(asked)
    if job is None:
        what = f"Look for {'the same meaning' if asked.model else asked.kind}" + (
            f" in {asked.dataset}" if asked.dataset else ""
        )
        job = jobs.start(
            current_app, asked.job, door.who(), what, home=str(home()), asked=asked.searched
        )  # fmt: skip
    return door.go(url_for("jobs.show", job_id=job.id))


@bp.post("/resolve")
def resolve() -> Response:
    """Keep one pair of a cluster, with the tags and notes of all, and trash the others."""
    kept, ids = door.integer("keep"), door.chosen_ids()
    if kept not in ids:
        raise UserError("The pair to keep is not one of its cluster. Look at the clusters again.")
    others = [pair_id for pair_id in ids if pair_id != kept]
    if not others:
        raise UserError("No pair is left to trash: all others were left out.")
    changeset = duplicates.resolve(door.session(), [(kept, others)], door.who(), revisions=seen())
    door.tell(f"Kept pair {kept} and trashed {door.listed(others)}.", changeset)
    return door.go(door.back(url_for("duplicates.index")))


@bp.post("/resolve-all")
def resolve_all() -> Response:
    """Keep the best pair of every cluster above a threshold; of very many, as a job."""
    asked = question()
    if not asked.may_go:
        raise UserError(f"Below a cosine of {duplicates.AUTOMATIC:g} nothing goes without a look. Decide each cluster.")
    findings = found(asked)
    would = duplicates.count_above(door.session(), findings, asked.threshold)
    if would.surplus > RESOLVED_AT_ONCE:
        job = jobs.start(
            current_app, "resolve duplicates", door.who(),
            f"Resolve {door.plural(would.clusters, 'cluster')} above {asked.number(asked.threshold)}",
            home=str(home()), asked=asked.kept, threshold=asked.threshold,
        )  # fmt: skip
        return door.go(url_for("jobs.show", job_id=job.id))
    changeset, done = duplicates.resolve_above(door.session(), findings, asked.threshold, by=door.who())
    told = f"Kept the best of {door.plural(done.clusters, 'cluster')}, trashed {door.plural(done.surplus)}."
    door.tell(told, changeset)
    return door.go(door.back(url_for("duplicates.index", **asked.args())))


@bp.post("/dismiss")
def dismiss() -> Response:
    """Remember that these pairs are no duplicates, by whom and when."""
    ids = door.chosen_ids()
    if len(set(ids)) < 2:
        raise UserError("It takes two pairs to be no duplicates. Look at the clusters again.")
    judged = duplicates.dismiss(door.session(), ids, door.who())
    undo_at = url_for("duplicates.take_back", id=ids) if len(ids) <= 50 else ""
    both = f"Pairs {door.listed(sorted(ids))} are no duplicates"
    door.tell(f"{both}, you said." if len(judged) == 1 else f"{both} of each other, you said.", undo_at=undo_at)
    return door.go(door.back(url_for("duplicates.index")))


@bp.post("/take-back")
def take_back() -> Response:
    """Forget what was said of pairs that are no duplicates."""
    ids = request.values.getlist("id", type=int)
    duplicates.take_back(door.session(), ids)
    door.tell(f"Taken back: pairs {door.listed(sorted(ids))} may be duplicates again.")
    return door.go(door.back(url_for("duplicates.index")))


@bp.get("/report")
def report() -> Response:
    """Send every pair that is like another one as a table, with what would become of it. Of few, see `write_report`."""
    asked = question()
    findings, session = found(asked), door.session()
    if len(findings.ids) > REPORTED_AT_ONCE:
        raise UserError(f"A table of {len(findings.ids):,} pairs is written by a job. Press Report above the clusters.")
    would = None
    if asked.kind == "duplicates":
        would = duplicates.above(session, findings, max(asked.threshold, findings.threshold))
    rows = duplicates.report(session, findings, would)
    return door.download(formats.encode(rows, "csv", duplicates.COLUMNS), f"{asked.kind}.csv")


@bp.post("/report")
def write_report() -> Response:
    """Write the same table by a job."""
    asked = question()
    job = jobs.start(
        current_app, "report duplicates", door.who(), f"Write the table of {asked.kind}",
        home=str(home()), asked=asked.kept, threshold=asked.threshold,
    )  # fmt: skip
    return door.go(url_for("jobs.show", job_id=job.id))


@bp.get("/report/<int:job_id>")
def written_report(job_id: int) -> Response:
    """Send the table that a job wrote."""
    result = jobs.get(current_app, job_id).result
    path = home() / duplicates.FOLDER / str(result.get("report") or "none")
    if not path.is_file():
        raise NotFound("This table is no longer here. Write it again from the page of duplicates.")
    return door.attached(path.open("rb"), f"{result['kind']}.csv")


def home() -> Path:
    """Return where findings are kept."""
    return Path(current_app.config["CURATOR_HOME"])


def in_scope(asked: Question) -> int:
    """Return how many pairs a search reads."""
    everything = asked.dataset is None or asked.across
    return sum(count for name, count in door.datasets() if everything or name == asked.dataset)


def search(asked: Question) -> duplicates.Findings:
    """Search now, and keep what is found."""
    findings = duplicates.search(door.session(), **asked.searched)
    if findings.kind == "duplicates":
        findings = duplicates.judge(door.session(), findings)
    duplicates.keep(findings, home())
    return findings


def found(asked: Question) -> duplicates.Findings:
    """Return what the last search found; of few pairs, search where there was none. Raises NotFound."""
    findings = duplicates.kept(home(), **asked.kept)
    if findings is None and in_scope(asked) <= AT_SIGHT and not asked.model:
        return search(asked)
    if findings is None:
        raise NotFound("What was found is no longer here. Look for duplicates again.")
    return findings


def at_work(asked: Question) -> Job | None:
    """Return the job that searches for this just now."""
    return next(
        (
            job
            for job in jobs.recent(current_app)
            if job.kind == asked.job and job.state in jobs.AT_WORK and job.arguments["asked"] == asked.searched
        ),
        None,
    )


def would_go(findings: duplicates.Findings, threshold: float) -> duplicates.Counted | None:
    """Return what may go without a look, None where that takes longer than a page may."""
    if findings.kind != "duplicates":
        return None
    if len(findings.ids) > COUNTED_AT_ONCE:
        return duplicates.counted_above(door.session(), findings, threshold)
    return duplicates.count_above(door.session(), findings, threshold)


def histogram(asked: Question, findings: duplicates.Findings) -> str:
    """Draw how alike pairs are, one column for each per cent; a column shows the clusters of its pairs."""
    bars = duplicates.histogram(
        duplicates.without_gone(door.session(), findings), round(100 * (1 - findings.threshold))
    )
    columns = []
    for low, high, count in bars:
        low, high = round(low, 4), round(high, 4)
        is_chosen = asked.below is not None and abs(asked.threshold - low) < 1e-6
        is_out = low < asked.threshold - 1e-6 or (asked.below is not None and high > asked.below + 1e-6)
        part = {"threshold": asked.written(low), "below": asked.written(high)}
        columns.append(charts.Column(
            low, count, f"{asked.written(low)} to {asked.number(high)}: {door.plural(count)}",
            url_for("duplicates.index", **asked.args(**part)), is_chosen, is_out,
        ))  # fmt: skip
    return charts.histogram(columns, "How alike pairs are to the one most like them")


def seen() -> dict[int, int]:
    """Return the revisions of the pairs that were looked at, by pair, as the form holds them: "12:3 14:1"."""
    both = (word.split(":") for word in request.form.get("seen", "").split())
    try:
        return {int(pair_id): int(revision) for pair_id, revision in both}
    except ValueError:
        raise UserError("The form does not say what was looked at. Load the page again.") from None


def command(asked: Question) -> str:
    """Return the command that does the same."""
    words = ["flask", "duplicates"]
    words += ["--field", asked.field] if asked.kind == "duplicates" and asked.field != "pair" else []
    words += ["--semantic"] if asked.model else []
    words += ["--across"] if asked.across else []
    words += [f"--{asked.kind}"] if asked.kind != "duplicates" else []
    words += ["--threshold", f"{asked.threshold:g}"]
    words += ["--resolve", "keep-best"] if asked.kind == "duplicates" and not asked.model else []
    return door.command(*words, pairs=Selection(dataset=asked.dataset))
