"""Checks of an answer beside its question: empty, an echo, a refusal, cut off. Each returns what it saw, or nothing."""

from __future__ import annotations

import re

from curator import text
from curator.flags.rules import Rules
from curator.flags.said import Texts, count_tokens, quoted

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
ASKS_FOR_NOTHING = re.compile(r"\b(?:which|how many|any|list|find|identify|classify|code|value)\b", re.IGNORECASE)


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
    "will would can could should may might than then because if when while into about between your our their its his "
    "my this these those such also not very more".split()
)
FORMULA = re.compile(r"[{};=<>\\|]|^\s{4}|\(\)|http")
LEAST_PROSE = 80  # characters
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
