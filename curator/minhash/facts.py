"""Whether two texts that are nearly the same say something else: a number, a negation, a name. Knows two texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from curator import text

SMALL = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
}
TENS = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
ORDINALS = {
    word: f"{value}{'st nd rd'.split()[value - 1] if value < 4 else 'th'}"
    for value, word in enumerate("first second third fourth fifth sixth seventh eighth ninth tenth".split(), start=1)
}
OTHER_NUMBERS = frozenset(
    "half double twice once monday tuesday wednesday thursday friday saturday sunday january february april june july "
    "september october november december".split()
)
MONTHS_AND_WORDS = frozenset(("march", "may", "august"))  # months where they begin with a capital, within a sentence
# Forms of one negation: "can't", "cannot" and "can not" say the same.
NOT = frozenset(
    "no not cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt shouldnt couldnt hasnt havent hadnt "
    "mustnt".split()
)
NEGATIONS = frozenset(
    "never none nobody nothing neither nor nowhere without except unless unlike false incorrect impossible illegal "
    "nicht kein keine keinen nie niemals ohne ne pas jamais sans sin nunca non не нет без никогда".split()
)
# Words that carry grammar rather than facts: one of them for another is a matter of wording, but for OPPOSITES.
PLAIN = frozenset(
    "a about above after again all also am an and any are as at be because been before being below between both "
    "but by can could did do does doing down during each few for from further had has have having he her here "
    "hers him his how i if in into is it its itself just let like may me might more most much must my of off "
    "often on only onto or other our out over own quite rather really same she should so some such than that the "
    "their them then there these they this those through to too under until up upon us usually very was we were "
    "what when where which while who whom whose why will with within would yes you your yours sure please answer "
    "question example following".split()
)
# Words that a sentence keeps its meaning without: "the total number", "the current price".
LOOSE = frozenset(
    "total current currently new given latest average overall entire simple main various different several many "
    "common general possible right exact actual certain specific find use used using get number list called way kind "
    "type amount text description information now today together per well known good great best important".split()
)
# Of these, one side for the other turns a sentence round.
OPPOSITES = tuple(
    tuple(frozenset(side.split()) for side in both)
    for both in (
        ("before", "after"), ("above over", "below under"), ("more most", "less least fewer few"), ("up", "down"),
        ("on", "off"), ("in into inside", "out outside"), ("he him his himself", "she her hers herself"),
        ("and", "or"), ("must", "may might can could"), ("all every each both", "some"), ("to", "from"),
        ("same", "other different another"), ("always", "often sometimes"),
    )
)  # fmt: skip
# What a question may be opened with, as well as with its neighbours here: "Name three", "List three".
ASKING = {
    word: group.split()[0]
    for group in (
        "find calculate compute determine get fetch retrieve obtain", "describe explain outline discuss",
        "list name give provide state mention identify enumerate", "show display print",
        "write create generate compose make produce draft construct",
    )
    for word in group.split()
}  # fmt: skip
ASKED_AFTER = frozenset(("please", "you", "to"))
LINK = r"(?:https?://|www\.)[^\s<>\"')\]]+|[\w.+-]+@[\w-]+\.[\w.-]*\w"
NUMBER = r"\d+(?:st|nd|rd|th)\b|\d+(?:\.\d+){2,}|\d+(?:,\d\d\d)+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?"
WORD = rf"(?P<link>{LINK})|(?P<number>{NUMBER})|{text.WORDS}(?:['’]{text.WORDS})*"
ENDING = re.compile(r"(?:'s|'re|'ll|'ve|'d|'m|')$")
PERCENT = re.compile(r"\bper ?cent\b", re.IGNORECASE)
# What is no word and changes what is said: C++ and C#, 2 + 2 and 2 - 2, -5, 5 %. Not what sets text off: dashes between
# words, bullets, emphasis, tags.
SIGN = re.compile(
    r"[+^%°€£¥≤≥≠±×÷√∞≈]|=+|(?<=\w)#|\$(?=\d)|(?<![A-Za-z])[-−]\s?(?=[\d.(])|(?<=[\w)] )[-−](?= \w\b)"
    r"|(?<=\d)\s?/\s?(?=\d)|(?<=[\w)])\s?\*\s?(?=\d)|(?<=\d)\s?\*\s?(?=\w)|(?<=[\w)])\s?[<>]\s?(?=[\w(-])"
)
SIGNS = re.compile(r"[-−+^%°€£¥≤≥≠±×÷√∞≈=#$/*<>]")  # quick to say that there is none
SAME_SIGN = {"−": "-", "×": "*", "÷": "/"}
ENDS = frozenset('.!?:;\n"“”*-•')
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
MOST_COMPARISONS = 60_000_000  # letters with letters: half a second at worst; beyond, sentences are compared first
TOO_MUCH = "too much differs to be compared word by word"


class Word(NamedTuple):
    """A word as it stands there, what it is the same as, and what it is: number, negation, name or nothing of these."""

    shown: str
    same: str
    kind: str


Change = tuple[Sequence[Word], Sequence[Word]]  # what stands in one text only, and what stands there in the other


def differs_in_fact(one: str, other: str) -> str | None:
    """Return why two nearly equal texts may state different facts, as half a sentence; None where they don't.

    Looks at the words that differ, in place: numbers and words for them, negations, capitalised words within a
    sentence, addresses, opposites such as before and after, one rare word put for another, and a rare word that one
    text has more than once and the other not at all. "Ten" is 10, "don't" is "do not", "list" is "name" where a
    sentence begins, and one letter more or less in a long word is a slip of the pen, unless the word is capitalised.
    It errs towards a fact: what is marked is looked at, not lost.
    """
    one, other = (PERCENT.sub("%", some) if "ent" in some else some for some in (one, other))
    mine, theirs = middles(one, other)
    changes = changed(mine, theirs)
    if changes is None:
        return TOO_MUCH
    moved = {w.same for gone, _ in changes for w in gone} & {w.same for _, come in changes for w in come}
    whole = (one.casefold(), other.casefold())
    for gone, come in changes:
        for kind in ("number", "negation", "name"):
            left = [w for w in gone if w.kind == kind]
            right = [w for w in come if w.kind == kind]
            if sorted(w.same for w in left) == sorted(w.same for w in right):
                continue
            if left and right:
                return f"another {kind}: {shown(gone)} / {shown(come)}"
            alone = [w for w in chain(left, right) if not goes_without(w, whole)]
            if alone:
                return f"a {kind} in one only: {shown(alone)}"
        if turned(gone, come) or swapped(gone, come):
            return f"another word: {shown(gone)} / {shown(come)}"
    return another_sign(mine, theirs) or detail(changes, whole) or another_order(moved)


def changed(one: str, other: str) -> list[Change] | None:
    """Return what differs between two texts, in reading order; None where to find it would take seconds.

    Word by word; of long texts sentence by sentence, and word by word in those that differ.
    """
    if len(one) * len(other) <= MOST_COMPARISONS:
        a, b = words(one), words(other)
        return [(a[i:j], b[k:m]) for i, j, k, m in spans([word.same for word in a], [word.same for word in b])]
    before, after = text.sentences(one), text.sentences(other)
    counts, others = Counter(before), Counter(after)
    if sum(counts[some] * others[some] for some in counts) > MOST_COMPARISONS:
        return None
    found: list[Change] = []
    for i, j, k, m in spans(before, after):
        gone, come = "".join(before[i:j]), "".join(after[k:m])
        part = changed(gone, come) if len(gone) < len(one) or len(come) < len(other) else None
        if part is None:
            return None
        found += part
    return found


def spans(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Yield from where to where something differs, in one and in the other."""
    for op, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if op != "equal":
            yield i, j, k, m


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


