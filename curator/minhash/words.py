"""A text as the words that state its facts: what each is the same as, and whether it is a number, a negation, a name.

`words` reads one text. A `Reader` reads very many that are alike in a quarter of the time: it looks up what a chunk
between two spaces holds.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, compress
from operator import itemgetter, or_
from typing import Any, NamedTuple

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
ENDS = frozenset('.!?:;\n"“”*-•')
SIGN_LETTERS = r"[-−+^%°€£¥≤≥≠±×÷√∞≈=#$/*<>]"
SIGNS = re.compile(SIGN_LETTERS)  # quick to say that there is none
PERCENT = re.compile(r"\bper ?cent\b", re.IGNORECASE)


class Word(NamedTuple):
    """A word as it stands there, what it is the same as, and what it is: number, negation, name or nothing of these."""

    shown: str
    same: str
    kind: str


def folded_per_cent(one: str) -> str:
    """Return a text with "per cent" as a sign."""
    return PERCENT.sub("%", one) if "ent" in one and "cent" in one.casefold() else one


def words(one: str) -> list[Word]:
    """Return the words of a text; numbers of several words as one."""
    return words_after(one, True, False)[0]


def words_after(one: str, begins: bool, asked: bool) -> tuple[list[Word], bool, bool]:
    """Return the words of a part of a text, and the two things that what follows has to know.

    These are whether the next word begins a sentence, and whether the last one opened a request. The same two are
    given of what came before.
    """
    found: list[Word] = []
    end, value = 0, None  # where the last word ended, and its value
    for match in text.pattern(WORD).finditer(one):
        between = one[end : match.start()]
        begins = begins or not (between == " " or ENDS.isdisjoint(between))
        shown, end = match[0], match.end()
        folded = shown.casefold().replace("’", "'")
        before, value = value, value_of(folded) if not match["link"] else None
        if before is not None and between in (" ", "-") and (whole := compound(before, folded, value)) is not None:
            value = whole
            found[-1] = Word(f"{found[-1].shown}{between}{shown}", str(value), "number")
            begins = False
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
        begins = False
    return found, begins or not ENDS.isdisjoint(one[end:]), asked


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


# What comes before a chunk of a text changes what its words are by these bits only: whether its first word begins a
# sentence, whether the word before opened a request, and what its first word may be a part of.
BEGINS, ASKED, AFTER_VALUE, AFTER_TENS, AFTER_MONTH = 1, 2, 4, 8, 16
STATES = 32
MOST_KNOWN = 300_000  # chunks; beyond, all are forgotten
LONGEST = 100  # letters of a chunk that is remembered


class Chunk(NamedTuple):
    """What stands between two spaces of a text, in one state."""

    words: tuple[Word, ...]
    numbers: bytes  # of each word, as int32; the same number, the same word
    after: int  # the state in which what follows is read
    has_sign: bool


class Chunks(dict[str, Chunk]):
    """The chunks that were met in one state."""

    def __init__(self, state: int, number_of: dict[str, int]) -> None:
        super().__init__()
        self.state, self.number_of = state, number_of

    def __missing__(self, chunk: str) -> Chunk:
        found, begins, asked = words_after(chunk, bool(self.state & BEGINS), bool(self.state & ASKED))
        first = last = 0
        if found and (chunk[0].isdigit() or any(w.kind == "number" or w.same in MONTHS_AND_WORDS for w in found)):
            first, last = parts_of(chunk)
        if self.state & first:
            raise OfSeveralChunks
        after = begins * BEGINS | asked * ASKED | last
        made = Chunk(tuple(found), numbered(found, self.number_of), after, bool(SIGNS.search(chunk)))
        if len(chunk) <= LONGEST:
            self[chunk] = made
        return made


class OfSeveralChunks(Exception):
    """A word, such as "5 million", goes on in the next chunk."""


def parts_of(chunk: str) -> tuple[int, int]:
    """Return what the first word of a chunk may be a part of, and what the next one may make of its last, as bits."""
    matches = list(text.pattern(WORD).finditer(chunk))
    if not matches:
        return 0, 0
    first, last = (match[0].casefold().replace("’", "'") for match in (matches[0], matches[-1]))
    begins = ends = 0
    if matches[0].start() == 0:
        begins = AFTER_VALUE * (first in SCALES) | AFTER_TENS * (first in SMALL) | AFTER_MONTH * chunk[0].isdigit()
    if matches[-1].end() == len(chunk):
        value = value_of(last)
        ends = AFTER_VALUE * (value is not None) | AFTER_TENS * (value in TENS.values())
        ends |= AFTER_MONTH * (last in MONTHS_AND_WORDS)
    return begins, ends


class Text(NamedTuple):
    """What a reader made of a text."""

    words: list[Word]
    numbers: Any  # of each word, as an array
    signs: list[str] | None  # chunks with what may be a sign: another text with the same chunks has the same signs


class Reader:
    """Reads texts that have many words in common. Keeps what it learnt while it lives, at most 100 MB."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew. The numbers of words are others afterwards."""
        self.number_of: dict[str, int] = {}
        self.states = [Chunks(state, self.number_of) for state in range(STATES)]

    def both(self, one: str, other: str) -> tuple[Text, Text]:
        """Return what `words` does of two texts, and of each word its number: the same in both, for these two."""
        if sum(map(len, self.states)) > MOST_KNOWN:
            self.forget()
        return self.read(one), self.read(other)

    def read(self, one: str) -> Text:
        import numpy as np

        pieces = one.split(" ")
        try:
            chunks = self.chunks(pieces)
        except OfSeveralChunks:
            found = words(one)
            return Text(found, np.frombuffer(numbered(found, self.number_of), np.int32), None)
        of_words, numbers, _, has_sign = zip(*chunks, strict=True)
        # Each with its neighbours: they decide whether it is one.
        at = map(or_, map(or_, has_sign, (*has_sign[1:], False)), (False, *has_sign[:-1]))
        signs = list(compress(pieces, at))
        return Text(list(chain.from_iterable(of_words)), np.frombuffer(b"".join(numbers), np.int32), signs)

    def chunks(self, pieces: list[str]) -> list[Chunk]:
        """Return what stands between the spaces of a text."""
        chunks = list(map(self.states[0].__getitem__, pieces))  # as nearly all are read
        end = 0  # of what is read as it has to be
        for place in [-1, *compress(range(len(pieces)), map(itemgetter(2), chunks))]:
            if place + 1 < end:
                continue
            state, end = chunks[place].after if place >= 0 else BEGINS, place + 1
            while state and end < len(pieces):
                chunks[end] = self.states[state][pieces[end]]
                state, end = chunks[end].after, end + 1
        return chunks


def numbered(some: Iterable[Word], number_of: dict[str, int]) -> bytes:
    """Return the number of each word, a new one where it has none."""
    return array("i", [number_of.setdefault(word.same, len(number_of)) for word in some]).tobytes()
