"""Pairs out: a selection or a version → lines → files with a manifest. The same selection gives the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as version_of
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import database, history, search, text, versions
from curator.errors import UserError
from curator.formats import KINDS, encode
from curator.formats.preflight import Report
from curator.formats.writing import (
    BATCH,
    PREFERENCE,
    REJECTED,
    TABLE,
    TABLE_COLUMNS,
    Example,
    Fields,
    Roles,
    checked_format,
    encode_examples,
    said,
)
from curator.models import Changeset, Dataset, Pair, make_sessions, open_engine, writing
from curator.search import Selection
from curator.words import SPLITS

PLAIN, BRIEFED = ("user", "assistant"), ("system", "user", "assistant")
# How SQLite has frozen a question and an answer, and how many quotes there are in that.
ASKED, ANSWERED, END, QUOTES = b'[{"role":"user","content":"', '"},{"role":"assistant","content":"', '"}]', 16

FOLDER_FILES = {f"{split}.{ending}" for split in SPLITS for ending in KINDS} | {"manifest.json", "README.md"}


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
    asked = exportable(selection)
    drafts = search.count(session, asked.but(statuses=("draft",))) if "draft" in asked.statuses else 0
    return Count(search.count(session, asked), drafts)


def pieces(
    session: Session,
    selection: Selection,
    format: str = "messages",
    kind: str = "jsonl",
    seen: Report | None = None,
    limit: int | None = None,
) -> Iterator[bytes]:
    """Yield the bytes of a file of a selection in id order, from one consistent state of the database.

    `seen` is told of each pair, for the preflight; `limit` ends it early. Raises UserError where the
    shape can't hold a pair, which it names.
    """
    if checked_format(format) == TABLE:
        return encode(table(session, selection, seen, limit), kind, TABLE_COLUMNS)
    return encode_examples(examples(session, selection, seen, limit, format == PREFERENCE), format, kind)


def version_pieces(
    session: Session,
    number: int,
    split: str | None = None,
    format: str = "messages",
    kind: str = "jsonl",
    seen: Report | None = None,
) -> Iterator[bytes]:
    """Yield the bytes of a file of the frozen lines of a version, or of one split of it."""
    if checked_format(format) == TABLE:
        raise UserError("A version holds texts alone, and a table more. Choose another format, as in: --format qa")
    if format == PREFERENCE:
        raise UserError("A version holds no rejected answers. Export a selection, or choose another format.")
    return encode_examples(version_examples(session, number, split, seen), format, kind)


def lines(session: Session, selection: Selection, format: str = "messages", limit: int | None = None) -> Iterator[str]:
    """Yield one line of JSON a pair in the order of their ids."""
    return (
        line.decode("utf-8") for piece in pieces(session, selection, format, limit=limit) for line in BytesIO(piece)
    )


def version_lines(session: Session, number: int, split: str | None = None, format: str = "messages") -> Iterator[str]:
    """Yield the frozen lines of a version, or of one split of it."""
    return split_lines(version_pieces(session, number, split, format))


def split_lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of pieces of whole lines, each with its end."""
    return (line.decode("utf-8") for piece in pieces for line in BytesIO(piece))


def preflight(session: Session, selection: Selection) -> Report:
    """Return what the pairs of a selection would meet on their way into training."""
    seen = Report()
    for _ in examples(session, selection, seen):
        pass
    return seen


def examples(
    session: Session,
    selection: Selection,
    seen: Report | None = None,
    limit: int | None = None,
    with_rejected: bool = False,
) -> Iterator[list[Example]]:
    """Yield the chats of a selection in id order, a batch in memory at a time; `seen` is told of each.

    One `with_rejected` ends with the answer that another is preferred to, where the pair holds one.
    """
    rejected = Pair.rejected if with_rejected else sa.literal("")
    columns = (Pair.id, Pair.system, sa.cast(Pair.history, sa.Text), Pair.question, Pair.answer, Pair.status, rejected)
    where = search.conditions(session, exportable(selection))
    for batch in batches(session, sa.select(*columns).where(*where).order_by(Pair.id).limit(limit)):
        chats = [example(*row[:5]) for row in batch]
        if seen:
            seen.add(chats)
            seen.drafts += [row[5] for row in batch].count("draft")
        if with_rejected:
            chats = [preferring(chat, row[6]) for chat, row in zip(chats, batch, strict=True)]
        yield chats


def example(number: int, system: str, history: str, question: str, answer: str) -> Example:
    """Return a pair, its history still JSON, as a chat: who speaks, and what they say."""
    if history == "[]":
        return (number, BRIEFED, (system, question, answer)) if system else (number, PLAIN, (question, answer))
    return number, *said(text.messages(question, answer, system, orjson.loads(history)))


