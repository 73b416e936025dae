"""Cleaning: what each step does to a text, and that nothing is changed unseen."""

import json
from pathlib import Path

import pytest
import regex
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curator import cleaning, history, jobs, pairs, private
from curator.cleaning import letters, literal, phrases, plain
from curator.cleaning.edits import replacements
from curator.errors import Conflict, NotFound, UserError
from curator.search import Selection

ALL = Selection()
# Pieces of what people and machines leave in texts, put together at random.
AWFUL = st.lists(
    st.sampled_from([
        "a", "b", " ", "  ", "\n", "\r\n", "\t", "\xa0", "\u200b", "\ufeff", "<", ">", "<p>", "</p>",
        "<br>", "&amp;", "&lt;", "&", "*", "**", "_", "__", "`", "```", "```\n", "~~~\n", "# ", "- ", "1. ",
        "> ", "|", "|-|-|\n", "[x](y)", "![", "](", "\\", "---\n", "===\n", "    x", "Ã¼", "â€™", "“", "ß",
        "İ", "ǆ", "ﬁ", "é", "٣", "😀", "'", "don't", "x@y.com", "+44 20 7946 0958", "4111 1111 1111 1111",
        "10.1.2.3", "DE89370400440532013000", "\x07", "~~", "<x>", "token=9f8a7b6c5d4e3f2a1b0c", "Sure! ",
        "Great question. ", "\nBest regards,\nAnn", " I hope this helps!", ". ", "end", "&#60;", "2*3*4",
        "a_b",
    ]),
    max_size=14,
).map("".join)  # fmt: skip
STEPS = [
    "remove:a", "remove:<p>", "replace:a=>aa", "replace:ab=>ba", "replace:aab=>b", "whitespace", "unicode", "html",
    "markdown", "boilerplate", "mask", "trim", "case:lower", "case:upper", "case:sentence", "case:title",
    '{"kind": "unicode", "quotes": true}', '{"kind": "mask", "region": "GB"}',
    '{"kind": "replace", "find": "A", "with": "xax", "ignore_case": true}',
    '{"kind": "remove", "find": "a", "words": true}',
]  # fmt: skip


def step(word):
    """Return the one step of a word, ready for a text."""
    return cleaning.read(word).clean()


def cleaned(word, value):
    """Return what a step makes of a text."""
    return step(word)(value)[0]


@pytest.mark.parametrize("word", STEPS)
@settings(max_examples=40, deadline=None)
@given(value=AWFUL)
def test_a_step_applied_twice_changes_nothing_the_second_time(word, value):
    clean = step(word)
    once, _ = clean(value)
    assert clean(once) == (once, 0)


@settings(max_examples=100, deadline=None)
@given(value=st.text(max_size=40), word=st.sampled_from(STEPS))
def test_any_text_at_all_is_cleaned_without_a_fault(word, value):
    changed, number = step(word)(value)
    assert (changed == value) == (number == 0)


@pytest.mark.parametrize("before, after", [
    ("<p>One.</p><p>Two.</p>", "One.\n\nTwo."),
    ("Line<br>break", "Line\nbreak"),
    ("See <a href='x'>our site</a> &amp; more&nbsp;there", "See our site & more there"),
    ("if a < b and c > d: List<String>", "if a < b and c > d: List<String>"),
    ("x <- y, 5 & 6, AT&T", "x <- y, 5 & 6, AT&T"),
    ("<ul><li>a</li><li>b</li></ul>", "a\n\nb"),
    ("<p>So:</p>\n```html\n<p>x &amp; y</p>\n```\n<b>Done</b>", "So:\n```html\n<p>x &amp; y</p>\n```\nDone"),
    ("<i>a</i>\n~~~\n<b>never closed", "a\n~~~\n<b>never closed"),
])  # fmt: skip
def test_html_becomes_text_and_code_stays(before, after):
    assert plain.strip_html(before) == after


