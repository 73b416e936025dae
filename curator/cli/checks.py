"""Checks on the command line: look at the pairs, count their flags, list what is flagged, fail where it may not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from flask import current_app

from curator.cli.door import as_json, progress, say, shortened, stoppable, with_session
from curator.errors import UserError
from curator.words import plural

if TYPE_CHECKING:  # a command imports what it needs when it runs: `flask --help` is quick
    from sqlalchemy.orm import Session


@click.command()
@click.option("--dataset", metavar="NAME", help="Count only this data set; all are looked at.")
@click.option("--flag", "listed", metavar="NAME", multiple=True, help="List the pairs with this flag, and why.")
@click.option("--fail-on", metavar="NAME", multiple=True, help="Exit with 1 where a pair has it; any: whichever.")
@click.option("--all", "everything", is_flag=True, help="Look at every pair, not just at what changed.")
@click.option("--no-pass", is_flag=True, help="Look at nothing; say what the last check found.")
@click.option("--json", "json_", is_flag=True, help="What was found as JSON.")
@with_session
def check(
    session: Session, dataset: str | None, listed: tuple[str, ...], fail_on: tuple[str, ...], everything: bool,
    no_pass: bool, json_: bool,
) -> None:  # fmt: skip
    """Look for what may be wrong with pairs, and count it.

    Only what changed since the last check is looked at, all of it where CURATOR_CONTEXT or CURATOR_TOKENIZER are
    others by now. Stopped, it goes on where it was the next time. docs/checks.md tells each check.

    \b
    Examples: flask check
              flask check --flag truncated --flag refusal
              flask check --dataset support --fail-on secret --fail-on private
    """
    from pathlib import Path

    from curator import pairs, quality
    from curator.flags import FLAGS

    for name in (*listed, *fail_on):
        if name not in FLAGS and (name != "any" or name in listed):
            raise UserError(f"{name!r} is no flag. The flags are: {', '.join(FLAGS)}.")
    if dataset:
        pairs.dataset_named(session, dataset)
    rules = quality.rules_of(current_app.config["CURATOR_CONTEXT"], current_app.config["CURATOR_TOKENIZER"])
    if no_pass:
        behind = quality.behind(session, rules)
        if behind:
            say(f"{plural(behind)} changed since the last check. Look at them with: flask check")
    else:
        home = Path(current_app.config["CURATOR_HOME"])
        with progress("pairs") as show, stoppable("Stopped. The next check goes on from here."):
            done = quality.check(session, rules, home, everything, on_progress=show)
        say(f"Looked at {plural(done.looked_at)}{'' if done.was_whole else ' that changed'}.")
    found = quality.flagged(session, dataset)
    rows = {name: list(quality.each_flagged(session, name, dataset)) for name in listed}
    if json_:
        as_json({
            "flagged": found.pairs, "flags": {one.flag.name: one.pairs for one in found.flags},
            "pairs": {name: [{"id": row[0], "detail": row[1]} for row in some] for name, some in rows.items()},
        })  # fmt: skip
    elif listed:
        for name, some in rows.items():
            for pair_id, detail, question in some:
                click.echo(f"{name}  {pair_id}  {detail}  |  {shortened(question, 60)}")
    else:
        for one in found.flags:
            click.echo(f"{one.pairs:>9,}  {one.flag.name:<13}  {one.flag.about}")
        say(f"{plural(found.pairs)} {'has' if found.pairs == 1 else 'have'} a flag.")
    failing = [one for one in found.flags if one.pairs and (one.flag.name in fail_on or "any" in fail_on)]
    if failing:
        told = ", ".join(f"{one.flag.name} ({one.pairs:,})" for one in failing)
        raise UserError(
            f"There are flags that may not be: {told}. List them with: flask check --flag {failing[0].flag.name}"
        )
