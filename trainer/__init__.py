"""Curator's trainer: fine-tune a language model on exported pairs, on the CPU or a GPU, and answer with it.

Knows files and models; knows no database and no browser. Start it with `python -m trainer`.
"""


class UserError(Exception):
    """What the user can put right: the message says where, what was found and what to do next."""


class Stopped(KeyboardInterrupt):
    """The user, or the machine, asked to stop by a signal; what was to be kept is kept."""

    def __init__(self, signal: int, words: str = "Stopped.") -> None:
        super().__init__(words)
        self.signal = signal