def words(one: str) -> list[Word]:
    """Return the words of a text; numbers of several words as one."""
    found: list[Word] = []
    end, value, asked = 0, None, False  # where the last word ended, its value, whether it opened a request
    for match in text.pattern(WORD).finditer(one):
        between = one[end : match.start()]
        begins = end == 0 or not (between == " " or ENDS.isdisjoint(between))
        shown, end = match[0], match.end()
        folded = shown.casefold().replace("’", "'")
        before, value = value, value_of(folded) if not match["link"] else None
        if before is not None and between in (" ", "-") and (whole := compound(before, folded, value)) is not None:
            value = whole
            found[-1] = Word(f"{found[-1].shown}{between}{shown}", str(value), "number")
            continue
        opens = begins or asked
        if match["link"]:
            found.append(Word(shown, folded.rstrip(".,;:!?/"), "name"))
        elif value is not None or match["number"]:
            figures = folded.replace(",", "").rstrip("0") if folded.count(".") == 1 else folded
            found.append(Word(shown, str(value) if value is not None else figures, "number"))
        else:
            found.append(word_of(shown, begins, opens, one[end + 1 : end + 2].isdigit()))
        asked = opens and folded in ASKED_AFTER or folded == "you"
    return found


@lru_cache(50_000)
def value_of(folded: str) -> int | None:
    """Return the value of a whole number, in figures or as a word; None of anything else."""
    if folded in SMALL or folded in TENS or folded in SCALES:
        return SMALL.get(folded) or TENS.get(folded) or SCALES.get(folded) or 0
    figures = folded.replace(",", "")
    if "." in figures and figures.count(".") == 1:
        figures, _, rest = figures.partition(".")
        if rest.strip("0"):
            return None
    return int(figures) if figures.isdecimal() and len(figures) < 16 and (figures[0] != "0" or figures == "0") else None


def compound(before: int, folded: str, value: int | None) -> int | None:
    """Return the value of a number of two words, such as twenty-five or 5 million; None where they are not one."""
    if folded in SCALES and before:
        return before * SCALES[folded]
    if folded in SMALL and value and value < 10 and before in TENS.values():
        return before + value
    return None


