"""The review queue in a terminal: what to look at next, and why."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from curator.cli.door import Whole, as_json, say, selecting, selection_of, shortened, who, with_session
from curator.words import plural

if TYPE_CHECKING:  # a command imports what it needs when it runs: `flask --help` is quick
    from sqlalchemy.orm import Session


@click.command()
@click.option("--limit", type=Whole(1), default=20, show_default=True, help="How many pairs.")
@click.option("--json", "json_", is_flag=True, help="As JSON.")
@selecting
@with_session
def queue(session: Session, limit: int, json_: bool, **options: Any) -> None:
    """List the drafts that need a look most, each with the reason, as the review queue shows them.

    What checks flagged, what a run found hard and what was rated low comes first, then the newest.

    Example: flask queue --dataset support --limit 5
    """
    from curator import pairs
    from curator import queue as noun

    selection = selection_of(options)
    rows: list[dict[str, Any]] = []
    for pair_id in islice(noun.walk(session, selection), limit):
        pair = pairs.get(session, pair_id)
        told = [str(reason) for reason in noun.reasons(session, pair)]
        rows.append({"pair": pair_id, "reasons": told, "question": pair.question})
    if json_:
        return as_json(rows)
    for row in rows:
        click.echo(f"{row['pair']}\t{' · '.join(row['reasons']) or 'newest'}\t{shortened(row['question'], 60)}")
    far = noun.progress(session, selection, who())
    say(f"{plural(far.left)} left to review." if far.left else "Nothing left to review.")
