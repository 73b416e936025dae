"""What every door does alike: who asks, which pairs are meant, where to go next and what to say there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import flask
from flask import g, request
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response

from curator import bitmaps, pairs, search
from curator.errors import NotFound, UserError
from curator.models import Changeset
from curator.search import Selection
from curator.words import plural as plural

LARGEST = 2**63 - 1  # of the numbers that a database can hold
KEPT_SECONDS = 24 * 3600  # an upload that nobody came back to is removed after a day
NAME_BYTES = 200  # file systems take 255


def session() -> Session:
    """Return the database session of this request."""
    return g.session


def who() -> str:
    """Return the name that changes of this request are attributed to."""
    return g.who


def dataset() -> str | None:
    """Return the data set chosen on the top of the page, or None for all of them.

    The address decides; where it is silent, the choice made last holds, as long as that data set is there.
    """
    if "dataset" in request.args:
        flask.session["dataset"] = request.args["dataset"]
    chosen = flask.session.get("dataset") or None
    if chosen and "dataset" not in request.args and chosen not in dict(datasets()):
        return None
    return chosen


def datasets() -> list[tuple[str, int]]:
    """Return the data sets with their number of pairs, read once a request."""
    if "datasets" not in g:
        bitmaps.now(session())  # each page asks it for more than this
        g.datasets = pairs.datasets(session())
    return g.datasets


def selection() -> Selection:
    """Return the pairs that the address means."""
    return Selection.from_args(request.args).but(dataset=dataset())


def integer(name: str, default: int | None = None) -> int | None:
    """Return a whole number of the address or the form. Raises UserError where it is something else."""
    text = request.values.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise UserError(f"{name.capitalize()} is {text!r}, which is no whole number.") from None
    if abs(value) > LARGEST:
        raise UserError(f"{name.capitalize()} is {text}, which is larger than any number here.")
    return value


def chosen_ids(name: str = "id") -> list[int]:
    """Return the pairs that were ticked. Raises UserError where there is none."""
    ids = request.form.getlist(name, type=int)
    if not ids:
        raise UserError("No pair is selected. Tick one, or press x on it.")
    return ids


def here() -> str:
    """Return the address of this page as a form can name it in `back`."""
    return request.full_path.rstrip("?") if request.method == "GET" else back("/")


def back(default: str) -> str:
    """Return the page that the request wants to go back to, if it is one of ours."""
    try:
        target = request.values.get("back", "")
    except RequestEntityTooLarge:  # the form that would have said it is what was too large
        return default
    # "//elsewhere" and "/\elsewhere" are other hosts to a browser.
    ours = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if ours and target.isprintable() else default


def go(place: str, pair_id: int | None = None) -> Response:
    """Send the browser on after an act, to the row of a pair unless the place says where on its page."""
    return flask.redirect(place + (f"#pair-{pair_id}" if pair_id and "#" not in place else ""), 303)


def tell(
    text: str, changeset: Changeset | None = None, *, href: str = "", link: str = "", undo_at: str = ""
) -> None:  # fmt: skip
    """Say something on the page that comes next, with an undo for the changeset that did it, or one at an address."""
    if changeset and changeset.rows:
        undo_at = flask.url_for("changes.undo", changeset_id=changeset.id)
    message = {"text": text, "undo_at": undo_at, "back": here(), "href": href, "link": link}
    flask.flash(message)  # type: ignore[arg-type]  # kept as JSON in the cookie


def wants_fragment() -> bool:
    """Whether the script asks for a part of the page rather than all of it."""
    return "X-Fragment" in request.headers


def show(page: str, fragment: str, **context: Any) -> str:
    """Render the page, or its fragment with the messages where the script asked for that alone."""
    if not wants_fragment():
        return flask.render_template(page, **context)
    return flask.render_template(fragment, **context) + flask.render_template("_messages.html")


def command(*words: str, pairs: Selection | None = None) -> str:
    """Return the command that does the same as a page, ready to paste into a shell."""
    return shlex.join([*words, *(search.describe(pairs.to_args()) if pairs else ())])


def listed(ids: list[int], limit: int = 10) -> str:
    """Return the numbers of pairs as a sentence names them."""
    return ", ".join(map(str, ids[:limit])) + (f" and {len(ids) - limit:,} more" if len(ids) > limit else "")


def checked_dataset() -> str | None:
    """Return the chosen data set. Raises NotFound where the address names one that is not there."""
    name = dataset()
    if name and name not in dict(datasets()):
        raise NotFound(f"There is no data set {name!r}.")
    return name


def run_folders() -> list[Path]:
    """Return where run folders are looked for: `runs/` here, and in the home of Curator."""
    return [Path("runs").absolute(), Path(flask.current_app.config["CURATOR_HOME"]) / "runs"]


def download(pieces: Iterable[str | bytes], name: str) -> Response:
    """Send a file, written to disk first.

    A pair that the format cannot hold is then told on a page, where a file already on its way would
    end early without a word. It also frees the database before a slow client begins to read.
    """
    file = tempfile.TemporaryFile()
    try:
        for piece in pieces:
            file.write(piece.encode("utf-8") if isinstance(piece, str) else piece)
    except BaseException:
        file.close()
        raise
    return attached(file, name)


MEDIA_TYPES = {"csv": "text/csv", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}


def attached(file: IO[bytes], name: str) -> Response:
    """Send an open file to be saved under a name; it is closed when it was sent."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kind = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    response = flask.send_file(file, mimetype=kind, as_attachment=True, download_name=name)
    response.content_length = size
    return response


def home() -> Path:
    """Return CURATOR_HOME."""
    return Path(flask.current_app.config["CURATOR_HOME"])


def uploads() -> Path:
    """Return where uploads wait."""
    return home() / "uploads"


def keep(file: FileStorage) -> Path:
    """Store an upload in a folder whose name nobody can guess; uploads older than a day are removed."""
    uploads().mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in uploads().iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    place = uploads() / secrets.token_urlsafe(16)
    place.mkdir(mode=0o700)
    path = place / safe_name(file.filename or "")
    with contextlib.closing(file):
        file.save(path)
    return path


def safe_name(name: str) -> str:
    """Return the name of an upload without folders, control characters and excess; its end is kept."""
    last = re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", name)[-1]).strip(". ") or "upload"
    return last.encode("utf-8", "replace")[-NAME_BYTES:].decode("utf-8", "ignore")
