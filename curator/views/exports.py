"""Export: choose a format by its looks, see the exact count and what a reader would refuse, take the file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flask import Blueprint, render_template, request
from werkzeug.wrappers import Response

from curator import exports
from curator.errors import UserError
from curator.formats import FORMATS, KINDS, preflight
from curator.formats.writing import ABOUT_TABLE, TABLE, checked_kind
from curator.search import Selection
from curator.views import door

bp = Blueprint("exports", __name__, url_prefix="/export")
DATABASE = "db"
ABOUT = {name: each.about for name, each in FORMATS.items()} | {TABLE: ABOUT_TABLE}
FILES = KINDS | {DATABASE: "a database of these pairs, which Curator opens; the format above does not matter"}
CHECKED_AT_ONCE = 5_000  # pairs that a page reads through in a tenth of a second; more wait to be asked for


@bp.get("/")
def index() -> str:
    """Show each format with a selected pair written in it, its command, how many lines there are, and the preflight."""
    selection = door.selection()
    door.checked_dataset()
    count = exports.count(door.session(), selection)
    is_checked = count.lines <= CHECKED_AT_ONCE or "check" in request.args
    seen = exports.preflight(door.session(), selection) if count.lines and is_checked else None
    return render_template(
        "exports/index.html",
        selection=selection,
        count=count,
        formats=[(name, about, example(selection, name), command(selection, name)) for name, about in ABOUT.items()],
        kinds=FILES,
        preflight=list(preflight.sentences(seen)) if seen else None,
    )


@bp.get("/download")
def download() -> Response:
    """Send the selected pairs as a file."""
    selection, format = door.selection(), request.args.get("format", "messages")
    kind = request.args.get("kind", "jsonl")
    if kind == DATABASE:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.db"
            exports.write_database(door.session(), selection, path, door.who())
            return door.attached(path.open("rb"), file_name(selection, TABLE, kind))
    pieces = exports.pieces(door.session(), selection, format, checked_kind(kind))
    return door.download(pieces, file_name(selection, format, kind))


def example(selection: Selection, format: str) -> str:
    """Return the first pair of a selection in a format, or why that format cannot hold it."""
    try:
        return "".join(exports.lines(door.session(), selection, format, limit=1))
    except UserError as error:
        return str(error)


def command(selection: Selection, format: str) -> str:
    """Return the command that writes the same file, as JSON lines."""
    kind = ["--jsonl"] if format == "messages" else ["--format", format]
    return door.command("flask", "export", *kind, "-o", file_name(selection, format, "jsonl"), pairs=selection)


def file_name(selection: Selection, format: str, kind: str) -> str:
    """Return what the file is called: after the data set, and the format where it is not the usual one."""
    stem = selection.dataset or "pairs"
    return f"{stem}.{kind}" if format in ("messages", TABLE) else f"{stem}-{format}.{kind}"
