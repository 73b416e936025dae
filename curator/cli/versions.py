"""Versions: freeze, and versions: list, show, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curator.cli.door import (
    Whole,
    as_json,
    progress,
    say,
    selecting,
    selection_of,
    shortened,
    stoppable,
    who,
    with_session,
)
from curator.words import SPLITS, plural

if TYPE_CHECKING:  # a command imports what it needs when it runs: `flask --help` is quick
    from sqlalchemy.orm import Session

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--split",
    "shares",
    default="80/10/10",
    show_default=True,
    metavar="A/B/C",
    help="Training, validation and test: per cent, or numbers of pairs as in 800/100/100 or rest/100/100.",
)
@click.option("--seed", type=Whole(), default=1, show_default=True, help="Decides which new group goes where.")
@click.option(
    "--stratify",
    type=click.Choice(("tag", "source")),
    default=None,
    help="Split each first tag, or each source, in these shares.",
)
@click.option(
    "--group-by",
    default="",
    metavar="FIELD",
    help="Keep together what has the same value: source, or a field that the import kept.",
)
@click.option(
    "--keep-out",
    type=FILE,
    multiple=True,
    metavar="FILE",
    help="A benchmark: pairs that ask what it asks are listed and left out. May stand several times.",
)
@click.option("--name", default="", help="A name for people.")
@click.option("--note", default="", help="What is in it, for the data set card.")
@click.option("--license", "license_", default="", metavar="ID", help="For the data set card: cc-by-4.0")
@click.option("--language", default="", metavar="CODES", help="For the data set card: en, or en,de")
@click.option("--json", "json_", is_flag=True, help="The version and what was proved of it, as JSON.")
@selecting
@with_session
def freeze(
    session: Session,
    shares: str,
    seed: int,
    stratify: str | None,
    group_by: str,
    keep_out: tuple[Path, ...],
    license_: str,
    language: str,
    name: str,
    note: str,
    json_: bool,
    **options: Any,
) -> None:
    """Keep the text of a selection for ever, as a version.

    Near-duplicates, equal questions and turns of one conversation stay on one side of the split, and a pair keeps the
    side it had in an earlier version; a tag such as split:test pins one by hand. Freezing the same again returns the
    same version.

    Example: flask freeze --status approved --split 80/10/10 --keep-out gsm8k_test.jsonl
    """
    from curator import exports, versions

    selection = exports.exportable(selection_of(options))
    with progress("pairs") as show, stoppable("Stopped: nothing was frozen."):
        version, is_new = versions.freeze(
            session,
            selection,
            by=who(),
            shares=versions.parse(shares),
            seed=seed,
            name=name,
            note=note,
            group_by=group_by,
            stratify=stratify or "",
            keep_out=keep_out,
            license=license_,
            language=language,
            on_progress=show,
        )
    if json_:
        as_json(version_facts(version) | {"new": is_new, "report": version.report})
        return
    state = "" if is_new else " was there already: the same text with the same split"
    click.echo(f"Version {version.id}{state}: {spoken_counts(version)}. Fingerprint {version.fingerprint[:12]}.")
    for sentence in versions.sentences(version):
        say(sentence)
    for file, _, rows in versions.kept_out(session, version):
        for pair_id, question, line in rows:
            say(f"  {file} line {line}: pair {pair_id}, {shortened(question)}")
    say(f"Write it for training with: flask export --version {version.id} -o exports/version-{version.id}/")


@click.group(invoke_without_command=True)
@click.option("--json", "json_", is_flag=True, help="All of them as JSON.")
@click.pass_context
def versions(context: click.Context, json_: bool) -> None:
    """List the versions, the newest first; or check and compare them.

    Example: flask versions
    """
    if context.invoked_subcommand is None:
        context.invoke(list_them, json_=json_)


@click.command()
@click.option("--json", "json_", is_flag=True)
@with_session
def list_them(session: Session, json_: bool) -> None:
    """List the versions, the newest first."""
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


@versions.command()
@click.argument("number", type=Whole())
@click.option("--json", "json_", is_flag=True, help="What was found as JSON.")
@with_session
def check(session: Session, number: int, json_: bool) -> None:
    """Look at every frozen line of a version again.

    Each text must be that of its fingerprint, and no near-duplicate and no equal question may be on two sides.
    Whatever is not so is an error.

    Example: flask versions check 1
    """
    from dataclasses import asdict

    from curator import versions as noun

    with progress("lines") as show:
        found = noun.check(session, number, show)
    if json_:
        as_json(asdict(found) | {"holds": found.holds})
    noun.required(found, number)
    if not json_:
        click.echo(
            f"Version {number} holds: {plural(found.lines, 'line')} as they were frozen, and no near-duplicate "
            "and no equal question on two sides."
        )
        if sentence := noun.counted(found.held_out, found.counted):
            say(sentence)


@versions.command()
@click.argument("old", type=Whole())
@click.argument("new", type=Whole())
@click.option("--json", "json_", is_flag=True, help="The numbers as JSON.")
@with_session
def compare(session: Session, old: int, new: int, json_: bool) -> None:
    """Show what was added, removed, changed and moved between two versions.

    Example: flask versions compare 1 2
    """
    from curator import versions as noun

    found = noun.compare(session, old, new, shown=5)
    numbers = {kind: getattr(found, kind) for kind in ("added", "removed", "changed", "moved")}
    if json_:
        counts = {"old": found.old.counts, "new": found.new.counts}
        as_json(numbers | counts | {"answer lengths": found.lengths, "tags": found.tags})
        return
    for side in SPLITS:
        click.echo(f"{side:<11} {found.old.counts.get(side, 0):>11,} {found.new.counts.get(side, 0):>11,}")
    for kind, number in numbers.items():
        click.echo(f"{kind:<11} {number:>11,}")
        for row in found.rows[kind]:
            where = f", {row.old_side} to {row.new_side}" if kind == "moved" else ""
            chat = row.new or row.old or []
            click.echo(f"  pair {row.pair_id}{where}: {shortened(chat[-2]['content'])}")
            for role, parts in row.diffs() if kind == "changed" else ():
                marks = {"delete": "[-{}-]", "insert": "{{+{}+}}", "same": "{}"}
                click.echo(f"    {role}: {shortened(''.join(marks[op].format(part) for op, part in parts), 200)}")


@click.command()
@click.argument("target", metavar="hub:OWNER/NAME")
@click.option("--version", "number", type=Whole(), required=True, help="The version to publish.")
@click.option("--public", is_flag=True, help="Let everybody see it; else a new data set is private.")
@click.option("--dry-run", is_flag=True, help="Show what would be uploaded, check name and token, and upload nothing.")
@with_session
def publish(session: Session, target: str, number: int, public: bool, dry_run: bool) -> None:
    """Upload a version to the Hugging Face hub as a data set: its files, its card, its manifest.

    The token is the one of `hf auth login` or of HF_TOKEN. Publishing a newer version adds a commit and a tag.

    Example: flask publish hub:ada/library --version 1 --dry-run
    """
    from curator import publishing

    with publishing.prepared(session, target, number) as upload:
        for name, size, sha256 in upload.files:
            click.echo(f"{name:<20} {size:>13,} bytes  {sha256[:12]}")
        if dry_run:
            publishing.token()
            say(f"Nothing was uploaded. Without --dry-run these go to {upload.address}")
            return
        click.echo(f"Published version {number}: {publishing.publish(upload, is_private=not public)}")


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
