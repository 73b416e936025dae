"""Export: choose a format by its looks, see the exact count, take the file."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, render_template, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from curator import exports
from curator.errors import UserError
from curator.formats import FORMATS
from curator.search import Selection
from curator.views import door

bp = Blueprint("exports", __name__, url_prefix="/export")
CSV = "csv"
ABOUT_CSV = "spreadsheets; with status, tags and notes, and Curator reads it back"


@bp.get("/")
def index() -> str:
    """Show each format with a selected pair written in it, its command, and how many lines there are."""
    selection = door.selection()
    door.checked_dataset()
    formats = {name: about for name, (about, _) in FORMATS.items()} | {CSV: ABOUT_CSV}
    return render_template(
        "exports/index.html",
        selection=selection,
        count=exports.count(door.session(), selection),
        formats=[(name, about, example(selection, name), command(selection, name)) for name, about in formats.items()],
    )


@bp.get("/download")
def download() -> Response:
    """Send the selected pairs as a file."""
    selection, format = door.selection(), request.args.get("format", "messages")
    return door.download(lines(door.session(), selection, format), file_name(selection, format))


def lines(session: Session, selection: Selection, format: str) -> Iterator[str]:
    """Yield the lines of an export in one of the formats of this page."""
    if format == CSV:
        return exports.csv_lines(session, selection)
    return exports.lines(session, selection, format)


def example(selection: Selection, format: str) -> str:
    """Return the first pair of a selection in a format, or why that format cannot hold it."""
    try:
        written = lines(door.session(), selection, format)
        return "".join(line for line, _ in zip(written, range(2 if format == CSV else 1), strict=False))
    except UserError as error:
        return str(error)


def command(selection: Selection, format: str) -> str:
    """Return the command that writes the same file."""
    kind = ["--csv"] if format == CSV else ["--jsonl"] if format == "messages" else ["--format", format]
    return door.command("flask", "export", *kind, "-o", file_name(selection, format), pairs=selection)


def file_name(selection: Selection, format: str) -> str:
    """Return what the file is called: after the data set, and the format where it is not the usual one."""
    stem = selection.dataset or "pairs"
    return f"{stem}.csv" if format == CSV else f"{stem}.jsonl" if format == "messages" else f"{stem}-{format}.jsonl"
