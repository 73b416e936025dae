"""Shapes: each way in which people keep questions and answers, told by its columns and read without loss."""

import json
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import UserError
from curator.formats import Record, Refusal, find_columns, rows, to_line, to_row, to_rows

HI, HELLO = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
SUM, FOUR = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}
BRIEF = {"role": "system", "content": "Be brief."}
ODD = st.sampled_from(
    [None, "", " ", "0", "a, b,a", " Draft ", "\0", "\ud800", "é", 0, 7, 2.5, True, [], [HI], {"a": 1}]
)
NAMES = ("id", "system", "source", "tags", "status", "notes", "history", "rejected", "city", "n")


def row_of(fields, **options):
    """Return the pair of one record, its shape found by its columns."""
    return to_row(Record(1, fields), find_columns(fields, **options))


@pytest.mark.parametrize("shape, fields", [
    ("qa", {"Question": "2+2?", "Answer": "4"}),
    ("qa", {"prompt": "2+2?", "response": "4"}),
    ("qa", {"input": "2+2?", "output": "4"}),
    ("qa", {"title": "2+2?", "body": "4"}),
    ("qa", {"parent": "2+2?", "reply": "4"}),
    ("alpaca", {"instruction": "2+2?", "input": "", "output": "4"}),
    ("openorca", {"id": "flan.1", "system_prompt": "", "question": "2+2?", "response": "4"}),
    ("prompt-completion", {"prompt": "2+2?", "completion": "4"}),
    ("prompt-completion", {"prompt": [SUM], "completion": [FOUR]}),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "value": "2+2?"}]}, FOUR]}),
    ("sharegpt", {"conversation": [{"human": "2+2?", "assistant": "4"}]}),
    ("sharegpt", {"conversation": [{"system": "", "input": "2+2?", "output": "4"}]}),
    ("messages", {"messages": [SUM, FOUR]}),
    ("messages", {"messages": json.dumps([SUM, FOUR])}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]}),
    ("guanaco", {"text": "### Human: 2+2?### Assistant: 4"}),
    ("guanaco", {"text": "### Instruction:\n2+2?\n\n### Response:\n4"}),
    ("guanaco", {"text": "\n\nHuman: 2+2?\n\nAssistant: 4"}),
    ("guanaco", {"text": "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"}),
    ("guanaco", {"text": "<bos><start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n4<end_of_turn>\n"}),
    ("guanaco", {"text": "<|user|>\n2+2?</s>\n<|assistant|>\n4</s>"}),
])  # fmt: skip
def test_a_shape_is_told_by_its_columns(shape, fields):
    row = row_of(fields)
    assert (find_columns(fields).shape, row.question, row.answer, row.meta) == (shape, "2+2?", "4", {})


