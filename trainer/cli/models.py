"""Other models than those of runs: base, which makes one to learn with, and embed, which uses one."""

from __future__ import annotations

import argparse
from typing import Any

from trainer.cli.door import Commands, add_command, at_least_one
from trainer.environment import prepare_environment

EMBED_HELP = """\
Turn texts into vectors, so that texts that say the same in other words are found.
TEXTS is JSON lines: {"id": 1, "text": "How long can I keep a book?"}. Beside the vectors a .json says
which model made them. What was ended goes on where it was with the same command.

  python -m trainer embed texts.jsonl -o vectors.npy
  python -m trainer embed texts.jsonl -o vectors.npy --model models/my-encoder
"""


def add(commands: Commands) -> None:
    add_command(
        commands,
        base,
        "base",
        help="make the built-in base if it is not there yet, and print its folder",
        description="Make the built-in teaching model, in about a minute and without network, and print its folder.\n"
        "run does so by itself where --base names no other.",
    )
    parser = add_command(
        commands,
        embed,
        "embed",
        help="turn texts into vectors, to find those that say the same",
        description=EMBED_HELP,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("texts_file", metavar="TEXTS", help='JSON lines of {"id", "text"}')
    parser.add_argument("-o", "--output", metavar="VECTORS", required=True, help="the .npy file to write")
    parser.add_argument(
        "--model", help="a folder, or a name on the Hugging Face hub (default: all-MiniLM-L6-v2, 384 numbers a text)"
    )
    parser.add_argument("--batch-size", type=at_least_one, metavar="N", help="texts embedded at once (default: 32)")
    parser.add_argument("--device", help="auto, cpu, cuda or mps (default: auto, the GPU where there is one)")


def base(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.base import ensure

    print(ensure())


def embed(arguments: dict[str, Any]) -> None:
    prepare_environment()
    from trainer.embed import embed as embed_texts

    print(embed_texts(**arguments))
