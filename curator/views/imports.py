"""Import: a file is uploaded, looked at, and then brought in or thrown away."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flask import Blueprint, current_app, render_template, request, url_for
from werkzeug.wrappers import Response

from curator import formats, imports, jobs, pairs
from curator.errors import NotFound, UserError
from curator.views import door

bp = Blueprint("imports", __name__, url_prefix="/import")
LARGE_BYTES = 2**20
PACKED_TIMES = 6  # how much smaller a compressed file commonly is
# Of the form, as in the address.
FIELDS = ("into", "question", "answer", "shape", "turns", "encoding", "delimiter", "ids")
DELIMITERS = ("comma", "semicolon", "tab", "bar")


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
    token = door.keep(file).parent.name
    return door.go(url_for("imports.preview", token=token, into=door.dataset() or pairs.DEFAULT_DATASET))


@bp.get("/<token>")
def preview(token: str) -> Response | str | tuple[str, int]:
    """Show what a file would bring: how many pairs, the first as they will land, each refusal and why.

    A large file is looked at by a job, which comes back here when it has seen all of it.
    """
    path = uploaded(token)
    if look := door.integer("look"):
        job = jobs.get(current_app, look)
        form = job.arguments["form"]
        if job.arguments["token"] != token or job.state not in ("done", "failed"):
            return door.go(url_for("jobs.show", job_id=look))
        return show(token, path, form, job.error or job.result, look)
    form = {name: request.args[name] for name in FIELDS if request.args.get(name)}
    if is_large(path):
        job = jobs.start(
            current_app, "look", door.who(), f"Look at {path.name}",
            upload=str(path), token=token, form=form, reading=asdict(chosen(form)),
        )  # fmt: skip
        return door.go(url_for("jobs.show", job_id=job.id))
    try:
        found = imports.plan(door.session(), path, chosen(form), name=path.name).summary()
    except UserError as error:
        return show(token, path, form, str(error))
    return show(token, path, form, found)


def show(
    token: str, path: Path, form: Mapping[str, str], plan: dict[str, Any] | str, look: int | None = None
) -> str | tuple[str, int]:
    """Show a plan, or the sentence that says why there is none, with the form that reads the file otherwise."""
    reading = chosen(form)
    context = {
        "token": token, "name": path.name, "form": form, "target": reading.dataset, "mapping": reading.mapping,
        "shapes": formats.SHAPES, "delimiters": DELIMITERS, "look": look,
    }  # fmt: skip
    if isinstance(plan, str):
        headers = headers_of(path, reading)
        # The form below has what a command has as --map.
        plan = re.sub(r"(Say which (?:it is|they are)) with: --map .*$|(Name them) with --map\.$", below, plan)
        return render_template("imports/unread.html", error=plan, headers=headers, **context), 400
    words = ["flask", "import", path.name, "--dataset", reading.dataset]
    words += [word for what, column in reading.mapping.items() for word in ("--map", f"{what}={column}")]
    for name in ("encoding", "delimiter", "shape"):
        words += [f"--{name}", form[name]] if form.get(name) else []
    words += ["--turns", "each"] if reading.each_turn else []
    words += ["--ids", reading.ids] if reading.ids else []
    words += ["--rejects", rejects_name(path, plan["kind"])] if plan["refused"] else []
    return render_template("imports/preview.html", plan=plan, shell=door.command(*words), **context)


def below(found: re.Match[str]) -> str:
    return f"{found[1] or found[2]} below."


@bp.get("/<token>/rejects")
def rejects(token: str) -> Response:
    """Send the lines that a file would not bring, each with its reason, as a file to mend and import."""
    path = uploaded(token)
    if look := door.integer("look"):
        job = jobs.get(current_app, look)
        written = jobs.rejects_of(path)
        if not written.is_file():
            raise NotFound(f"The rejects of {path.name} are no longer here. Look at the file again.")
        return door.attached(written.open("rb"), rejects_name(path, job.result["kind"]))
    with tempfile.TemporaryDirectory() as place:
        written = Path(place) / "rejects"
        plan = imports.plan(door.session(), path, chosen(request.args), name=path.name, rejects=written)
        return door.attached(io.BytesIO(written.read_bytes()), rejects_name(path, plan.kind))


@bp.post("/<token>")
def apply(token: str) -> Response:
    """Bring the pairs of an uploaded file in, and show them; a large file is brought in by a job."""
    path = uploaded(token)
    form = {name: request.form[name] for name in FIELDS if request.form.get(name)}
    reading = chosen(form)
    for job in jobs.recent(current_app):
        if job.state in jobs.AT_WORK and job.kind == "import" and job.arguments["token"] == token:
            return door.go(url_for("jobs.show", job_id=job.id))  # the button was pressed twice
    if is_large(path):
        job = jobs.start(
            current_app, "import", door.who(), f"Import {path.name} into {reading.dataset}",
            upload=str(path), token=token, form=form, reading=asdict(reading),
        )  # fmt: skip
        return door.go(url_for("jobs.show", job_id=job.id))
    done = imports.apply(door.session(), path, reading, by=door.who(), name=path.name, skip_refused=True)
    shutil.rmtree(path.parent, ignore_errors=True)
    door.tell(done.told, done.changeset)
    return door.go(url_for("pairs.index", dataset=done.dataset))


@bp.post("/<token>/discard")
def discard(token: str) -> Response:
    """Throw an uploaded file away."""
    path = uploaded(token)
    shutil.rmtree(path.parent, ignore_errors=True)
    door.tell(f"Nothing was imported; the copy of {path.name} is removed.")
    return door.go(url_for("imports.index"))


def chosen(form: Mapping[str, str]) -> imports.Reading:
    """Return how a file is to be read, and into which data set, as the person said."""
    mapping = {what: form.get(what, "") for what in ("question", "answer")}
    return imports.Reading(
        dataset=form.get("into", "").strip() or pairs.DEFAULT_DATASET,
        mapping={what: column for what, column in mapping.items() if column},
        encoding=form.get("encoding", "").strip() or None,
        delimiter=form.get("delimiter") or None,
        shape=form.get("shape") or None,
        each_turn=form.get("turns") == "each",
        ids=form["ids"] if form.get("ids") in ("update", "ignore") else "",
    )


def is_large(path: Path) -> bool:
    """Return whether a file takes longer to read than a page may take: a second, or about 5,000 pairs."""
    with path.open("rb") as file:
        begins = file.read(4)
    is_packed = begins == b"PAR1" or any(begins.startswith(magic) for magic, _ in formats.PACKINGS)
    return path.stat().st_size * (PACKED_TIMES if is_packed else 1) > LARGE_BYTES


def rejects_name(path: Path, kind: str) -> str:
    """Return what to call the file of what was refused."""
    return f"{path.stem}-rejects.{'jsonl' if kind.startswith('JSON') else 'csv'}"


def uploaded(token: str) -> Path:
    """Return the file of a token. Raises NotFound where it was imported, discarded or never there."""
    place = door.uploads() / token
    if re.fullmatch(r"[A-Za-z0-9_-]{22}", token) and place.is_dir():
        for path in place.iterdir():
            if path.is_file():
                return path
    raise NotFound("This upload is no longer here: it was imported or discarded. Upload the file again.")


def headers_of(path: Path, reading: imports.Reading) -> list[str]:
    """Return the columns of a file, or the fields of its first record; none where it cannot be read."""
    try:
        opened = reading.opened(path, path.name)
        records = (list(record.fields) for record in opened if isinstance(record, formats.Record))
        return list(opened.headers) or next(records, [])
    except UserError:
        return []