@pytest.mark.parametrize("before, after", [
    ("# Opening hours\n\nWe open at **nine**, *not* at ~~ten~~.", "Opening hours\n\nWe open at nine, not at ten."),
    ("See [our page](https://x.org) and ![a map](m.png).", "See our page and a map."),
    ("- tea\n- milk\n  1. cold\n  2. hot", "- tea\n- milk\n  1. cold\n  2. hot"),
    ("> She said **so**.", "She said so."),
    ("| day | from |\n|---|---|\n| Mon | 9 |", "day | from\nMon | 9"),
    ("**Run** this:\n\n```py\n# a comment\nx = a**b\n```", "Run this:\n\n```py\n# a comment\nx = a**b\n```"),
    ("Call `run()` or `__init__`.", "Call run() or `__init__`."),
    ("2*3*4 = 24, a_b, x * y * z", "2*3*4 = 24, a_b, x * y * z"),
    (r"**So** \(a_1\) and \[x\].", r"So \(a_1\) and \[x\]."),
    ("**List<String>** stays", "List<String> stays"),
    ("Plain | pipes, 5 > 3,  two  spaces", "Plain | pipes, 5 > 3,  two  spaces"),
])  # fmt: skip
def test_markdown_becomes_text_and_code_and_sums_stay(before, after):
    assert plain.strip_markdown(before) == after


@pytest.mark.parametrize("before, after", [
    ("  two  spaces \r\nand\ttabs \n\n\n\nend  ", "two spaces\nand tabs\n\nend"),
    ("def f():\n    return 1", "def f():\n    return 1"),
])  # fmt: skip
def test_white_space_is_folded_but_indents_are_kept(before, after):
    assert letters.fold_whitespace(before) == after


@pytest.mark.parametrize("before, after", [
    ("schÃ¶n, itâ€™s", "schön, it’s"),
    ("“quoted” – ﬁne … ｗide", "“quoted” – ﬁne … ｗide"),
    ("naïve café, 日本語, 😀", "naïve café, 日本語, 😀"),
    ("bell\x07 and \ttab", "bell and \ttab"),
])  # fmt: skip
def test_broken_letters_are_put_right_and_sound_ones_stay(before, after):
    assert letters.mend_unicode(before) == after


def test_curly_quotation_marks_become_straight_where_asked():
    assert cleaned('{"kind": "unicode", "quotes": true}', "“It’s”") == '"It\'s"'


@pytest.mark.parametrize("before, after", [
    ("Thank you for contacting Millbrook Library! We open at nine.", "We open at nine."),
    ("We open at nine. If you have any further questions, please do not hesitate to contact us.", "We open at nine."),
    ("As an AI language model, I think that tea is fine.", "I think that tea is fine."),
    ("Great question! it depends.", "It depends."),
    ("Sure! Here you go. I hope this helps!", "Here you go."),
    ("Thank you for thinking of us. We take clean books.", "Thank you for thinking of us. We take clean books."),
    ("Certainly a good book is never late.", "Certainly a good book is never late."),
    ("We open at nine.\n\nKind regards,\nAnn Lee\nMillbrook Library", "We open at nine."),
    ("Give her my best regards, and she will write.", "Give her my best regards, and she will write."),
])  # fmt: skip
def test_boilerplate_goes_and_what_only_looks_like_it_stays(before, after):
    assert phrases.strip_boilerplate(before) == after


@pytest.mark.parametrize("before, after", [
    ("Write to ann.lee+x@mail.example.co.uk.", "Write to [EMAIL]."),
    ("@media screen, user@host, a@b", "@media screen, user@host, a@b"),
    ("Card 4111 1111 1111 1111, or 5555-5555-5555-4444", "Card [CARD], or [CARD]"),
    ("Order 4111111111111112, invoice 20250131123456", "Order 4111111111111112, invoice 20250131123456"),
    ("From 203.0.113.7 and 2001:db8::ff00:42:8329", "From [IP] and [IP]"),
    ("version 1.2.3.4, 999.1.1.1, 1.2.3.4.5, 127.0.0.1", "version 1.2.3.4, 999.1.1.1, 1.2.3.4.5, 127.0.0.1"),
    ("std::vector<int> at 12:30:45", "std::vector<int> at 12:30:45"),
    ("IBAN DE89 3704 0044 0532 0130 00 PLEASE", "IBAN [IBAN] PLEASE"),
    ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
    ("Call +44 20 7946 0958 now", "Call [PHONE] now"),
    ("Call (212) 867-4309", "Call [PHONE]"),
    ("postgresql://ada:Tr0ub4dor@db.internal/pairs", "postgresql://ada:[KEY]@db.internal/pairs"),
    ("Part 555-0100-22, ISBN 978-3-16-148410-0", "Part 555-0100-22, ISBN 978-3-16-148410-0"),
    ("sk-abcDEFghi123456789012345 and AKIAIOSFODNN7EXAMPLE", "[KEY] and [KEY]"),
    ("api_key = 'q8Zr2Lw9Xc4Vb7Nm1Kp5'", "api_key = '[KEY]'"),
    ("The token is important, the password: strawberries", "The token is important, the password: strawberries"),
    ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "[KEY]"),
])  # fmt: skip
def test_personal_data_is_masked_where_it_is_proved(before, after):
    assert cleaned("mask", before) == after


