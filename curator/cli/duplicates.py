"""Near-duplicates on the command line: find, report, keep the best."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import current_app

from curator.cli.door import as_json, on_curator, progress, say, shortened, stoppable, who
from curator.errors import UserError
from curator.words import plural

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from curator.duplicates import Above

NEAREST_ONLY = (
    "So many say nearly the same that each was compared with the nearest only. Resolve these, and look again."
)


@click.command()
@click.argument("files", nargs=-1, metavar="[FILES]...")
@click.option("--dataset", metavar="NAME", help="Only this data set; without it, each by itself.")
@click.option("--field", default="pair", show_default=True, metavar="FIELD",
              help="What is compared: pair, question, answer, or both, each by itself.")  # fmt: skip
@click.option("--threshold", type=float, metavar="SHARE",
              help="Similarity from 0.6 to 1. Without it: 0.75 to look (0.8 for meaning), 0.9 to resolve.")  # fmt: skip
@click.option("--shingle", default="char5", show_default=True, metavar="NAME",
              help="What texts share: char2 to char5, runs of letters; word1 to word9, runs of words.")  # fmt: skip
@click.option("--engine", default="auto", show_default=True, metavar="NAME",
              help="auto, numba, numpy or datasketch: the same answers, not as fast. Or ray, for FILES.")  # fmt: skip
@click.option("--address", metavar="HOST:PORT", help="With --engine ray: a cluster; without it, all of this machine.")
@click.option("--across", is_flag=True, help="Compare pairs of different data sets too.")
@click.option("--semantic", is_flag=True, help="Compare what pairs mean, in whatever words; needs [semantic].")
@click.option("--model", metavar="NAME",
              help="With --semantic: a sentence-transformers model, or its folder.")  # fmt: skip
@click.option("--contradictions", "kind", flag_value="contradictions", help="Like questions with unlike answers.")
@click.option("--boilerplate", "kind", flag_value="boilerplate", help="Like answers to unlike questions.")
@click.option("--against", type=click.Path(path_type=Path), metavar="FILE",
              help="Pairs whose question stands in this file, such as a benchmark.")  # fmt: skip
@click.option("--resolve", type=click.Choice(["keep-best"]), help="Trash what is like a better pair.")
@click.option("--dry-run", is_flag=True, help="With --resolve: say what would be trashed, and change nothing.")
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.csv", help="Write every pair to a table.")
@click.option("--json", "json_", is_flag=True, help="What was found as JSON.")
@on_curator
def duplicates(files: tuple[str, ...], address: str | None, **options: Any) -> None:
    """Find pairs that say nearly the same, and keep the best of them.

    Similarity is the share of their runs of five letters that two texts have in common. With --resolve a pair goes
    to the trash where it is that similar to the one that stays: pinned (a tag), then approved, better rated, with
    the longer answer, older. What differs in a number, a negation, a name or a sign stays, and is said.

    With FILES, rows of Parquet and JSON lines are compared, and nothing is imported: of what is alike the first
    stays, so name the best files first. A folder, a glob in quotes or an address such as s3:// will do. With
    --engine ray they may be larger than one machine.

    With --semantic it is the cosine of two vectors that a model makes of the texts, each text once: minutes for
    10,000 pairs, the next time only what is new. A reworded pair nearly always differs in a word that may be a fact,
    so look at what is found: few of them go by --resolve.

    \b
    Examples: flask duplicates --resolve keep-best
              flask duplicates --dataset support --field question --report alike.csv
              flask duplicates --against benchmark.jsonl
              flask duplicates --semantic --field question --report same.csv
              flask duplicates "s3://bucket/pairs/*.parquet" --engine ray --report alike.csv
    """
    if files:
        in_files(files, address, **options)
        return
    if address or options["engine"] == "ray":
        raise UserError('Ray searches files. Name them, as in: flask duplicates "pairs/*.parquet" --engine ray')
    from curator import database

    with database.open_session(current_app) as session:
        in_database(session, **options)


def in_files(
    files: tuple[str, ...], address: str | None, engine: str, field: str, shingle: str, threshold: float | None,
    report: Path | None, json_: bool, **of_pairs: Any,
) -> None:  # fmt: skip
    """Find near-duplicates in files, and say which lines can go."""
    from curator import duplicates as noun
    from curator import exports, minhash
    from curator.formats import encode
    from curator.minhash import files as large

    if given := [name for name, value in of_pairs.items() if value]:
        raise UserError(f"--{given[0].replace('_', '-')} is for pairs of the database. Leave it out, or the files.")
    if address and engine != "ray":
        raise UserError("--address is the place of a Ray cluster. Use it with: --engine ray")
    automatic = noun.AUTOMATIC if threshold is None else threshold
    lowest = noun.REVIEW if threshold is None else threshold
    with progress("rows") as show, stoppable("Stopped. Nothing was written."):
        found = large.search(
            files, lowest, shingle, field, engine=engine, address=address,
            on_progress=lambda stage, done, total: show(done, total or None, minhash.STAGES[stage]),
        )  # fmt: skip
        counts = {"drop": 0, "review": 0}
        rows = counted(found.report(automatic), counts)
        if report:
            kind = "jsonl" if report.suffix == ".jsonl" else "csv"
            exports.write_file(encode(rows, kind, large.COLUMNS), report)
        elif json_:
            as_json(list(rows))
        else:
            for row in rows:
                fact = f"  ({row['fact']})" if row["fact"] else ""
                kept = f"{row['kept_file']}:{row['kept_line']}"
                click.echo(
                    f"{row['act']:>6} {share(row['similarity'])}  {row['file']}:{row['line']}  like {kept}{fact}"
                )
    all_, drop, review = int(found.rows.sum()), counts["drop"], counts["review"]
    say(f"{plural(drop, 'row')} of {all_:,} can go, and {review:,} more are alike from {lowest:g} on: look at them.")
    if found.empty:
        say(f"{plural(found.empty, 'row')} without question and answer.")
    if not found.similar.complete:
        say(NEAREST_ONLY)
    if report:
        say(f"Each with the row it is like is in {report}.")


def counted(rows: Iterable[dict[str, Any]], counts: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Pass rows on, and count what to do with them."""
    for row in rows:
        counts[row["act"]] += 1
        yield row


