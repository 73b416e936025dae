"""The commands of the trainer, in the order of --help. Each translates only; torch comes where it is needed."""

from __future__ import annotations

from trainer.cli import measuring, models, training, using
from trainer.cli.door import Parser


def make_parser() -> Parser:
    parser = Parser(prog="python -m trainer", description="Fine-tune a language model on exported pairs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (training, measuring, using, models):
        group.add(commands)
    return parser
