"""What can be told of one pair by looking at it: empty, cut off, a refusal, private. Knows its texts, no other pair.

A false alarm costs a person's time and trust, so a check keeps silent where it isn't sure. `bench/checks.py` counts
what each costs, and docs/checks.md says how often each was right on real data.
"""

from __future__ import annotations

from curator.flags.answers import echo, empty, refusal, truncated
from curator.flags.rules import BETWEEN, FLAGS, Flag, Rules
from curator.flags.said import Texts, count_tokens, keys, parts
from curator.flags.texts import language, mojibake, private, roles, too_long

__all__ = [
    "BETWEEN", "FLAGS", "Flag", "Rules", "Texts", "count_tokens", "echo", "empty", "find", "keys",
    "language", "mojibake", "parts", "private", "refusal", "roles", "too_long", "truncated",
]  # fmt: skip


def find(pair: Texts, rules: Rules) -> dict[str, str]:
    """Return the flags of a pair by their names, each with what a person would want to know."""
    looks = (
        ("empty", empty(pair)), ("echo", echo(pair)), ("refusal", refusal(pair)),
        ("truncated", truncated(pair.answer, rules)), ("mojibake", mojibake(pair)), ("language", language(pair, rules)),
        *private(pair), ("long", too_long(pair, rules)), ("roles", roles(pair)),
    )  # fmt: skip
    return {name: detail for name, detail in looks if detail}
