"""Checks of all texts of a pair: letters, language, personal data, length, role markers. Each returns what it saw."""

from __future__ import annotations

import re
from collections.abc import Iterator

from curator.flags.rules import Rules
from curator.flags.said import Texts, count_tokens, parts, quoted
from curator.language import language_of, named
from curator.private import KINDS, find_private

# Where none of these is, no text was read in the wrong encoding. ftfy takes ten times as long to say so.
BROKEN = re.compile(
    "[\u0080-\u009f\u00c2-\u00c6\u00c8\u00ce-\u00d1\u00d8\u00d9\u00e2-\u00e5\u00ef"
    "\u0102\u010f\u0142\u0412\u0413\u0420\u0421\ufffd]"
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
    r"translat|übersetz|tradui|traduc|traduz|перевед|翻译|翻訳|번역|英语|英文|中文|日语|日本語|英語|한국어|영어"
    r"|\b(?:english|french|spanish|german|italian|portuguese|dutch|russian|chinese|mandarin|japanese|korean|arabic|hindi"
    r"|latin|greek|swedish|turkish|polish|vietnamese|indonesian|englisch|deutsch|französisch|spanisch|anglais|français"
    r"|espagnol|allemand|inglés|español|francés|alemán|language|haiku|lyrics)\b",
    re.IGNORECASE,
)


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


INVENTED = re.compile(
    r"\b(?:generate|create|suggest|invent|make|come up with|random|strong)\b.{0,60}\b(?:password|key|token)",
    re.IGNORECASE,
)


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


MARK = re.compile(
    r"<\|(?:im_start|im_end|im_sep|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|end_of_text|user|assistant"
    r"|system|end|eom_id|endofprompt)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<bos>|<eos>|^</?s>|</s>$"
    r"|^#{2,3} ?(?:Human|Assistant|User|Instruction|Response|Input|System)\s?:",
    re.MULTILINE,
)
SPEAKS = re.compile(r"^(?:\*\*)?(?:Human|User|Assistant|AI|Bot|ChatGPT|System)(?:\*\*)?\s?:", re.MULTILINE)
DIALOGUE = re.compile(
    r"dialog|conversation|\bchat|script|transcript|interview|role|play|bot\b|between|exchange|assistant", re.IGNORECASE
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