def test_a_phone_number_without_plus_is_found_with_its_country():
    assert cleaned('{"kind": "mask", "what": ["phone"], "region": "GB"}', "Ring 020 7946 0958.") == "Ring [PHONE]."
    assert cleaned("mask:email", "Ring +44 20 7946 0958.") == "Ring +44 20 7946 0958."


def test_what_is_found_says_where_it_stands():
    assert private.find("to a@b.org from 203.0.113.7", ["email", "ip"]) == [(3, 10, "email"), (16, 27, "ip")]


@pytest.mark.parametrize("word, before, after", [
    ("case:title", "don't STOP the école", "Don't Stop The École"),
    ("case:sentence", "HELLO THERE. it IS late.\n(ok)", "Hello there. It is late.\n(Ok)"),
    ("case:upper", "straße", "STRASSE"),
    ("trim", "\ufeff \n a b \u200b", "a b"),
])  # fmt: skip
def test_capitals_and_ends(word, before, after):
    assert cleaned(word, before) == after


@pytest.mark.parametrize("before, after", [
    ("keep me BADTEXT a1", "keep me a1"), ("nothing  here", "nothing  here"), ("fooBADTEXTbar", "foobar"),
    ("Hello BADTEXT, you", "Hello, you"), ("BADTEXT One.\nBADTEXT Two.", "One.\nTwo."), ("BADBADTEXTTEXT", ""),
])  # fmt: skip
def test_removing_a_text_removes_exactly_it(before, after):
    """The tool that this one follows deleted everything up to the match too."""
    assert cleaned("remove:BADTEXT", before) == after


@pytest.mark.parametrize("word, before, after", [
    ("replace:teh=>the", "teh cat, tehran", "the cat, theran"),
    ('{"kind": "replace", "find": "teh", "with": "the", "words": true}', "teh cat, tehran", "the cat, tehran"),
    ('{"kind": "replace", "find": "TEH", "with": "the", "ignore_case": true}', "Teh teh", "the the"),
    ("replace:book=>book (paper)", "a book, a book (paper)", "a book (paper), a book (paper)"),
    ("replace:  => ", "a    b", "a b"),
    (r"replace:a\1=>b\2", r"a\1", r"b\2"),
    (r"regex:(\d+) ?Euros?=>€\1", "5 Euro, 10Euros", "€5, €10"),
    (r"regex:(?P<y>\d{4})-(?P<m>\d\d)=>\g<m>/\g<y>", "2025-03", "03/2025"),
    ('{"kind": "regex", "find": "^- ", "with": "* ", "lines": true}', "- a\n- b", "* a\n* b"),
])  # fmt: skip
def test_a_text_takes_the_place_of_another(word, before, after):
    assert cleaned(word, before) == after


@pytest.mark.parametrize("word, sentence", [
    ("shine", "There is no step 'shine'. Choose from: remove, replace"),
    ("remove: ", "The text to remove is empty"),
    ("replace:=>x", "The text to replace is empty"),
    ("replace:x", "has no =>"),
    ("replace:x=>x", "would be replaced by itself"),
    ("regex:=>", "The pattern to replace is empty"),
    ("regex:(a=>b", r"The pattern '\(a' can't be read: missing \) at character 3"),
    (r"regex:(a)=>\2", "invalid group reference. The pattern has one group"),
    (r"regex:a=>\g<x", "at character 5"),
    ("regex:a=>b\\", "bad escape"),
    ("html:x", "takes nothing behind a colon"),
    ("trim@title", "There is no field 'title'. Choose from: question, answer, system, history, notes, or all"),
    ("mask:shoe", "what of the step mask is 'shoe'. Choose from: key, email"),
    ("case:camel", "to of the step case is 'camel'. Choose from: lower"),
    ("replace:a=>b\0", "holds a NUL character"),
    ("replace:a=>\ud800", "holds half of a surrogate pair"),
    ("remove:" + "x" * 10_001, "has 10,001 characters; 10,000 is the most"),
    ('{"kind": "mask", "region": "Atlantis"}', "no country"),
    ('{"kind": "trim", "words": true}', "has no option 'words'. Its options: none"),
    ('{"kind": "replace", "find": 3}', "which is no text"),
    ('{"kind": "replace", "find": "a", "words": "yes"}', "true or false"),
    ('{"kind": ', "is no JSON"),
    ("regex:" + "(" * 3000 + ")" * 3000 + "=>", "can't be read|too large or too deep"),
])  # fmt: skip
def test_what_is_no_step_is_refused_in_one_sentence(word, sentence):
    with pytest.raises(UserError, match=sentence):
        cleaning.read(word).clean()


