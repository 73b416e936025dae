"""Which flags there are, and what the checks go by beside the text. Looks at no text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

VERSION = 2  # of the rules below: another makes all flags old
DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class Flag:
    """A kind of thing that may be wrong with a pair."""

    name: str
    title: str
    about: str  # one sentence
    severity: str  # bad: keep it out of training; warn: have a look; note: good to know


FLAGS = {
    flag.name: flag
    for flag in (
        Flag("empty", "Empty or too short", "A text has no word, a placeholder such as TODO, or next to nothing.",
             "bad"),
        Flag("echo", "Answer repeats the question", "The answer is the question again, whole, with nothing or little "
             "added.", "bad"),
        Flag("refusal", "Refusal boilerplate", "The answer declines, or speaks of itself as a language model.", "warn"),
        Flag("truncated", "Likely truncated", "The answer stops in mid-sentence, with something open, or at a round "
             "length.", "warn"),
        Flag("mojibake", "Broken characters", "A text was read in the wrong encoding: cafÃ© for café.", "bad"),
        Flag("language", "Mixed language", "Question and answer are in different languages, or in another than most of "
             "the data set.", "warn"),
        Flag("private", "Personal data", "A text holds an e-mail address, a phone or card number, an IP address or an "
             "IBAN.", "bad"),
        Flag("secret", "Secrets", "A text holds what looks like a key, a token or a password.", "bad"),
        Flag("long", "Too long for the context", "The whole chat is longer than the context of the model to train.",
             "warn"),
        Flag("roles", "Role markers in the text", "A text holds marks of a chat format, such as [INST] or ### Human:, "
             "that training adds by itself.", "bad"),
        Flag("duplicate", "Duplicate", "Another pair says the same, or nearly.", "warn"),
        Flag("contradiction", "Contradiction", "Another pair asks the same and is answered otherwise.", "warn"),
    )
}  # fmt: skip
BETWEEN = ("duplicate", "contradiction")  # what only two pairs have, so that `find` knows nothing of it


@dataclass(frozen=True)
class Rules:
    """What the checks go by, beside the text. Written into the database as JSON, so that a single save knows them."""

    context: int = DEFAULT_CONTEXT  # tokens of a whole chat
    tokenizer: str = ""  # path of a tokenizer.json; empty: tokens are estimated
    main: Mapping[str, str] = field(default_factory=dict)  # by the id of a data set, the language of most of it
    version: int = VERSION

    def dump(self) -> str:
        """Return the rules as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def load(cls, scheme: str) -> Rules | None:
        """Read what `dump` wrote; None where these are the rules of another Curator."""
        try:
            rules = cls(**json.loads(scheme))
        except (ValueError, TypeError):
            return None
        return rules if rules.version == VERSION else None

    def is_like(self, other: Rules) -> bool:
        """Whether both find the same, but for what the languages of data sets make of it."""
        return (self.context, self.tokenizer) == (other.context, other.tokenizer)
