"""Exported lines in, token ids and labels out. Knows text, splits and chat templates; knows no torch."""

from trainer.dataset.judging import WRITTEN_BY
from trainer.dataset.messages import Messages, read_messages
from trainer.dataset.reading import (
    SPLITS,
    Example,
    decode,
    describe,
    export_files,
    lines_of,
    newest_export,
    nothing_in,
    read,
    read_examples,
    read_line,
    verify,
)
from trainer.dataset.rendering import IGNORED, Rendered, Renderer, check_left, find_max_tokens, leave_out_long
from trainer.dataset.splitting import normalise, split
from trainer.dataset.viewing import TokenView

__all__ = [
    "IGNORED",
    "SPLITS",
    "WRITTEN_BY",
    "Example",
    "Messages",
    "Rendered",
    "Renderer",
    "TokenView",
    "check_left",
    "describe",
    "decode",
    "export_files",
    "find_max_tokens",
    "leave_out_long",
    "lines_of",
    "newest_export",
    "normalise",
    "nothing_in",
    "read",
    "read_examples",
    "read_line",
    "read_messages",
    "split",
    "verify",
]
