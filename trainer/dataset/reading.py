"""Exported lines in, examples out. Knows files, their faults and their digests; knows no split and no token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import UserError
from trainer.dataset.judging import WRITTEN_BY, read_judgement, read_pair
from trainer.dataset.messages import Messages, read_messages

SPLITS = ("train", "validation", "test")
MOST_FAULTS = 10


@dataclass(frozen=True)
class Example:
    """One line: a conversation that ends with the answer to learn.

    Of preferences it is the better answer of two, `rejected` being the other, or one that is good or not.
    """

    messages: Messages
    place: str  # "train.jsonl line 12"
    split: str = "train"
    rejected: str | None = None
    good: bool = True

    @property
    def prompt(self) -> Messages:
        return self.messages[:-1]

    @property
    def question(self) -> str:
        return self.messages[-2]["content"]

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"]

    @property
    def fingerprint(self) -> str:
        """The identity of the pair, the same in every program of Curator: sha256 of its canonical JSON."""
        canonical = json.dumps(self.messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def newest_export(folder: Path = Path("exports")) -> Path:
    """Return the newest exported file or folder below `folder`."""
    exports = [*folder.glob("*.jsonl"), *(path.parent for path in folder.glob("*/train.jsonl"))]
    if not exports:
        raise UserError(
            f"No data is named and {folder}/ holds no export. "
            "Make one with: flask export --jsonl -o exports/pairs.jsonl"
        )
    return max(exports, key=lambda path: path.stat().st_mtime)


def export_files(path: Path) -> dict[str, Path]:
    """Return the files of an export by split: all of it is "train" where it is one file."""
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        what = "is neither a file nor a folder" if path.exists() else "is not there"
        raise UserError(f"{path} {what}. Name a .jsonl file or a folder that flask export -o made.")
    files = {split: path / f"{split}.jsonl" for split in SPLITS if (path / f"{split}.jsonl").is_file()}
    if "train" not in files:
        raise UserError(f"{path} holds no train.jsonl. Make an export with: flask export --version 1 -o {path}/")
    return files


def describe(path: Path) -> dict[str, Any]:
    """Return what the record of a run keeps of its data: path, sha256 of each file, and the manifest."""
    manifest = path / "manifest.json"
    try:
        said = json.loads(manifest.read_text("utf-8")) if manifest.is_file() else None
    except ValueError as error:
        raise UserError(f"{manifest} is not JSON: {error}. Make the export again, or take it away.") from None
    if said is not None and not isinstance(said, dict):
        raise UserError(f"{manifest} is no manifest. Make the export again, or take it away.")
    return {
        "path": str(path),
        "sha256": {f.name: digest_of(f) for f in export_files(path).values()},
        "manifest": said,
        "verified": None if said is None else not changed(path, said),
    }


def digest_of(file: Path) -> str:
    """Return the sha256 of a file, which may be larger than memory. Raises UserError where it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None


def changed(path: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the files of an exported folder that are not, or not as, its manifest says."""
    files = manifest.get("files")
    files = files if isinstance(files, dict) else {}
    # The data set card belongs to no split: people may write into it.
    said = {name: file.get("sha256") for name, file in files.items() if isinstance(file, dict) and file.get("split")}
    there = {f.name for f in export_files(path).values()}
    found = {name: digest_of(path / name) if (path / name).is_file() else None for name in {*said, *there}}
    return sorted(name for name in found if found[name] != said.get(name))


def verify(path: Path, data: dict[str, Any]) -> None:
    """Raise UserError where an export is not the one that its manifest, as `describe` read it, speaks of."""
    if data["verified"] is False:
        manifest = data["manifest"]
        version = f" --version {manifest['version']}" if manifest.get("version") else ""
        raise UserError(
            f"{path / changed(path, manifest)[0]} is not the file that was exported: its sha256 is another than in "
            f"manifest.json. Write it again with: flask export{version} -o {path}/ — or train on it as it is with "
            "--unverified, which the record of the run will say."
        )


def read_examples(path: Path, method: str = "sft") -> list[Example]:
    """Return the lines of an export, in order, as `method` learns from them: sft, dpo or kto.

    Raises UserError naming file and line of each fault, up to ten of them.
    """
    examples, faults = read(path, method)
    if faults:
        remedy = f"Mend it, or write the file again with: {WRITTEN_BY[method]}{'' if examples else converted(method)}"
        more = len(faults) - MOST_FAULTS
        shown = faults[:MOST_FAULTS] + ([f"and {more} more lines"] if more > 0 else [])
        raise UserError("\n  ".join([*shown, remedy]) if len(shown) > 1 else f"{shown[0]} {remedy}")
    if not any(example.split == "train" for example in examples):
        raise UserError(nothing_in(path, faults, method))
    return examples


def converted(method: str) -> str:
    """Return what else to do with a file of which no line can be read."""
    if method != "sft":
        return ""
    return " — or make such lines of a file of another kind with: flask convert FILE pairs.jsonl"


def nothing_in(path: Path, faults: list[str], method: str) -> str:
    """Return in words that an export has no line to train on, and why not where it has some that cannot be read."""
    words = f"{path} has no line to train on. Write it again with: {WRITTEN_BY[method]}"
    if not faults:
        return words
    first = f"The first of {len(faults):,} faults: " if len(faults) > 1 else ""
    return f"{words}{converted(method)}\n  {first}{faults[0]}"


def read(path: Path, method: str = "sft") -> tuple[list[Example], list[str]]:
    """Return the lines of an export, in order, and what is wrong with the others, each with its file and line."""
    examples: list[Example] = []
    faults: list[str] = []
    for split, file in export_files(path).items():
        for number, line in lines_of(file):
            place = f"{file.name} line {number}"
            try:
                examples.append(read_line(decode(line, number), place, split, method))
            except ValueError as fault:
                faults.append(f"{place} {fault}")
    return examples, faults


def read_line(line: str, place: str, split: str, method: str) -> Example:
    """Return one line as `method` learns from it. Raises ValueError with what is wrong about it, in words."""
    if method == "dpo":
        messages, rejected = read_pair(line)
        return Example(messages, place, split, rejected=rejected)
    if method == "kto":
        messages, good = read_judgement(line)
        return Example(messages, place, split, good=good)
    return Example(read_messages(line), place, split)


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank, with its number from 1. Raises UserError where the file cannot be read."""
    # Split at \n alone: JSON may hold the other line ends that str.splitlines knows, such as U+2028.
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield number, line


def decode(line: bytes, number: int) -> str:
    """Return the text of a line. Raises ValueError with the byte that is no text."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"is not UTF-8 text: byte {error.start + 1} of the line is 0x{line[error.start]:02x}."
        ) from None