def preferring(chat: Example, rejected: str) -> Example:
    """Return a chat with the answer that its last one is preferred to, if there is one."""
    number, roles, texts = chat
    return (number, (*roles, REJECTED), (*texts, rejected)) if rejected else chat


def version_examples(session: Session, number: int, split: str | None, seen: Report | None) -> Iterator[list[Example]]:
    """Yield the frozen chats of a version, or of one split of it, each with the number of its pair."""
    for rows in versions.stored(session, number, split, BATCH):
        chats: list[Example] = [(pair_id, *said_in(messages)) for pair_id, messages in rows]
        if seen:
            seen.add(chats)
        yield chats


def said_in(messages: str | bytes) -> tuple[Roles, Sequence[str]]:
    """Return who speaks in stored messages, and what they say: mostly without reading JSON.

    Where no text holds a backslash, none holds a quote, so that sixteen quotes are those of a question and an answer.
    """
    if isinstance(messages, bytes) and b"\\" not in messages and messages.startswith(ASKED):
        question, answered, answer = messages[len(ASKED) : -len(END)].decode().partition(ANSWERED)
        if answered and messages.count(b'"') == QUOTES:
            return PLAIN, (question, answer)
    return said(orjson.loads(messages))


def batches(session: Session, statement: sa.Executable) -> Iterator[Sequence[Any]]:
    """Yield the rows of a statement, so many in memory at a time."""
    # The connection's rows, not the session's: a fifth faster, as there are no objects to look for.
    return session.connection().execute(statement, execution_options={"yield_per": BATCH}).partitions()


def table(session: Session, selection: Selection, seen: Report | None, limit: int | None) -> Iterator[Fields]:
    """Yield all that a person gave each pair of a selection, in id order."""
    names = {"_pair": "id", "id": "key"}
    columns = [getattr(Pair, names.get(name, name)) for name in TABLE_COLUMNS]
    where = search.conditions(session, exportable(selection))
    for batch in batches(session, sa.select(*columns).where(*where).order_by(Pair.id).limit(limit)):
        rows: list[Fields] = [dict(zip(TABLE_COLUMNS, row, strict=True)) for row in batch]
        if seen:
            chats = [(r["_pair"], text.messages(r["question"], r["answer"], r["system"], r["history"])) for r in rows]
            seen.add([(number, *said(chat)) for number, chat in chats])
            seen.drafts += [r["status"] for r in rows].count("draft")
        yield from rows


def write_file(pieces: Iterable[str | bytes], path: Path) -> str:
    """Write a file whole or not at all. Return the sha256 of its bytes."""
    digest = hashlib.sha256()
    with atomically(path) as file:
        for piece in pieces:
            data = piece.encode("utf-8") if isinstance(piece, str) else piece
            file.write(data)
            digest.update(data)
    return digest.hexdigest()


def write_folder(
    session: Session,
    number: int,
    folder: Path,
    format: str = "messages",
    kind: str = "jsonl",
    seen: Report | None = None,
) -> dict[str, Any]:
    """Write a version as train.jsonl, validation.jsonl, test.jsonl, README.md and, last, manifest.json.

    Another kind of file has its own ending. Return the manifest (FILES.md). Raises UserError where
    the folder holds files that are not an export's.
    """
    frozen = versions.get(session, number)
    prepare(folder)
    files: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        if frozen.counts.get(split):
            name, file = f"{split}.{kind}", version_pieces(session, number, split, format, kind, seen)
            files[name] = {"sha256": write_file(file, folder / name), "lines": frozen.counts[split], "split": split}
    return finish(
        folder,
        card=versions.card(session, frozen, kind),
        dataset=frozen.dataset.name if frozen.dataset else None,
        version=frozen.id,
        fingerprint=frozen.fingerprint,
        created=frozen.created_at.isoformat(),
        format=format,
        files=files,
        splits=frozen.shares | {"seed": frozen.seed},
        filters=frozen.selection,
        cleaning=versions.cleaning_before(session, frozen),
        report=frozen.report,
    )


