"""Data sets of the Hugging Face hub, streamed by the library `datasets`: the line of a record is its number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curator.errors import UserError
from curator.formats.records import Reading, Record, Refusal, plain_record


def read_hub(address: str, split: str | None = None) -> Reading:
    """Open a data set of the hub: `hub:OWNER/NAME`, or `hub:OWNER/NAME:CONFIG` where it has several.

    Without `split`: train, or the only one there is. A folder of data files in place of OWNER/NAME is
    read in the same way. Raises UserError where the library is not installed, the hub can't be
    reached, or it has no such data set or split.
    """
    name, _, config = address.removeprefix("hub:").partition(":")
    if not name:
        raise UserError(f"{address} names no data set. Write it as: hub:OWNER/NAME")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise UserError(
            f"{address} needs the library datasets. Install it with: pip install 'qa-curator[train]'"
        ) from error
    try:
        splits = load_dataset(name, config or None, streaming=True)
    # Half a dozen libraries lie below, each with errors of its own; all of them mean that it can't be had.
    except Exception as error:
        raise unreachable(address, error) from error
    chosen = split or ("train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else "")
    if chosen not in splits:
        missing = f"has no split {split!r}" if split else "has several splits"
        raise UserError(f"{address} {missing}. Choose with --split: {', '.join(map(str, splits))}.")
    rows = splits[chosen]
    return Reading(
        address, f"hub, split {chosen}", list(rows.features or ()), records=lambda: hub_records(address, rows)
    )


def hub_records(address: str, rows: Any) -> Iterator[Record | Refusal]:
    """Yield the rows of a data set, each value as JSON can hold it."""
    stream = enumerate(rows, 1)
    while True:
        try:
            number, row = next(stream)
        except StopIteration:
            return
        except Exception as error:
            raise unreachable(address, error) from error
        yield plain_record(number, row)


def unreachable(address: str, error: Exception) -> UserError:
    """Return what went wrong with the hub as one sentence."""
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")
    return UserError(
        f"{address} can't be loaded: {reason}. Check the name, the configuration and the network, "
        "or download the data set and import its files."
    )
