"""Runs brought home: import-run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.door import as_json, with_session
from curator.words import plural

if TYPE_CHECKING:  # a command imports what it needs when it runs: `flask --help` is quick
    from sqlalchemy.orm import Session


@click.command("import-run")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "json_", is_flag=True, help="What was brought in, as JSON.")
@with_session
def import_run(session: Session, folders: tuple[Path, ...], json_: bool) -> None:
    """Bring a run home, each sample tied to its pair.

    Doing it again brings what is there up to date; ratings stay.

    Example: flask import-run runs/kestrel
    """
    from curator import runs

    facts = []
    for folder in folders:
        run = runs.import_run(session, folder)
        tied = sum(sample.pair_id is not None for sample in run.samples)
        facts.append({"run": run.id, "name": run.name, "state": run.state, "samples": len(run.samples),
                      "tied": tied, "version": run.version_id})  # fmt: skip
        if not json_:
            click.echo(
                f"Run {run.name} ({run.state}): {plural(len(run.samples), 'sample')}, "
                f"{tied:,} tied to their pair. See it at /runs/{run.id}, rate it at /review/?run={run.id}"
            )
    if json_:
        as_json(facts)
