"""What every command does alike: find its app, open the database, name a selection, print."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from flask import Flask, current_app
from flask.cli import FlaskGroup, ScriptInfo

from curator.errors import UserError
from curator.words import STATUSES, about, duration

if TYPE_CHECKING:
    from curator.search import Selection

Function = TypeVar("Function", bound=Callable[..., Any])


def stand_in() -> None:
    """Let `flask` itself use the curator where no other app is named: `flask run` and `--help` work in any folder.

    Flask loads the commands of its plugins before it looks for an app, so this is early enough.
    """
    context = click.get_current_context(silent=True)
    info = context.find_object(ScriptInfo) if context else None
    stranger = any(Path(name).is_file() for name in ("wsgi.py", "app.py"))  # what Flask would take
    if info and info.app_import_path is None and info.create_app is None and not stranger:
        info.create_app = make_app


def list_by(groups: Mapping[str, Sequence[click.Command]]) -> None:
    """Let the help of `flask` list our commands in groups, after its own.

    Flask loads them while it lists all commands, too late for another list: so they are hidden from that one and stand
    in what follows it.
    """
    context = click.get_current_context(silent=True)
    flask = context.find_root().command if context else None
    if not isinstance(flask, FlaskGroup) or any(name.endswith("_COMPLETE") for name in os.environ):
        return

    def format_epilog(context: click.Context, formatter: click.HelpFormatter) -> None:
        width = formatter.width - 6 - max(len(command.name or "") for command in chain(*groups.values()))
        for title, commands in groups.items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", command.get_short_help_str(width)) for command in commands])

    for command in chain(*groups.values()):
        command.hidden = True
    flask.format_epilog = format_epilog  # type: ignore[method-assign,assignment]


def make_app() -> Flask:
    """Make the curator; where it is about to serve, say where it keeps its data, or in a sentence why it can't."""
    context = click.get_current_context()
    if context.parent is None:
        # No command is chosen yet: `flask --help` only asks which commands an app brings, and ours are plugins.
        return Flask("curator")
    from curator import create_app, database

    try:
        app = create_app()
        if context.info_name == "run":
            say(f"Curator keeps its data in {database.describe(database.engine(app))}")
    except UserError as error:  # Flask would show where it was raised
        refuse(error)
    return app


def on_curator(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command inside the app that --app names or, where none is named, inside the curator.

    What the user can put right is printed after `Error:` and exits with 1.
    """

    @click.pass_context
    def run(context: click.Context, *args: Any, **kwargs: Any) -> Any:
        info = context.ensure_object(ScriptInfo)
        if info.app_import_path is None and info.create_app is None:
            info.create_app = make_app
        try:
            with info.load_app().app_context():
                return context.invoke(command, *args, **kwargs)
        except UserError as error:
            refuse(error)
        except BrokenPipeError:  # `flask export | head`: the reader has had enough
            sys.stderr.close()
            context.exit(1)

    return functools.update_wrapper(run, command)


def refuse(error: UserError) -> NoReturn:
    """Print what is wrong as click does, and exit with 1."""
    raise click.ClickException(str(error)) from error


def with_session(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a session on the database, closed when it ends."""

    @on_curator
    def run(*args: Any, **kwargs: Any) -> Any:
        from curator import database

        with database.open_session(current_app) as session:
            return command(session, *args, **kwargs)

    return functools.update_wrapper(run, command)


def selecting(command: Function) -> Function:
    """Add the options that say which pairs, as every page has them in its address."""
    for option in (
        click.option("--trash", is_flag=True, help="Those in the trash."),
        click.option("--query", metavar="TEXT", help="As in the search field: refund -tag:billing len:>400"),
        click.option("--source", help="Only this source."),
        click.option("--tag", help="Only with this tag."),
        click.option("--status", multiple=True, type=click.Choice(STATUSES), help="May stand several times."),
        click.option("--dataset", metavar="NAME", help="Only this data set; all of them without it."),
    ):
        command = option(command)
    return command


def selection_of(options: dict[str, Any]) -> Selection:
    """Take the options of `selecting` out of a command's options, as a selection."""
    from curator.search import Selection

    taken = {name: options.pop(name) for name in ("dataset", "tag", "source", "query", "trash")}
    return Selection(statuses=tuple(options.pop("status")), **taken)


def mapped(options: tuple[str, ...]) -> dict[str, str]:
    """Return which column is what, as --map FIELD=COLUMN says, once or several times."""
    columns = {}
    for option in options:
        field, equals, column = option.partition("=")
        if not equals or not column:
            raise UserError(f"--map {option} names no column. Write it as: --map answer=COLUMN")
        columns[field.strip()] = column
    return columns


def who() -> str:
    """Return the name that changes are attributed to."""
    return str(current_app.config["CURATOR_USER"])


def say(text: str) -> None:
    """Print words about a result, which are no result themselves."""
    click.echo(text, err=True)


def as_json(value: Any) -> None:
    """Print a result for a script."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


class Whole(click.IntRange):
    """A whole number, perhaps from some number on; what is none is answered in one sentence."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            least = "" if self.min is None else f" from {self.min} on"
            self.fail(f"{str(value)!r} is no whole number{least}. Write it in digits.", param, ctx)

    def _describe_range(self) -> str:  # in the help: click would write "x>=1"
        return "" if self.min is None else f"from {self.min} on"


def silent(number: int, total: int | None = None, message: str = "") -> None:
    """Show nothing of how far an act is."""


@contextlib.contextmanager
def progress(noun: str) -> Iterator[Callable[..., None]]:
    """Show how far a long act is, on one line of standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    start, first, what = time.monotonic(), 0, ""

    def show(number: int, total: int | None = None, message: str = "") -> None:
        nonlocal start, first, what
        if message != what:
            if what:  # the next part of the work goes at a pace of its own, known from the second note on
                start, first = time.monotonic(), number
            what = message
        rate = (number - first) / max(time.monotonic() - start, 1e-3)
        of = f" of about {about(total)}" if total else ""
        pace = f", {about(rate)} a second" if rate else ""
        left = f", {duration((total - number) / rate)} left" if total and rate else ""
        click.echo(
            f"\r{f'{what}: ' if what else ''}{number:,}{of} {noun}{pace}{left} \x1b[K",
            err=True,
            nl=False,
        )

    try:
        yield show
    finally:
        click.echo("\r\x1b[K", err=True, nl=False)


@contextlib.contextmanager
def stoppable(sentence: str) -> Iterator[None]:
    """Answer Ctrl-C with a sentence about what was left, and exit with 130 as shells expect."""
    try:
        yield
    except KeyboardInterrupt:
        say(sentence)
        raise click.exceptions.Exit(130) from None


def print_bytes(pieces: Iterable[bytes]) -> None:
    """Write a file to standard output as it is, whatever the terminal's locale."""
    sys.stdout.buffer.writelines(pieces)
    sys.stdout.buffer.flush()


def shortened(text: str, width: int = 90) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