def in_database(
    session: Session,
    dataset: str | None,
    field: str,
    threshold: float | None,
    shingle: str,
    engine: str,
    across: bool,
    semantic: bool,
    model: str | None,
    kind: str | None,
    against: Path | None,
    resolve: str | None,
    dry_run: bool,
    report: Path | None,
    json_: bool,
) -> None:
    """Find near-duplicates of the database, and resolve or report them."""
    from curator import duplicates as noun

    asked: dict[str, Any] = {"dataset": dataset, "shingle": shingle, "engine": engine}
    automatic = noun.AUTOMATIC if threshold is None else threshold
    review = noun.SAME if semantic else noun.REVIEW
    asked["threshold"] = lowest = review if threshold is None else threshold
    if semantic and (kind or against or shingle != noun.SHINGLE or engine != "auto"):
        raise UserError(
            "--semantic looks for duplicates, with a model of its own: leave out --contradictions, --boilerplate, "
            "--against, --shingle and --engine."
        )
    if model and not semantic:
        raise UserError("--model is for --semantic. Add that, or leave the model out.")
    if resolve and (kind or against):
        raise UserError("--resolve is for duplicates: of the others, each is for a person to judge. Leave it out.")
    with progress("pairs") as show, stoppable("Stopped. Nothing was changed."):
        if against:
            asked["field"] = "question" if field == "pair" else field
            matches = noun.search_against(session, against, **asked, on_progress=show)
            tell_matches(list(noun.matched(session, matches)), against, report, json_)
            return
        if semantic:
            home, named = Path(current_app.config["CURATOR_HOME"]), model or current_app.config["CURATOR_MEANING_MODEL"]
            findings = noun.search_meaning(session, home, named, dataset, field, lowest, across, show)
        else:
            asked |= {"field": field, "across": across, "kind": kind or "duplicates"}
            findings = noun.search(session, **asked, on_progress=show)
        would = None
        if not kind:
            findings = noun.judge(session, findings, automatic, show)
            would = noun.above(session, findings, automatic, show)
        rows = noun.report(session, findings, would)
        found = write_report(rows, report) if report else rows
        result = as_result(found) if json_ else print_clusters(found)
        changeset = None
        if would and would.going and resolve and not dry_run:
            changeset, would = noun.resolve_above(session, findings, automatic, by=who(), on_progress=show)
    if json_:
        as_json({
            "compared": findings.compared, "measure": findings.measure, "threshold": lowest,
            "automatic": automatic if would else None, "clusters": result, "drop": would.surplus if would else 0,
            "facts": would.facts if would else 0, "changeset": changeset.id if changeset else None,
        })  # fmt: skip
    alike = f"of one meaning from a cosine of {lowest:g} on" if semantic else f"alike from {lowest:g} on"
    clusters = len(result) if isinstance(result, list) else result
    say(f"{plural(clusters, 'cluster')} in {plural(findings.compared)}, {alike}.")
    if findings.bounded:
        say(findings.bounded)
    if report:
        say(f"Every pair of them is in {report}.")
    if would:
        tell_above(would, automatic, resolve, dry_run, changeset.id if changeset else None)


