"""Clean on the command line: steps and rules, what they would change, changing it, keeping them by name."""

from __future__ import annotations

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
from curator.errors import UserError
from curator.words import plural

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from curator.cleaning import Found


@click.command()
@click.option(
    "--step",
    "--rule",
    "words",
    multiple=True,
    metavar="STEP",
    help="A step, or the name of a rule that was kept; may stand several times. Without it: html and whitespace.",
)
@click.option("--field", "fields", multiple=True, metavar="NAME",
              help="question, answer, system, history or notes; all but notes without it.")  # fmt: skip
@click.option("--except-ids", metavar="IDS", help="Pairs to leave as they are, as in: --except-ids 3,17.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--limit", type=Whole(0), default=5, show_default=True, help="With --dry-run: how many pairs.")
@click.option("--save", "save_as", metavar="NAME", help="Keep the steps as a rule of this name, and clean nothing.")
@click.option("--rules", "list_rules", is_flag=True, help="List the rules that are kept.")
@click.option("--delete", "delete_rule", metavar="NAME", help="Forget a rule that is kept.")
@click.option("--json", "json_", is_flag=True, help="The counts as JSON.")
@selecting
@with_session
def clean(
    session: Session,
    words: tuple[str, ...],
    fields: tuple[str, ...],
    except_ids: str | None,
    dry_run: bool,
    limit: int,
    save_as: str | None,
    list_rules: bool,
    delete_rule: str | None,
    json_: bool,
    **options: Any,
) -> None:
    """Clean texts by steps, as one change that can be undone.

    A step is one of remove:TEXT, replace:OLD=>NEW, regex:PATTERN=>NEW, whitespace, unicode, html, markdown,
    boilerplate, mask or mask:email,phone,card,ip,iban,key, trim, case:lower (upper, sentence, title); or JSON, which
    has every option. Behind the name may stand its fields: trim@question,answer. web, plain, private and answers
    are steps that belong together. The same steps a second time change nothing.

    A pair of which nothing would be left is not changed. A pattern that takes too long is stopped.

    \b
    Examples: flask clean --step html --step "remove:Thank you for contacting us." --dry-run
              flask clean --step "regex:(\\d+) ?Euros?=>€\\1" --field answer --dataset shop
              flask clean --step unicode --step mask --save scrub
              flask clean --rule scrub --status draft
    """
    from curator import cleaning

    if list_rules or delete_rule:
        if delete_rule:
            cleaning.delete(session, delete_rule)
            say(f"The rule {delete_rule} is gone.")
        kept = {rule.name: list(map(str, cleaning.steps_of(rule))) for rule in cleaning.rules(session)}
        if json_:
            as_json(kept)
        elif list_rules:
            for name, words_ in kept.items():
                click.echo(f"{name}: {' · '.join(words_)}")
            if not kept:
                say('No rule is kept yet. Keep one with: flask clean --step html --save "my rule"')
        return
    selection = selection_of(options)
    chosen = cleaning.make({"kind": "trim", "fields": list(fields)}).fields
    steps = cleaning.steps_named(session, words or ("html", "whitespace"), chosen)
    if save_as:
        rule = cleaning.save(session, save_as, steps, who())
        say(f"Kept as {rule.name}. Clean with it: flask clean --rule {rule.name!r}")
        return
    excepted = numbers(except_ids)
    with progress("pairs") as show, stoppable("Stopped; nothing was changed."):
        found = cleaning.look(session, steps, selection, on_progress=show)
        if not dry_run:
            found = cleaning.apply(
                session, steps, selection, who(), except_ids=excepted, found=found, on_progress=show
            )  # fmt: skip
    changeset = found.changeset
    if json_:
        as_json({
            "rows": len(set(found.ids) - excepted), "rules": rows_by_step(found), "left_alone": len(found.emptied),
            "copies": found.copies, "again": found.again, "changeset": changeset.id if changeset else None,
            "steps": [{"step": str(step), "rows": rows, "matches": matches}
                      for step, rows, matches in zip(found.steps, found.rows, found.matches, strict=True)],
        })  # fmt: skip
        return
    if dry_run:
        shown = [pair_id for pair_id in found.ids if pair_id not in excepted][:limit]
        for pair, changes in cleaning.changes(session, steps, shown):
            for change in changes:
                click.echo(f"pair {pair.id} {change.field}")
                click.echo(f"  - {shortened(repr(change.before), 300)}\n  + {shortened(repr(change.after), 300)}")
    for step, rows, matches in zip(found.steps, found.rows, found.matches, strict=True):
        click.echo(f"{step}: {plural(rows)}" + (f", {plural(matches, 'place')}" if matches != rows else ""))
    warn(found)
    if changeset:
        say(f"Cleaned {plural(changeset.rows)}. Undo it with: flask undo {changeset.id}")
    elif not dry_run:
        say("Nothing to clean.")


def rows_by_step(found: Found) -> dict[str, int]:
    """Return how many pairs each step changes; of two that are the same, the later."""
    return {str(step): rows for step, rows in zip(found.steps, found.rows, strict=True)}


def warn(found: Found) -> None:
    """Say what somebody should know before he cleans, or after."""
    if found.emptied:
        say(f"{plural(len(found.emptied))} would be left empty, and stay as they are.")
    if found.copies:
        say(f"{plural(found.copies)} say the same as another one then. Find them with: flask duplicates")
    if found.again:
        say(f"A second time would change {plural(found.again)} again: a step finds what it made.")


def numbers(text: str | None) -> set[int]:
    """Return the ids of a list with commas."""
    try:
        return {int(part) for part in (text or "").replace(",", " ").split()}
    except ValueError:
        raise UserError(f"--except-ids is {text!r}. Write numbers of pairs with commas: 3,17") from None