def write_selection(
    session: Session,
    selection: Selection,
    folder: Path,
    format: str = "messages",
    kind: str = "jsonl",
    seen: Report | None = None,
) -> dict[str, Any]:
    """Write the pairs of a selection as train.jsonl, README.md and, last, manifest.json: not frozen, not split.

    Its fingerprint is the one of a version of these pairs that is all training. Return the manifest.
    """
    prepare(folder)
    chosen, name, seen = exportable(selection), f"train.{kind}", seen or Report()
    digest = write_file(pieces(session, selection, format, kind, seen), folder / name)
    prints = sa.select(Pair.fingerprint).where(*search.conditions(session, chosen)).order_by(Pair.id)
    fingerprint = hashlib.sha256()
    for one in session.scalars(prints.execution_options(yield_per=1000)):
        fingerprint.update(f"train {one}\n".encode())
    newest = session.scalar(sa.select(sa.func.max(Changeset.at)))
    card = (
        f"---\nconfigs:\n  - config_name: default\n    data_files:\n      - split: train\n        path: {name}\n---\n\n"
        f"# {selection.dataset or 'All data sets'}\n\n{seen.examples:,} questions and answers, neither frozen nor "
        f"split.\n\nFingerprint: `{fingerprint.hexdigest()}`. Made with Curator.\n"
    )
    return finish(
        folder,
        card=card,
        dataset=selection.dataset,
        version=None,
        fingerprint=fingerprint.hexdigest(),
        created=newest.isoformat() if newest else None,  # when the pairs were last changed: the same, every time
        format=format,
        files={name: {"sha256": digest, "lines": seen.examples, "split": "train"}},
        splits={"train": 1.0},
        filters=chosen.to_args(),
        cleaning=[],
    )


def prepare(folder: Path) -> None:
    """Make a folder for an export; one that is in it already is no longer vouched for.

    Raises UserError where the folder holds files that are not an export's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    strangers = sorted(entry.name for entry in folder.iterdir() if entry.name not in FOLDER_FILES)
    if strangers:
        raise UserError(f"{folder} holds other files ({', '.join(strangers[:3])}). Name an empty folder.")
    (folder / "manifest.json").unlink(missing_ok=True)  # a manifest always speaks of the files beside it


def finish(folder: Path, card: str, files: dict[str, dict[str, Any]], **about: Any) -> dict[str, Any]:
    """Take away the files of an earlier export, write the card and, last, the manifest, and return that (FILES.md)."""
    for name in FOLDER_FILES - files.keys():
        (folder / name).unlink(missing_ok=True)
    order = ["dataset", "version", "fingerprint", "created", "format", "files", "splits", "filters", "cleaning"]
    order += ["report"] if "report" in about else []
    card_file = {"sha256": write_file([card], folder / "README.md"), "lines": card.count("\n"), "split": None}
    about |= {"files": files | {"README.md": card_file}}
    manifest = {name: about[name] for name in order} | {"software": {"qa-curator": software_version()}}
    write_file([json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"], folder / "manifest.json")
    return manifest


def write_database(session: Session, selection: Selection, path: Path, by: str) -> int:
    """Write pairs as an SQLite file that Curator opens: DATABASE_URL=sqlite:///FILE. Return how many.

    Pairs keep their order and data sets, and stand in one changeset, which names where they come
    from; numbers, versions, runs and earlier changes stay behind. The file is written whole or not at all.
    """
    source = session.connection().engine.url
    if source.get_backend_name() == "sqlite" and Path(source.database or "").resolve() == path.resolve():
        raise UserError(f"{path} is the database that is exported. Name another file.")
    where = search.conditions(session, exportable(selection))
    names = ("fingerprint", *(name for name in history.FIELDS if name != "trashed"))
    statement = sa.select(*(getattr(Pair, name) for name in names)).where(*where).order_by(Pair.id)
    places = sa.select(Dataset.id, Dataset.name).where(Dataset.id.in_(sa.select(Pair.dataset_id).where(*where)))
    with replacing(path) as temporary:
        opened = open_engine(f"sqlite:///{temporary}")
        try:
            database.upgrade(opened)
            with make_sessions(opened)() as copy, writing(copy):
                copy.add_all(Dataset(id=place.id, name=place.name) for place in session.execute(places))
                changeset = history.begin(copy, "imported", by, f"from {database.describe_url(str(source))}")
                for batch in session.execute(statement.execution_options(yield_per=1000)).partitions():
                    history.add(copy, changeset, [row._asdict() for row in batch])
            with contextlib.closing(opened.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA journal_mode = DELETE")  # one file, without -wal and -shm
        finally:
            opened.dispose()
    return changeset.rows


def software_version() -> str:
    """Return the version of this program, "unknown" in a checkout that was never installed."""
    with contextlib.suppress(Exception):
        return version_of("qa-curator")
    return "unknown"


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its place when all was written, and vanishes when not."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which takes the place of `path` when the block ends well, and vanishes else."""
    if path.is_dir():
        raise UserError(f"{path} is a folder. End it with a slash to export a version into it.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent}. Make it first.")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        temporary = Path(folder) / "file"
        yield temporary
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)


def current_umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
