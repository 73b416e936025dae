"""What a search through a data set found, kept in a file, so that sliding a threshold asks no text again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple
from zipfile import BadZipFile

import sqlalchemy as sa
from sqlalchemy.orm import Session

from curator import minhash
from curator.models import Changeset

FOLDER = "duplicates"  # in CURATOR_HOME
DAYS_KEPT = 30
BARS = 20
ARRAYS = ("ids", "prints", "weights", "left", "right", "similarity", "copy_of", "elsewhere", "judged", "differs")


def empty(of: str) -> Any:
    import numpy as np

    return np.empty(0, of)


class Bar(NamedTuple):
    """How many pairs are that similar to another one."""

    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Findings:
    """Every two similar pairs of a data set, and what was asked to find them.

    Pairs are known by their place in `ids`, which ascend. Copies are joined to the first of them and to nothing else,
    as `minhash.Similar` says. Of the two pairs that `judged` names, as `judging.keys_of` does, `differs` tells whether
    they state different facts.
    """

    kind: str  # duplicates, contradictions, boilerplate
    dataset: str | None
    field: str
    shingle: str
    across: bool
    threshold: float  # nothing below was looked for
    changeset_id: int  # the newest when the pairs were read
    compared: int  # pairs that were read
    complete: bool  # every two were compared; if not, `bounded` says which were
    at: datetime
    seconds: float
    ids: Any  # int64
    prints: Any  # uint64: how each one's fingerprint begins
    weights: Any  # int32: how much each one's answer says
    left: Any  # int32, places in ids
    right: Any
    similarity: Any  # float64
    copy_of: Any  # int32: of each pair the place of the first of its copies, its own where it is that
    elsewhere: Any  # float64: how similar the other text is, of contradictions and of boilerplate; else empty
    measure: str = "jaccard"  # of what similarity is; or "cosine", of vectors of a model
    model: str = ""
    judged: Any = dataclasses.field(default_factory=lambda: empty("int64"))
    differs: Any = dataclasses.field(default_factory=lambda: empty("bool"))

    @property
    def key(self) -> str:
        """What was asked, as one word."""
        return key_of(self.kind, self.dataset, self.field, self.shingle, self.across, self.measure, self.model)

    @property
    def bounded(self) -> str:
        """What was left out of the comparison, in a sentence; nothing where every two were compared."""
        if self.complete:
            return ""
        if self.measure == "cosine":
            return "Above 100,000 texts an index proposes which to compare: when measured, it missed 4 of 10,000."
        return (
            "So many pairs say nearly the same that each was compared with the nearest only. When these are decided, "
            "look again."
        )

    def similar(self, threshold: float) -> minhash.Similar:
        """Return what is at least that similar."""
        some = self.similarity >= threshold
        left, right, similarity = (array[some] for array in (self.left, self.right, self.similarity))
        return minhash.Similar(left, right, similarity, self.copy_of, self.complete)


def key_of(
    kind: str, dataset: str | None, field: str, shingle: str, across: bool, measure: str = "jaccard", model: str = ""
) -> str:  # fmt: skip
    """Return one word for one question: the same question replaces what was found before."""
    asked = json.dumps([kind, dataset, field, shingle if measure == "jaccard" else model, across, measure])
    return f"{kind}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"


def histogram(findings: Findings, bars: int = BARS) -> list[Bar]:
    """Return how many pairs come how close to the one most like them, from the lowest threshold to 1.

    Of a cluster of five copies that is four: as many as could go.
    """
    import numpy as np

    edges = np.linspace(findings.threshold, 1, bars + 1)
    likest = np.full(len(findings.ids), -1.0)
    np.maximum.at(likest, findings.right, findings.similarity)
    counts = np.histogram(likest[likest >= 0], edges)[0]
    return [Bar(low, high, count) for low, high, count in zip(edges.tolist(), edges[1:].tolist(), counts.tolist(),
                                                              strict=False)]  # fmt: skip


def newest_changeset(session: Session) -> int:
    """Return the number of the newest change of any pair."""
    return session.scalar(sa.select(sa.func.max(Changeset.id))) or 0


def is_stale(session: Session, findings: Findings) -> bool:
    """Return whether pairs were written since: what is found is still true of those that say what they said."""
    return newest_changeset(session) != findings.changeset_id


def keep(findings: Findings, home: Path) -> Path:
    """Write findings into CURATOR_HOME, whole or not at all, in the place of the last of the same question."""
    import numpy as np

    folder = home / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    forget_old(home)
    told = {f.name: getattr(findings, f.name) for f in dataclasses.fields(findings) if f.name not in ARRAYS}
    told["at"] = findings.at.isoformat()
    path = folder / f"{findings.key}.npz"
    with NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
        try:
            np.savez(file, told=json.dumps(told), **{name: getattr(findings, name) for name in ARRAYS})
            file.close()
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return path


def kept(
    home: Path, dataset: str | None = None, field: str = "pair", shingle: str = "char5", across: bool = False,
    kind: str = "duplicates", measure: str = "jaccard", model: str = "",
) -> Findings | None:  # fmt: skip
    """Return what the last search for this found, None where there was none or it is too long ago.

    Jaccard goes with a shingle, a cosine with a model: the other one says nothing.
    """
    import numpy as np

    path = home / FOLDER / f"{key_of(kind, dataset, field, shingle, across, measure, model)}.npz"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            arrays = {name: file[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, BadZipFile):  # of another Curator, or damaged: a search makes it anew
        return None
    told["at"] = datetime.fromisoformat(told["at"])
    return Findings(**told, **arrays)


def forget_old(home: Path, days: float = DAYS_KEPT) -> None:
    """Remove what was found longer ago, and what a killed process left."""
    oldest = time.time() - days * 86400
    for path in (home / FOLDER).glob("*"):
        if path.stat().st_mtime < (time.time() - 3600 if path.suffix == ".part" else oldest):
            path.unlink(missing_ok=True)
