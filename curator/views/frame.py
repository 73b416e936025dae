"""What stands around every page: the rail with its counts, the data sets, the theme."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, render_template, request
from werkzeug.wrappers import Response

from curator import bitmaps, duplicates, jobs, quality, queue, reviews, runs, search, text, versions
from curator.errors import NotFound
from curator.flags import FLAGS, Flag
from curator.models import FlagFine, Pair
from curator.search import Selection
from curator.views import door
from curator.words import STATUSES

bp = Blueprint("frame", __name__)
for word in (text.diff, text.flat, search.excerpt, search.highlight, door.plural, Selection):
    bp.add_app_template_global(word)  # here rather than below, since macros see no context
THEMES = ("system", "light", "dark")
PATIENCE_SECONDS = 1.0  # before a page says what it waits for
YEAR_SECONDS = 365 * 24 * 3600


class Rail:
    """The data sets and counts around a page. Each is read when it is shown: a fragment reads none."""

    @cached_property
    def dataset(self) -> str | None:
        return door.dataset()

    @cached_property
    def datasets(self) -> list[tuple[str, int]]:
        return door.datasets()

    @cached_property
    def pairs(self) -> int:
        return sum(count for name, count in self.datasets if self.dataset in (None, name))

    @cached_property
    def trashed(self) -> int:
        """How many pairs the trash holds, where all are there."""
        return 0 if self.pairs else search.count(door.session(), Selection(dataset=self.dataset, trash=True))

    @cached_property
    def drafts(self) -> int:
        # Of a data set that is not there, its error page shows none.
        return self.pairs and search.count(door.session(), queue.waiting(Selection(dataset=self.dataset)))

    @cached_property
    def clusters(self) -> int | None:
        """How many clusters of near-duplicates wait, where somebody looked for them."""
        return duplicates.open_clusters(door.session(), Path(current_app.config["CURATOR_HOME"]), self.dataset)

    @cached_property
    def versions(self) -> int:
        return versions.count(door.session())

    @cached_property
    def runs(self) -> int:
        return runs.count(door.session())

    @cached_property
    def jobs(self) -> int:
        return jobs.at_work(current_app)

    @cached_property
    def unrated(self) -> int:
        rated, total = reviews.progress(door.session(), door.who())
        return total - rated


@bp.app_template_global()
def flags_on(some: Sequence[Pair]) -> dict[int, list[tuple[Flag, str]]]:
    """Return the flags of some pairs by their ids, for the chips on them."""
    return quality.flags_of(door.session(), [pair.id for pair in some])


@bp.app_template_global()
def fine_on(pair: Pair) -> list[tuple[Flag, FlagFine]]:
    """Return the flags of a pair that somebody called fine, and who did."""
    return [(FLAGS[one.flag], one) for one in quality.fine_ones(door.session(), pair.id)]


def chosen_theme() -> str:
    """Return the theme that this browser chose, else the system's."""
    theme = request.cookies.get("theme", "")
    return theme if theme in THEMES else "system"


@bp.before_app_request
def say_what_is_read() -> tuple[str, int, dict[str, str]] | None:
    """Answer with a page that says so, and asks again by itself, while many pairs are read into memory."""
    is_page = request.method == "GET" and request.endpoint != "static" and not door.wants_fragment()
    if not is_page or bitmaps.soon(door.session(), PATIENCE_SECONDS):
        return None
    return render_template("reading.html"), 503, {"Refresh": "1", "Retry-After": "1"}


@bp.app_context_processor
def furnish() -> dict[str, Any]:
    """Give every template what the frame shows."""
    return {"rail": Rail(), "theme": chosen_theme(), "here": door.here(), "STATUSES": STATUSES}


@bp.app_url_value_preprocessor
def refuse_large_numbers(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Answer a number in an address that no row can have like any other that is not there."""
    if any(isinstance(value, int) and value > door.LARGEST for value in (values or {}).values()):
        raise NotFound("There is no such page.")


@bp.post("/theme")
def theme() -> Response:
    """Show the pages light, dark, or as the system does, and remember it for a year."""
    chosen = request.form.get("theme", "")
    response = door.go(door.back("/"))
    response.set_cookie(
        "theme", chosen if chosen in THEMES else "system", max_age=YEAR_SECONDS, httponly=True, samesite="Lax"
    )
    return response
