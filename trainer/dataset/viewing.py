"""One line as it would be trained, token by token, for people to read. Knows terminals; knows no tokenizer."""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

# Read and learnt from are different things: "read" tokens have no label; "over" is past the longest line allowed.
State = Literal["read", "trained", "end", "over"]

COLOURS: dict[State, tuple[str, str]] = {
    "read": ("\x1b[2m", "\x1b[0m"),
    "trained": ("\x1b[32m", "\x1b[0m"),
    "end": ("\x1b[1;30;42m", "\x1b[0m"),
    "over": ("\x1b[31m", "\x1b[0m"),
}
MARKS: dict[State, tuple[str, str]] = {
    "read": ("", ""),
    "trained": ("\u27e6", "\u27e7"),
    "end": ("\u27e6END ", "\u27e7"),
    "over": ("\u27e6OVER ", "\u27e7"),
}
LEGEND = {
    True: "Dim is read, \x1b[32mgreen is trained\x1b[0m, \x1b[1;30;42mmarked is the end token\x1b[0m.",
    False: "\u27e6Between such brackets\u27e7 is trained, all else is read. \u2502 parts tokens.",
}


def visible(text: str) -> str:
    """Return the text of a token with what a terminal would obey or not show written out."""
    out = []
    for character in text:
        if character == "\n":
            out.append("\u21b5\n")
        elif unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
            out.append(f"<U+{ord(character):04X}>")
        else:
            out.append(character)
    return "".join(out)


class Token(NamedTuple):
    """One token of a line as it would be trained; of a character made of several tokens the first has the text."""

    id: int
    text: str
    state: State


@dataclass(frozen=True)
class TokenView:
    """One line, token by token."""

    place: str
    tokens: list[Token]
    max_tokens: int

    def count(self, state: State) -> int:
        return sum(token.state == state for token in self.tokens)

    def summary(self) -> str:
        """Return the counts as a sentence."""
        over = self.count("over")
        words = f"{len(self.tokens)} tokens: {self.count('read')} read, {self.count('trained')} trained"
        words += ", then the end token, trained too." if self.count("end") else "."
        if over:
            words += f" {over} are past the longest line allowed, {self.max_tokens}: the line is left out whole."
        return words

    def in_words(self, *, colour: bool) -> str:
        """Return the line for a terminal: trained parts in colour, or between marks where there is none."""
        parts = [f"{self.place}: {self.summary()}", LEGEND[colour], ""]
        text = ""
        for state, group in itertools.groupby(self.tokens, key=lambda token: token.state):
            # A bar parts tokens, so that nothing has to be guessed from spaces.
            tokens = "\u2502".join(visible(token.text) for token in group)
            opens, closes = (COLOURS if colour else MARKS)[state]
            text += f"{opens}{tokens}{closes}"
        return "\n".join([*parts, text])

    def as_json(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "summary": self.summary(),
            "max_tokens": self.max_tokens,
            "counts": {state: self.count(state) for state in ("read", "trained", "end", "over")},
            "tokens": [token._asdict() for token in self.tokens],
        }
