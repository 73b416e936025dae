"""What a look through many pairs has found, kept in CURATOR_HOME between the page and the job that cleans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from curator.cleaning.passes import Found
from curator.cleaning.steps import Step
from curator.cleaning.steps import read as step_of
from curator.models import to_json
from curator.search import Selection

KEPT = 8  # results, the oldest are forgotten
COUNTS = ("rows", "matches", "copies", "again", "looked", "digest", "as_of")


def asked(steps: Sequence[Step], selection: Selection) -> dict[str, Any]:
    """Return steps and selection as JSON can hold them."""
    return {"steps": [str(step) for step in steps], "selection": asdict(selection)}


def meant(asked: dict[str, Any]) -> tuple[tuple[Step, ...], Selection]:
    """Return the steps and the selection that `asked` made JSON of."""
    named: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in asked["selection"].items()
    }
    return tuple(map(step_of, asked["steps"])), Selection(**named)


def place_of(home: Path, steps: Sequence[Step], selection: Selection) -> Path:
    """Return where what was found for steps and a selection is kept."""
    return home / "cleaning" / f"{sha256(to_json(asked(steps, selection)).encode()).hexdigest()[:24]}.found"


def keep(found: Found, selection: Selection, home: Path) -> None:
    """Keep what was found in CURATOR_HOME, with the last few others."""
    place = place_of(home, found.steps, selection)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    counts = {name: getattr(found, name) for name in COUNTS}
    head = counts | {"ids": len(found.ids), "emptied": len(found.emptied)}
    part = place.with_suffix(".part")
    part.write_bytes(json.dumps(head).encode() + b"\n" + found.ids.tobytes() + found.emptied.tobytes())
    part.replace(place)
    for old in sorted(place.parent.glob("*.found"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        with suppress(OSError):
            old.unlink()


def kept(steps: Sequence[Step], selection: Selection, home: Path) -> Found | None:
    """Return what was found for these steps and this selection before; None where nobody looked lately."""
    try:
        head, _, body = place_of(home, steps, selection).read_bytes().partition(b"\n")
    except OSError:
        return None
    counts = json.loads(head)
    end = 8 * counts["ids"]
    found = Found(tuple(steps), **{name: counts[name] for name in COUNTS})
    found.ids.frombytes(body[:end])
    found.emptied.frombytes(body[end:])
    return found
