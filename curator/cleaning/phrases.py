"""Phrases that open and close answers and say nothing. Knows no pair."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from curator import text

OPENINGS = re.compile(
    r"^(?:(?:as an ai(?: language)? model|as a large language model)[^.!?\n]*?,\s*"
    r"|(?:thank you|thanks) for (?:contacting|reaching out|your (?:question|message|e-?mail|inquiry))[^.!?\n]*[.!]\s*"
    r"|(?:great|good) question[.!]\s*"
    r"|(?:sure|certainly|of course|absolutely)(?:!|, (?:here|i)\b[^.!?\n]*[.:!])\s*)+",
    re.IGNORECASE,
)
CLOSINGS = re.compile(
    r"(?:\s*(?:i hope (?:this|that) helps[^.!?\n]*[.!]"
    r"|(?:please )?let (?:me|us) know if you (?:have|need) any[^.!?\n]*[.!]"
    r"|if you have any (?:further|other|more|additional) questions?[^.!?\n]*[.!]"
    r"|(?:please )?feel free to (?:ask|reach out|contact)[^.!?\n]*[.!]"
    r"|(?:please )?(?:do not|don't) hesitate to (?:contact|ask|reach out)[^.!?\n]*[.!]"
    # A signature: a farewell on a line of its own, and at most three short lines below it.
    r"|\n[ \t]*(?:best|kind|warm)?[ \t]*(?:regards|wishes)[,.!]?[ \t]*(?:\n+[^\n]{1,40}){0,3}"
    r"|\n[ \t]*(?:yours (?:sincerely|faithfully|truly)|sincerely(?: yours)?),[ \t]*(?:\n+[^\n]{1,40}){0,3}))+\s*\Z",
    re.IGNORECASE,
)
# One of these stands in every closing: most texts need not be searched from each of their places.
CLOSING_WORDS = re.compile(
    r"hope th|let (?:me|us) know|if you have any|feel free|hesitate to|regards|wishes|yours |sincerely", re.IGNORECASE
)


def strip_boilerplate(value: str) -> str:
    """Return a text without the phrases that open and close answers and say nothing."""
    plain = OPENINGS.sub("", value)
    if CLOSING_WORDS.search(plain):
        plain = CLOSINGS.sub("", plain)
    return plain if plain == value else plain[:1].upper() + plain[1:]


def common_ends(answers: Iterable[str], most: int) -> list[tuple[str, int]]:
    """Return the sentences that open or close many answers, most often first: boilerplate, perhaps.

    Many is at least five answers and one in a hundred.
    """
    ends: Counter[str] = Counter()
    total = 0
    for answer in answers:
        total += 1
        parts = [part.strip() for part in text.sentences(answer)]
        if len(parts) > 1:
            ends.update({parts[0], parts[-1]})
    least = max(5, total / 100)
    return [(s, n) for s, n in ends.most_common(most) if n >= least and 10 < len(s) < 200]
