"""Differences, sentences, fingerprints: what is done to one text."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator import text

TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": st.text()})


@pytest.mark.parametrize("old, new, parts", [
    ("a b c", "a x c", [("same", "a "), ("delete", "b"), ("insert", "x"), ("same", " c")]),
    ("same", "same", [("same", "same")]),
    ("", "new", [("insert", "new")]),
    ("two  spaces", "two spaces", [("same", "two"), ("delete", "  "), ("insert", " "), ("same", "spaces")]),
    ("दिन", "दान", [("delete", "दिन"), ("insert", "दान")]),
    ("<b>bold</b>", "bold", [("delete", "<b>"), ("same", "bold"), ("delete", "</b>")]),
])  # fmt: skip
def test_a_difference_is_told_word_by_word(old, new, parts):
    assert text.diff(old, new) == parts


@pytest.mark.parametrize("words", [["a"], ["one", "two", "three."]])
def test_a_difference_of_long_texts_that_repeat_themselves_is_still_found_at_once(words):
    """Two megabytes of one word over and over used to keep the page waiting for minutes."""
    rng = random.Random(1)
    old, new = (" ".join(rng.choices(words, k=100_000)) for _ in range(2))
    began = time.process_time()
    found = text.diff(old, new)
    assert time.process_time() - began < 20
    assert "".join(part for op, part in found if op != "insert") == old
    assert "".join(part for op, part in found if op != "delete") == new


def test_sentences_keep_all_of_the_text():
    value = "One. Two!  Three?\n\nFour… five"
    assert text.sentences(value) == ["One. ", "Two!  ", "Three?\n\n", "Four… ", "five"]
    assert "".join(text.sentences(value)) == value


@given(st.text(), st.text(), st.just("") | st.text(), st.lists(TURN, max_size=2))
def test_a_fingerprint_is_the_same_however_it_is_asked_for(question, answer, system, history):
    chat = text.messages(question, answer, system, history)
    assert text.fingerprint_of(question, answer, system, history) == text.fingerprint(chat)


@pytest.mark.parametrize("one, folded", [
    ("Hello, World! foo_bar 42.", "hello world foo_bar 42"),
    ("«किताब» की!", "किताब की"),
    ("น้ำ", "น้ํา"),
    ("e\u0301tude", "étude"),
    ("İstanbul", "i̇stanbul"),
    ("\u0301 alone", "alone"),
    ("👩\u200d🚀 ❤\ufe0f 3\ufe0f\u20e3", "3"),
])  # fmt: skip
def test_a_mark_belongs_to_the_letter_before_it(one, folded):
    assert text.normalise(one) == folded
    assert text.normalise(folded) == folded


@pytest.mark.parametrize("value, said", [
    ("<b>", "<b>"),
    (True, "yes"),
    (["fees", "hours"], "fees, hours"),
    ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}], "user: Hi\n\nassistant: Hello."),
    ({"page": 7, "shelf": "ä"}, "page: 7\nshelf: ä"),
    (None, ""), ([], ""),
])  # fmt: skip
def test_the_value_of_any_field_is_one_text(value, said):
    assert text.flat(value) == said
