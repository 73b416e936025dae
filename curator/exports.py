"""Pairs out: a selection or a version → lines → files with a manifest. The same selection gives the same bytes."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import search, text, versions
from curator.errors import UserError
from curator.formats import FORMATS, to_line
from curator.models import Pair, Version
from curator.search import Selection
from curator.words import SPLITS

CSV_COLUMNS = ("id", "system", "history", "question", "answer", "status", "tags", "source", "notes")


@dataclass(frozen=True)
class Count:
    """How many lines an export has, and how many of them nobody approved yet."""

    lines: int
    drafts: int


def exportable(selection: Selection) -> Selection:
    """Return a selection without the rejected, unless it asks for a status itself."""
    return selection if selection.statuses else replace(selection, statuses=("draft", "approved"))


def count(session: Session, selection: Selection) -> Count:
    """Return how many lines a selection exports."""
    chosen = exportable(selection)
    drafts = 0
    if "draft" in chosen.statuses:
        drafts = search.count(session, replace(chosen, statuses=("draft",)))
    return Count(search.count(session, chosen), drafts)


def lines(session: Session, selection: Selection, format: str = "messages") -> Iterator[str]:
    """Yield one line a pair in the order of their ids, from one consistent state of the database."""
    checked_format(format)
    for pair in rows(session, exportable(selection)):
        chat = text.messages(pair.question, pair.answer, pair.system, pair.history)
        yield as_line(chat, format, f"Pair {pair.id}")


def csv_lines(session: Session, selection: Selection) -> Iterator[str]:
    """Yield a CSV that a spreadsheet reads and `flask import` takes back: header first, then a row a pair."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")  # RFC 4180

    def written(row: Iterable[Any]) -> str:
        writer.writerow(row)
        line = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return line

    yield written(CSV_COLUMNS)
    for pair in rows(session, exportable(selection)):
        earlier = json.dumps(pair.history, ensure_ascii=False) if pair.history else ""
        yield written(
            (pair.id, pair.system, earlier, pair.question, pair.answer, pair.status, ", ".join(pair.tags),
             pair.source, pair.notes)
        )  # fmt: skip


def rows(session: Session, selection: Selection) -> Iterator[sa.Row[Any]]:
    """Yield the columns of the pairs of a selection in id order, a thousand in memory at a time."""
    columns = [getattr(Pair, name) for name in CSV_COLUMNS]
    statement = sa.select(*columns).where(*search.conditions(session, selection)).order_by(Pair.id)
    yield from session.execute(statement.execution_options(yield_per=1000))


def version_lines(session: Session, number: int, split: str | None = None, format: str = "messages") -> Iterator[str]:
    """Yield the frozen lines of a version, or of one split of it."""
    checked_format(format)
    for place, chat in enumerate(versions.chats(session, number, split), 1):
        yield as_line(chat, format, f"Line {place} of version {number}")


def as_line(chat: list[dict[str, str]], format: str, who: str) -> str:
    """Return one line; where the shape can't hold the pair, the UserError names it."""
    try:
        return to_line(chat, format)
    except UserError as error:
        raise UserError(f"{who} {error} Export it with --format messages.") from error


def checked_format(format: str) -> str:
    """Return the name of a shape, or raise UserError listing those there are."""
    if format not in FORMATS:
        raise UserError(f"There is no format {format!r}. Choose one of: {', '.join(FORMATS)}.")
    return format


def write_file(lines: Iterable[str], path: Path) -> tuple[int, str]:
    """Write a file whole or not at all. Return its number of lines and the sha256 of its bytes."""
    number, digest = 0, hashlib.sha256()
    with atomically(path) as file:
        for line in lines:
            data = line.encode("utf-8")
            file.write(data)
            digest.update(data)
            number += 1
    return number, digest.hexdigest()


def write_folder(session: Session, number: int, folder: Path, format: str = "messages") -> dict[str, Any]:
    """Write a version as train.jsonl, validation.jsonl, test.jsonl, README.md and, last, manifest.json.

    Return the manifest (FILES.md). Raises UserError where the folder holds files that are not an export's.
    """
    frozen = versions.get(session, number)
    folder.mkdir(parents=True, exist_ok=True)
    names = {f"{split}.jsonl" for split in SPLITS} | {"manifest.json", "README.md"}
    strangers = sorted(entry.name for entry in folder.iterdir() if entry.name not in names)
    if strangers:
        raise UserError(f"{folder} holds other files ({', '.join(strangers[:3])}). Name an empty folder.")
    (folder / "manifest.json").unlink(missing_ok=True)  # a manifest always speaks of the files beside it
    files = {}
    for split in SPLITS:
        if frozen.counts.get(split):
            name = f"{split}.jsonl"
            written, digest = write_file(version_lines(session, number, split, format), folder / name)
            files[name] = {"sha256": digest, "lines": written, "split": split}
        else:
            (folder / f"{split}.jsonl").unlink(missing_ok=True)
    manifest = manifest_of(session, frozen, format, files)
    write_file([versions.card(session, frozen)], folder / "README.md")
    write_file([json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"], folder / "manifest.json")
    return manifest


def manifest_of(session: Session, frozen: Version, format: str, files: dict[str, Any]) -> dict[str, Any]:
    """Return what proves where the files of a version come from."""
    return {
        "dataset": frozen.dataset.name if frozen.dataset else None,
        "version": frozen.id,
        "fingerprint": frozen.fingerprint,
        "created": frozen.created_at.isoformat(),
        "format": format,
        "files": files,
        "splits": frozen.shares | {"seed": frozen.seed},
        "filters": frozen.selection,
        "cleaning": versions.cleaning_before(session, frozen),
        "software": {"qa-curator": software_version()},
    }


def software_version() -> str:
    """Return the version of this program, "unknown" in a checkout that was never installed."""
    with contextlib.suppress(Exception):
        return version_of("qa-curator")
    return "unknown"


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its place when all was written, and vanishes when not."""
    if path.is_dir():
        raise UserError(f"{path} is a folder. End it with a slash to export a version into it.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}. Make it first.")
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~current_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def current_umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
