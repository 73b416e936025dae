"""The database and the settings: init-db, settings."""

from __future__ import annotations

import click
from flask import current_app

from curator import settings
from curator.cli.door import on_curator, progress, say
from curator.errors import UserError
from curator.words import plural


@click.command("init-db")
@on_curator
def init_db() -> None:
    """Make the tables, or bring old ones up to date.

    A new database gets its tables by itself; this is for one that an older Curator made. A copy of
    it as it was is kept beside it; take it back with the Curator that made it. The index that finds
    near-duplicates while you type is built where it is missing.

    Example: flask init-db
    """
    from sqlalchemy.orm import Session

    from curator import backups, database, neighbours

    with backups.opened(current_app) as opened:
        made, wanted = database.revisions(opened)
        if made is not None and made not in database.all_revisions():
            raise UserError(f"{database.describe(opened)} was made by a newer Curator ({made}). Use that one.")
        if made is not None and made != wanted:
            say(f"It is kept as it was in {backups.keep(current_app, f'{made}-before')}")
        if made != wanted:
            database.upgrade(opened)
        with Session(opened) as session, progress("pairs") as show:
            if not neighbours.is_current(session):
                number = neighbours.rebuild(session, show)
                say(f"{plural(number)} entered into the index of near-duplicates.")
        state = "is up to date" if made == wanted else "is ready" if made is None else f"went from {made} to {wanted}"
        click.echo(f"The database {database.describe(opened)} {state}.")


@click.command("settings")
@on_curator
def settings_() -> None:
    """List the settings and their values.

    Example: flask settings
    """
    from curator import database

    for setting in settings.SETTINGS:
        value = current_app.config[setting.name]
        if setting.name == "DATABASE_URL":
            value = database.describe_url(value)  # without its password
        click.echo(f"{setting.name}={value}\n    {setting.about}\n    default: {setting.default}")
