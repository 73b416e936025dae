"""Versions: freeze a selection, look at what is frozen, take its files, train on it."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

from flask import Blueprint, current_app, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import exports, jobs, versions
from curator.formats import FORMATS
from curator.formats.writing import PREFERENCE
from curator.search import Selection
from curator.views import door
from curator.words import SPLITS

bp = Blueprint("versions", __name__, url_prefix="/versions")
SHOWN = 3  # lines of each split
NAMED = ("name", "note", "group_by", "stratify", "license", "language")
LARGE = 5_000  # pairs: more take longer than a page may, and are frozen by a job
LARGE_BYTES = 2**20  # of the files that are kept out


@bp.get("/")
def index() -> str:
    """Show the versions, and the form that freezes the next one."""
    selection = door.selection()
    door.checked_dataset()
    return render_template(
        "versions/index.html",
        versions=versions.all(door.session()),
        selection=selection,
        count=exports.count(door.session(), selection),
        shares={side: round(100 * part) for side, part in versions.SHARES.items()},
        shell=door.command("flask", "freeze", pairs=selection),
    )


@bp.post("/")
def freeze() -> Response:
    """Freeze the selected pairs with a split, and show the version that it made."""
    selection = exports.exportable(Selection.from_args(request.form))
    asked: dict[str, Any] = {
        "shares": versions.parse("/".join(request.form.get(side, "").strip() or "0" for side in SPLITS)),
        "seed": door.integer("seed", 1) or 0,
        **{name: request.form.get(name, "").strip() for name in NAMED},
    }
    versions.checked_shares(asked["shares"])  # before a file is kept for it
    files = [door.keep(file) for file in request.files.getlist("keep_out") if file.filename]
    is_large = exports.count(door.session(), selection).lines > LARGE
    if is_large or sum(file.stat().st_size for file in files) > LARGE_BYTES:
        job = jobs.start(
            current_app, "freeze", door.who(), "Freeze a version", selection=selection.to_args(), asked=asked,
            keep_out=[str(file) for file in files],
        )  # fmt: skip
        return door.go(url_for("jobs.show", job_id=job.id))
    with contextlib.ExitStack() as after:
        for file in files:
            after.callback(shutil.rmtree, file.parent, ignore_errors=True)
        version, is_new = versions.freeze(door.session(), selection, by=door.who(), keep_out=files, **asked)
    said = f"Froze version {version.id}: {door.plural(sum(version.counts.values()), 'line')}."
    door.tell(said if is_new else f"Nothing differs from version {version.id}, so there is no new one.")
    return door.go(url_for("versions.show", number=version.id))


@bp.get("/<int:number>")
def show(number: int) -> str:
    """Show one version: its splits, its first lines, its files, and the command that trains on it."""
    version = versions.get(door.session(), number)
    return render_template(
        "versions/show.html",
        version=version,
        total=sum(version.counts.values()),
        changed=versions.changed_since(door.session(), version),
        sentences=versions.sentences(version),
        kept_out=versions.kept_out(door.session(), version),
        others=[one for one in versions.all(door.session()) if one.id != number],
        lines={side: versions.sample_lines(door.session(), number, side, SHOWN) for side in SPLITS},
        formats={name: each.about for name, each in FORMATS.items() if name != PREFERENCE},
        shell=(
            door.command("flask", "export", "--version", str(number), "-o", f"exports/version-{number}/"),
            door.command("python", "-m", "trainer", "run", f"exports/version-{number}"),
        ),
    )


@bp.get("/<int:number>/download")
def download(number: int) -> Response:
    """Send a version, or one split of it, as a file."""
    split, format = request.args.get("split") or None, request.args.get("format", "messages")
    lines = exports.version_lines(door.session(), number, split, format)
    name = "-".join(part for part in (f"version-{number}", split, format if format != "messages" else "") if part)
    return door.download(lines, f"{name}.jsonl")


@bp.get("/compare")
def compare() -> str:
    """Show what was added, removed, changed and moved between two versions."""
    old, new = door.integer("old", 0) or 0, door.integer("new", 0) or 0
    found = versions.compare(door.session(), old, new)
    return render_template(
        "versions/compare.html", found=found, shell=door.command("flask", "versions", "compare", f"{old}", f"{new}")
    )
