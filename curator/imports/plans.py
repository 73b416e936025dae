"""What an import would do or did: its counts, and the first rows behind each. Knows no file and no table's writing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from curator.formats import Refusal, Refusals, Row
from curator.formats.records import shorten
from curator.models import Changeset
from curator.words import plural

SHOWN = 20
SHOWN_REFUSALS = 200
SHOWN_CHARACTERS = 2000


@dataclass(frozen=True)
class Change:
    """A pair that a row of the same key would change: the old values and the new of what differs."""

    line: int
    pair: sa.Row[Any]  # its columns
    before: dict[str, Any]
    after: dict[str, Any]  # nothing where the row is as the pair


@dataclass(frozen=True)
class Near:
    """A new row that says nearly the same as a pair that is there."""

    line: int
    pair_id: int
    similarity: float


@dataclass
class Plan:
    """What importing a file would do, and what it did."""

    name: str
    dataset: str
    kind: str  # "CSV, comma, UTF-8"
    shape: str  # where question, answer and the rest were found, for each shape that the file holds
    headers: list[str] = field(default_factory=list)
    delimiter: str = ""  # of a table, as it was found or named
    encoding: str = ""  # of a text, as it was found or named
    new: int = 0
    changed: int = 0  # there by their key, with other values
    identical: int = 0  # there already, or earlier in the same file
    refused: Refusals = field(default_factory=Refusals)
    rows: list[Row] = field(default_factory=list)  # the first SHOWN that are new, as they will land
    changes: list[Change] = field(default_factory=list)  # the first of those that are changed
    ids: str = ""  # "update" or "ignore", once somebody said what becomes of the pairs that they name
    named: int = 0  # rows whose key names a pair
    strangers: int = 0  # of those, the ones that have nothing in common with it, which came from another source
    stranger: str = ""  # the first of them, in words
    near: list[Near] = field(default_factory=list)  # the most alike first
    near_bound: str = ""  # what was not compared, if anything
    changeset: Changeset | None = None  # once it is applied

    @property
    def total(self) -> int:
        """How many rows the file holds."""
        return self.new + self.changed + self.identical + len(self.refused)

    @property
    def clash(self) -> str:
        """What tells that the ids of the file are not those of the pairs that they name; "" where nothing does."""
        if self.ids or 2 * self.strangers <= self.named:
            return ""
        return (
            f"{self.name} seems to have ids of its own: of {self.named:,} that name pairs in {self.dataset}, "
            f"{self.strangers:,} name one of another source with another question and answer, as {self.stranger}."
        )

    @property
    def told(self) -> str:
        """What was done, in a sentence or two."""
        parts = [f"Imported {plural(self.new)} from {self.name}."]
        parts += [f"{self.changed:,} changed."] if self.changed else []
        parts += [f"{self.identical:,} were there already."] if self.identical else []
        parts += [f"{len(self.refused):,} refused."] if self.refused else []
        return " ".join(parts)

    def summary(self) -> dict[str, Any]:
        """Return what a page shows of it, fit for JSON: every count, and the first of the rows behind each."""
        changes = [{"line": c.line, "pair_id": c.pair.id, "before": c.before, "after": c.after} for c in self.changes]
        return {
            "name": self.name, "dataset": self.dataset, "kind": self.kind, "shape": self.shape, "headers": self.headers,
            "delimiter": self.delimiter, "encoding": self.encoding, "new": self.new, "changed": self.changed,
            "identical": self.identical, "refused": len(self.refused), "near": len(self.near),
            "near_bound": self.near_bound, "clash": self.clash,
            "first_rows": [as_shown(row) for row in self.rows[:SHOWN]], "first_changes": changes,
            "first_refused": [{"line": r.line, "reason": r.reason} for r in self.refused.first[:SHOWN_REFUSALS]],
            "first_near": [asdict(near) for near in self.near[:SHOWN]],
        }  # fmt: skip

    def count(self, row: Row, fate: str | Change | Refusal) -> None:
        """Count a row as new, identical, changed or refused, and keep the first that are worth a look."""
        if isinstance(fate, Change):
            self.count_named(row, fate)
        elif isinstance(fate, Refusal):
            self.refused.add(fate)
        elif fate == "new":
            self.new += 1
            if len(self.rows) < SHOWN:
                self.rows.append(row)
        else:
            self.identical += 1

    def count_named(self, row: Row, change: Change) -> None:
        """Count a row that names a pair by its key, and whether the two have anything to do with each other."""
        pair = change.pair
        self.named += 1
        self.changed += bool(change.after)
        self.identical += not change.after
        if change.after and len(self.changes) < SHOWN:
            self.changes.append(change)
        if pair.source != (row.source or self.name) and pair.question != row.question and pair.answer != row.answer:
            self.strangers += 1
            self.stranger = self.stranger or (
                f"line {row.line} with the id {shorten(row.key)}: {shorten(row.question)!r} here, "
                f"{shorten(pair.question)!r} from {shorten(pair.source) or 'another source'}"
            )


def as_shown(row: Row) -> dict[str, Any]:
    """Return of a row what a preview shows; a text that nobody would read to its end is cut."""
    texts = {name: getattr(row, name) for name in ("system", "question", "answer")}
    cut = {name: t if len(t) <= SHOWN_CHARACTERS else t[:SHOWN_CHARACTERS] + "…" for name, t in texts.items()}
    beside = {"line": row.line, "turns": len(row.history), "tags": row.tags, "source": row.source, "status": row.status}
    return cut | beside
