"""Home: the loop as stations, what is true of each, and the one next step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, current_app, render_template, url_for

from curator import duplicates, history, quality, reviews, runs, search, training, versions
from curator.search import Selection
from curator.views import door

bp = Blueprint("home", __name__)


@dataclass(frozen=True)
class Station:
    """A stop of the loop: what is true of it, and the step to take; `waits` where it holds up the loop."""

    icon: str
    title: str
    true: str
    more: str
    step: str
    href: str
    waits: bool


@bp.get("/")
def index() -> str:
    """Show where the loop stands, and the next step first."""
    stations = [write(), clean(), freeze(), train(), read(), rate()]
    following = next((station for station in stations if station.waits), None)
    return render_template("home/index.html", stations=stations, following=following)


def total_pairs() -> int:
    """Return how many pairs there are in all data sets."""
    return sum(count for _, count in door.datasets())


def write() -> Station:
    """Say how many pairs there are, and offer the drafts."""
    statuses = search.facets(door.session(), Selection(dataset=door.dataset())).statuses
    if not any(statuses.values()):
        gone = search.count(door.session(), Selection(dataset=door.dataset(), trash=True))
        if gone:
            more = f"The trash holds {door.plural(gone)}. They can be restored."
            trash = url_for("pairs.index", trash=1, dataset=door.dataset())
            return Station("pairs", "Write", "No pairs left", more, "Look in the trash", trash, True)
        more = "Bring a CSV or JSONL, or write the first pair by hand."
        return Station("pairs", "Write", "No pairs yet", more, "Import a file", url_for("imports.index"), True)
    true = door.plural(sum(statuses.values()))
    more = ", ".join(f"{number:,} {status}" for status, number in statuses.items() if number)
    if not statuses["draft"]:
        return Station("pairs", "Write", true, more, "Add a pair", url_for("pairs.new"), False)
    step = f"Review {door.plural(statuses['draft'], 'draft')}"
    return Station("pairs", "Write", true, more, step, url_for("queue.index"), False)


def clean() -> Station:
    """Say how many clusters are open or when the pairs were last cleaned, and offer to look for near-duplicates."""
    found = duplicates.open_clusters(door.session(), Path(current_app.config["CURATOR_HOME"]), door.dataset())
    if found:
        more = "Each is kept as one pair, with the tags and notes of all."
        true = f"{door.plural(found, 'cluster')} above {100 * duplicates.AUTOMATIC:.0f} %"
        return Station("clean", "Clean", true, more, "Resolve them", url_for("duplicates.index"), True)
    flagged = quality.flagged(door.session(), door.dataset()).pairs
    if flagged:
        more = "Cut off, refused, private, in another language: see what and why."
        true = f"{door.plural(flagged)} flagged"
        return Station("check", "Clean", true, more, "Check them", url_for("quality.index"), False)
    acts = [c for c in history.recent(door.session()) if c.action in ("cleaned", "merged duplicates")]
    if not acts:
        true, more = "Not cleaned yet", "Near-duplicates, HTML and boilerplate are found for you to judge."
    else:
        true, more = f"{door.plural(acts[0].rows)} {acts[0].action}", acts[0].reason
    waits = not acts and total_pairs() > 0 and not versions.count(door.session())
    return Station("clean", "Clean", true, more, "Look for duplicates", url_for("duplicates.index"), waits)


def freeze() -> Station:
    """Say what changed since the newest version."""
    newest = next(iter(versions.all(door.session())), None)
    href = url_for("versions.index")
    if newest is None:
        more = "A version is what a run trains on: frozen text and its split."
        return Station("versions", "Freeze", "No version yet", more, "Freeze a version", href, total_pairs() > 0)
    true = f"Version {newest.id}, {door.plural(sum(newest.counts.values()), 'line')}"
    changed = versions.changed_since(door.session(), newest)
    if changed:
        return Station(
            "versions",
            "Freeze",
            true,
            f"{door.plural(changed)} changed since.",
            "Freeze the next",
            href,
            False,
        )
    href = url_for("versions.show", number=newest.id)
    return Station("versions", "Freeze", true, "Nothing changed since.", "Open it", href, False)


def train() -> Station:
    """Say whether a run is at work or waits to be brought in, or lead to the next one."""
    waiting = runs.waiting(door.session(), door.run_folders())
    known = runs.all(door.session())
    if waiting:
        names = ", ".join(folder.name for folder in waiting[:3])
        true = f"{door.plural(len(waiting), 'run')} to bring in"
        return Station("runs", "Train", true, names, "Bring it in", url_for("runs.index"), True)
    folder = training.folder_of(known[0].key, door.run_folders()) if known and known[0].state == "running" else None
    if folder and training.is_at_work(folder):
        href = url_for("runs.show", run_id=known[0].id)
        return Station("runs", "Train", f"Run {known[0].name} is at work", "", "Follow it", href, False)
    newest = next(iter(versions.all(door.session())), None)
    true = door.plural(len(known), "run") if known else "No run yet"
    more = "Here or in the terminal; a plan comes first."
    href = url_for("training.new", data=newest.id) if newest else url_for("training.new")
    return Station("runs", "Train", true, more, "Train", href, bool(newest and not known))


def read() -> Station:
    """Say what the newest run that came to its end gained over its base."""
    newest = next((run for run in runs.all(door.session()) if run.state == "done"), None)
    if newest is None:
        more = "Base and tuned answer the same questions, side by side."
        return Station("import", "Read", "Nothing to read yet", more, "To the runs", url_for("runs.index"), False)
    gained = next((measure for measure in runs.comparison(newest) if measure.name == "perplexity"), None)
    more = f"Perplexity {gained.base:,.1f} → {gained.tuned:,.1f}" if gained else "Not measured on a test split."
    href = url_for("runs.show", run_id=newest.id)
    return Station("read", "Read", f"Run {newest.name}", more, "Read its answers", href, False)


def rate() -> Station:
    """Say how many samples wait for a rating."""
    rated, total = reviews.progress(door.session(), door.who())
    href = url_for("reviews.index")
    if not total:
        more = "Samples come home with a run."
        return Station("review", "Rate", "Nothing to rate yet", more, "To the runs", url_for("runs.index"), False)
    if rated == total:
        return Station("review", "Rate", f"All {total:,} samples rated", "", "See them again", href, False)
    true = f"{door.plural(total - rated, 'sample')} to rate"
    return Station("review", "Rate", true, f"{rated:,} of {total:,} rated.", "Rate", href, True)
