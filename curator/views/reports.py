"""Reports of trainers on other machines: a token instead of a browser, JSON instead of pages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, g, request, url_for
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, Unauthorized

from curator import accounts, reports, runs, training
from curator.errors import Busy, Conflict, NotFound, UserError
from curator.views import door

bp = Blueprint("reports", __name__, url_prefix="/reports")
MOST_BYTES = 8 * 2**20  # of one piece


@bp.before_request
def only_with_a_token() -> None:
    """Let in who has a token: nothing else is asked of these requests, neither where they come from nor a form."""
    request.max_content_length = MOST_BYTES
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    name = accounts.holder(door.session(), token.strip()) if kind.lower() == "bearer" else None
    if name is None:
        raise Unauthorized(
            "The token is none that Curator knows. Make one where Curator runs, with: flask token new NAME",
            www_authenticate=WWWAuthenticate("bearer"),
        )
    g.who = name


@bp.get("/")
def greet() -> dict[str, Any]:
    """Say that the token is good."""
    return {"token": door.who()}


@bp.get("/<key>")
def index(key: str) -> dict[str, Any]:
    """Say which files of a run are here."""
    return {"files": reports.files(folder_of(key))}


@bp.put("/<key>/<path:name>")
def receive(key: str, name: str) -> dict[str, Any]:
    """Take a piece of a file."""
    folder, size = folder_of(key), request.args.get("size", -1, int)
    most = current_app.config["CURATOR_MAX_UPLOAD"]
    if size > most * 2**20:
        raise RequestEntityTooLarge(f"{name[:80]} is larger than {most} MiB, the most that CURATOR_MAX_UPLOAD allows.")
    at, sha256, piece = request.args.get("at", -1, int), request.args.get("sha256", ""), request.get_data(cache=False)
    return {"there": reports.receive(folder, name, piece, at=at, size=size, sha256=sha256)}


@bp.post("/<key>")
def hear(key: str) -> dict[str, Any]:
    """Bring in what came, and say where it is shown."""
    run = reports.hear(door.session(), folder_of(key), door.who(), is_over=request.args.get("over") == "1")
    return {"run": run.id, "page": url_for("runs.show", run_id=run.id)}


def folder_of(key: str) -> Any:
    """Return the folder of a reported run. Raises Conflict where the run is one of this machine."""
    place = reports.place_of(key, door.home())
    there = training.folder_of(key, door.run_folders())
    if there and there != place:
        raise Conflict(f"Run {runs.read_record(there).get('name', key)} lies on this machine, and needs no report.")
    return place


@bp.errorhandler(UserError)
def on_user_error(error: UserError) -> tuple[dict[str, Any], int]:
    status = {NotFound: 404, Conflict: 409, reports.Behind: 409, Busy: 503}.get(type(error), 400)
    more = {"there": error.there} if isinstance(error, reports.Behind) else {}
    return {"error": str(error), **more}, status


@bp.errorhandler(RequestEntityTooLarge)  # else the app's own is nearer
@bp.errorhandler(HTTPException)
def on_http_error(error: HTTPException) -> Any:
    response = error.get_response()
    response.data, response.mimetype = current_app.json.dumps({"error": error.description}), "application/json"
    return response
