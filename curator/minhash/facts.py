"""Whether two texts that are nearly the same say something else: a number, a negation, a name. Knows two texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher

from curator import text

NUMBERS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million "
    "billion first second third fourth fifth sixth seventh eighth ninth tenth half double twice once monday "
    "tuesday wednesday thursday friday saturday sunday january february march april may june july august "
    "september october november december".split()
)
NEGATIONS = frozenset(
    "no not never none nobody nothing neither nor nowhere without cannot cant dont doesnt didnt isnt arent wasnt "
    "werent wont wouldnt shouldnt couldnt hasnt havent hadnt mustnt except unless unlike false incorrect "
    "impossible illegal nicht kein keine keinen nie niemals ohne ne pas jamais sans sin nunca non не нет без "
    "никогда".split()
)
# Words that carry grammar rather than facts: one of them for another is a matter of wording.
PLAIN = frozenset(
    "a about above after again all also am an and any are as at be because been before being below between both "
    "but by can could did do does doing down during each few for from further had has have having he her here "
    "hers him his how i if in into is it its itself just let like may me might more most much must my of off "
    "often on only onto or other our out over own quite rather really same she should so some such than that the "
    "their them then there these they this those through to too under until up upon us usually very was we were "
    "what when where which while who whom whose why will with within would yes you your yours sure please answer "
    "question example following".split()
)
Token = tuple[str, bool]  # a word, and whether a sentence begins with it
WORD = rf"{text.WORDS}(?:['’]{text.WORDS})*"
# What is no word and changes what is said: C++ and C#, 2 + 2 and 2 - 2, -5, 5 %. Not what sets text off: dashes between
# words, bullets, emphasis, tags.
SIGN = re.compile(
    r"[+^%°€£¥≤≥≠±×÷√∞≈]|=+|(?<=\w)#|\$(?=\d)|(?<![A-Za-z])[-−]\s?(?=[\d.(])|(?<=[\w)] )[-−](?= \w\b)"
    r"|(?<=\d)\s?/\s?(?=\d)|(?<=[\w)])\s?\*\s?(?=\d)|(?<=\d)\s?\*\s?(?=\w)|(?<=[\w)])\s?[<>]\s?(?=[\w(-])"
)
SIGNS = re.compile(r"[-−+^%°€£¥≤≥≠±×÷√∞≈=#$/*<>]")  # quick to say that there is none
ENDS = frozenset('.!?:;\n"“”*-•')
TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def differs_in_fact(one: str, other: str, common: Collection[str] = PLAIN) -> str | None:
    """Return why two nearly equal texts may state different facts, as half a sentence; None where they don't.

    Looks at the words that differ, in place: numbers and words for them, negations, capitalised words within a
    sentence, and one rare word put for another. `common` holds the words, in small letters, that are no names;
    PLAIN is what it should hold at least. One letter more or less or another in a long word is a slip of
    the pen, unless the word is capitalised. It errs towards a fact: what is marked is looked at, not lost.
    """
    one, other = middles(one, other)
    mine, theirs = signs(one), signs(other)
    if mine != theirs:
        return f"another sign: {' '.join((mine - theirs).elements())} / {' '.join((theirs - mine).elements())}"
    a, b = words(one), words(other)
    matcher = SequenceMatcher(None, [w.casefold() for w, _ in a], [w.casefold() for w, _ in b], autojunk=False)
    for op, i, j, k, m in matcher.get_opcodes():
        if op == "equal":
            continue
        gone, come = a[i:j], b[k:m]
        for what, differ in (("number", is_number), ("negation", is_negation), ("name", is_name)):
            left, right = picked(gone, differ), picked(come, differ)
            if sorted(left) != sorted(right):
                return f"another {what}: {shown(gone)} / {shown(come)}" if left and right else said(what, left, right)
        if op == "replace" and swapped([w for w, _ in gone], [w for w, _ in come], common):
            return f"another word: {shown(gone)} / {shown(come)}"
    return None


def middles(one: str, other: str) -> tuple[str, str]:
    """Return two texts without what both begin with and end with, but for two words on each side."""
    start = shared(one, other)
    end = shared(one[start:][::-1], other[start:][::-1])
    for _ in range(2):
        start = max(one.rfind(" ", 0, start), 0)
    for _ in range(2):
        end = max(len(one) - after, 0) if (after := one.find(" ", len(one) - end + 1)) > 0 else 0
    return one[start : len(one) - end], other[start : len(other) - end]


def shared(one: str, other: str) -> int:
    """Return with how many characters both begin."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def signs(one: str) -> Counter[str]:
    """Return the signs of a text that are no words, and how often each comes."""
    if "<" in one:
        one = TAG.sub(" ", one)
    if not SIGNS.search(one):
        return Counter()
    return Counter("-" if (sign := match[0].strip()) == "−" else sign for match in SIGN.finditer(one))


def words(one: str) -> list[Token]:
    """Return the words of a text, and of each whether a sentence begins with it."""
    found = []
    end = 0
    for match in text.pattern(WORD).finditer(one):
        begin = match.start()
        between = one[end:begin]
        found.append((match[0], end == 0 or not (between == " " or ENDS.isdisjoint(between))))
        end = match.end()
    return found


def is_number(word: str, begins: bool) -> bool:
    return any(c.isdigit() for c in word) or word.casefold() in NUMBERS


def is_negation(word: str, begins: bool) -> bool:
    folded = word.casefold().replace("’", "'")
    return folded in NEGATIONS or folded.endswith("n't")


def is_name(word: str, begins: bool) -> bool:
    """A capital within a sentence, or two anywhere; not of a word that is no name in small letters either."""
    if word.casefold() in PLAIN or len(word) < 2:
        return False
    return (word[0].isupper() and not begins) or sum(c.isupper() for c in word) > 1


def picked(some: Sequence[tuple[str, bool]], wanted: object) -> list[str]:
    return [text.normalise(word) for word, begins in some if wanted(word, begins)]  # type: ignore[operator]


def shown(some: Sequence[tuple[str, bool]]) -> str:
    return " ".join(word for word, _ in some[:6])


def said(what: str, mine: Sequence[str], theirs: Sequence[str]) -> str:
    return f"a {what} in one only: {' '.join([*mine, *theirs][:6])}"


def swapped(gone: Sequence[str], come: Sequence[str], common: Collection[str]) -> bool:
    """Return whether rare words stand on both sides that are not spellings of each other."""
    left = [w.casefold() for w in gone if w.casefold() not in common and w.casefold() not in PLAIN]
    right = [w.casefold() for w in come if w.casefold() not in common and w.casefold() not in PLAIN]
    return any(not any(is_slip(w, v) for v in right) for w in left) and any(
        not any(is_slip(w, v) for v in left) for w in right
    )


def is_slip(one: str, other: str) -> bool:
    """Return whether one letter was added, left out, changed or two swapped, in words of five or more."""
    if one == other:
        return True
    if min(len(one), len(other)) < 5 or abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
