"""Import: a file is uploaded, looked at, and then brought in or thrown away."""

from __future__ import annotations

import contextlib
import io
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, render_template, request, send_file, url_for
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response

from curator import formats, imports, pairs
from curator.errors import NotFound, UserError
from curator.views import door

bp = Blueprint("imports", __name__, url_prefix="/import")
KEPT_SECONDS = 24 * 3600  # an upload that nobody came back to is removed after a day
NAME_BYTES = 200  # file systems take 255
SHOWN_REFUSALS = 200


@bp.get("/")
def index() -> str:
    """Show where to drop a file, and what files may look like."""
    return render_template("imports/index.html", shell=door.command("flask", "import", "pairs.csv"))


@bp.post("/")
def upload() -> Response:
    """Keep an uploaded file until it is decided on, and show what it would bring."""
    file = request.files.get("file")
    if file is None or not file.filename:
        raise UserError("No file came with the form. Choose one, then press Look at it.")
    token = keep(file)
    return door.go(url_for("imports.preview", token=token, into=door.dataset() or pairs.DEFAULT_DATASET))


@bp.get("/<token>")
def preview(token: str) -> str | tuple[str, int]:
    """Show what a file would bring: how many pairs, the first as they will land, each refusal and why."""
    path = uploaded(token)
    reading = chosen(request.args)
    context = reading | {"token": token, "name": path.name, "target": reading["dataset"], "shapes": formats.SHAPES}
    try:
        plan = imports.plan(door.session(), path, name=path.name, **reading)
    except UserError as error:
        return render_template("imports/unread.html", error=error, headers=headers_of(path), **context), 400
    words = ["flask", "import", path.name, "--dataset", reading["dataset"]]
    words += [word for what, column in reading["mapping"].items() for word in ("--map", f"{what}={column}")]
    words += ["--shape", reading["shape"]] if reading["shape"] else []
    words += ["--turns", "each"] if reading["each_turn"] else []
    words += ["--ids", reading["ids"]] if reading["ids"] else []
    words += ["--rejects", rejects_name(path, plan)] if plan.refused else []
    return render_template(
        "imports/preview.html",
        plan=plan,
        shown=SHOWN_REFUSALS,
        shown_rows=imports.SHOWN,
        shell=door.command(*words),
        **context,
    )


@bp.get("/<token>/rejects")
def rejects(token: str) -> Response:
    """Send the lines that a file would not bring, each with its reason, as a file to mend and import."""
    path = uploaded(token)
    with tempfile.TemporaryDirectory() as place:
        written = Path(place) / "rejects"
        plan = imports.plan(door.session(), path, name=path.name, rejects=written, **chosen(request.args))
        return send_file(
            io.BytesIO(written.read_bytes()), as_attachment=True, download_name=rejects_name(path, plan)
        )  # fmt: skip


@bp.post("/<token>")
def apply(token: str) -> Response:
    """Bring the pairs of an uploaded file in, and show them."""
    path = uploaded(token)
    done = imports.apply(
        door.session(), path, by=door.who(), name=path.name, skip_refused=True, **chosen(request.form)
    )  # fmt: skip
    shutil.rmtree(path.parent, ignore_errors=True)
    said = f"Imported {door.plural(done.new)} from {done.name}."
    if done.changed:
        said += f" {done.changed:,} changed."
    if done.identical:
        said += f" {done.identical:,} were there already."
    if done.refused:
        said += f" {len(done.refused):,} refused."
    door.tell(said, done.changeset)
    return door.go(url_for("pairs.index", dataset=done.dataset))


@bp.post("/<token>/discard")
def discard(token: str) -> Response:
    """Throw an uploaded file away."""
    path = uploaded(token)
    shutil.rmtree(path.parent, ignore_errors=True)
    door.tell(f"Nothing was imported; the copy of {path.name} is removed.")
    return door.go(url_for("imports.index"))


def chosen(form: Mapping[str, str]) -> dict[str, Any]:
    """Return how a file is to be read, and into which data set, as the person said."""
    mapping = {what: form.get(what, "") for what in ("question", "answer")}
    return {
        "dataset": form.get("into", "").strip() or pairs.DEFAULT_DATASET,
        "mapping": {what: column for what, column in mapping.items() if column},
        "shape": form.get("shape") or None,
        "each_turn": form.get("turns") == "each",
        "ids": form["ids"] if form.get("ids") in ("update", "ignore") else "",
    }


def rejects_name(path: Path, plan: imports.Plan) -> str:
    """Return what to call the file of what was refused."""
    return f"{path.stem}-rejects.{'jsonl' if plan.kind.startswith('JSON') else 'csv'}"


def folder() -> Path:
    """Return where uploads wait."""
    return Path(current_app.config["CURATOR_HOME"]) / "uploads"


def keep(file: FileStorage) -> str:
    """Store an upload under a token that nobody can guess; uploads older than a day are removed."""
    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in folder().iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    token = secrets.token_urlsafe(16)
    place = folder() / token
    place.mkdir(mode=0o700)
    file.save(place / safe_name(file.filename or ""))
    return token


def safe_name(name: str) -> str:
    """Return the name of an upload without folders, control characters and excess; its end is kept."""
    last = re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", name)[-1]).strip(". ") or "upload"
    return last.encode("utf-8", "replace")[-NAME_BYTES:].decode("utf-8", "ignore")


def uploaded(token: str) -> Path:
    """Return the file of a token. Raises NotFound where it was imported, discarded or never there."""
    place = folder() / token
    if re.fullmatch(r"[A-Za-z0-9_-]{22}", token) and place.is_dir():
        for path in place.iterdir():
            return path
    raise NotFound("This upload is no longer here: it was imported or discarded. Upload the file again.")


def headers_of(path: Path) -> list[str]:
    """Return the columns of a file, or the fields of its first record; none where it cannot be read."""
    try:
        reading = formats.read(path, path.name)
        records = (list(record.fields) for record in reading if isinstance(record, formats.Record))
        return list(reading.headers) or next(records, [])
    except UserError:
        return []
