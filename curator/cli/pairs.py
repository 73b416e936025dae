"""Pairs in and out, and counted: import, export, preferences, undo, stats."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import current_app

from curator.cli.door import (
    Whole,
    as_json,
    mapped,
    print_bytes,
    progress,
    say,
    selecting,
    selection_of,
    stoppable,
    who,
    with_session,
)
from curator.errors import UserError
from curator.formats import FORMATS, SHAPES, encode
from curator.formats.writing import COLUMNS, RATINGS, TABLE
from curator.words import SPLITS, plural

if TYPE_CHECKING:  # a command imports what it needs when it runs: `flask --help` is quick
    from sqlalchemy.orm import Session

    from curator.formats.preflight import Report


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dataset", metavar="NAME", help="Data set to add to; made if it is new. Without it: main.")
@click.option("--map", "mapping", multiple=True, metavar="FIELD=COLUMN", help="As in: --map answer=Reply.")
@click.option("--encoding", metavar="NAME", help="As in: --encoding shift_jis. Without it: found.")
@click.option("--delimiter", metavar="CHARACTER", help="As in: --delimiter ';' or --delimiter tab. Without it: found.")
@click.option("--split", metavar="NAME", help="Which split of a data set of the hub. Without it: train.")
@click.option("--shape", type=click.Choice(list(SHAPES)), help="What the rows are, where their columns don't tell.")
@click.option(
    "--turns",
    type=click.Choice(["last", "each"]),
    default="last",
    show_default=True,
    help="A conversation is one pair, with the turns before its last answer as history, or one an answer.",
)
@click.option(
    "--ids",
    type=click.Choice(["update", "ignore"]),
    help="Where ids name pairs of another file: change those, or add the rows and keep the ids as a field.",
)
@click.option("--skip-refused", is_flag=True, help="Leave out rows that can't be used; else nothing is imported.")
@click.option(
    "--rejects",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Leave them out and write them here with their reasons, to be mended and imported again.",
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--json", "json_", is_flag=True, help="The counts as JSON.")
@with_session
def import_(
    session: Session,
    files: tuple[Path, ...],
    dataset: str | None,
    mapping: tuple[str, ...],
    encoding: str | None,
    delimiter: str | None,
    split: str | None,
    shape: str | None,
    turns: str,
    ids: str | None,
    skip_refused: bool,
    rejects: Path | None,
    dry_run: bool,
    json_: bool,
) -> None:
    """Add the pairs of files: CSV, JSON lines, JSON arrays, Parquet. What is there already is not added twice.

    Each may be compressed with gzip or zstd; hub:OWNER/NAME is a data set of the Hugging Face hub.
    Question and answer are found by their usual names, and so are OpenAI's messages, Alpaca, ShareGPT,
    Guanaco, OpenOrca, prompt and completion, and preferences; system message and earlier turns are kept,
    and so are the other columns. A row whose column `id` names a pair of an earlier import changes that
    pair. Each file is one change, undone with the number that is printed.

    \b
    Examples: flask import faq.csv --dataset support
              flask import hub:OWNER/NAME --split train
              flask import letters.csv --map question=Frage --map answer=Antwort
              flask import chats.jsonl --turns each
    """
    from curator import imports
    from curator.pairs import DEFAULT_DATASET

    counts: list[dict[str, Any]] = []
    reading = imports.Reading(
        dataset=dataset or DEFAULT_DATASET, mapping=mapped(mapping), shape=shape, each_turn=turns == "each",
        ids=ids or "", encoding=encoding, delimiter=delimiter, split=split,
    )  # fmt: skip
    if rejects and len(files) > 1:
        raise UserError("--rejects takes what one file refuses. Import the files one by one.")
    for file in files:
        if dry_run:
            with progress("rows") as show, stoppable("Stopped; nothing was changed."):
                done = imports.plan(session, file, reading, rejects=rejects, on_progress=show)
        else:
            with (
                progress("rows") as show,
                stoppable(f"Stopped; {file} was not imported." if counts else "Stopped; nothing was imported."),
            ):
                done = imports.apply(
                    session, file, reading, by=who(), skip_refused=skip_refused or bool(rejects), rejects=rejects,
                    on_progress=show,
                )  # fmt: skip
        counts.append(
            {"file": str(file), "dataset": done.dataset, "rows": done.total, "new": done.new, "changed": done.changed,
             "identical": done.identical, "refused": len(done.refused),
             "first_refused": [{"line": r.line, "reason": r.reason} for r in done.refused.first],
             "near": [{"line": n.line, "pair": n.pair_id, "similarity": round(n.similarity, 4)} for n in done.near],
             "changeset": done.changeset.id if done.changeset else None}
        )  # fmt: skip
        for sentence in done.refused.sentences(done.name):
            say(sentence)
        if json_:
            continue
        would = "would be " if dry_run else ""
        changed = f"{done.changed:,} {would}changed, " if done.changed else ""
        click.echo(
            f"{done.name} ({done.kind}): {plural(done.total, 'row')}, {done.new:,} {would}added to {done.dataset}, "
            f"{changed}{done.identical:,} there already, {len(done.refused):,} refused."
        )
        say(f"Read as {done.shape}.")
        if done.clash:
            say(f"{done.clash} It will ask for --ids update or --ids ignore.")
        for near in done.near[:20]:
            say(f"{done.name} line {near.line} is {near.similarity:.2f} like pair {near.pair_id}")
        if dry_run and (done.near or done.near_bound):
            say(f"{plural(len(done.near), 'new row')} like pairs that are there. {done.near_bound}".rstrip())
        if rejects and done.refused:
            say(f"Refused rows are in {rejects}. Mend them, and import it.")
        if done.changeset:
            say(f"Undo it with: flask undo {done.changeset.id}")
    if json_:
        as_json(counts)


@click.command()
@click.option("--jsonl", "kind", flag_value="jsonl", default="jsonl", help="One JSON object a line (the default).")
@click.option("--csv", "kind", flag_value="csv", help="A table for a spreadsheet, which imports again.")
@click.option("--parquet", "kind", flag_value="parquet", help="Typed columns, as datasets and pandas read them.")
@click.option("--db", "kind", flag_value="db", help="A database of these pairs, which Curator opens.")
@click.option("--format", "shape", type=click.Choice([*FORMATS, TABLE]),
              help="Shape of a pair: messages unless named; in a CSV, a table of all there is of it.")  # fmt: skip
@click.option("--ratings", type=click.Choice(list(RATINGS)),
              help="What ratings teach: dpo is chosen and rejected answers, kto good and bad ones.")  # fmt: skip
@click.option("--preferences", "ratings", flag_value="dpo", help="The same as --ratings dpo.")
@click.option("-o", "--output", metavar="PATH", help="A file, written whole or not at all; FOLDER/ adds a manifest.")
@click.option("--version", "number", type=Whole(), help="The frozen text of this version.")
@click.option("--split", type=click.Choice(SPLITS), help="Only this split of the version.")
@click.option("--tokenizer", metavar="NAME", help="Count tokens with this model's tokenizer, not by estimate.")
@selecting
@with_session
def export(
    session: Session,
    kind: str,
    shape: str | None,
    ratings: str | None,
    output: str | None,
    number: int | None,
    split: str | None,
    tokenizer: str | None,
    **options: Any,
) -> None:
    """Write pairs for training, to standard output or a file.

    The same selection gives the same bytes. Without one: every pair that is neither rejected nor in the
    trash, in order of their numbers. A line is {"messages": [...]}, which OpenAI's fine-tuning, TRL,
    axolotl and LLaMA-Factory read. At the end, on standard error: how many tokens, and what a reader
    would refuse.

    \b
    Examples: flask export --jsonl > pairs.jsonl
              flask export --parquet --format alpaca -o pairs.parquet
              flask export --version 3 -o exports/version-3/
    """
    from curator import exports, reviews
    from curator.formats import preflight
    from curator.search import Selection

    selection = selection_of(options)
    shape = shape or (TABLE if kind == "csv" and number is None else "qa" if kind == "csv" else "messages")
    if number is None and split:
        raise UserError("--split needs --version, as only a version is split. Make one with: flask freeze")
    if number is not None and (selection != Selection() or kind == "db"):
        raise UserError("--version is exported as it was frozen: leave out the other selections and --db.")
    if kind in ("db", "parquet") and not output and (kind == "db" or sys.stdout.isatty()):
        raise UserError(f"--{kind} writes a file that is no text. Name it with: -o pairs.{kind}")
    if kind == "db":
        copied = exports.write_database(session, selection, Path(str(output)), who())
        say(f"{plural(copied)}. Open it with: DATABASE_URL=sqlite:///{Path(str(output)).absolute()} flask run")
        return
    seen = preflight.Report()
    if tokenizer:
        seen = preflight.Report(preflight.tokens_by(tokenizer), is_exact=True)
    if output and output.endswith(("/", "\\")):
        if split or ratings:
            raise UserError("A folder takes all splits and no ratings. Leave these options out, or name a file.")
        if number is None:
            manifest = exports.write_selection(session, selection, Path(output), shape, kind, seen)
        else:
            manifest = exports.write_folder(session, number, Path(output), shape, kind, seen)
        for name, file in manifest["files"].items():
            if not file["split"]:
                continue
            click.echo(f"{Path(output) / name}: {plural(file['lines'], 'line')}")
        say_preflight(seen)
        if kind == "jsonl":
            say(f"Train on it with: python -m trainer run {output}")
        return
    if ratings:
        if selection != Selection() or number is not None:
            raise UserError("Ratings are exported whole. Leave out --version and the selection of pairs.")
        rows = list(reviews.preferences(session) if ratings == "dpo" else reviews.judgements(session))
        write(encode(rows, kind, COLUMNS[ratings]), output)
        say(f"{plural(len(rows), 'line')}.")
        return
    if number is not None:
        write(exports.version_pieces(session, number, split, shape, kind, seen), output)
    else:
        write(exports.pieces(session, selection, shape, kind, seen), output)
    note = f", {seen.drafts:,} of them drafts that nobody approved yet" if seen.drafts else ""
    say(f"{plural(seen.examples, 'line')}{note}.")
    say_preflight(seen)


def write(pieces: Iterable[bytes], output: str | None) -> None:
    """Write a file, or standard output where none is named."""
    from curator import exports

    if output:
        say(f"{output}: sha256 {exports.write_file(pieces, Path(output))}")
    else:
        print_bytes(pieces)


def say_preflight(seen: Report) -> None:
    """Say what an export would meet on its way into training."""
    from curator.formats import preflight

    for sentence in preflight.sentences(seen) if seen.examples else ():
        say(sentence)


@click.command("preferences")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file, written whole or not at all.")
@click.pass_context
def preferences(context: click.Context, output: Path | None) -> None:
    """Write chosen and rejected answers, from ratings.

    The same as flask export --ratings dpo: a correction is chosen over what it corrected.

    Example: flask preferences -o preferences.jsonl
    """
    context.invoke(export, ratings="dpo", output=str(output) if output else None, status=())


@click.command()
@click.argument("changeset", type=Whole())
@with_session
def undo(session: Session, changeset: int) -> None:
    """Take back one change: an import, an edit, a cleaning. Pairs that changed since are left alone.

    Example: flask undo 12
    """
    from curator import history

    done = history.undo(session, changeset, who())
    click.echo(f"Undid change {changeset}: {plural(done.changeset.rows)} as before.")
    if done.left:
        numbers = ", ".join(map(str, done.left[:20])) + (" …" if len(done.left) > 20 else "")
        say(f"Left alone, because they changed since: {numbers}.")


@click.command()
@click.option("--json", "json_", is_flag=True, help="The counts as JSON.")
@with_session
def stats(session: Session, json_: bool) -> None:
    """Say how much is there, of what.

    Example: flask stats
    """
    from curator import database, pairs, reviews, runs, search
    from curator import versions as noun
    from curator.search import Selection

    facets = search.facets(session, Selection())
    rated, samples = reviews.progress(session, who())
    facts: dict[str, Any] = {
        "database": database.describe(database.engine(current_app)),
        "datasets": dict(pairs.datasets(session)), "statuses": facets.statuses,
        "trash": search.count(session, Selection(trash=True)),
        "versions": noun.count(session), "runs": runs.count(session), "samples": samples, "rated": rated,
    }  # fmt: skip
    if json_:
        as_json(facts)
        return
    click.echo(f"database  {facts['database']}")
    for name, number in facts["datasets"].items():
        click.echo(f"data set  {name}: {plural(number)}")
    for status, number in facets.statuses.items():
        click.echo(f"{status:<9} {number:,}")
    for name in ("trash", "versions", "runs", "samples", "rated"):
        click.echo(f"{name:<9} {facts[name]:,}")
