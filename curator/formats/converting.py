"""One file to another: any shape and kind that is read, to any that is written. Knows no database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from curator.errors import UserError
from curator.formats.files import Reading, Refusal
from curator.formats.records import Refusals
from curator.formats.rows import Row, to_row
from curator.formats.shapes import Columns, find_columns
from curator.formats.writing import Fields, checked_format, to_fields
from curator.text import messages


@dataclass
class Conversion:
    """A file on its way into another shape: iterate it, once, for the fields of each of its pairs.

    Raises UserError at the end, naming what was refused, unless `skip_refused`: whoever writes the
    fields to a file writes it whole or not at all.
    """

    reading: Reading
    format: str = "messages"
    mapping: Mapping[str, str] = field(default_factory=dict)
    shape: str | None = None  # that it is read as, where its columns don't tell
    skip_refused: bool = False
    written: int = 0
    refused: Refusals = field(default_factory=Refusals)

    def __iter__(self) -> Iterator[Fields]:
        checked_format(self.format)
        for row in rows(self.reading, self.mapping, self.shape):
            fields = row if isinstance(row, Refusal) else self.shaped(row)
            if isinstance(fields, Refusal):
                self.refused.add(fields)
            else:
                self.written += 1
                yield fields
        if not self.written or (self.refused and not self.skip_refused):
            raise UserError("\n".join([*self.refusals(), self.explain()]))

    def shaped(self, row: Row) -> Fields | Refusal:
        """Return a pair in the new shape, or why that can't hold it."""
        try:
            chat = messages(row.question, row.answer, row.system, row.history)
            return to_fields(row, row.line, chat, self.format)
        except UserError as error:
            return Refusal(row.line, str(error))

    def refusals(self) -> Iterator[str]:
        """Yield the first refused lines with their reasons."""
        yield from self.refused.sentences(self.reading.name)

    def explain(self) -> str:
        """Say why nothing was written, and how to go on."""
        total = self.written + len(self.refused)
        if not self.written:
            return f"{self.reading.name} holds no pair, so nothing was written."
        return (
            f"{len(self.refused):,} of {total:,} rows were refused, so nothing was written. "
            "Mend them, or leave them out with --skip-refused."
        )


def rows(reading: Reading, mapping: Mapping[str, str], shape: str | None) -> Iterator[Row | Refusal]:
    """Yield the pairs of a file, each in the shape that its own fields show, and what is no pair.

    Raises UserError where the columns of a table fit no shape.
    """

    @lru_cache(maxsize=1000)
    def columns(names: tuple[str, ...]) -> Columns:
        return find_columns(names, mapping, shape)

    if reading.headers:
        try:
            columns(tuple(reading.headers))
        except UserError as error:
            raise UserError(f"{reading.name} {error}") from error
    for record in reading:
        if isinstance(record, Refusal):
            yield record
            continue
        try:
            yield to_row(record, columns(tuple(record.fields)))
        except UserError as error:
            yield Refusal(record.line, str(error))
