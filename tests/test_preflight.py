"""Preflight: what a trainer would refuse, named before it does."""

import pytest

from curator.errors import UserError
from curator.formats import preflight
from curator.formats.preflight import DISORDER, EMPTY, NOT_ALTERNATING, NOT_FROM_USER, TOO_LONG, Report, faults


def example(*turns, number=1):
    """Return an example from turns written as "user: Hello"."""
    roles, texts = zip(*(turn.split(": ", 1) for turn in turns), strict=True)
    return number, roles, texts


GOOD = ("user: Wo?", "assistant: Hier.")


@pytest.mark.parametrize("turns, found", [
    (["user: a", "assistant: b"], []),
    (["system: s", "user: a", "assistant: b", "user: c", "assistant: d"], []),
    (["user: a", "assistant:  "], [EMPTY]),
    (["user: a", "assistant: ", "user: c", "assistant: d"], [EMPTY]),
    (["user: a", "system: s", "assistant: b"], [DISORDER, NOT_ALTERNATING]),
    (["user: a", "assistant: b", "user: c"], [DISORDER, NOT_ALTERNATING]),
    (["assistant: a", "user: b", "assistant: c"], [NOT_FROM_USER]),
    (["user: a", "user: b", "assistant: c"], [NOT_ALTERNATING]),
    (["user: a", "assistant: b", "assistant: c"], [NOT_ALTERNATING]),
])  # fmt: skip
def test_a_chat_is_refused_for_what_is_wrong_with_it(turns, found):
    _, roles, texts = example(*turns)
    assert sorted(faults(roles, texts, tokens=10)) == sorted(found)


def test_a_chat_is_too_long_above_the_limit_and_not_at_it():
    _, roles, texts = example(*GOOD)
    assert (faults(roles, texts, 65_536), faults(roles, texts, 65_537)) == ([], [TOO_LONG])


def test_a_report_counts_and_names_the_first_three():
    report = Report()
    blank = ("user: a", "assistant: ")
    report.add([example(*(GOOD if number % 4 else blank), number=number) for number in range(1, 21)])
    (finding,) = report.findings
    assert (report.examples, finding.count, finding.first) == (20, 5, [4, 8, 12])
    assert list(preflight.sentences(report)) == [
        "About 35 tokens, 2 in the longest. Estimated at four bytes each; flask export --tokenizer NAME counts.",
        "OpenAI's fine-tuning API would refuse 5: an empty assistant message (pairs 4, 8, 12, …).",
    ]


def test_fewer_than_ten_examples_are_refused_as_a_file():
    report = Report()
    report.add([example(*GOOD)] * 9)
    assert list(preflight.sentences(report))[1:] == [
        "OpenAI's fine-tuning API would refuse the file: it has fewer than 10 examples."
    ]
    report.add([example(*GOOD)])
    assert list(preflight.sentences(report))[1:] == [
        "OpenAI's fine-tuning API and a strict chat template would take all of it."
    ]


def test_an_export_ends_with_the_report_on_standard_error(runner, make_pair):
    make_pair("Wo?", "Hier.", earlier=[{"role": "user", "content": "Hello?"}])
    result = runner.invoke(args=["export", "--jsonl"])
    assert result.stdout.count("\n") == 1
    assert result.stderr.splitlines() == [
        "1 line, 1 of them drafts that nobody approved yet.",
        "About 4 tokens, 4 in the longest. Estimated at four bytes each; flask export --tokenizer NAME counts.",
        "OpenAI's fine-tuning API would refuse the file: it has fewer than 10 examples.",
        "A strict chat template would refuse 1: turns of user and assistant that don't alternate (pair 1).",
    ]


def test_a_tokenizer_counts_with_its_own_template(runner, make_pair, tokenizer):
    make_pair("one two", "three")
    result = runner.invoke(args=["export", "--tokenizer", str(tokenizer), "-o", "pairs.jsonl"])
    assert result.exit_code == 0, result.output
    assert "\n5 tokens, 5 in the longest.\n" in result.stderr


def test_a_tokenizer_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no tokenizer '.*nowhere'"):
        preflight.tokens_by(str(tmp_path / "nowhere"))


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer that makes one token of a word, and whose template writes each role as a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?")
    fast.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    fast.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"
