"""Convert: a file is uploaded in one shape and comes back in another; nothing of it is kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from curator.errors import UserError
from curator.formats import FORMATS, KINDS, SHAPES, encode, read
from curator.formats.converting import Conversion
from curator.formats.writing import ABOUT_TABLE, COLUMNS, TABLE, checked_format, checked_kind
from curator.views import door

bp = Blueprint("convert", __name__, url_prefix="/convert")


@bp.get("/")
def index() -> str:
    """Show where to drop a file, and what it can become."""
    formats = {name: each.about for name, each in FORMATS.items()} | {TABLE: ABOUT_TABLE}
    shapes = {name: about for name, (about, _) in SHAPES.items()}
    shell = door.command("flask", "convert", "faq.csv", "alpaca.jsonl", "--to-shape", "alpaca")
    return render_template("convert/index.html", formats=formats, kinds=KINDS, shapes=shapes, shell=shell)


@bp.post("/")
def convert() -> Response:
    """Send an uploaded file back in the shape that was asked for."""
    file = request.files.get("file")
    if file is None or not file.filename:
        raise UserError("No file came with the form. Choose one, then press Convert it.")
    format, kind = checked_format(request.form.get("to", "messages")), checked_kind(request.form.get("kind", "jsonl"))
    given = {name: value for name, value in request.form.items() if value.strip()}
    mapping = {name: value.strip() for name, value in given.items() if name in ("question", "answer")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        file.save(path)
        reading = read(path, file.filename, encoding=given.get("encoding"), delimiter=given.get("delimiter"))
        conversion = Conversion(reading, format, mapping, given.get("from"), "skip_refused" in given)
        stem = Path(file.filename.replace("\\", "/")).name.partition(".")[0] or "pairs"
        return door.download(encode(conversion, kind, COLUMNS[format]), f"{stem}-{format}.{kind}")
