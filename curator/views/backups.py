"""Backups: download all there is; upload a backup, look at it, and put it in the place of all there is."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import flask
from flask import Blueprint, current_app, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import backups, jobs
from curator.errors import UserError
from curator.views import door

bp = Blueprint("backups", __name__, url_prefix="/backups")
UPLOAD = "backup"  # what an uploaded file is called while it waits


@bp.get("/")
def index() -> str:
    """Show how to take all there is away and bring it back, and what was kept before a restore or a migration."""
    kept = backups.all_kept(current_app)
    return render_template("backups/index.html", kept=kept, shell=door.command("flask", "backup", file_name()))


@bp.get("/download")
def download() -> Response:
    """Send all rows as one packed file."""
    file = tempfile.TemporaryFile()
    try:
        backups.write_to(current_app, file, packed=True)
    except BaseException:
        file.close()
        raise
    size = file.tell()
    file.seek(0)
    answer = flask.send_file(file, mimetype="application/gzip", as_attachment=True, download_name=file_name())
    answer.content_length = size
    return answer


@bp.post("/")
def upload() -> Response:
    """Keep an uploaded backup until it is decided on, and show what it holds."""
    file = request.files.get("file")
    if file is None or not file.filename:
        raise UserError("No file came with the form. Choose a backup, then press Look at it.")
    place = backups.make_workplace(current_app)
    file.save(place / UPLOAD)
    return door.go(url_for("backups.preview", token=place.name))


@bp.post("/kept/<name>")
def take_out(name: str) -> Response:
    """Show what a copy holds that was kept before a restore or a migration."""
    place = backups.make_workplace(current_app)
    backups.take_out(current_app, name, place / UPLOAD)
    return door.go(url_for("backups.preview", token=place.name))


@bp.get("/<token>")
def preview(token: str) -> str:
    """Show what a backup holds beside what is there now, before anything is restored."""
    place = backups.find_workplace(current_app, token)
    with checked(place) as found:
        now = backups.counts_now(current_app)
        rows = [(noun, now.get(table, 0), found.counts.get(table, 0)) for table, noun in backups.SPOKEN.items()]
        return render_template("backups/preview.html", token=token, rows=rows, backup=found)


@bp.post("/<token>")
def restore(token: str) -> Response:
    """Put an uploaded backup in the place of all there is."""
    jobs.refuse_at_work(current_app, "Restoring")
    place = backups.find_workplace(current_app, token)
    door.session().close()  # PostgreSQL hands its tables over only when nobody reads them
    with checked(place) as found:
        done = backups.restore(current_app, found)
    shutil.rmtree(place, ignore_errors=True)
    said = f"Restored {door.plural(done.after.get('pair', 0))}."
    if done.kept:
        said += f" What was there is kept in {done.kept.name}."
    door.tell(said)
    return door.go(url_for("backups.index"))


@bp.post("/<token>/discard")
def discard(token: str) -> Response:
    """Throw an uploaded backup away."""
    shutil.rmtree(backups.find_workplace(current_app, token), ignore_errors=True)
    door.tell("Nothing was restored.")
    return door.go(url_for("backups.index"))


@contextlib.contextmanager
def checked(place: Path) -> Iterator[backups.Backup]:
    """Check an uploaded backup; one that is refused is removed."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(backups.checked(current_app, place / UPLOAD, name="This file"))
        except UserError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        yield found


def file_name() -> str:
    """Return what a backup of today is called."""
    return f"curator-{datetime.now(UTC):%Y-%m-%d}.db.gz"