@settings(max_examples=100, deadline=None)
@given(
    find=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
    with_=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    fields=st.sets(st.sampled_from(cleaning.FIELDS), min_size=1),
    words=st.booleans(),
)
def test_a_step_is_read_back_from_how_it_is_written(find, with_, fields, words):
    made = cleaning.make({"kind": "replace", "find": find, "with": with_, "fields": list(fields), "words": words})
    assert cleaning.read(str(made)) == made == cleaning.make(json.loads(json.dumps(made.to_json())))


PATTERNS = st.lists(
    st.sampled_from([
        "abc", "d", "+", "*", "?", "{2}", "{0,1}", "[ab]", "[^c]", "[]x]", "(ab)", "(cd)?", r"\d", r"\.", r"\x61b",
        r"\bab", ".", "$", "^", r"\[", "{", "}", "-", " ",
    ]),
    min_size=1, max_size=6,
).map("".join)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(find=PATTERNS, value=st.text("abcd.x2[]{}- ", max_size=24))
def test_what_a_pattern_needs_stands_in_all_that_it_matches(find, value):
    try:
        compiled = regex.compile(find)
    except regex.error:
        assume(False)
    if compiled.search(value):
        assert literal.needed(find) in value


def look(session, *words, **selection):
    """Return what steps would change."""
    return cleaning.look(session, cleaning.steps_named(session, words), Selection(**selection))


def apply(session, *words, **options):
    """Clean all pairs."""
    return cleaning.apply(session, cleaning.steps_named(session, words), ALL, "ada", **options)


def test_a_look_counts_pairs_and_places_of_each_step_and_changes_nothing(session, make_pair):
    pair = make_pair("<b>Open?</b>", "Yes &amp; no, teh teh")
    make_pair("Plain?", "Plain.")
    found = look(session, "html", "replace:teh=>the", "whitespace")
    assert (list(found.ids), found.rows, found.matches) == ([pair.id], [1, 1, 0], [2, 2, 0])
    ((row, changes),) = cleaning.changes(session, found.steps, found.ids)
    assert (row.id, [(c.field, c.before, c.after) for c in changes]) == (pair.id, [
        ("question", "<b>Open?</b>", "Open?"), ("answer", "Yes &amp; no, teh teh", "Yes & no, the the"),
    ])  # fmt: skip
    assert pair.question == "<b>Open?</b>"


def test_each_step_takes_what_the_one_before_it_left(session, make_pair):
    pair = make_pair(answer="&lt;b&gt;Yes&lt;/b&gt;")
    apply(session, "replace:&lt;=><", "replace:&gt;=>>", "html")
    assert pair.answer == "Yes"


def test_earlier_turns_and_notes_are_fields_too(session, make_pair):
    turns = [{"role": "user", "content": "teh"}, {"role": "assistant", "content": "ok"}]
    pair = make_pair(answer="teh", system="teh", earlier=turns, notes="teh")
    apply(session, "replace@history,notes:teh=>the")
    assert (pair.answer, pair.system, pair.notes) == ("teh", "teh", "the")
    assert pair.history == [{"role": "user", "content": "the"}, {"role": "assistant", "content": "ok"}]


def test_what_stands_otherwise_in_json_is_found_in_a_turn(session, make_pair):
    make_pair(earlier=[{"role": "user", "content": 'a "quoted"\nline'}, {"role": "assistant", "content": "é\\"}])
    for find in ('"quoted"', '"\nline', "é", "\\"):
        assert len(look(session, json.dumps({"kind": "replace", "find": find, "with": "."})).ids) == 1


