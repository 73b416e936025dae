"""Who comes in without a browser: token new, list, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from flask import current_app

from curator.cli.door import as_json, say, with_session

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@click.group()
def token() -> None:
    """Tokens of trainers on other machines, which report their runs here.

    Example: flask token new gpu-1
    """


@token.command("new")
@click.argument("name")
@with_session
def new(session: Session, name: str) -> None:
    """Make a token and print it. It is shown this once: only its hash is kept.

    Example: flask token new gpu-1
    """
    from curator import accounts

    click.echo(accounts.new_token(session, name, current_app.config["CURATOR_USER"]))
    say("Give it to the trainer as CURATOR_TOKEN, with: python -m trainer run … --report-to http://127.0.0.1:5000")


@token.command("list")
@click.option("--json", "json_", is_flag=True, help="As JSON.")
@with_session
def list_(session: Session, json_: bool) -> None:
    """Show who has a token, since when, and when it was used last.

    Example: flask token list
    """
    from curator import accounts

    found = [
        {"name": one.name, "by": one.by, "made": one.at.isoformat(timespec="seconds"),
         "used": one.used_at.isoformat(timespec="seconds") if one.used_at else None}
        for one in accounts.tokens(session)
    ]  # fmt: skip
    if json_:
        as_json(found)
        return
    for one in found:
        click.echo(f"{one['name']:<24} made {one['made']} by {one['by']}, used {one['used'] or 'never'}")
    if not found:
        say("There is no token. Make one with: flask token new NAME")


@token.command("remove")
@click.argument("name")
@with_session
def remove(session: Session, name: str) -> None:
    """Let nobody in any more by a token.

    Example: flask token remove gpu-1
    """
    from curator import accounts

    accounts.remove_token(session, name)
    click.echo(f"Token {name} is removed. What it sent stays.")
