"""Backups: backup, restore."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from flask import current_app

from curator.cli.door import as_json, on_curator, say
from curator.words import plural


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="The number of rows of each table, as JSON.")
@on_curator
def backup(file: Path, json_: bool) -> None:
    """Write all there is into one file, also while the app is in use.

    It is an SQLite database, of PostgreSQL too; with .gz at the end of its name it is packed.

    Example: flask backup curator-2026-11-21.db.gz
    """
    from curator import backups

    counts = backups.write(current_app, file)
    if json_:
        as_json({"file": str(file), "bytes": file.stat().st_size, "rows": counts})
    else:
        click.echo(f"Wrote {spoken(counts)} to {file}.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the file and change nothing.")
@click.option("--json", "json_", is_flag=True, help="The number of rows before and after, as JSON.")
@on_curator
def restore(file: Path, dry_run: bool, json_: bool) -> None:
    """Put a backup in the place of all there is, which is kept beside.

    The file is checked first, and one of an older Curator is brought up to date; a damaged file is
    refused and nothing changes. The app may stay open: it shows the restored pairs from then on.

    Example: flask restore curator-2026-11-21.db.gz
    """
    from curator import backups, jobs

    with backups.checked(current_app, file) as found:
        if dry_run:
            if json_:
                as_json({"file": str(file), "schema": found.made_with, "rows": found.counts})
            else:
                click.echo(f"{file} is whole: {spoken(found.counts)}. Nothing was changed.")
            return
        jobs.refuse_at_work(current_app, "Restoring")
        done = backups.restore(current_app, found)
    if json_:
        as_json({"before": done.before, "after": done.after, "kept": str(done.kept) if done.kept else None})
        return
    click.echo(f"Restored {spoken(done.after)} from {file}.")
    if done.kept:
        was = spoken(done.before) if done.before else "which could not be read"
        say(f"What was there ({was}) is kept. Take it back with: flask restore {shlex.quote(str(done.kept))}")


def spoken(counts: dict[str, int]) -> str:
    """Return "1,284 pairs, 31 changes, 2 versions, 0 runs, 0 ratings"."""
    from curator.backups import SPOKEN

    return ", ".join(plural(counts.get(table, 0), noun) for table, noun in SPOKEN.items())
