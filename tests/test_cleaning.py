"""Cleaning: what each rule does to a text, and that nothing is changed unseen."""

import pytest

from curator import cleaning, history
from curator.errors import UserError
from curator.search import Selection


@pytest.mark.parametrize("before, after", [
    ("<p>One.</p><p>Two.</p>", "One.\n\nTwo."),
    ("Line<br>break", "Line\nbreak"),
    ("See <a href='x'>our site</a> &amp; more&nbsp;there", "See our site & more there"),
    ("if a < b and c > d: List<String>", "if a < b and c > d: List<String>"),
    ("x <- y, 5 & 6, AT&T", "x <- y, 5 & 6, AT&T"),
    ("<ul><li>a</li><li>b</li></ul>", "a\n\nb"),
])  # fmt: skip
def test_html_becomes_text_and_code_stays(before, after):
    assert cleaning.strip_html(before) == after


@pytest.mark.parametrize("before, after", [
    ("  two  spaces \r\nand\ttabs \n\n\n\nend  ", "two spaces\nand tabs\n\nend"),
    ("def f():\n    return 1", "def f():\n    return 1"),
])  # fmt: skip
def test_white_space_is_folded_but_indents_are_kept(before, after):
    assert cleaning.fold_whitespace(before) == after


@pytest.mark.parametrize("before, after", [
    ("Thank you for contacting Millbrook Library! We open at nine.", "We open at nine."),
    ("We open at nine. If you have any further questions, please do not hesitate to contact us.", "We open at nine."),
    ("As an AI language model, I think that tea is fine.", "I think that tea is fine."),
    ("Great question! it depends.", "It depends."),
    ("Sure! Here you go. I hope this helps!", "Here you go."),
    ("Thank you for thinking of us. We take clean books.", "Thank you for thinking of us. We take clean books."),
    ("Certainly a good book is never late.", "Certainly a good book is never late."),
])  # fmt: skip
def test_boilerplate_goes_and_what_only_looks_like_it_stays(before, after):
    assert cleaning.strip_boilerplate(before) == after


def test_removing_a_text_removes_exactly_it():
    """The tool that this one follows deleted everything up to the match too."""
    rule = cleaning.removing("BADTEXT")
    assert rule.clean("keep me BADTEXT a1") == "keep me a1"
    assert rule.clean("nothing  here") == "nothing  here"


@pytest.mark.parametrize("name, value", [
    ("html", "<p>a &amp; b</p> <p> c </p>"), ("html", "1 < 2 &nbsp;"),
    ("whitespace", " \r\n x \t y "), ("whitespace", ""),
    ("boilerplate", "Sure! Great question! Thanks for your question. Well."),
    ("boilerplate", "Hello.  I hope this helps! Let me know if you have any questions."),
])  # fmt: skip
def test_a_rule_applied_twice_changes_nothing_the_second_time(name, value):
    clean = cleaning.RULES[name].clean
    assert clean(value) != value or not value
    assert clean(clean(value)) == clean(value)


def test_a_preview_shows_each_difference_and_changes_nothing(session, make_pair):
    pair = make_pair("<b>Open?</b>", "Yes &amp; no")
    make_pair("Plain?", "Plain.")
    preview = cleaning.preview(session, ["html", "whitespace"], Selection())
    assert (preview.rows, preview.counts) == (1, {"html": 1, "whitespace": 0})
    assert [(c.field, c.before, c.after) for c in preview.changes] == [
        ("question", "<b>Open?</b>", "Open?"), ("answer", "Yes &amp; no", "Yes & no"),
    ]  # fmt: skip
    assert pair.question == "<b>Open?</b>"


def test_cleaning_is_one_change_leaves_out_what_it_is_told_and_can_be_undone(session, make_pair):
    one, other = make_pair("A <i>b</i>?"), make_pair("C <i>d</i>?")
    changeset = cleaning.apply(session, ["html"], Selection(), "ada", except_ids={other.id})
    assert (changeset.rows, one.question, other.question) == (1, "A b?", "C <i>d</i>?")
    history.undo(session, changeset.id, "ada")
    assert one.question == "A <i>b</i>?"


def test_a_pair_of_which_nothing_would_be_left_is_not_touched(session, make_pair):
    pair = make_pair(answer="<p></p>")
    preview = cleaning.preview(session, ["html"], Selection())
    assert (preview.rows, preview.emptied) == (0, 1)
    assert cleaning.apply(session, ["html"], Selection(), "ada") is None
    assert pair.answer == "<p></p>" and len(history.recent(session)) == 1


def test_an_unknown_rule_and_an_empty_text_are_refused(session):
    with pytest.raises(UserError, match="no rule 'shine'. Choose from: html"):
        cleaning.preview(session, ["shine"], Selection())
    with pytest.raises(UserError, match="The text to remove is empty"):
        cleaning.preview(session, ["remove: "], Selection())


def test_sentences_that_open_or_close_many_answers_are_suggested(session, make_pair):
    for i in range(6):
        make_pair(answer=f"Welcome to our desk. Number {i} is here.")
    assert cleaning.suggestions(session, Selection()) == [("Welcome to our desk.", 6)]