@pytest.mark.parametrize("word", ["replace:a%_b=>x", "regex:a%_b+=>x", 'replace:"=>x', "replace:é=>x", "regex:É|é=>x"])
def test_on_either_database_the_same_pairs_are_found(either, session, make_pair, word):
    make_pair(answer='say a%_b é "', earlier=[{"role": "user", "content": 'a%_b é "'}])
    make_pair(answer="say axxb e '", system="a_b")
    found = apply(session, word)
    assert list(found.ids) == [1] and found.changeset.rows == 1


def test_cleaning_is_one_change_leaves_out_what_it_is_told_and_can_be_undone(session, make_pair):
    one, other = make_pair("A <i>b</i>?"), make_pair("C <i>d</i>?")
    changeset = apply(session, "html", except_ids={other.id}).changeset
    assert (changeset.rows, one.question, other.question) == (1, "A b?", "C <i>d</i>?")
    history.undo(session, changeset.id, "ada")
    assert one.question == "A <i>b</i>?"


def test_cleaning_twice_makes_one_change(session, make_pair):
    make_pair(answer="<p>Yes.</p>  **Now**")
    assert apply(session, "plain").changeset and apply(session, "plain").changeset is None


def test_only_the_selection_is_cleaned(session, make_pair):
    one, other = make_pair(answer="<b>x</b>", dataset="one"), make_pair(answer="<b>x</b>", dataset="other")
    cleaning.apply(session, [cleaning.read("html")], Selection(dataset="one"), "ada")
    assert (one.answer, other.answer) == ("x", "<b>x</b>")


def test_a_pair_of_which_nothing_would_be_left_is_not_touched(session, make_pair):
    pair = make_pair(answer="<p></p>")
    found = look(session, "html")
    assert (list(found.ids), list(found.emptied)) == ([], [pair.id])
    assert apply(session, "html").changeset is None
    assert pair.answer == "<p></p>" and len(history.recent(session)) == 1


def test_pairs_that_would_become_copies_are_counted(session, make_pair):
    for answer in ("Yes.", "<b>Yes.</b>", "<i>Yes.</i>", "<u>No.</u>"):
        make_pair("Open?", answer)
    make_pair("Open?", "<u>No.</u>", dataset="other")
    assert look(session, "html").copies == 2


def test_a_step_that_finds_what_it_made_is_done_once_and_said(session, make_pair):
    pair = make_pair(answer="cat")
    assert look(session, "regex:cat=>my cat").again == 1
    apply(session, "regex:cat=>my cat")
    assert pair.answer == "my cat"


def test_what_was_shown_is_done_or_nothing(session, make_pair):
    pair = make_pair(answer="<b>Yes.</b>")
    found = look(session, "html")
    pairs.edit(session, pair.id, {"answer": "<b>No.</b>"}, revision=1, by="bob")
    with pytest.raises(Conflict, match="The pairs changed since this was looked at, so nothing was cleaned"):
        apply(session, "html", found=found)
    assert pair.answer == "<b>No.</b>" and history.recent(session)[0].by == "bob"


def test_other_work_meanwhile_does_not_stop_a_cleaning(session, make_pair):
    pair, other = make_pair(answer="<b>Yes.</b>"), make_pair()
    found = look(session, "html")
    pairs.set_status(session, [pair.id, other.id], "approved", "bob")
    apply(session, "html", found=found)
    assert (pair.answer, pair.status) == ("Yes.", "approved")


@pytest.mark.parametrize("pattern", ["(a|aa)+$", "(?:a|aa)+b"])
def test_a_pattern_that_would_never_end_is_stopped_with_the_pair(session, make_pair, monkeypatch, pattern):
    monkeypatch.setattr(literal, "SECONDS_A_TEXT", 0.05)
    make_pair(answer="fine")
    make_pair(answer="a" * 120 + "!")
    with pytest.raises(
        UserError, match=r"stopped: it took more than 1 s on the answer of pair 2\. Nothing was changed"
    ):
        look(session, f"regex@answer:{pattern}=>x")


@pytest.mark.parametrize("pattern", [r"^(\w+\s?)*$", "(a+)+$", "(x+x+)+y"])
def test_a_pattern_that_is_endless_elsewhere_just_does_not_match(session, make_pair, pattern):
    make_pair(answer="a" * 60 + " " + "a" * 60 + "!")
    assert not look(session, f"regex@answer:{pattern}=>.").ids