@pytest.mark.parametrize("fields", [
    {"messages": [BRIEF, HI, HELLO, SUM, FOUR]},
    {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"},
                       {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "2+2?"},
                       {"from": "gpt", "value": "4"}]},
    {"system": "Be brief.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
                                              {"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
    {"prompt": [BRIEF, HI, HELLO, SUM], "completion": [FOUR]},
    {"prompt": [BRIEF, HI, HELLO, SUM], "chosen": [FOUR], "rejected": [HELLO]},
    {"chosen": [BRIEF, HI, HELLO, SUM, FOUR], "rejected": [BRIEF, HI, HELLO, SUM, HELLO]},
    {"instruction": "2+2?", "input": "", "output": "4", "system": "Be brief.", "history": [["Hi", "Hello"]]},
    {"text": "Be brief.\n### Human: Hi\n### Assistant: Hello\n### Human: 2+2?\n### Assistant: 4"},
    {"text": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] 2+2? [/INST] 4 </s>"},
    {"text": "<|begin_of_text|>" + "<|eot_id|>".join(
        f"<|start_header_id|>{turn['role']}<|end_header_id|>\n\n{turn['content']}"
        for turn in (BRIEF, HI, HELLO, SUM, FOUR)) + "<|eot_id|>"},
])  # fmt: skip
def test_each_conversation_keeps_its_system_message_and_its_earlier_turns(fields):
    row = row_of(fields)
    assert (row.system, row.history, row.question, row.answer) == ("Be brief.", (HI, HELLO), "2+2?", "4")


def test_a_preference_is_told_before_its_messages():
    """LLaMA-Factory's were read as conversations that end with a question, so every row was refused."""
    assert find_columns(["conversations", "chosen", "rejected"]).shape == "preference"
    assert find_columns(["prompt", "chosen", "rejected"]).shape == "preference"


@pytest.mark.parametrize("fields, rejected", [
    ({"prompt": "2+2?", "chosen": "4", "rejected": "5"}, "5"),
    ({"prompt": [SUM], "chosen": [FOUR], "rejected": [HELLO]}, "Hello"),
    ({"prompt": "2+2?", "chosen": [SUM, FOUR], "rejected": [SUM, HELLO]}, "Hello"),  # as UltraFeedback has it
    ({"input": {"messages": [SUM]}, "preferred_output": [FOUR], "non_preferred_output": [HELLO]}, "Hello"),  # OpenAI
    ({"conversations": [{"from": "human", "value": "2+2?"}], "chosen": {"from": "gpt", "value": "4"},
      "rejected": {"from": "gpt", "value": "5"}}, "5"),  # LLaMA-Factory
    ({"messages": [SUM], "chosen": "4", "rejected": "5"}, "5"),
    ({"messages": [SUM, FOUR], "chosen": [SUM, FOUR], "rejected": [SUM, HELLO]}, "Hello"),
    ({"messages": [SUM, FOUR], "rejected": "5"}, "5"),
    ({"chosen_messages": [SUM, FOUR], "rejected_messages": [SUM, HELLO]}, "Hello"),
    ({"question": "2+2?", "response_j": "4", "response_k": "5"}, "5"),
    ({"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2+2?\n\nAssistant: No."}, "No."),
])  # fmt: skip
def test_the_chosen_answer_is_the_pair_and_the_rejected_one_is_kept(fields, rejected):
    row = row_of(fields)
    assert (row.question, row.history, row.answer, row.rejected) == ("2+2?", (), "4", rejected)


def test_the_label_of_a_kto_row_is_its_status():
    good, bad = ({"prompt": "2+2?", "completion": a, "label": label} for a, label in (("4", True), ("5", False)))
    assert [(row_of(f).status, row_of(f).tags) for f in (good, bad)] == [("draft", ()), ("rejected", ())]


def test_with_each_turn_a_conversation_is_a_pair_for_every_answer():
    fields = {"id": "c7", "messages": [BRIEF, HI, HELLO, SUM, FOUR]}
    first, last = to_rows(Record(1, fields), each_turn=True)
    assert (first.question, first.history, first.system, first.key) == ("Hi", (), "Be brief.", "c7#1")
    assert (last.question, last.history, last.system, last.key) == ("2+2?", (HI, HELLO), "Be brief.", "c7#3")


def test_an_answer_of_weight_0_is_not_learnt_and_stays_in_the_history():
    fields = {"messages": [HI, HELLO | {"weight": 0}, SUM, FOUR | {"weight": 1}]}
    (row,) = to_rows(Record(1, fields), each_turn=True)
    assert (row.answer, row.history) == ("4", (HI, HELLO))
    assert row.meta == {"turns": [{}, {"weight": 0}, {}, {"weight": 1}]}
    assert "weight 0 on its last answer" in row_of({"messages": [SUM, FOUR | {"weight": 0}]}).reason


def test_a_field_that_no_shape_knows_is_kept_as_it_is():
    row = row_of({"q": "2+2?", "a": "4", "score": 0.5, "who": {"name": "Zoë"}, "empty": "", "none": None})
    assert row.meta == {"score": 0.5, "who": {"name": "Zoë"}}
    assert "kept as they are: score" in str(find_columns({"q": 1, "a": 1, "score": 1}))


@pytest.mark.parametrize("fields, reason", [
    ({"messages": [SUM, {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "calls a tool in message 2"),
    ({"messages": [SUM, {"role": "tool", "content": "4"}]}, "has the role 'tool' in message 2"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, FOUR]},
     "holds image_url in message 1, and a pair keeps text only"),
    ({"text": "First words.\n<|im_start|>user\nHi<|im_end|>"}, "has a text without turns"),
    ({"messages": [SUM, {"role": "narrator", "content": "4"}]}, "has the role 'narrator' in message 2"),
    ({"conversations": [{"from": "gpt", "value": "Hello"}]}, "no question before its last answer"),
    ({"conversations": [{"from": "human", "value": "Hi"}]}, "ends with a turn of the user"),
    ({"text": "Just some words."}, "has a text without turns"),
    ({"chosen": [HI, HELLO], "rejected": [SUM, FOUR]}, "differs from the chosen one before its last turn"),
    ({"q": "2+2?", "a": "4", "nul": ["\0"]}, "holds a NUL character"),
    ({"q": "2+2?", "a": "4", "deep": json.loads("[" * 200 + "]" * 200)}, "more than 100 levels deep"),
])  # fmt: skip
def test_a_record_that_is_no_pair_says_why(fields, reason):
    found = row_of(fields)
    assert isinstance(found, Refusal) and reason in found.reason


def test_a_shape_and_columns_can_be_named():
    fields = {"question": "no", "answer": "no", "Frage": "2+2?", "Antwort": "4"}
    row = row_of(fields, mapping={"question": "Frage", "answer": "Antwort"})
    assert (row.question, row.answer, row.meta) == ("2+2?", "4", {"question": "no", "answer": "no"})
    both = {"messages": [HI, HELLO], "prompt": "2+2?", "completion": "4"}
    assert row_of(both).question == "Hi" and row_of(both, shape="prompt-completion").question == "2+2?"
    assert row_of({"dialogue": [SUM, FOUR]}, mapping={"messages": "dialogue"}).answer == "4"
    with pytest.raises(
        UserError, match="does not have the columns of alpaca: 'instruction' and 'output'. It has: messages"
    ):
        find_columns(both, shape="alpaca")
    with pytest.raises(UserError, match="can't be read as 'excel'. Choose one of: preference, messages, sharegpt"):
        find_columns(both, shape="excel")


@pytest.mark.parametrize("format", ["messages", "prompt-completion", "alpaca", "sharegpt", "qa"])
def test_what_is_written_in_a_shape_is_read_back(format):
    chat = [BRIEF, HI, HELLO, {"role": "user", "content": " Grüß\r\ndich 👋 "}, FOUR]
    row = row_of(json.loads(to_line(chat, format)))
    assert (row.system, row.history, row.question, row.answer) == ("Be brief.", (HI, HELLO), " Grüß\r\ndich 👋 ", "4")


@given(st.fixed_dictionaries({"question": ODD | st.text(), "answer": ODD | st.text()}),
       st.dictionaries(st.sampled_from(NAMES), ODD))  # fmt: skip
def test_a_record_of_texts_alone_is_read_as_any_other(words, others):
    """Such records have a way of their own, which is quicker and must not differ."""
    fields = words | others
    with patch.object(rows, "plain_row", return_value=None):
        expected = row_of(fields)
    assert row_of(fields) == expected
