"""Checks: flags of all pairs, how far they go, how many there are, and what the pairs are like in numbers.

`passes` looks at every pair, or at those that changed, in the processes of `workers`; `nearly` adds what the last
search for near-duplicates found. `counts` says how many pairs have which flag and how many changed since, `fine` keeps
what a person found to be none, and `statistics` counts lengths, tokens, days, tags and sources.
"""

from curator.quality.counts import (
    Counted,
    Flagged,
    behind,
    each_flagged,
    examples,
    flagged,
    flags_of,
    is_finished,
    is_of,
    last_check,
    look_seconds,
)
from curator.quality.fine import call_fine, fine_ones, not_fine
from curator.quality.passes import Done, check, rules_of
from curator.quality.statistics import Bar, Statistics, statistics

__all__ = [
    "Bar", "Counted", "Done", "Flagged", "Statistics", "behind", "call_fine", "check", "each_flagged", "examples",
    "fine_ones", "flagged", "flags_of", "is_finished", "is_of", "last_check", "look_seconds", "not_fine", "rules_of",
    "statistics",
]  # fmt: skip
