"""Parquet, row by row: the line of a record is the number of its row."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from curator import settings
from curator.errors import UserError
from curator.formats.records import Reading, Record, Refusal, plain_record, refuse_twins
from curator.formats.streams import Source

BATCH = 256  # rows in memory at once: few, because a row may hold megabytes


def read_parquet(source: Source) -> Reading:
    """Open a Parquet file. Raises UserError where it is damaged, or expands beyond the limit."""
    with opened(source) as file:
        headers = list(file.schema_arrow.names)
        groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
        expanded = sum(group.total_byte_size for group in groups)
        rows = file.metadata.num_rows
    limit_mib = settings.load()["CURATOR_MAX_EXPANDED"]
    if expanded > limit_mib * 2**20:
        raise UserError(
            f"{source.name} expands to more than {limit_mib:,} MiB. If you trust it, raise CURATOR_MAX_EXPANDED."
        )
    refuse_twins(headers, source.name)
    if not rows:
        raise UserError(f"{source.name} is empty. Choose a file with at least one row.")
    kind = "Parquet" + (f", {source.packing}" if source.packing else "")
    return Reading(source.name, kind, headers, records=lambda: parquet_records(source), estimate=lambda _: rows)


def parquet_records(source: Source) -> Iterator[Record | Refusal]:
    """Yield the rows of a Parquet file, each value as JSON can hold it."""
    number = 0
    with opened(source) as file:
        for batch in file.iter_batches(BATCH):
            for row in batch.to_pylist():
                number += 1
                yield plain_record(number, row)


@contextlib.contextmanager
def opened(source: Source) -> Iterator[Any]:
    """Open a pyarrow.parquet.ParquetFile; what Arrow can't read in it is raised as UserError."""
    import pyarrow
    import pyarrow.parquet

    with contextlib.ExitStack() as stack:
        place: IO[bytes] = stack.enter_context(source.open_bytes())
        if source.packing:  # its directory stands at its end, so all of it must be there
            packed, place = place, stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(packed, place)
        try:
            yield pyarrow.parquet.ParquetFile(place)
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # a date may be beyond Python
            reason = str(error).partition("\n")[0].rstrip(".")
            raise UserError(f"{source.name} is a damaged Parquet file: {reason}. Write or fetch it again.") from error
