"""What an import refused: said in words, and written as a file to be mended and imported again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from curator import formats
from curator.errors import UserError
from curator.imports.plans import Plan


def write_rejects(found: Plan, path: Path) -> None:
    """Write the refused rows as they came, each with `_line` and `_reason`: CSV for a CSV, else JSON lines.

    A row with more fields than the header has the others in `_rest`. An import passes these three over.
    """
    rows = [refusal.fields | {"_line": refusal.line, "_reason": refusal.reason} for refusal in found.refused]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if found.kind.startswith("JSON"):
                # Escaped, so that half of a surrogate pair can be written down too.
                file.writelines(json.dumps(row, default=str) + "\n" for row in rows)
                return
            columns = list(dict.fromkeys([*found.headers, "_line", "_reason", *(name for row in rows for name in row)]))
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}. Name another file.") from error


def explain_refusals(found: Plan) -> str:
    """Say which rows were refused and why, and how to go on."""
    lines = formats.name_refusals(found.name, found.refused)
    if found.new or found.changed or found.identical:
        count = f"{len(found.refused):,} of {found.total:,} rows were refused"
        lines.append(f"{count}, so nothing was imported. Mend them, or leave them out with --skip-refused.")
    else:
        count = f"All {found.total:,} rows were" if found.total > 1 else "The only row was"
        lines.append(f"{count} refused, so nothing was imported.")
    return "\n".join(lines)
