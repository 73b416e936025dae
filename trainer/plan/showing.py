"""One line, token by token, as it would be trained. Knows the base and the line; trains and predicts nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from trainer import UserError, base, dataset, tokenizer
from trainer.architecture import Architecture, locate, read_architecture
from trainer.config import RunConfig
from trainer.dataset import Example, Renderer, TokenView


def show(asked: RunConfig, place: str) -> tuple[TokenView, Renderer]:
    """Return one line token by token: `place` is its number, FILE:NUMBER where the export has several files, or "-".

    "-" reads one line from standard input, and needs no data. Raises UserError where there is no such line.
    """
    if place == "-" and asked.base == "builtin" and not base.folder_of().is_dir():
        raise UserError("The built-in base is not made yet. Make it, in about a minute, with: python -m trainer base")
    folder = base_folder(asked.base)
    sizes = read_architecture(folder)
    example = read_one(asked.method) if place == "-" else find_line(asked, place)
    renderer = make_renderer(asked.base, folder, sizes)
    if token := renderer.control_token(example):
        renderer.notes.append(f"{example.place} holds {token}, a control token of the base: it would be left out.")
    return renderer.view(example, min(asked.max_tokens or sizes.context, sizes.context)), renderer


def read_one(method: str) -> Example:
    line = sys.stdin.buffer.readline()
    try:
        return dataset.read_line(dataset.decode(line, 1), "the line", "train", method)
    except ValueError as fault:
        raise UserError(f"The line on standard input {fault}") from None


def find_line(asked: RunConfig, place: str) -> Example:
    path = Path(asked.data) if asked.data else dataset.newest_export()
    name, _, number = place.rpartition(":")
    files = dataset.export_files(path)
    file = next((each for each in files.values() if each.name == name), None) if name else next(iter(files.values()))
    if file is None or not number.isdecimal():
        names = ", ".join(each.name for each in files.values())
        raise UserError(f"--show {place} names no line. Say a number, or FILE:NUMBER with FILE one of: {names}")
    for at, line in dataset.lines_of(file):
        if at == int(number):
            try:
                return dataset.read_line(dataset.decode(line, at), f"{file.name} line {at}", "train", asked.method)
            except ValueError as fault:
                raise UserError(f"{file.name} line {at} {fault}") from None
    raise UserError(f"{file.name} has no line {number}, or it is blank.")


def base_folder(name: str) -> Path:
    """Return the folder of a base with its configuration and tokenizer; the built-in one is made if need be.

    It is made in a process of its own, since that takes torch. Raises UserError.
    """
    if name != "builtin":
        return locate(name)
    if not base.folder_of().is_dir():
        made = subprocess.run([sys.executable, "-m", "trainer", "base"], stdout=subprocess.DEVNULL)
        if made.returncode:
            raise UserError("The built-in base could not be made, for the reason said above.")
    return base.folder_of()


def make_renderer(name: str, folder: Path, sizes: Architecture) -> Renderer:
    """Return the renderer of a base. Raises UserError where tokenizer and model do not belong together."""
    loaded = tokenizer.load(folder)
    if len(loaded) > sizes.vocabulary:
        raise UserError(
            f"The tokenizer of {name} knows {len(loaded)} tokens, but the model only {sizes.vocabulary}. "
            "They do not belong together: take both from one source."
        )
    return Renderer(loaded)
