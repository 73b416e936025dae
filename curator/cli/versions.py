"""Versions: freeze, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from curator.cli.door import as_json, say, selecting, selection_of, who, with_session
from curator.errors import UserError
from curator.words import SPLITS

if TYPE_CHECKING:  # a command imports what it needs when it runs: `flask --help` is quick
    from sqlalchemy.orm import Session


@click.command()
@click.option("--split", "shares", default="80/10/10", show_default=True, metavar="A/B/C",
              help="Per cent of training, validation and test.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Decides which pair goes where.")
@click.option("--name", default="", help="A name for people.")
@click.option("--note", default="", help="What is in it, for the data set card.")
@click.option("--json", "json_", is_flag=True, help="The version as JSON.")
@selecting
@with_session
def freeze(session: Session, shares: str, seed: int, name: str, note: str, json_: bool, **options: Any) -> None:
    """Keep the text of a selection for ever, as a version.

    Near-duplicates and equal questions stay on one side of the split, and a pair keeps the side it
    had in an earlier version. Freezing the same again returns the same version.

    Example: flask freeze --status approved --split 80/10/10
    """
    from curator import exports, versions

    selection = exports.exportable(selection_of(options))
    version, is_new = versions.freeze(
        session, selection, by=who(), shares=shares_of(shares), seed=seed, name=name, note=note
    )
    if json_:
        as_json(version_facts(version))
        return
    state = "" if is_new else " was there already: the same text with the same split"
    click.echo(f"Version {version.id}{state}: {spoken_counts(version)}. Fingerprint {version.fingerprint[:12]}.")
    say(f"Write it for training with: flask export --version {version.id} -o exports/version-{version.id}/")


@click.command()
@click.option("--json", "json_", is_flag=True, help="All of them as JSON.")
@with_session
def versions(session: Session, json_: bool) -> None:
    """List the versions, the newest first.

    Example: flask versions
    """
    from curator import versions as noun

    found = noun.all(session)
    if json_:
        as_json([version_facts(version) for version in found])
        return
    for version in found:
        of = version.dataset.name if version.dataset else "all data sets"
        click.echo(
            f"{version.id:>4}  {version.fingerprint[:12]}  {version.created_at:%Y-%m-%d %H:%M}  "
            f"{of}: {spoken_counts(version)}  {version.name}".rstrip()
        )
    if not found:
        say("There is no version yet. Make one with: flask freeze")


def shares_of(text: str) -> dict[str, float]:
    """Return the shares of "80/10/10", each of 1."""
    try:
        parts = [float(part) / 100 for part in text.split("/")]
        if len(parts) == len(SPLITS):
            return dict(zip(SPLITS, parts, strict=True))
    except ValueError:
        pass
    raise UserError(f"--split {text} is no list of three numbers. For example: --split 80/10/10")


def spoken_counts(version: Any) -> str:
    """Return "264 train, 33 validation, 33 test"."""
    return ", ".join(f"{version.counts[side]:,} {side}" for side in SPLITS if version.counts.get(side))


def version_facts(version: Any) -> dict[str, Any]:
    """Return what a script wants to know of a version."""
    return {
        "version": version.id, "name": version.name, "dataset": version.dataset.name if version.dataset else None,
        "fingerprint": version.fingerprint, "counts": version.counts, "seed": version.seed,
        "created": version.created_at.isoformat(), "by": version.created_by,
    }  # fmt: skip
