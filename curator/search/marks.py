"""What of a text a search found, so that a page can mark it. Knows texts; knows no database."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from curator.errors import UserError
from curator.search.query import Words, parse

OTHERS = re.compile(r"[^\x00-\x7f]")


def highlight(text: str, query: str | None, field: str | None = None) -> list[tuple[bool, str]]:
    """Cut a text into (is_match, part): what the query asks for in this field, or in any."""
    found = pattern(query or "", field)
    if not found:
        return [(False, text)]
    parts, end = [], 0
    for match in found.finditer(plain(text)):
        parts += [(False, text[end : match.start()]), (True, text[match.start() : match.end()])]
        end = match.end()
    return [part for part in [*parts, (False, text[end:])] if part[1]]


def excerpt(text: str, query: str | None, field: str, length: int) -> str:
    """Return a text of at most that many characters, from shortly before what was found where that comes late."""
    found = pattern(query or "", field)
    match = found.search(plain(text[:100_000])) if found else None
    start = 0
    if match and match.start() > 60:
        start = text.rfind(" ", 0, match.start() - 30) + 1
    shown = text[start : start + length]
    return ("… " if start else "") + shown + ("…" if start + length < len(text) else "")


@lru_cache(maxsize=32)
def pattern(query: str, field: str | None) -> re.Pattern[str] | None:
    """Return what is to be marked, as a pattern; None where nothing is."""
    try:
        terms = parse(query)
    except UserError:
        return None
    marked = [
        r"(?<!\w)" + r"[\W_]+".join(words) + (r"\w*" if term.is_prefix else r"(?!\w)")
        for term in terms
        if isinstance(term, Words) and not term.excluded and (not term.field or not field or term.field == field)
        and (words := [re.escape(w) for w in re.findall(r"[^\W_]+", plain(term.text))])
    ]  # fmt: skip
    return re.compile("|".join(marked), re.IGNORECASE) if marked else None


def plain(text: str) -> str:
    """Return a text without accents, as SQLite compares it; each letter keeps its place."""
    return text if text.isascii() else OTHERS.sub(lambda found: letter_of(found[0]), text)


def letter_of(character: str) -> str:
    """Return a letter without its accents, where that is one letter."""
    bare = unicodedata.normalize("NFD", character)[0]
    return bare if len(bare) == 1 else character
