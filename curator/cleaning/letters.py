"""White space, broken Unicode, capitals: what is done to the letters of a text. Knows no pair."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
SPACES = re.compile(r"(?<=\S)[ \t]+")
BLANK_LINES = re.compile(r"\n{3,}")
# What looks empty and is no white space to Python: zero width spaces, word joiner, byte order mark.
INVISIBLE = "\u200b\u2060\ufeff"
SENTENCE = re.compile(r"(?:\A|[.!?…]\s+|\n)[\W_]*\w")
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def fold_whitespace(value: str) -> str:
    """Return a text with plain line ends, single spaces inside lines and none at the ends; indents are kept."""
    if "\r" in value or "\xa0" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ")
    if "\n" not in value:
        return SPACES.sub(" ", value).strip()
    lines = [SPACES.sub(" ", line).rstrip() for line in value.split("\n")]
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def trim(value: str) -> str:
    """Return a text without white space at its ends; byte order marks and the like count as such."""
    while (trimmed := value.strip().strip(INVISIBLE)) != value:
        value = trimmed
    return value


@cache
def mending() -> Any:
    """Return how ftfy mends: what is broken and nothing else, so curly quotes and ligatures stay."""
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False,
        fix_line_breaks=False, normalization=None, explain=False,
    )  # fmt: skip


def mend_unicode(value: str, quotes: bool = False) -> str:
    """Return a text in which letters that were decoded wrongly are put right: schÃ¶n becomes schön.

    `quotes` also makes curly quotation marks straight.
    """
    if value.isascii():  # nothing was decoded wrongly; control characters alone can be in the way
        return CONTROL.sub("", value) if CONTROL.search(value) else value
    import ftfy

    return ftfy.fix_text(value, mending()._replace(uncurl_quotes=quotes))


def sentence_case(value: str) -> str:
    """Return a text in small letters, each sentence beginning with a capital."""
    return SENTENCE.sub(lambda match: match[0][:-1] + match[0][-1].upper(), value.lower())


def title_case(value: str) -> str:
    """Return a text in which each word begins with a capital, don't being one word."""
    return WORD.sub(lambda match: match[0][:1].title() + match[0][1:].lower(), value)


CASES = {"lower": str.lower, "upper": str.upper, "sentence": sentence_case, "title": title_case}
