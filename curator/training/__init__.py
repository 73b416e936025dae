"""Training started from a page: its plan, its process, how far it is, how it is stopped. Knows no torch."""

from curator.training.asking import export, find_rate, plan
from curator.training.folder import (
    LAST_BYTES,
    checked_name,
    exported,
    folder_of,
    free_name,
    log_of,
)
from curator.training.following import Live, came_of, follow, last_words, live, now
from curator.training.form import FEW, MORE, OPTIONS, asked_again, in_words_of_the_form, spoken, words
from curator.training.process import begin, children, is_at_work, send, stop

__all__ = [
    "FEW", "LAST_BYTES", "MORE", "OPTIONS", "Live", "asked_again", "begin", "came_of", "checked_name", "children",
    "export", "exported", "find_rate", "folder_of", "follow", "free_name", "in_words_of_the_form", "is_at_work",
    "last_words", "live", "log_of", "now", "plan", "send", "spoken", "stop", "words",
]  # fmt: skip
