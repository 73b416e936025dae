"""Which language a text is in, where that can be told for sure. Knows one string; short texts and code have none."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

# Those that py3langid tells apart well and that people fine-tune in. With its other sixty, a short English text is now
# and then Latin, and each text takes a third longer.
LANGUAGES = tuple(
    "ar bg bn cs da de el en es fa fi fr he hi hu id it ja ko ms nl no pl pt ro ru sk sv ta te th tr uk vi zh".split()
)
NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish",
    "ta": "Tamil", "te": "Telugu", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
# Too near to each other for a paragraph to tell: they count as one.
AS = {"ms": "id", "da": "no", "sk": "cs"}
READ = 1000  # characters of a text that are looked at
JUDGED = 120  # of them, what is no code
LEAST_LETTERS = 40
LEAST_SIGNS = 12  # of scripts that write a word with one or two
SURE = 0.9
SURE_OF_SCRIPT = 0.7  # where the letters alone leave few languages
NO_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<<[^<>\n]*>>|\$[^$\n]+\$|<[^<>\n]{1,200}>"
    r"|\S*[_{}\\@]\S*",
                      re.DOTALL)  # fmt: skip
# One of these is in all of the above, and most texts have none: to look for one takes a tenth of the time.
NO_LETTER = re.compile(r"[`<$_{}\\@]|://")
CODE = re.compile(r"^\s*(?:def |class |import |from \w+ import|#include|function |SELECT |public |var |let "
    r"|const )|[;{]\s*$",
                  re.MULTILINE)  # fmt: skip
SIGNS = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def language_of(text: str) -> str:
    """Return the language of a text as two letters of ISO 639-1, empty where it is too short or not sure enough."""
    begins = text[:READ]
    if CODE.search(begins):
        return ""
    begins = (NO_PROSE.sub(" ", begins) if NO_LETTER.search(begins) else begins)[:JUDGED]
    letters = sum(map(str.isalpha, begins))
    is_ascii = begins.isascii()
    # Thai and Hindi write vowels with marks, which are no letters.
    if letters < 0.5 * (len(begins) - begins.count(" ")):
        return ""
    if is_ascii and letters >= LEAST_LETTERS / 2 and is_english(begins):
        return "en"
    if letters < LEAST_LETTERS and (is_ascii or len(SIGNS.findall(begins)) < LEAST_SIGNS):
        return ""
    name, sure = detector().classify(begins)
    is_latin = is_ascii or name in LATIN
    return AS.get(name, name) if sure >= (SURE if is_latin else SURE_OF_SCRIPT) else ""


# Words that hardly any other language has. They tell nine English texts of ten in a tenth of the detector's time.
ENGLISH = frozenset(
    "the of and is that with for you are what how this was which from have does will would should there their they it "
    "has been can each many much if my your his her were when who where why".split()
)


def is_english(begins: str) -> bool:
    """Return whether a text is English beyond doubt, by the words that carry its grammar."""
    words = begins.lower().split()
    seen = [word for word in words if word in ENGLISH]
    return len(seen) >= 0.15 * len(words) and len(set(seen)) >= 3


LATIN = frozenset("cs da de en es fi fr hu id it ms nl no pl pt ro sk sv tr vi".split())


@cache
def detector() -> Any:
    """Return the detector. Takes half a second and 100 MiB, once a process."""
    import numpy as np
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    made.set_languages(LANGUAGES)
    # The halves that it keeps are made floats for each text, a fifth of its time. 14 MB once say the same.
    made.nb_ptc = np.ascontiguousarray(made.nb_ptc, np.float32)
    return made


def named(code: str) -> str:
    """Return what a language is called in English."""
    return NAMES.get(code, code)
