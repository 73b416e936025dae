"""Remove and replace: literal texts, and patterns, which are stopped where they take too long. Knows no pair."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from curator.errors import UserError

Clean = Callable[[str], tuple[str, int]]  # a text, to what becomes of it and in how many places

ROUNDS = 20  # after which a text that changes with each is taken after the first
SECONDS_A_TEXT = 1.0  # a pattern that takes longer on one text would never end on some other
# Characters that mean more than themselves in a pattern.
SPECIAL = frozenset("\\^$.|?*+()[]{}#")


def settled(once: Clean) -> Clean:
    """Return what applies a change until nothing is left to change, so that a second run does nothing.

    Where that takes more than ROUNDS, the change is made once.
    """

    def clean(value: str) -> tuple[str, int]:
        first, number = once(value)
        if first == value:
            return value, 0
        total, last = number, first
        for _ in range(ROUNDS):
            following, more = once(last)
            if following == last:
                return last, total
            last, total = following, total + more
        return first, number

    return clean


def edge(find: str, words: bool) -> str:
    """Return the pattern of a literal text, of whole words alone where asked."""
    before = r"(?<!\w)" if words and re.match(r"\w", find) else ""
    after = r"(?!\w)" if words and re.search(r"\w\Z", find) else ""
    return before + re.escape(find) + after


def removing(find: str, ignore_case: bool = False, words: bool = False) -> Clean:
    """Return what takes a literal text out, and the space that would be one too many."""
    there = edge(find, words)
    pattern = re.compile(
        rf" {there}(?=[\s.,;:!?)\]]|\Z)|(?:(?<=\n)|\A){there} ?|{there}", re.IGNORECASE if ignore_case else 0
    )

    def once(value: str) -> tuple[str, int]:
        if not ignore_case and find not in value:
            return value, 0
        plain, number = pattern.subn("", value)
        return (plain.strip(), number) if number else (value, 0)

    return settled(once)


def replacing(find: str, with_: str, ignore_case: bool = False, words: bool = False) -> Clean:
    """Return what puts one text in the place of another.

    Where the new text holds the old one, as in "book" to "book (paper)", places that say the new one already stay.
    """
    if find == with_:
        raise UserError(f"{find!r} would be replaced by itself. Write what it is to become.")
    flags = re.IGNORECASE if ignore_case else 0
    pattern = re.compile(edge(find, words), flags)
    if not pattern.search(with_):
        if not (ignore_case or words):
            return settled(lambda value: (value.replace(find, with_), value.count(find)))
        return settled(lambda value: pattern.subn(lambda _: with_, value))
    case = "i" if ignore_case else "-i"
    either = re.compile(f"({re.escape(with_)})|(?{case}:{edge(find, words)})")

    def once(value: str) -> tuple[str, int]:
        number = 0

        def put(match: re.Match[str]) -> str:
            nonlocal number
            if match[1] is None:
                number += 1
            return with_

        if not ignore_case and find not in value:
            return value, 0
        return either.sub(put, value), number

    return settled(once)


def matching(find: str, with_: str, ignore_case: bool = False, lines: bool = False) -> Clean:
    r"""Return what replaces whatever a regular expression matches, \1 or \g<name> being a group of it.

    It is done once: a pattern may match what it made. Raises UserError where the pattern or the replacement is
    broken; what is returned raises TimeoutError where one text takes more than SECONDS_A_TEXT.
    """
    pattern = compiled(find, ignore_case, lines)
    checked_replacement(pattern, with_)

    matched = True  # the text before

    def clean(value: str) -> tuple[str, int]:
        nonlocal matched
        # `subn` reads the replacement anew for each text: a third more than a search where there is no match, and
        # where there is one the search comes on top. As the text before is mostly the next one.
        if not matched and pattern.search(value, timeout=SECONDS_A_TEXT) is None:
            return value, 0
        plain, number = pattern.subn(with_, value, timeout=SECONDS_A_TEXT)
        matched = number > 0
        return plain, number if plain != value else 0

    return clean


def compiled(find: str, ignore_case: bool = False, lines: bool = False) -> Any:
    """Return a pattern of the package `regex`. Raises UserError naming the place where it is broken."""
    import regex

    flags = (regex.IGNORECASE if ignore_case else 0) | (regex.MULTILINE if lines else 0)
    try:
        return regex.compile(find, flags)
    except regex.error as error:
        raise UserError(f"The pattern {find!r} can't be read: {at(error)}.") from None
    except (RecursionError, OverflowError, ValueError):
        raise UserError(f"The pattern {shown(find)} is too large or too deep. Split it into two steps.") from None


def checked_replacement(pattern: Any, with_: str) -> None:
    """Raise UserError where a replacement names a group that its pattern has not, or is broken."""
    import regex

    # One that matches anywhere and has the same groups: a replacement is read at the first match.
    anywhere = regex.compile(f"|(?:{pattern.pattern}\n)", pattern.flags)
    try:
        anywhere.sub(with_, "", count=1, timeout=SECONDS_A_TEXT)
    except (regex.error, IndexError) as error:
        groups = pattern.groups
        has = "no group" if not groups else "one group" if groups == 1 else f"{groups} groups"
        raise UserError(
            f"The replacement {with_!r} can't be read: {at(error)}. The pattern has {has}; write a backslash as \\\\."
        ) from None


def at(error: Exception) -> str:
    """Return what a pattern is reproached with, and where."""
    what = str(getattr(error, "msg", error))
    place = getattr(error, "pos", None)
    return what if place is None else f"{what} at character {place + 1}"


def shown(text: str) -> str:
    """Return a text in quotes, shortened to what fits into a sentence."""
    return repr(text if len(text) <= 60 else text[:60] + "…")


def needed(find: str) -> str:
    """Return a text that stands in whatever a pattern matches, "" where that is not seen at a glance.

    It lets a database leave out at once what can't match. Only what is plain is read: a run of letters outside of
    groups and classes, of a pattern without alternatives.
    """
    if "|" in find or "(?" in find or "&&" in find:
        return ""
    runs, run, depth, place = [], "", 0, 0
    while place < len(find):
        letter = find[place]
        if letter == "[":
            # A class ends at the first bracket that is neither escaped nor its first member; nested ones are not read.
            end = re.compile(r"\[\^?\]?(?:\\.|[^\]\\\[])*\]", re.DOTALL).match(find, place)
            if not end:
                return ""
            place = end.end() - 1
        if letter == "{" and (end_of_count := find.find("}", place)) > 0:
            place = end_of_count
        if letter in "()":
            depth += 1 if letter == "(" else -1
        if letter == "\\":
            place += 1
            if not (find[place : place + 1] in ".,;:-/?!()[]{}*+^$| " and find[place : place + 1]):
                # \d, \x41, \p{Lu}, \g<1>: what belongs to it need not be known, as no letter after it counts.
                belongs = re.compile(r"[A-Za-z0-9](?:\{[^}]*\}|<[^>]*>|[0-9A-Fa-f]*)|.", re.DOTALL).match(find, place)
                place = belongs.end() - 1 if belongs else place
        following = find[place + 1 : place + 2]
        is_plain = letter not in SPECIAL and letter.isalnum() and letter.isascii() or letter in " ,;:@/'\"-_"
        if is_plain and depth == 0 and following not in ("?", "*", "{"):
            run += letter
        else:
            runs.append(run)
            run = ""
        if is_plain and following == "+":  # at least once: the run ends with it
            runs.append(run)
            run = ""
        place += 1
    longest = max([*runs, run], key=len)
    return longest if len(longest) >= 3 else ""