@lru_cache(50_000)  # the same words come again and again: three times as fast
def word_of(shown: str, begins: bool, opens: bool, counts: bool) -> Word:
    """Return a word that is no number in figures. `counts` is whether a figure comes next: that makes May a month."""
    folded = shown.casefold().replace("’", "'")
    if folded in ORDINALS:
        return Word(shown, ORDINALS[folded], "" if begins else "number")
    if folded in MONTHS_AND_WORDS:
        is_month = shown[0].isupper() and (not begins or counts)
        return Word(shown, folded, "number" if is_month else "")
    if folded in OTHER_NUMBERS or any(c.isdigit() for c in folded):
        return Word(shown, folded, "number")
    if folded in NOT or folded.endswith("n't"):
        return Word(shown, "not", "negation")
    if folded in NEGATIONS:
        return Word(shown, folded, "negation")
    same = ENDING.sub("", folded)
    if opens and same in ASKING:
        return Word(shown, ASKING[same], "")
    return Word(shown, text.normalise(same), "name" if is_name(shown, same, begins) else "")


def is_name(shown: str, same: str, begins: bool) -> bool:
    """A capital within a sentence, or two anywhere; not of a word that is no name in small letters either."""
    if same in PLAIN or len(same) < 2:
        return False
    return (shown[0].isupper() and not begins) or sum(c.isupper() for c in shown) > 1


def goes_without(word: Word, whole: tuple[str, str]) -> bool:
    """Return whether a number or a name that one text leaves out says nothing new there.

    That is "one" as in "this one", and a name that both texts hold elsewhere: "she" may stand for it.
    """
    if word.kind == "name":
        return all(word.same in some for some in whole)
    return word.kind == "number" and word.shown.casefold() == "one"


def turned(gone: Sequence[Word], come: Sequence[Word]) -> bool:
    """Return whether a word stands on one side, and its opposite on the other."""
    left, right = {w.same for w in gone}, {w.same for w in come}
    for one, other in OPPOSITES:
        for here, there in ((one, other), (other, one)):
            if left & here and right & there:
                return True
    return False


def swapped(gone: Sequence[Word], come: Sequence[Word]) -> bool:
    """Return whether rare words stand on both sides that are not spellings of each other."""
    left, right = ([w.same for w in some if w.same not in PLAIN] for some in (gone, come))
    return any(not any(is_slip(w, v) for v in right) for w in left) and any(
        not any(is_slip(w, v) for v in left) for w in right
    )


def detail(changes: Sequence[Change], whole: tuple[str, str]) -> str | None:
    """Return a rare word that one text has several times and the other not at all: it is part of what is asked."""
    for side, other in ((0, whole[1]), (1, whole[0])):
        counts = Counter(w.same for change in changes for w in change[side])
        for word, count in counts.items():
            if count > 1 and is_rare(word) and word.rstrip("s") not in other:
                return f"a detail in one only: {word}"
    return None


def another_order(moved: Collection[str]) -> str | None:
    """Return a rare word that stands elsewhere: a dog that bites a man is no man that bites a dog."""
    return next((f"another order: {word}" for word in sorted(moved) if is_rare(word)), None)


def is_rare(word: str) -> bool:
    return len(word) > 2 and word not in PLAIN and word not in LOOSE


def another_sign(one: str, other: str) -> str | None:
    mine, theirs = signs(one), signs(other)
    if mine == theirs:
        return None
    left, right = list((mine - theirs).elements()), list((theirs - mine).elements())
    return f"another sign: {' '.join(left[:3])} / {' '.join(right[:3])}"


def signs(one: str) -> Counter[str]:
    """Return the signs of a text that are no words, and how often each comes."""
    if "<" in one:
        one = TAG.sub(" ", one)
    if not SIGNS.search(one):
        return Counter()
    return Counter(SAME_SIGN.get(sign := match[0].strip(), sign) for match in SIGN.finditer(one))


def shown(some: Sequence[Word]) -> str:
    return " ".join(word.shown for word in some[:6])


def is_slip(one: str, other: str) -> bool:
    """Return whether a word is the other in the plural or with one slip of the pen.

    That is a letter left out, added or two swapped, after the first, in words of five or more. A letter changed makes
    another word more often than not: nitrate and nitrite; but for s and z, s and c.
    """
    short, long = sorted((one, other), key=len)
    if short == long or long == f"{short}s" or long == f"{short}es":
        return True
    if len(short) < 5 or len(long) - len(short) > 1 or short[0] != long[0]:
        return False
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    a, b = short[start:], long[start:]
    spelt = {a[:1], b[:1]} in ({"s", "z"}, {"s", "c"}) and a[1:] == b[1:]
    return a == b[1:] or spelt or (a[:2] == b[1::-1] and a[2:] == b[2:])
