"""Curator's trainer: fine-tune a language model on exported pairs, on the CPU or a GPU, and answer with it.

Knows files and models; knows no database and no browser. Start it with `python -m trainer`.
"""


class UserError(Exception):
    """What the user can put right: the message says where, what was found and what to do next."""
