"""Exported lines in, token ids and labels out. Knows text, splits and chat templates; knows no torch."""

from trainer.dataset.reading import (
    SPLITS,
    Example,
    Messages,
    describe,
    export_files,
    newest_export,
    read_examples,
    read_messages,
    verify,
)
from trainer.dataset.rendering import IGNORED, Rendered, Renderer, find_max_tokens, leave_out_long
from trainer.dataset.splitting import normalise, split

__all__ = [
    "IGNORED",
    "SPLITS",
    "Example",
    "Messages",
    "Rendered",
    "Renderer",
    "describe",
    "export_files",
    "find_max_tokens",
    "leave_out_long",
    "newest_export",
    "normalise",
    "read_examples",
    "read_messages",
    "split",
    "verify",
]
