"""The kinds of long work: which noun does it, with what, and what is told when it is done. Knows no queue."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from curator import bulk, duplicates, history, imports, neighbours
from curator.errors import UserError
from curator.search import Selection

Progress = Callable[..., None]  # told how much is done, of how much, and what; what it raises ends the work


def look_at_file(
    session: Session, by: str, on_progress: Progress, *, upload: str, reading: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Plan the import of an uploaded file; what it would refuse is written beside it."""
    path = there(upload)
    rejects = rejects_of(path)
    rejects.parent.mkdir(exist_ok=True)
    return imports.plan(session, path, name=path.name, rejects=rejects, on_progress=on_progress, **reading).summary()


def import_file(
    session: Session, by: str, on_progress: Progress, *, upload: str, reading: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Import an uploaded file without what is refused, and remove it."""
    path = there(upload)
    done = imports.apply(
        session, path, by=by, name=path.name, skip_refused=True, on_progress=on_progress, **reading
    )  # fmt: skip
    shutil.rmtree(path.parent, ignore_errors=True)
    changeset = done.changeset.id if done.changeset else None
    return {"told": done.told, "changeset": changeset, "dataset": done.dataset}


def there(upload: str) -> Path:
    """Return the path of an uploaded file. Raises UserError where it is gone."""
    path = Path(upload)
    if not path.is_file():
        raise UserError(f"{path.name} is no longer here: it was discarded, or a day went by. Upload it again.")
    return path


def rejects_of(upload: Path) -> Path:
    """Return where the refused rows of an uploaded file are kept."""
    return upload.parent / "rejects" / upload.name


def find_duplicates(
    session: Session, by: str, on_progress: Progress, *, home: str, asked: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Search for near-duplicates, and keep what is found in CURATOR_HOME; `asked` is what `duplicates.search` takes."""
    findings = duplicates.search(session, **asked, on_progress=on_progress)
    return keep_findings(session, findings, home, on_progress, "are like another one")


def find_meaning(
    session: Session, by: str, on_progress: Progress, *, home: str, asked: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Search for what says the same in other words; `asked` is what `duplicates.search_meaning` takes."""
    findings = duplicates.search_meaning(session, Path(home), **asked, on_progress=on_progress)
    return keep_findings(session, findings, home, on_progress, "mean nearly the same as another one")


def keep_findings(
    session: Session, findings: duplicates.Findings, home: str, on_progress: Progress, what: str
) -> dict[str, Any]:
    """Keep what was found in CURATOR_HOME, and tell what a page asks `duplicates.kept` for it."""
    if findings.kind == "duplicates":
        findings = duplicates.judge(session, findings, on_progress=on_progress)
    duplicates.keep(findings, Path(home))
    told = f"{len(findings.ids):,} of {findings.compared:,} pairs {what}."
    return {"told": told, "dataset": findings.dataset, "kind": findings.kind, "field": findings.field,
            "shingle": findings.shingle, "across": findings.across, "measure": findings.measure,
            "model": findings.model}  # fmt: skip


def resolve_duplicates(
    session: Session, by: str, on_progress: Progress, *, home: str, asked: dict[str, Any], threshold: float, **_: Any
) -> dict[str, Any]:
    """Trash what is that similar to a better pair in what the last search found; `asked` as in `duplicates.kept`."""
    findings = duplicates.kept(Path(home), **asked)
    if findings is None:
        raise UserError("What was found is no longer here. Search again.")
    changeset, done = duplicates.resolve_above(session, findings, threshold, by=by, on_progress=on_progress)
    pairs, clusters = ("" if number == 1 else "s" for number in (done.surplus, done.clusters))
    told = f"Trashed {done.surplus:,} pair{pairs}, and kept the best of {done.clusters:,} cluster{clusters}."
    if done.facts:
        told += f" Left: {done.facts:,} that differ in a fact."
    return {"told": told, "changeset": changeset.id, "dataset": findings.dataset}


def act_on_pairs(
    session: Session, by: str, on_progress: Progress, *, act: dict[str, Any], selection: dict[str, Any], expected: int,
    **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """Do one thing to all pairs of a selection, if it still holds as many as were expected."""
    which = Selection.from_args(MultiDict(selection))
    done = bulk.do(session, bulk.Act(**act), which, by=by, expected=expected, on_progress=on_progress)
    changeset = done.changeset.id if done.changeset else None
    return {"told": done.told, "changeset": changeset, "dataset": which.dataset}


def undo_change(session: Session, by: str, on_progress: Progress, *, number: int, **_: Any) -> dict[str, Any]:
    """Take back a changeset."""
    undone = history.undo(session, number, by, on_progress)
    return {"told": undone.told, "changeset": undone.changeset.id, "dataset": None}


def build_index(session: Session, by: str, on_progress: Progress, **_: Any) -> dict[str, Any]:
    """Build the index of near-duplicates anew."""
    return {"told": f"{neighbours.rebuild(session, on_progress):,} pairs are in the index of near-duplicates."}


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "look": look_at_file, "import": import_file,
    "find duplicates": find_duplicates, "find meaning": find_meaning, "resolve duplicates": resolve_duplicates,
    "build index": build_index, "act": act_on_pairs, "undo": undo_change,
}  # fmt: skip
