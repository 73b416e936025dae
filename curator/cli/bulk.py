"""One act on many pairs from the terminal: flask pairs approve, reject, draft, tag, untag, move, trash, restore."""

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
    stoppable,
    who,
    with_session,
)
from curator.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

SAID = {
    "approve": "Approve pairs.", "reject": "Reject pairs: they are left out of exports.",
    "draft": "Put pairs back to draft.", "tag": "Give pairs tags, beside those they have.",
    "untag": "Take tags off pairs.", "move": "Move pairs to another data set; made where it is new.",
    "trash": "Put pairs into the trash.", "restore": "Take pairs out of the trash.",
}  # fmt: skip
WORDS = {"tag": "billing ", "untag": "billing ", "move": "support "}


@click.group("pairs")
def pairs_() -> None:
    """Do one thing to many pairs, as one change that can be undone.

    Example: flask pairs tag billing --query invoice --dry-run
    """


def command_for(name: str) -> click.Command:
    """Return the command that does one act."""

    @selecting
    @with_session
    def run(session: Session, ids: tuple[int, ...], all_: bool, dry_run: bool, json_: bool, **options: Any) -> None:
        from curator import bulk
        from curator.search import Selection

        words = {"tags": list(options.pop("tags", ())), "into": options.pop("into", "")}
        selection = selection_of(options)
        if ids and (all_ or selection != Selection()):
            raise UserError("--id names the pairs already. Leave out the other options that choose pairs.")
        if name == "restore":
            selection = selection.but(trash=True)
        elif not (ids or all_) and selection == Selection():
            raise UserError(f"Which pairs? Choose them with --query, --status and the like, or {name} all with --all.")
        with progress("pairs") as show, stoppable("Stopped; nothing was changed."):
            done = bulk.do(
                session, bulk.Act(name, **words), ids or selection, by=who(), dry_run=dry_run, on_progress=show
            )
        if json_:
            as_json({
                "matched": done.matched, "changed": done.changed, "already": done.already, "left": done.same,
                "changeset": done.changeset.id if done.changeset else None,
            })  # fmt: skip
        else:
            click.echo(f"Would be: {done.told}" if dry_run else done.told)
        if done.changeset:
            say(f"Undo it with: flask undo {done.changeset.id}")

    run.__doc__ = f"{SAID[name]}\n\nExample: flask pairs {name} {WORDS.get(name, '')}--query refund --dry-run"
    decorate: Callable[[Any], Any]
    for decorate in (
        click.option("--json", "json_", is_flag=True, help="The counts as JSON."),
        click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing."),
        click.option("--all", "all_", is_flag=True, help="All pairs outside the trash."),
        click.option("--id", "ids", multiple=True, type=Whole(), metavar="NUMBER", help="May stand several times."),
    ):
        run = decorate(run)
    if name in ("tag", "untag"):
        run = click.argument("tags", metavar="TAG...", nargs=-1, required=True)(run)
    if name == "move":
        run = click.argument("into", metavar="DATASET")(run)
    return click.command(name)(run)


for _name in SAID:
    pairs_.add_command(command_for(_name))
