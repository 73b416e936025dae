"""Whether two texts that are nearly the same say something else: a number, a negation, a name. Knows two texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any

from curator import text
from curator.minhash.words import LOOSE, PLAIN, SIGN_LETTERS, SIGNS, Reader, Word, folded_per_cent, words

# Of these, one side for the other turns a sentence round.
OPPOSITES = {
    word: frozenset(there.split())
    for one, other in (
        ("before", "after"), ("above over", "below under"), ("more most", "less least fewer few"), ("up", "down"),
        ("on", "off"), ("in into inside", "out outside"), ("he him his himself", "she her hers herself"),
        ("and", "or"), ("must", "may might can could"), ("all every each both", "some"), ("to", "from"),
        ("same", "other different another"), ("always", "often sometimes"),
    )
    for here, there in ((one, other), (other, one))
    for word in here.split()
}  # fmt: skip
# What is no word and changes what is said: C++ and C#, 2 + 2 and 2 - 2, -5, 5 %. Not what sets text off: dashes between
# words, bullets, emphasis, tags.
SIGN = re.compile(
    rf"(?=\s?{SIGN_LETTERS})(?:"  # says nothing new, and is four times as fast
    r"[+^%°€£¥≤≥≠±×÷√∞≈]|=+|(?<=\w)#|\$(?=\d)|(?<![A-Za-z])[-−]\s?(?=[\d.(])|(?<=[\w)] )[-−](?= \w\b)"
    r"|(?<=\d)\s?/\s?(?=\d)|(?<=[\w)])\s?\*\s?(?=\d)|(?<=\d)\s?\*\s?(?=\w)|(?<=[\w)])\s?[<>]\s?(?=[\w(-]))"
)
SAME_SIGN = {"−": "-", "×": "*", "÷": "/"}
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
MOST_COMPARISONS = 60_000_000  # letters with letters: half a second at worst; beyond, sentences are compared first
TOO_MUCH = "too much differs to be compared word by word"


Change = tuple[Sequence[Word], Sequence[Word]]  # what stands in one text only, and what stands there in the other
Both = tuple[str, str]


def differs_in_fact(one: str, other: str) -> str | None:
    """Return why two nearly equal texts may state different facts, as half a sentence; None where they don't.

    Looks at the words that differ, in place: numbers and words for them, negations, capitalised words within a
    sentence, addresses, opposites such as before and after, one rare word put for another, and a rare word that one
    text has more than once and the other not at all. "Ten" is 10, "don't" is "do not", "list" is "name" where a
    sentence begins, and one letter more or less in a long word is a slip of the pen, unless the word is capitalised.
    It errs towards a fact: what is marked is looked at, not lost.
    """
    one, other = folded_per_cent(one), folded_per_cent(other)
    mine, theirs = middles(one, other)
    changes = changed(mine, theirs)
    if changes is None:
        return TOO_MUCH
    return told(changes, (one, other), (mine, theirs))


class Facts:
    """Says what `differs_in_fact` does, of very many texts that are alike, four times as fast."""

    def __init__(self) -> None:
        import numpy as np

        self.reader = Reader()
        self.first = np.full(0, -1, np.int32)
        self.differing: Any = None
        try:
            from curator.minhash.aligning import differing
        except ImportError:
            return
        self.differing = differing

    def differ(self, one: str, other: str) -> str | None:
        """Return what `differs_in_fact` does."""
        one, other = folded_per_cent(one), folded_per_cent(other)
        mine, theirs = middles(one, other)
        if len(mine) * len(theirs) > MOST_COMPARISONS:
            return differs_in_fact(one, other)
        a, b = self.reader.both(mine, theirs)
        changes = [(a.words[i:j], b.words[k:m]) for i, j, k, m in self.spans(a.numbers, b.numbers)]
        return told(changes, (one, other), None if a.signs == b.signs is not None else (mine, theirs))

    def spans(self, a: Any, b: Any) -> Any:
        """Return what `spans` does, of rows of numbers."""
        import numpy as np

        if self.differing is None:
            return spans(a.tolist(), b.tolist())
        if len(self.first) < len(self.reader.number_of):
            self.first = np.full(2 * len(self.reader.number_of), -1, np.int32)
        return self.differing(a, b, self.first).tolist()


def told(changes: Sequence[Change], whole: Both, middles: Both | None) -> str | None:
    """Return which of the changes between two texts is one of fact; `middles` is None where signs are the same."""
    for gone, come in changes:
        kinds = {word.kind for word in chain(gone, come)}
        for kind in ("number", "negation", "name"):
            if kind not in kinds:
                continue
            left = [w for w in gone if w.kind == kind]
            right = [w for w in come if w.kind == kind]
            if sorted(w.same for w in left) == sorted(w.same for w in right):
                continue
            if left and right:
                return f"another {kind}: {shown(gone)} / {shown(come)}"
            alone = [w for w in chain(left, right) if not goes_without(w, whole)]
            if alone:
                return f"a {kind} in one only: {shown(alone)}"
        if gone and come and (turned(gone, come) or swapped(gone, come)):
            return f"another word: {shown(gone)} / {shown(come)}"
    moved = {w.same for gone, _ in changes for w in gone} & {w.same for _, come in changes for w in come}
    sign = another_sign(*middles) if middles else None
    return sign or detail(changes, whole) or another_order(moved)


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


def goes_without(word: Word, whole: Both) -> bool:
    """Return whether a number or a name that one text leaves out says nothing new there.

    That is "one" as in "this one", and a name that both texts hold elsewhere: "she" may stand for it.
    """
    if word.kind == "name":
        return all(word.same in some.casefold() for some in whole)
    return word.kind == "number" and word.shown.casefold() == "one"


def turned(gone: Sequence[Word], come: Sequence[Word]) -> bool:
    """Return whether a word stands on one side, and its opposite on the other."""
    right = {w.same for w in come}
    return any(w.same in OPPOSITES and not OPPOSITES[w.same].isdisjoint(right) for w in gone)


def swapped(gone: Sequence[Word], come: Sequence[Word]) -> bool:
    """Return whether rare words stand on both sides that are not spellings of each other."""
    left, right = ([w.same for w in some if w.same not in PLAIN] for some in (gone, come))
    return any(not any(is_slip(w, v) for v in right) for w in left) and any(
        not any(is_slip(w, v) for v in left) for w in right
    )


def detail(changes: Sequence[Change], whole: Both) -> str | None:
    """Return a rare word that one text has several times and the other not at all: it is part of what is asked."""
    for side, other in ((0, whole[1]), (1, whole[0])):
        counts = Counter(w.same for change in changes for w in change[side])
        for word, count in counts.items():
            if count > 1 and is_rare(word) and word.rstrip("s") not in other.casefold():
                return f"a detail in one only: {word}"
    return None


def another_order(moved: Collection[str]) -> str | None:
    """Return a rare word that stands elsewhere: a dog that bites a man is no man that bites a dog."""
    return next((f"another order: {word}" for word in sorted(moved) if is_rare(word)), None)


def is_rare(word: str) -> bool:
    return len(word) > 2 and word not in PLAIN and word not in LOOSE


def another_sign(one: str, other: str) -> str | None:
    mine, theirs = Counter(signs(one)), Counter(signs(other))
    if mine == theirs:
        return None
    left, right = list((mine - theirs).elements()), list((theirs - mine).elements())
    return f"another sign: {' '.join(left[:3])} / {' '.join(right[:3])}"


def signs(one: str) -> list[str]:
    """Return the signs of a text that are no words."""
    if "<" in one:
        one = TAG.sub(" ", one)
    if not SIGNS.search(one):
        return []
    return [SAME_SIGN.get(sign := match[0].strip(), sign) for match in SIGN.finditer(one)]


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