def tell_above(would: Above, automatic: float, resolve: str | None, dry_run: bool, changeset: int | None) -> None:
    """Say what went above the automatic threshold, or what would."""
    if would.facts:
        say(f"{plural(would.facts)} from {automatic:g} on differ in a fact from the one to keep: look at them.")
    if changeset:
        say(f"Trashed {plural(would.surplus)}. Undo it with: flask undo {changeset}")
    elif would.surplus:
        like = "is" if would.surplus == 1 else "are"
        say(f"{plural(would.surplus)} {like} at least {automatic:g} like a better one.")
        if not (resolve and dry_run):
            say("Keep the best of each with: --resolve keep-best")
    elif resolve:
        say(f"Nothing may go without a look from {automatic:g} on.")


def write_report(rows: Iterator[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Write a table, and return its rows."""
    from curator import duplicates as noun
    from curator import exports
    from curator.formats import encode

    kept = list(rows)
    exports.write_file(encode(kept, "csv", noun.COLUMNS), path)
    return kept


def print_clusters(rows: Iterable[dict[str, Any]]) -> int:
    """Print a line a pair, and return how many clusters they make."""
    number = 0
    for row in rows:
        if row["cluster"] != number:
            number = row["cluster"]
            click.echo("")
        score = "    " if row["similarity"] is None else share(row["similarity"])
        other = "" if row["elsewhere"] is None else f" {share(row['elsewhere'])}"
        fact = f"  ({row['fact']})" if row["fact"] else ""
        click.echo(f"{row['act']:>6} {score}{other} {row['pair']:>6}  {shortened(row['question'], 70)}{fact}")
    return number


def share(similarity: float) -> str:
    """Write how similar two texts are, never more than they are: 1.00 is for those that are the same."""
    return f"{floor(100 * similarity + 1e-9) / 100:.2f}"


def as_result(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the clusters for a script: a list of their pairs each."""
    found: list[list[dict[str, Any]]] = []
    for row in rows:
        if row["cluster"] > len(found):
            found.append([])
        found[-1].append({name: row[name] for name in ("pair", "act", "kept", "similarity", "elsewhere", "fact")})
    return found


def tell_matches(rows: list[dict[str, Any]], against: Path, report: Path | None, json_: bool) -> None:
    """Print the pairs that stand in a file, or write them to a table."""
    from curator import duplicates as noun
    from curator import exports
    from curator.formats import encode

    if report:
        exports.write_file(encode(rows, "csv", noun.MATCHED), report)
        say(f"They are in {report}.")
    if json_:
        as_json(rows)
    else:
        for row in rows:
            click.echo(f"{share(row['similarity'])} {row['pair']:>6}  line {row['line']}: {shortened(row['text'], 70)}")
    say(f"{plural(len(rows))} say what {against.name} says.")
