"""The commands of the trainer, in the order of --help. Each translates only; torch comes where it is needed."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter

from trainer.cli import measuring, models, training, using
from trainer.cli.door import Parser

HELP = """\
Fine-tune a language model on exported pairs, and see what became of it. A first run, in this order:

  python -m trainer plan exports/library/
  python -m trainer run exports/library/ -o runs/library
  python -m trainer chat runs/library
"""


def make_parser() -> Parser:
    parser = Parser(prog="python -m trainer", description=HELP, formatter_class=RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (training, measuring, using, models):
        group.add(commands)
    return parser
