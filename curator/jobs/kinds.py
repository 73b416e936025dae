"""The kinds of long work: which noun does it, with what, and what is told when it is done. Knows no queue."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from curator import (
    bulk,
    cleaning,
    duplicates,
    exports,
    formats,
    history,
    imports,
    neighbours,
    quality,
    runs,
    training,
    versions,
)
from curator.errors import UserError
from curator.jobs.progress import Cancelled
from curator.search import Selection
from curator.words import plural

Progress = Callable[..., None]  # told how much is done, of how much, and what; what it raises ends the work


def look_at_file(
    session: Session, by: str, on_progress: Progress, *, upload: str, reading: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Plan the import of an uploaded file; what it would refuse is written beside it."""
    path = there(upload)
    rejects = rejects_of(path)
    rejects.parent.mkdir(exist_ok=True)
    asked = imports.Reading(**reading)
    return imports.plan(session, path, asked, name=path.name, rejects=rejects, on_progress=on_progress).summary()


def import_file(
    session: Session, by: str, on_progress: Progress, *, upload: str, reading: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Import an uploaded file without what is refused, and remove it."""
    path = there(upload)
    asked = imports.Reading(**reading)
    done = imports.apply(session, path, asked, by=by, name=path.name, skip_refused=True, on_progress=on_progress)
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
    try:
        findings = duplicates.search_meaning(session, Path(home), **asked, on_progress=on_progress)
    except UserError as error:  # who reads it presses buttons, and has no --model
        raise UserError(str(error).replace("with --model FOLDER", "in the setting CURATOR_MEANING_MODEL")) from error
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


def found_last(home: str, asked: dict[str, Any]) -> duplicates.Findings:
    """Return what the last search found; `asked` as in `duplicates.kept`. Raises UserError where it is gone."""
    findings = duplicates.kept(Path(home), **asked)
    if findings is None:
        raise UserError("What was found is no longer here. Search again.")
    return findings


def resolve_duplicates(
    session: Session, by: str, on_progress: Progress, *, home: str, asked: dict[str, Any], threshold: float, **_: Any
) -> dict[str, Any]:
    """Trash what is that similar to a better pair in what the last search found; `asked` as in `duplicates.kept`."""
    findings = found_last(home, asked)
    changeset, done = duplicates.resolve_above(session, findings, threshold, by=by, on_progress=on_progress)
    told = f"Trashed {plural(done.surplus)}, and kept the best of {plural(done.clusters, 'cluster')}."
    if done.facts:
        told += f" Left: {done.facts:,} that differ in a fact."
    return {"told": told, "changeset": changeset.id, "dataset": findings.dataset}


def report_duplicates(
    session: Session, by: str, on_progress: Progress, *, home: str, asked: dict[str, Any], threshold: float, **_: Any
) -> dict[str, Any]:
    """Write the table of what the last search found into CURATOR_HOME; `asked` as in `duplicates.kept`."""
    findings = found_last(home, asked)
    would = None
    if findings.kind == "duplicates":
        would = duplicates.above(session, findings, max(threshold, findings.threshold), on_progress)

    def rows() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(duplicates.report(session, findings, would), 1):
            on_progress(number, len(findings.ids), "Writing")
            yield row

    name = f"{findings.key}-{secrets.token_hex(8)}.csv"
    exports.write_file(formats.encode(rows(), "csv", duplicates.COLUMNS), Path(home) / duplicates.FOLDER / name)
    return {"told": f"The table of {len(findings.ids):,} pairs is written.", "report": name, "kind": findings.kind}


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


def check(
    session: Session, by: str, on_progress: Progress, *, home: str, context: int, tokenizer: str, **_: Any
) -> dict[str, Any]:
    """Bring the flags up to date, and count what the statistics show, so that their page needs not."""
    rules = quality.rules_of(context, tokenizer)
    done = quality.check(session, rules, Path(home), on_progress=on_progress)
    quality.statistics(session, None, rules)
    flagged = quality.flagged(session).pairs
    return {"told": f"Looked at {done.looked_at:,} pairs; {flagged:,} have a flag."}


def freeze(
    session: Session, by: str, on_progress: Progress, *, selection: dict[str, Any], asked: dict[str, Any],
    keep_out: Sequence[str] = (), **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """Freeze a version, and remove the uploaded files that it keeps out.

    `selection` is what `Selection.to_args` gives, `asked` what `versions.freeze` takes.
    """
    chosen, files = Selection.from_args(MultiDict(selection)), [there(upload) for upload in keep_out]
    version, is_new = versions.freeze(session, chosen, by=by, **asked, keep_out=files, on_progress=on_progress)
    for file in files:
        shutil.rmtree(file.parent, ignore_errors=True)
    lines = f"{sum(version.counts.values()):,} lines"
    told = f"Froze version {version.id}: {lines}." if is_new else f"Nothing differs from version {version.id}."
    return {"told": told, "version": version.id}


def look_through(
    session: Session, by: str, on_progress: Progress, *, home: str, asked: dict[str, Any], **_: Any
) -> dict[str, Any]:
    """Count what steps would change, and keep it in CURATOR_HOME; `asked` is what `cleaning.asked` returns."""
    steps, selection = cleaning.meant(asked)
    found = cleaning.look(session, steps, selection, on_progress=on_progress)
    cleaning.keep(found, selection, Path(home))
    told = f"{len(found.ids):,} of {found.looked:,} pairs looked at would change."
    return {"told": told, "page": {"step": asked["steps"], **selection.to_args()}}


def clean(
    session: Session, by: str, on_progress: Progress, *, home: str, asked: dict[str, Any], digest: int,
    except_ids: list[int], **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """Clean what was shown, and nothing where the pairs changed since; `digest` is that of what was shown."""
    steps, selection = cleaning.meant(asked)
    found = cleaning.kept(steps, selection, Path(home))
    if found is None or found.digest != digest:
        found = cleaning.look(session, steps, selection, on_progress=on_progress)
    if found.digest != digest:
        raise cleaning.changed_since()
    done = cleaning.apply(
        session, steps, selection, by, except_ids=except_ids, found=found, on_progress=on_progress
    ).changeset  # fmt: skip
    number = done.rows if done else 0
    told = f"Cleaned {plural(number)}."
    return {"told": told, "changeset": done.id if done else None, "dataset": selection.dataset}


def plan_training(
    session: Session, by: str, on_progress: Progress, *, home: str, data: str, options: dict[str, str], **_: Any
) -> dict[str, Any]:
    """Ask the trainer what a run would do; `data` is the number of a version, which is exported, or a folder."""
    if data.isdecimal():
        on_progress(0, None, "Writing the lines of the version")
        data = str(training.export(session, int(data), Path(home)))
    on_progress(0, None, "Asking the trainer")
    plan = training.plan(Path(data), options, lambda: on_progress(0, None, "Asking the trainer"))
    told = f"{plan['verdict'][0].upper()}{plan['verdict'][1:]}." if plan["runs"] else "It can't be run like this."
    return {"told": told, "plan": plan, "folder": data}


def find_rate(
    session: Session, by: str, on_progress: Progress, *, home: str, data: str, options: dict[str, str], **_: Any
) -> dict[str, Any]:
    """Let the trainer try learning rates on a throw-away adapter; `data` as for the plan."""
    if data.isdecimal():
        on_progress(0, None, "Writing the lines of the version")
        data = str(training.export(session, int(data), Path(home)))
    with tempfile.TemporaryDirectory(prefix="rates-", dir=home) as place:
        words = "Trying learning rates in 80 steps"
        found = training.find_rate(Path(data), options, Path(place), lambda: on_progress(0, None, words))
    return {"told": f"A learning rate of {found['suggestion']:g} is suggested.", "rates": found}


def train(
    session: Session, by: str, on_progress: Progress, *, folder: str, data: str = "",
    options: dict[str, str] | None = None, rates: dict[str, Any] | None = None, **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """Train into a folder, or go on with the run that is there, or find again the process that does it already."""
    place, is_here = Path(folder), False
    training.begin(place, data, options or {}, rates)
    try:
        for now in training.follow(place):
            on_progress(now.step, now.steps, "Training" if now.step else "Reading the data and the base")
            if now.is_recorded and not is_here:
                with contextlib.suppress(UserError):  # half of a line is whole at its end
                    runs.import_run(session, place)
                    is_here = True
                session.rollback()  # a transaction of hours would keep the database from being tidied up
    except Cancelled:
        training.stop(place)
        if (place / "run.json").is_file():
            runs.import_run(session, place)
        raise Cancelled(training.last_words(place)) from None
    if (place / "run.json").is_file():
        runs.import_run(session, place)
    return {"told": training.came_of(place)}


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "look": look_at_file, "import": import_file,
    "find duplicates": find_duplicates, "find meaning": find_meaning, "resolve duplicates": resolve_duplicates,
    "report duplicates": report_duplicates, "build index": build_index, "check": check, "freeze": freeze,
    "look through": look_through, "clean": clean, "act": act_on_pairs, "undo": undo_change,
    "plan training": plan_training, "find rate": find_rate, "train": train,
}  # fmt: skip