def test_patterns_that_take_too_long_together_are_stopped(session, make_pair, monkeypatch):
    monkeypatch.setattr("curator.cleaning.passes.SECONDS_ALLOWED", -1)
    make_pair(answer="fine")
    with pytest.raises(UserError, match="The patterns were stopped at pair 1, after 0 s for 1 pairs"):
        look(session, "regex:f=>g")


def test_a_long_text_is_cleaned_in_its_time(session, make_pair):
    pair = make_pair(answer="<p>word word</p>\n\n**x** " * 40_000)
    apply(session, "html", "markdown", "whitespace", "boilerplate", "mask", "case:lower")
    assert len(pair.answer) < 1_000_000 and "<p>" not in pair.answer


def test_a_replacement_can_not_make_what_no_database_keeps(session, make_pair):
    make_pair(answer="a")
    for made, fault in ((r"\x00", "a NUL character"), (r"\ud800", "half of a surrogate pair")):
        with pytest.raises(UserError, match=fault):
            apply(session, f"regex@answer:a=>{made}")


def test_a_look_may_be_cut_short(session, make_pair, monkeypatch):
    monkeypatch.setattr("curator.cleaning.passes.BATCH", 2)
    for _ in range(5):
        make_pair(answer="<b>x</b>")
    found = cleaning.look(session, [cleaning.read("html")], ALL, seconds=0)
    assert (found.is_whole, found.looked, len(found.ids)) == (False, 2, 2)


def test_what_was_found_is_kept_for_the_next_page(session, make_pair, tmp_path):
    make_pair(answer="<b>x</b>")
    make_pair(answer="<p></p>")
    found = look(session, "html")
    cleaning.keep(found, ALL, tmp_path)
    assert cleaning.kept(found.steps, ALL, tmp_path) == found
    assert cleaning.kept(found.steps, Selection(tag="x"), tmp_path) is None


def test_sentences_that_open_or_close_many_answers_are_suggested(session, make_pair):
    for i in range(6):
        make_pair(answer=f"Welcome to our desk. Number {i} is here.")
    assert cleaning.suggestions(session, ALL) == [("Welcome to our desk.", 6)]


def test_a_rule_is_kept_by_name_written_over_and_forgotten(session):
    cleaning.save(session, "  my   scrub ", cleaning.steps_named(session, ["html", "mask:email"]), "ada")
    cleaning.save(session, "my scrub", cleaning.steps_named(session, ["trim@notes"]), "bob")
    assert [(rule.name, rule.by) for rule in cleaning.rules(session)] == [("my scrub", "bob")]
    assert list(map(str, cleaning.steps_named(session, ["html", "my scrub"]))) == ["html", "trim@notes"]
    cleaning.delete(session, "my scrub")
    with pytest.raises(NotFound, match="no rule 'my scrub'. Kept are: none yet"):
        cleaning.delete(session, "my scrub")


@pytest.mark.parametrize("name, sentence", [
    ("", "needs a name"), ("x" * 61, "1 to 60 characters"), ("a\x07b", "that can be seen"), ("html", "means a step"),
    ("web", "means a step"), ("{x", "means a step"), ("remove:x", "means a step"),
])  # fmt: skip
def test_a_name_that_can_not_be_one_is_refused(session, name, sentence):
    with pytest.raises(UserError, match=sentence):
        cleaning.save(session, name, [cleaning.read("html")], "ada")


@pytest.mark.parametrize("old, new, found", [
    ("We opne at nine.", "We open at nine.", [("opne", "open")]),
    ("Three weeks, twice.", "Two months, twice.", [("Three weeks", "Two months")]),
    ("The libary opens. Ask the libary.", "The library opens. Ask the library.", [("libary", "library")] * 2),
    ("We open at 9.", "We open at 10.", [("at 9", "at 10")]),
    ("The library opens.", "The library never opens.", [("library opens", "library never opens")]),
    ("Yes, indeed, we do.", "Yes, we do.", [("indeed, ", "")]),
    ("Yes", "Yes.", [("Yes", "Yes.")]),
])  # fmt: skip
def test_an_edit_is_the_replacement_it_amounts_to(old, new, found):
    assert replacements(old, new) == found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["one ", "two ", "a ", ", ", "\n", "é"]), max_size=8).map("".join), st.data())
