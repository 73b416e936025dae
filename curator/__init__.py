"""Curator: write and collect questions and answers, clean and freeze them, export, train, and rate what comes back."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, g, render_template, request
from flask.sessions import SecureCookieSessionInterface
from werkzeug.exceptions import Forbidden, HTTPException, RequestEntityTooLarge

from curator import cli, settings
from curator.errors import Busy, Conflict, NotFound, UserError
from curator.words import about, duration

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class SessionCookie(SecureCookieSessionInterface):
    """The session cookie: signed with the secret of this home, Secure wherever the page came over HTTPS."""

    def get_signing_serializer(self, app: Flask) -> Any:
        # Flask opens the session before anything else of a request, so the secret is made here.
        if app.secret_key is None:
            from curator import database

            app.secret_key = make_secret(database.home(app))
        return super().get_signing_serializer(app)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application. `config` goes over the environment, as tests need it.

    Nothing is opened or written before the first request or command asks for it.
    """
    app = Flask(
        "curator",
        template_folder=str(settings.SHELF / "templates"),
        static_folder=str(settings.SHELF / "static"),
        instance_path=str(settings.home()),
    )
    app.config.from_mapping(settings.load(config))
    app.config.update(
        MAX_CONTENT_LENGTH=app.config["CURATOR_MAX_UPLOAD"] * 2**20,
        MAX_FORM_MEMORY_SIZE=app.config["CURATOR_MAX_UPLOAD"] * 2**20,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_NAME="curator",
    )
    app.config.update(config or {})
    app.session_interface = SessionCookie()
    app.jinja_env.filters.update(number=number, when=when, bytes=in_bytes, about=about, duration=duration)
    guard(app)
    answer_errors(app)
    for command in cli.COMMANDS:
        app.cli.add_command(command)

    # SQLAlchemy takes a third of a second to import: only who makes an app waits for it, `--help` does not.
    from curator import database, jobs
    from curator.views import BLUEPRINTS, addresses

    database.init_app(app)
    app.jinja_env.globals["url_for"] = addresses.url_for
    app.before_request(lambda: None if request.endpoint == "static" else jobs.wake(app))
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app


def make_secret(home: Path) -> str:
    """Return the secret that signs cookies; made at the first start, readable by its owner alone."""
    path = home / "secret"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        # Another process may have made it a moment ago and not have written it yet.
        return path.read_text() or make_secret(home)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path.read_text()


def guard(app: Flask) -> None:
    """Answer only this machine, only its own pages' forms, and let no page run what is not ours."""
    from curator import database

    def has_own_guard() -> bool:
        # A trainer on another machine shows its token, which no page of another site could: it is in a header.
        return request.blueprint == "reports"

    @app.before_request
    def only_from_here() -> None:
        if has_own_guard():
            return
        # A Host that is not loopback is a name that somebody pointed at this machine (DNS rebinding).
        host = urlsplit(f"//{request.host}").hostname
        if request.remote_addr not in LOOPBACK or host not in LOOPBACK:
            raise Forbidden(
                "Curator answers only the machine it runs on. Open http://127.0.0.1:5000 there, "
                "or reach it through: ssh -L 5000:127.0.0.1:5000"
            )

    @app.before_request
    def only_our_own_forms() -> None:
        # Each browser of today names the site that a form was sent from, in one of two headers.
        # Source: OWASP, Cross-Site Request Forgery Prevention, on Fetch Metadata and Origin.
        if request.method in ("GET", "HEAD", "OPTIONS") or has_own_guard():
            return
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        ours = site in ("same-origin", "none") if site else origin == request.host_url.rstrip("/")
        if not ours:
            raise Forbidden("This was sent by another site, not from a page of Curator. Nothing was changed.")

    @app.before_request
    def open_session() -> None:
        if request.endpoint != "static":
            g.session, g.who = database.open_session(app), app.config["CURATOR_USER"]
            g.session.info["is_page"] = request.method == "GET"

    @app.teardown_appcontext
    def close_session(_: BaseException | None) -> None:
        if session := g.pop("session", None):
            session.close()

    @app.after_request
    def protect(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        # With no-referrer, browsers send "Origin: null" with plain forms, and none would be ours.
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if request.endpoint != "static":
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def answer_errors(app: Flask) -> None:
    """Turn what went wrong into a page of one sentence; what is our fault keeps its traceback in the log."""

    @app.errorhandler(UserError)
    def on_user_error(error: UserError) -> tuple[str, int]:
        status = {NotFound: 404, Conflict: 409, Busy: 503}.get(type(error), 400)
        return render_template("error.html", message=str(error), status=status), status

    @app.errorhandler(RequestEntityTooLarge)
    def on_large(error: RequestEntityTooLarge) -> tuple[str, int]:
        act = "Restore" if request.blueprint == "backups" else "Import"
        message = (
            f"The file is larger than {app.config['CURATOR_MAX_UPLOAD']} MiB. "
            f"{act} it with the command: flask {act.lower()} FILE"
        )
        return render_template("error.html", message=message, status=413), 413

    @app.errorhandler(HTTPException)
    def on_http_error(error: HTTPException) -> Any:
        if error.response is not None or (error.code or 500) < 400:
            return error
        sentences = {404: "There is no such page.", 405: "This page can only be opened, not sent to."}
        # 500 is ours: Flask has put the traceback in the log before it came here.
        ours = "Something went wrong in Curator. Nothing was half-saved; the log has the details."
        message = ours if error.code == 500 else sentences.get(error.code or 0, error.description)
        return render_template("error.html", message=message, status=error.code), error.code


def number(value: float) -> str:
    """Write a number with thousands separators."""
    return f"{value:,}"


def when(moment: datetime | None) -> str:
    """Say how long ago a moment was, in the largest unit that fits; the date beyond four weeks."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    for unit, length, limit in (("minute", 60, 3600), ("hour", 3600, 86400), ("day", 86400, 28 * 86400)):
        if seconds < limit:
            amount = int(seconds // length)
            return f"{amount} {unit}{'s' if amount != 1 else ''} ago"
    return f"{moment.day} {moment:%B %Y}"


def in_bytes(value: float) -> str:
    """Write a size in bytes with the unit that fits, as the trainer does: a GiB is 1024 MiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


logging.getLogger("alembic").setLevel(logging.WARNING)
