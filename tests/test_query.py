"""What a person types into the search field, read as terms."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.errors import UserError
from curator.search.query import FIELDS, Between, OneOf, as_typed, asking, parse


def words(query):
    return [(term.field, term.text, term.is_prefix, term.excluded) for term in parse(query)]


@pytest.mark.parametrize("query, found", [
    ("late fee", [(None, "late", True, False), (None, "fee", True, False)]),
    ('"late fee"', [(None, "late fee", False, False)]),
    ('"late fe"*', [(None, "late fe", True, False)]),
    ("refund -card", [(None, "refund", True, False), (None, "card", True, True)]),
    ('answer:"two weeks" -notes:x', [("answer", "two weeks", False, False), ("notes", "x", True, True)]),
    ("o'clock", [(None, "o'clock", True, False)]),
    ('"never closed', [(None, "never closed", False, False)]),
])  # fmt: skip
def test_words_phrases_and_exclusions_are_told_apart(query, found):
    assert words(query) == found


@pytest.mark.parametrize("query", ["http://x", "note: this", "12:30", "std::vector", "tag:", "C:drive", "a-b:c"])
def test_what_merely_has_a_colon_is_searched_as_text(query):
    assert [typed for _, typed, _, _ in words(query)] == query.split()


@pytest.mark.parametrize("query, values", [
    ("tag:billing", [("billing", False)]),
    ("tag:bill*", [("bill", True)]),
    ('tag:"late, fees",refund', [("late, fees", False), ("refund", False)]),
    ("status:draft,approved", [("draft", False), ("approved", False)]),
])  # fmt: skip
def test_a_field_takes_one_value_or_several(query, values):
    (term,) = parse(query)
    assert isinstance(term, OneOf) and list(term.values) == values


@pytest.mark.parametrize("query, spans", [
    ("len:400", [(400, 401)]), ("len:>400", [(401, None)]), ("len:>=400", [(400, None)]), ("len:<400", [(None, 400)]),
    ("len:<=400", [(None, 401)]), ("len:100..400", [(100, 401)]), ("len:100..", [(100, None)]),
    ("len:..400", [(None, 401)]), ("id:5,7..9", [(5, 6), (7, 10)]),
])  # fmt: skip
def test_numbers_may_be_exact_or_spans(query, spans):
    (term,) = parse(query)
    assert isinstance(term, Between) and list(term.spans) == spans


@pytest.mark.parametrize("query, span", [
    ("updated:2026-11-01", ("2026-11-01", "2026-11-02")), ("updated:>2026-11-01", ("2026-11-02", None)),
    ("updated:2026-12", ("2026-12-01", "2027-01-01")), ("updated:2025..2026-02", ("2025-01-01", "2026-03-01")),
])  # fmt: skip
def test_days_months_and_years_are_whole(query, span):
    (term,) = parse(query)
    moments = tuple(day and datetime.fromisoformat(day).replace(tzinfo=UTC) for day in span)
    assert isinstance(term, Between) and term.spans == (moments,)


@pytest.mark.parametrize("query, sentence", [
    ("len:>abc", "len:>abc names no length of an answer in characters. Write it as len:400, len:>400 or len:100..400"),
    ("len:1..2..3", "names no length"), ("id:x", "names no number of a pair"), ("updated:2026-13", "names no day"),
    ("updated:99999", "names no day"), ("status:done", "Choose one of: draft, approved, rejected"),
    ("anwser:refund", r'no field anwser: .* Did you mean answer:\? .* in quotes: "anwser:refund"'),
    ("foo:bar", "There is no field foo: to search in. The fields are question, answer"),
    ("... -", "holds no letter and no digit"), ('tag:""', "tag: names no value"),
])  # fmt: skip
def test_what_makes_no_sense_is_said_in_a_sentence(query, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(query)


PIECES = st.sampled_from([*'ab1 "-*:.,<>()|&!é😀', *(f"{name}:" for name in FIELDS)])
SIGNS = st.lists(PIECES, max_size=15).map("".join)


@given(SIGNS | st.text(max_size=30))
def test_anything_is_a_query_or_told_why_not_and_is_written_back_as_it_was_meant(query):
    try:
        terms = parse(query)
    except UserError:
        return
    again = parse(as_typed(terms)) if terms else ()
    assert [{**vars(term), "typed": ""} for term in again] == [{**vars(term), "typed": ""} for term in terms]


@given(st.text(st.characters(exclude_characters='"', exclude_categories=["C", "Z"]), min_size=1, max_size=12))
def test_a_value_that_a_page_asks_for_is_read_as_that_value(value):
    (term,) = parse(asking("tag", value))
    assert isinstance(term, OneOf) and term.values == ((value, False),)