def test_a_rule_made_of_an_edit_finds_what_was_edited(old, data):
    new = data.draw(st.lists(st.sampled_from(["one ", "two ", "a ", ", ", "\n", "é"]), max_size=8).map("".join))
    for find, with_ in replacements(old, new):
        assert find in old and with_ in new and find != with_


def test_an_edit_offers_its_rule_with_the_number_of_other_pairs(session, make_pair):
    first = make_pair(answer="The libary opens.")
    make_pair(answer="Ask in the libary, or in another libary.")
    make_pair(answer="The libaryman.")
    pairs.edit(session, first.id, {"answer": "The library opens."}, revision=1, by="ada")
    (offer,) = cleaning.offers(session, first.id, 2, ALL)
    assert (offer.step.title, offer.others, offer.is_more) == ("Replace “libary”", 1, False)
    apply(session, str(offer.step))
    assert cleaning.best_offer(session, first.id, 2, ALL) is None


def test_an_edit_of_signs_alone_is_counted_too(either, session, make_pair):
    first = make_pair(answer="«»")
    make_pair(answer="«» and more")
    pairs.edit(session, first.id, {"answer": "“”"}, revision=1, by="ada")
    assert [offer.others for offer in cleaning.offers(session, first.id, 2, ALL)] == [1]


def test_a_rewritten_text_is_no_rule(session, make_pair):
    pair = make_pair(answer="one two three four five six seven eight nine ten " * 20)
    pairs.edit(session, pair.id, {"answer": "x" * 400}, revision=1, by="ada")
    assert cleaning.offers(session, pair.id, 2, ALL) == []
    with pytest.raises(NotFound, match="has no change number 9"):
        cleaning.offers(session, pair.id, 9, ALL)


def test_the_command_cleans_by_steps_fields_and_rules(runner, session, make_pair):
    pair, other = make_pair("<b>Q</b> 1", "teh <b>A</b> 1"), make_pair("<b>Q</b> 2", "teh <b>A</b> 2")
    args = ["clean", "--step", "html", "--rule", "replace:teh=>the", "--field", "answer", "--except-ids", str(other.id)]
    dry = runner.invoke(args=[*args, "--dry-run"])
    assert "html@answer: 2 pairs, 2 places" not in dry.stdout and "html@answer: 2 pairs" in dry.stdout
    assert "+ 'the A 1'" in dry.stdout and "the A 2" not in dry.stdout
    assert "Cleaned 1 pair. Undo it with: flask undo 3" in runner.invoke(args=args).stderr
    session.rollback()
    session.expire_all()
    assert (pair.question, pair.answer, other.answer) == ("<b>Q</b> 1", "the A 1", "teh <b>A</b> 2")
    runner.invoke(args=["clean", "--step", "html", "--step", "trim@notes", "--save", "scrub"])
    assert runner.invoke(args=["clean", "--rules"]).stdout == "scrub: html · trim@notes\n"
    counts = json.loads(runner.invoke(args=["clean", "--rule", "scrub", "--json"]).stdout)
    assert (counts["rows"], counts["rules"]) == (2, {"html": 2, "trim@notes": 0})
    assert runner.invoke(args=["clean", "--delete", "scrub"]).exit_code == 0
    assert "There is no rule 'scrub'" in runner.invoke(args=["clean", "--rule", "scrub"]).output


def test_a_job_that_is_at_work_with_a_rule_does_not_need_it_any_more(session, make_pair, app, home: Path):
    pair = make_pair(answer="<b>x</b>")
    cleaning.save(session, "scrub", [cleaning.read("html")], "ada")
    steps = cleaning.steps_named(session, ["scrub"])
    asked, digest = cleaning.asked(steps, ALL), cleaning.look(session, steps, ALL).digest
    cleaning.delete(session, "scrub")
    result = jobs.KINDS["clean"](
        session, by="ada", on_progress=lambda *_: None, home=str(home), asked=asked, digest=digest, except_ids=[]
    )  # fmt: skip
    assert (result["told"], pair.answer) == ("Cleaned 1 pair.", "x")


def test_a_job_cleans_nothing_that_was_not_shown(session, make_pair, home: Path):
    make_pair(answer="<b>x</b>")
    asked = cleaning.asked([cleaning.read("html")], ALL)
    with pytest.raises(Conflict, match="Look at it once more"):
        jobs.KINDS["clean"](
            session, by="ada", on_progress=lambda *_: None, home=str(home), asked=asked, digest=1, except_ids=[]
        )  # fmt: skip
