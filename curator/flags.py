"""What can be told of one pair by looking at it: empty, cut off, a refusal, private. Knows its texts, no other pair.

A false alarm costs a person's time and trust, so a check keeps silent where it isn't sure. `bench/checks.py` counts
what each costs, and docs/checks.md says how often each was right on real data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

from curator import text
from curator.language import language_of, named
from curator.private import KINDS, find_private

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


class Texts(NamedTuple):
    """What is said in a pair, and in which data set."""

    question: str
    answer: str
    system: str
    history: list[dict[str, str]]
    dataset_id: int


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


def find(pair: Texts, rules: Rules) -> dict[str, str]:
    """Return the flags of a pair by their names, each with what a person would want to know."""
    looks = (
        ("empty", empty(pair)), ("echo", echo(pair)), ("refusal", refusal(pair)),
        ("truncated", truncated(pair.answer, rules)), ("mojibake", mojibake(pair)), ("language", language(pair, rules)),
        *private(pair), ("long", too_long(pair, rules)), ("roles", roles(pair)),
    )  # fmt: skip
    return {name: detail for name, detail in looks if detail}


def keys(pair: Texts) -> tuple[int, int]:
    """Return what stands for the question, in its data set and after what came before it, and for the answer.

    Each 63 bits of a hash: two that are equal say the same but for case, white space and the mark at the end. What is
    folded further makes 2 + 2 and 2 - 2 one question.
    """
    asked = f"{pair.dataset_id}\0{pair.system}\0{pair.history or ''}\0{folded(pair.question)}"
    return hashed(asked), hashed(folded(pair.answer))


def folded(said: str) -> str:
    """Return a text without what no reader notices."""
    return " ".join(said.lower().split()).rstrip(" .!?。？！")


def hashed(said: str) -> int:
    return int.from_bytes(blake2b(said.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1


def parts(pair: Texts) -> Iterator[tuple[str, str]]:
    """Yield the texts of a pair, each with what it is called."""
    yield "question", pair.question
    yield "answer", pair.answer
    if pair.system:
        yield "system", pair.system
    for number, turn in enumerate(pair.history, 1):
        yield f"turn {number}", turn.get("content", "")


def quoted(words: str, most: int = 40) -> str:
    """Return the beginning of some words in quotes, on one line."""
    line = " ".join(words[: 4 * most].split())
    return f"“{line if len(line) <= most else line[: most - 1] + '…'}”"


PLACEHOLDER = re.compile(
    r"\W*(?:n/?a|none|null|nan|nil|tbd|todo|undefined|no (?:answer|response|output|input)|empty|lorem ipsum.*"
    r"|<?(?:no ?(?:input|output)|answer|response|output|insert .{0,30} here)>?)\W*",
    re.IGNORECASE | re.DOTALL,
)
AT_LENGTH = re.compile(
    r"(?:please\s+)?(?:write|compose|draft|describe|explain|elaborate|discuss|summari[sz]e)\b"
    r"(?!.{0,60}\b(?:word|equation|formula|expression|number|title|name|letter|symbol|code|integer|fraction"
    r"|digit)s?\b)",
    re.IGNORECASE,
)


SYMBOL = re.compile(r"[+*/=<>^%\u2000-\U0001faff]")  # emoji are answers, and so are signs
NOTHING = ("none", "null", "nan", "nil", "undefined")
ASKS_FOR_NOTHING = re.compile(
    r"\b(?:which|how many|any|list|find|identify|classify|code|value)\b", re.IGNORECASE
)  # fmt: skip


def empty(pair: Texts) -> str:
    """Say which text is as good as empty."""
    question, answer = pair.question.strip(), pair.answer.strip()
    for name, said in (("question", question), ("answer", answer)):
        if len(said) <= 80 and not any(map(str.isalnum, said)) and not SYMBOL.search(said):
            return f"the {name} has no word"
    if len(question) < 3 and question.isascii() and not pair.history:
        return f"the question is {quoted(question)}"
    if len(answer) <= 80 and PLACEHOLDER.fullmatch(answer):
        word = answer.strip(".!<>").lower()
        is_asked_for = word in question.lower() or word in NOTHING and ASKS_FOR_NOTHING.search(question)
        if not is_asked_for:
            return f"the answer is {quoted(answer)}"
    if len(answer) < 12 and answer.isascii() and answer.isalpha() and AT_LENGTH.match(question):
        return f"{quoted(question, 30)} is answered by one word"
    return ""


LEAST_ECHO = 12  # letters and digits of a question that an answer may repeat by chance
ASKED = re.compile(
    r"\b(?:repeat|proofread|correct|edit|copy|echo|rewrite|fix|grammar|punctuat|capitali[sz]e|translate"
    r"|rephrase|convert|format|palindrome|quote|sort|alphabeti|spell)",
    re.IGNORECASE,
)


def echo(pair: Texts) -> str:
    """Say that the answer is the question, or begins with all of it and adds next to nothing."""
    question, answer = pair.question, pair.answer
    if len(answer) < LEAST_ECHO or len(answer) < 0.6 * len(question):
        return ""
    # What is equal begins alike, and to look there first costs a hundredth of comparing all.
    first = WORD.search(question)
    if first is None or first[0].lower() not in answer[: 80 + len(first[0])].lower():
        return ""
    if ASKED.search(question[:2000]):
        return ""
    asked, said = text.normalise(question), text.normalise(answer)
    if len(asked) < LEAST_ECHO or not said.startswith(asked):
        return ""
    if asked == said:
        return "the answer is the question, word for word"
    added = said[len(asked) :].split()
    if said[len(asked)] == " " and len(added) <= 3 and len(asked.split()) > 6:
        return f"the answer is the question and {quoted(' '.join(added))}"
    return ""


WORD = re.compile(r"\w+")
I_AM = r"\bi(?: am|['’]m) "
CAN_NOT = (
    r"(?:cannot|can['’]?t|can not|am unable to|am not able to|['’]m unable to|['’]m not able to|won['’]t|will not)"
)
DECLINES = re.compile(
    "|".join((
        r"as an? (?:ai|artificial intelligence|(?:large )?language model|ai[- ]based)\b"
        r"(?=[ ,](?:language|model|assistant|i\b|chat|system|text|my\b|it is)|,)",
        I_AM + r"(?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b",
        I_AM + r"(?:(?:very |so |really )?sorry|afraid)[,.]?(?: but)?(?: that)? as an",
        I_AM + r"(?:(?:very |so |really )?sorry|afraid)[,.]?(?: but)?(?: that)? i ?(?:" + CAN_NOT
        + r"|don['’]?t have|do not have|am not programmed|couldn['’]t|could not|didn['’]t quite)",
        r"\bi ?" + CAN_NOT + r" (?:be able to )?(?:fulfil|comply|assist|provide (?:that|you with|instructions)|generate"
        r"|help you (?:with|create|make|build)|answer (?:that|this)|create content|engage in|participate in|discuss"
        r"|support|write|access|process|browse|open|view|see (?:the|any|images))",
        r"\bi (?:do not|don['’]t) have (?:personal|access to|the ability|feelings|real[- ]time)",
        r"\bno puedo (?:ayudar|cumplir)|como modelo de lenguaje|en tant que (?:modèle de langage|ia\b)",
        r"als ki[- ](?:sprachmodell|modell)|作为(?:一个|一名)?(?:人工智能|AI|语言模型)|抱歉，我(?:无法|不能)",
        r"申し訳ありませんが、(?:私は|その)",
    )),
    re.IGNORECASE,
)  # fmt: skip
# One of these is in all of the above, in small letters, and is found in a tenth of the time.
HINT = re.compile(r"\bas an? |\bi['’ ]|modelo de|no puedo|en tant|als ki|作为|抱歉|申し訳")
ROLE_PLAY = re.compile(
    r"\b(?:write|compose|draft|email|e-mail|letter|message|reply to|apolog|dialogue|conversation|story|roleplay"
    r"|role-play|pretend|rewrite|edit|paraphrase|rephrase|translate)",
    re.IGNORECASE,
)
OPENING = 250  # characters at the beginning of an answer, where one declines


def refusal(pair: Texts) -> str:
    """Say in which words the answer declines. In the first person anywhere else it may be a character who speaks."""
    opening = pair.answer[:OPENING]
    if not HINT.search(opening.lower()):
        return ""
    match = DECLINES.search(opening)
    if match is None:
        return ""
    if ROLE_PLAY.search(pair.question[:400]) and " model" not in match[0].lower() and match.start() > 0:
        return ""
    return quoted(opening[match.start() :], 60)


ROUND = frozenset(n for base in (128, 256, 512, 1000) for n in (base, 2 * base, 4 * base, 8 * base, 16 * base)) | {
    500, 1500, 2500, 3000, 5000, 10_000,
}  # fmt: skip
ENDS = frozenset(".!?…。！？।؟:;)]}\"'”’»」』】>`*_|~%°$€£/=“#。")
LIST = re.compile(r"\s*(?:[-*•–—+>#|]|\d+[.):]|[A-Za-z][.)]\s|\w[\w ]{0,30}:)")
OPEN_WORDS = frozenset(
    "a an the and or but of to in on at for with from by as that which who whose is are was were be been has have had "
    ""
    "will would can could should may might than then because if when while into about between your our their its his "
    "my this these those such also not very more".split()
)
LEAST_PROSE = 80
SENTENCE_ENDS = re.compile(r"[a-z)\"”][.!?][\"”’)]* +(?=[A-Z\"“(0-9])")


def truncated(answer: str, rules: Rules) -> str:
    """Say by what an answer looks cut off. Lists, code, formulas and titles end as they like."""
    end = answer.rstrip()
    if end.count("```") % 2:
        return "a code fence is left open"
    last = end[-1:]
    if not last or (last in ENDS and last not in "\"'”’") or "```" in end[-400:]:
        return ""
    line = end[end.rfind("\n") + 1 :]
    if not (last.isalpha() or last == ",") or len(end) < LEAST_PROSE or LIST.match(line) or FORMULA.search(line):
        return ""
    size = len(answer)
    if size in ROUND and size >= 256:
        return f"exactly {size:,} characters, and no end of a sentence"
    if rules.tokenizer and size > 400:
        number = count_tokens(answer, rules.tokenizer)
        if number in ROUND:
            return f"exactly {number:,} tokens, and no end of a sentence"
    if not last.isascii() and not last.islower():
        return ""
    if last == ",":
        # A letter ends "Yours sincerely," and verse breaks where it likes.
        return "it ends with a comma" if len(line) > 60 else ""
    words = line.split()
    word = words[-1].strip("\"'“”‘’(").lower()
    is_prose = len(words) >= 8 and bool(SENTENCE_ENDS.search(line))
    if len(words) >= 6 and word in OPEN_WORDS and line[-len(word) :].islower():
        return f"it ends with “{word}”"
    if is_prose and (line.count("(") > line.count(")") or line.count("[") > line.count("]")):
        return "a bracket is left open"
    if is_prose and (line.count("“") > line.count("”") or line.count('"') % 2):
        return "a quote is left open"
    if is_prose:
        rest = line[[m.end() for m in SENTENCE_ENDS.finditer(line)][-1] :].split()
        if len(rest) >= 3 and line[-len(word) :].islower():
            return f"the last sentence has no end: {quoted(' '.join(rest[-5:]))}"
    return ""


FORMULA = re.compile(r"[{};=<>\\|]|^\s{4}|\(\)|http")
# Where none of these is, no text was read in the wrong encoding. ftfy takes ten times as long to say so.
BROKEN = re.compile(
    "[\u0080-\u009f\u00c2-\u00c6\u00c8\u00ce-\u00d1\u00d8\u00d9\u00e2-\u00e5\u00ef\u0102\u010f\u0142\u0412\u0413\u0420\u0421\ufffd]"
    ""
)


def mojibake(pair: Texts) -> str:
    """Say what a text holds instead of what was meant."""
    for name, said in parts(pair):
        if said.isascii() or not BROKEN.search(said):
            continue
        place = said.find("\ufffd")
        if place >= 0:
            return f"{name}: {quoted(said[max(place - 15, 0) : place + 15])} has lost a character"
        from ftfy import fix_encoding
        from ftfy.badness import is_bad

        if is_bad(said):
            for line in said.split("\n"):
                if is_bad(line) and (mended := fix_encoding(line)) != line:
                    start = next((i for i, (a, b) in enumerate(zip(line, mended, strict=False)) if a != b), 0)
                    start = max(start - 10, 0)
                    return (
                        f"{name}: {quoted(line[start : start + 25], 25)} for {quoted(mended[start : start + 22], 22)}"
                    )
    return ""


OF_LANGUAGES = re.compile(
    r"translat|übersetz|tradui|traduc|traduz|перевед|翻译|翻訳|번역|\b(?:english|french|spanish|german|italian|portuguese|"
    r"dutch|russian|chinese|mandarin|japanese|korean|arabic|hindi|latin|greek|swedish|turkish|polish"
    r"|vietnamese|indonesian|"
    r"englisch|deutsch|französisch|spanisch|anglais|français|espagnol|allemand|inglés|español|francés"
    r"|alemán|language|"
    r"haiku|lyrics)\b|英语|英文|中文|日语|日本語|英語|한국어|영어",
    re.IGNORECASE,
)  # fmt: skip


def language(pair: Texts, rules: Rules) -> str:
    """Say in which languages question and answer are, where these are not one, or not that of the data set."""
    main = rules.main.get(str(pair.dataset_id), "")
    answer = language_of(pair.answer)
    if answer and answer == main:
        # Most pairs end here. A question in another language is as much of a mixture.
        question = language_of(pair.question) if not pair.question.isascii() or len(pair.question) > 30 else ""
        if question in ("", answer):
            return ""
    else:
        question = language_of(pair.question)
    if OF_LANGUAGES.search(pair.question[:2000]) or OF_LANGUAGES.search(pair.system[:2000]):
        return ""
    if question and answer and question != answer:
        return f"asked in {named(question)}, answered in {named(answer)}"
    other = answer or question
    if main and other and other != main:
        return f"in {named(other)}, and most of the data set is in {named(main)}"
    return ""


INVENTED = re.compile(r"\b(?:generate|create|suggest|invent|make|come up with|random"
    r"|strong)\b.{0,60}\b(?:password|key|token)",
                      re.IGNORECASE)  # fmt: skip


def private(pair: Texts) -> Iterator[tuple[str, str]]:
    """Yield what is said of personal data, and of secrets. What was found is counted, not repeated."""
    kinds: dict[str, set[str]] = {}
    for name, said in parts(pair):
        for span in find_private(said):
            if span.kind == "key" and INVENTED.search(pair.question[:500]):
                continue
            kinds.setdefault(span.kind, set()).add(name)
    for flag, of_it in (("private", [kind for kind in kinds if kind != "key"]), ("secret", kinds.keys() & {"key"})):
        yield flag, "; ".join(f"{KINDS[kind]} in the {' and '.join(sorted(kinds[kind]))}" for kind in of_it)


def too_long(pair: Texts, rules: Rules) -> str:
    """Say how many tokens a chat has, where these are more than the context holds."""
    # A token is one byte at least, so most are told without counting.
    if not rules.context:
        return ""
    size = sum(len(said) if said.isascii() else len(said.encode("utf-8", "replace")) for _, said in parts(pair))
    if size <= rules.context:
        return ""
    number = sum(count_tokens(said, rules.tokenizer) for _, said in parts(pair))
    if number <= rules.context:
        return ""
    return f"{'' if rules.tokenizer else 'about '}{number:,} tokens; the context is {rules.context:,}"


def count_tokens(said: str, path: str = "") -> int:
    """Count the tokens of a text by a tokenizer.json; estimate them where there is none."""
    return len(tokenizer(path).encode(said, add_special_tokens=False).ids) if path else text.estimate_tokens(said)


@cache
def tokenizer(path: str) -> Any:
    """Open a tokenizer.json, once a process."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


MARK = re.compile(
    r"<\|(?:im_start|im_end|im_sep|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|end_of_text"
    r"|user|assistant|"
    r"system|end|eom_id|endofprompt)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<bos>|<eos>|^</?s>|</s>$"
    r"|^#{2,3} ?(?:Human|Assistant|User|Instruction|Response|Input|System)\s?:",
    re.MULTILINE,
)
SPEAKS = re.compile(r"^(?:\*\*)?(?:Human|User|Assistant|AI|Bot|ChatGPT|System)(?:\*\*)?\s?:", re.MULTILINE)
DIALOGUE = re.compile(
    r"dialog|conversation|\bchat|script|transcript|interview|role|play|bot\b|between|exchange"
    r"|assistant",
    re.IGNORECASE,
)


def roles(pair: Texts) -> str:
    """Say which mark of a chat format a text holds."""
    for name, said in parts(pair):
        if ("<" in said or "[" in said or "#" in said) and (match := MARK.search(said)):
            return f"{name}: {quoted(match[0])}"
        if (
            name == "answer"
            and ":" in said
            and (match := SPEAKS.search(said))
            and not DIALOGUE.search(pair.question[:2000])
        ):
            return f"{name}: {quoted(match[0])}"
    return ""
