"""What an import refused: said in words, and written as a file to be mended and imported again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

from curator.errors import UserError
from curator.formats import Refusal
from curator.imports.plans import Plan


class Rejects:
    """The refused rows of a plan on their way to a file. They wait on the disk, as there may be millions."""

    def __init__(self, found: Plan, path: Path | None) -> None:
        self.found, self.path = found, path
        self.names = dict.fromkeys([*found.headers, "_line", "_reason"])  # the columns of a table
        self.is_json = found.kind.startswith("JSON")
        self.rows: IO[str] = TemporaryFile("w+", encoding="ascii") if path else io.StringIO()
        if path:
            found.refused.listener = self.add

    def __enter__(self) -> Rejects:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.rows.close()

    def add(self, refusal: Refusal) -> None:
        """Take one more row. It is escaped, so that half of a surrogate pair can be written down too."""
        row = refusal.fields | {"_line": refusal.line, "_reason": refusal.reason}
        self.rows.write(json.dumps(row, default=str) + "\n")
        if not self.is_json:
            self.names |= dict.fromkeys(row)

    def write(self) -> None:
        """Write each row as it came, with its `_line` and `_reason`: CSV for a CSV, else JSON lines.

        A row with more fields than the header has the others in `_rest`. An import passes these three over.
        """
        if self.path is None:
            return
        self.rows.seek(0)
        try:
            with self.path.open("w", encoding="utf-8", newline="") as file:
                if self.is_json:
                    shutil.copyfileobj(self.rows, file)
                    return
                writer = csv.DictWriter(file, list(dict.fromkeys([*self.found.headers, *self.names])))
                writer.writeheader()
                writer.writerows(map(json.loads, self.rows))
        except OSError as error:
            raise UserError(f"{self.path} can't be written: {error.strerror}. Name another file.") from error


def explain_refusals(found: Plan) -> str:
    """Say which rows were refused and why, and how to go on."""
    lines = list(found.refused.sentences(found.name))
    if found.new or found.changed or found.identical:
        count = f"{len(found.refused):,} of {found.total:,} rows were refused"
        lines.append(f"{count}, so nothing was imported. Mend them, or leave them out with --skip-refused.")
    else:
        count = f"All {found.total:,} rows were" if found.total > 1 else "The only row was"
        lines.append(f"{count} refused, so nothing was imported.")
    return "\n".join(lines)
