"""What of a pair a base would read and what it would be trained on, token by token. Asks the trainer; loads no model.

The trainer is a program of its own, and is started as one: nothing of it ever lies in the memory of the web app.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from curator import text
from curator.errors import UserError
from curator.models import Pair, Run

BUILTIN = "builtin"
TIMEOUT_SECONDS = 30
KEPT = 200  # views, of the pairs looked at last
HERE = Path(__file__).parent.parent  # where `trainer` lies beside this package
NAMES = {"read": "Read", "trained": "Trained", "end": "End token, trained", "over": "Past the limit"}


@dataclass(frozen=True)
class View:
    """One pair as a base would see it: the tokens in groups of one state, and what is to be said of them."""

    summary: str
    notes: list[str]
    groups: list[tuple[str, list[str]]]  # state, texts of its tokens
    left_out: bool


kept: OrderedDict[tuple[str, str], View] = OrderedDict()
lock = threading.Lock()


def bases(session: Session, usual: str) -> list[str]:
    """Return the bases to choose from: the usual one, those of the runs that came home, and the built-in one."""
    of_runs = session.scalars(select(Run.base).distinct().order_by(Run.base))
    return list(dict.fromkeys([usual, *(base for base in of_runs if base), BUILTIN]))


def view(pair: Pair, base: str) -> View:
    """Return a pair as a base would see it. Raises UserError with what the trainer says against it."""
    chat = text.messages(pair.question, pair.answer, pair.system, pair.history)
    known = text.fingerprint(chat), base
    with lock:
        if known in kept:
            kept.move_to_end(known)
            return kept[known]
    found = read(ask(chat, base))
    with lock:
        kept[known] = found
        while len(kept) > KEPT:
            kept.popitem(last=False)
    return found


def ask(chat: list[dict[str, str]], base: str) -> dict[str, Any]:
    """Return what the trainer says of a chat. Nothing is fetched: the base is in a folder or in the cache."""
    place = str(Path(base).absolute()) if Path(base).is_dir() else base
    try:
        said = subprocess.run(
            [sys.executable, "-m", "trainer", "plan", "--show", "-", "--json", "--config", os.devnull, "--base", place],
            cwd=HERE,
            input=json.dumps({"messages": chat}) + "\n",
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT_SECONDS,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"},
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"The tokenizer of {base} did not answer in {TIMEOUT_SECONDS} seconds. Try again.") from None
    if said.returncode:
        lines = [line for line in said.stderr.splitlines() if line.startswith("Error: ")]
        reason = lines[-1].removeprefix("Error: ") if lines else "The trainer could not be started. Is it installed?"
        raise UserError(reason)
    return json.loads(said.stdout)


def read(said: dict[str, Any]) -> View:
    groups = [
        (state, [token["text"] for token in tokens if token["text"]])
        for state, tokens in groupby(said["tokens"], key=lambda token: token["state"])
    ]
    return View(said["summary"], said["notes"], groups, bool(said["counts"]["over"]))


def visible(token: str) -> str:
    """Return the text of a token with line ends shown, and with what has no width or turns a line round written out."""
    written = []
    for character in token:
        if character == "\n":
            written.append("\u21b5\n")
        elif unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
            written.append(f"<U+{ord(character):04X}>")
        else:
            written.append(character)
    return "".join(written)
