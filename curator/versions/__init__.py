"""Versions: frozen text with its split, named by number and fingerprint; leak-free and the same for ever.

`freezing` tells the story: `grouping` finds what belongs together, `splits` deals it, `proof` looks again, also at what
was frozen long ago, with `counting`, which needs no signature. `frozen` reads versions, `comparing` lays two side by
side, `telling` says in sentences what a freeze found, `card` describes one to others.
"""

from curator.versions.card import card
from curator.versions.comparing import Comparison, compare
from curator.versions.freezing import freeze
from curator.versions.frozen import (
    all,
    changed_since,
    chats,
    cleaning_before,
    count,
    frozen,
    get,
    kept_out,
    sample_lines,
    stored,
)
from curator.versions.grouping import PIN, STRATIFY
from curator.versions.proof import Checked, check, required
from curator.versions.splits import SHARES, parse, spoken
from curator.versions.splits import checked as checked_shares
from curator.versions.telling import counted, sentences

__all__ = [
    "PIN", "SHARES", "STRATIFY", "Checked", "Comparison", "all", "card", "changed_since", "chats", "check",
    "checked_shares", "cleaning_before", "compare", "count", "counted", "freeze", "frozen", "get", "kept_out", "parse",
    "required", "sample_lines", "sentences", "spoken", "stored",
]  # fmt: skip
