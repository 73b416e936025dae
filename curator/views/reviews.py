"""Review: one answer at a time, which model gave it unknown until it is rated."""

from __future__ import annotations

from flask import Blueprint, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import reviews, runs
from curator.errors import UserError
from curator.models import Sample
from curator.views import door

bp = Blueprint("reviews", __name__, url_prefix="/review")
STARS = ((1, "wrong"), (2, "poor"), (3, "fair"), (4, "good"), (5, "as I would"))


@bp.get("/")
def index() -> str:
    """Show the next sample that nobody of this name has rated yet."""
    run_id = door.integer("run")
    sample = reviews.next_unrated(door.session(), door.who(), run_id, door.integer("after"))
    if sample is None:
        rated, total = reviews.progress(door.session(), door.who(), run_id)
        return render_template("reviews/done.html", rated=rated, total=total, run_id=run_id)
    return page(sample, run_id)


@bp.get("/<int:sample_id>")
def show(sample_id: int) -> str:
    """Show one sample with the rating it has, to look at it again."""
    return page(reviews.get(door.session(), sample_id), door.integer("run"))


@bp.post("/<int:sample_id>")
def rate(sample_id: int) -> Response:
    """Keep a rating, say which model it was, and show the next sample."""
    stars = door.integer("stars")
    if stars is None:
        raise UserError("No rating was chosen. Press 1 to 5.")
    note = request.form.get("note", "").replace("\r\n", "\n").strip()
    rating = reviews.rate(door.session(), sample_id, stars, door.who(), note)
    run_id = door.integer("run")
    href = url_for("reviews.show", sample_id=sample_id, run=run_id)
    door.tell(f"Rated {stars}. That was the {rating.sample.model} model.", href=href, link="Change it")
    return door.go(url_for("reviews.index", run=run_id, after=sample_id))


@bp.post("/<int:sample_id>/correct")
def correct(sample_id: int) -> Response:
    """Make a better answer the answer of the pair, and come back to rate the model's."""
    answer = request.form.get("answer", "").replace("\r\n", "\n")
    pair = reviews.correct(door.session(), sample_id, answer, door.who())
    href = url_for("pairs.show", pair_id=pair.id)
    door.tell(f"Your answer is the answer of pair {pair.id} now.", href=href, link="Open it")
    return door.go(url_for("reviews.show", sample_id=sample_id, run=door.integer("run")))


def page(sample: Sample, run_id: int | None) -> str:
    """Render one sample; the model stays unnamed while it has no rating."""
    rated, total = reviews.progress(door.session(), door.who(), run_id)
    return render_template(
        "reviews/index.html",
        sample=sample,
        rating=reviews.rating_of(door.session(), sample.id, door.who()),
        run=runs.get(door.session(), sample.run_id),
        run_id=run_id,
        rated=rated,
        total=total,
        stars=STARS,
    )
