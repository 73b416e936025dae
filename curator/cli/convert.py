"""One file to another, without a database: convert."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from curator.cli.door import mapped, refuse, say
from curator.errors import UserError
from curator.formats import FORMATS, KINDS, SHAPES, encode, read
from curator.formats.writing import COLUMNS, TABLE
from curator.words import plural


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT")
@click.option("--from-shape", type=click.Choice(list(SHAPES)), help="Shape of IN, where its columns don't tell.")
@click.option("--to-shape", "--to", type=click.Choice([*FORMATS, TABLE]), default="messages", show_default=True,
              help="Shape of OUT.")  # fmt: skip
@click.option("--map", "mapping", multiple=True, metavar="FIELD=COLUMN", help="As in: --map answer=Reply.")
@click.option("--encoding", metavar="NAME", help="As in: --encoding shift_jis. Without it: found.")
@click.option("--delimiter", metavar="CHARACTER", help="As in: --delimiter ';' or --delimiter tab. Without it: found.")
@click.option("--skip-refused", is_flag=True, help="Leave out rows that can't be used; else nothing is written.")
def convert(
    source: Path,
    target: str,
    from_shape: str | None,
    to_shape: str,
    mapping: tuple[str, ...],
    encoding: str | None,
    delimiter: str | None,
    skip_refused: bool,
) -> None:
    """Write the pairs of one file as another, in any shape and kind.

    What IN is, is found as flask import finds it. OUT ends in .jsonl, .csv or .parquet, or is - for
    JSON lines on standard output. It is written whole or not at all.

    \b
    Examples: flask convert faq.csv alpaca.jsonl --to-shape alpaca
              flask convert chats.json - --from-shape sharegpt | head
    """
    from curator.formats.converting import Conversion

    try:
        kind, columns = kind_of(target), mapped(mapping)
        reading = read(source, encoding=encoding, delimiter=delimiter)
        conversion = Conversion(reading, to_shape, columns, from_shape, skip_refused)
        pieces = encode(conversion, kind, COLUMNS[to_shape])
        if target == "-":
            with tempfile.TemporaryFile() as whole:
                whole.writelines(pieces)
                whole.seek(0)
                shutil.copyfileobj(whole, sys.stdout.buffer)
        else:
            from curator import exports

            exports.write_file(pieces, Path(target))
    except UserError as error:
        refuse(error)
    for refusal in conversion.refusals():
        say(refusal)
    left = f", {len(conversion.refused):,} refused and left out" if conversion.refused else ""
    say(f"{conversion.reading.name} ({conversion.reading.kind}): {plural(conversion.written)}{left}.")


def kind_of(target: str) -> str:
    """Return the kind of file that a name asks for by its ending."""
    ending = "jsonl" if target == "-" else Path(target).suffix.removeprefix(".").lower()
    if ending not in KINDS:
        raise UserError(f"{target} ends in none of .{', .'.join(KINDS)}. Name OUT with one of them, or - to print.")
    return ending
