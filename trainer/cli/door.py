"""What the commands of the trainer have in common: parsers, and what a word on the command line may be."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from trainer import UserError
from trainer.config import CONFIG_FILE, RunConfig, option_type


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as every other fault that the user can mend: one line, exit code 1."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known here, so that a command is told of its own options and not of all commands."""
        found, unknown = super().parse_known_args(args, namespace)
        if wrong := next((each for each in unknown if each.startswith("-")), None):
            flags = [flag for action in self._actions for flag in action.option_strings]
            self.error(f"no such option: {wrong}{meant(wrong.partition('=')[0], flags)}")
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        if wrong := re.match(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL):
            commands = re.findall(r"[\w-]+", wrong[2])
            message = f"no such command: {wrong[1]}{meant(wrong[1], commands)}"
        end = "" if message.endswith("?") else "."
        raise UserError(f"{message[0].upper()}{message[1:]}{end} See: {self.prog} --help")


def meant(typed: str, known: Sequence[str]) -> str:
    """Return a question whether the nearest of the known words was meant, nothing where none is near."""
    near = difflib.get_close_matches(typed, known, n=1)
    return f". Did you mean {near[0]}?" if near else ""


Commands = argparse._SubParsersAction  # argparse has no other name for it


def add_command(
    commands: Commands[Parser], act: Callable[[dict[str, Any]], None], name: str, *, description: str, **settings: Any
) -> argparse.ArgumentParser:
    """Add a command: `act` is called with what was typed. The lines of its description are kept as they are."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, description=description, formatter_class=raw, **settings)
    parser.set_defaults(act=act)
    return parser


# The first option of each group, as they follow each other in RunConfig.
GROUPS = {
    "base": "from where, to where",
    "method": "what is learnt",
    "adapter": "what is trained",
    "epochs": "the steps",
    "precision": "on this machine",
    "samples": "what is measured and told",
}
METAVARS = {"int": "N", "float": "X", "base": "BASE", "output": "FOLDER", "report_to": "URL"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take the options of a run, and the file to read them from."""
    parser.usage = "%(prog)s [OPTION ...] [DATA]"
    parser.add_argument("data", nargs="?", metavar="DATA", help=help_of("data"))
    group: Any = parser
    for each in fields(RunConfig)[1:]:
        if each.name in GROUPS:
            group = parser.add_argument_group(GROUPS[each.name])
        flags = (["-o"] if each.name == "output" else []) + [f"--{each.name.replace('_', '-')}"]
        kind = option_type(each.name)
        if kind is bool:
            group.add_argument(*flags, dest=each.name, action="store_true", default=argparse.SUPPRESS,
                               help=help_of(each.name))  # fmt: skip
        else:
            metavar = METAVARS.get(each.name, METAVARS.get(kind.__name__, "NAME"))
            group.add_argument(*flags, dest=each.name, metavar=metavar, help=help_of(each.name))
    parser.add_argument("--config", metavar="FILE", type=Path, help=f"read options from here, not from {CONFIG_FILE}")


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of the run, such as runs/kestrel")


def add_token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="lets the run in where it is reported to; better in CURATOR_TOKEN, as others see what is typed here",
    )


def port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, and is {text!r}")
    return int(text)


def temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 100, and is {text!r}")
    return value


def at_least_one(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, and is {text!r}")
    return int(text)


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, and is {text!r}") from None


def help_of(name: str) -> str:
    option = next(each for each in fields(RunConfig) if each.name == name)
    default = "" if option.default is None or option.default is False else f" (default: {option.default})"
    return f"{option.metadata['reason']}{default}".replace("%", "%%")
