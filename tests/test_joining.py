"""Texts that SQLite joins: whatever they hold and however long they are, they come as they are stored, in order."""

import sqlite3
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator import minhash
from curator.duplicates import joining

PAIR = "question || char(10) || answer"
BOTH = "question, answer"
TEXTS = st.text(st.sampled_from("ab é語👍\0\n"), max_size=60)


@contextmanager
def stored(rows):
    """Give a database that holds (id, question, answer)."""
    with closing(sqlite3.connect(":memory:")) as driver:
        driver.execute("CREATE TABLE pair (id INTEGER PRIMARY KEY, question TEXT NOT NULL, answer TEXT NOT NULL)")
        driver.executemany("INSERT INTO pair VALUES (?, ?, ?)", rows)
        yield driver


def read(driver, columns, where=""):
    """Return (id, text or tuple of texts) of all rows, as they come joined."""
    return [row for ids, texts in joining.rows(driver, columns, where) for row in zip(ids, texts.apart(), strict=True)]


def expected(rows, columns):
    """Return the same, written down to be read."""
    parts = [(i, *(text.replace("\0", " ").encode() for text in texts)) for i, *texts in rows]
    return [(i, (q, a) if columns == BOTH else q + b"\n" + a) for i, q, a in parts]


@pytest.mark.parametrize("columns", [PAIR, BOTH])
@pytest.mark.parametrize("size", [250, 1 << 20])
@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(-3, 60), st.tuples(TEXTS, TEXTS), max_size=12))
def test_rows_come_joined_as_they_are_stored(columns, size, made):
    rows = [(i, *texts) for i, texts in sorted(made.items())]
    with stored(rows) as driver, pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "IDS", 5)
        patch.setattr(joining, "LISTED", 3)
        patch.setattr(joining, "BYTES", size)
        assert read(driver, columns) == expected(rows, columns)
        ids = [i for i, *_ in rows]
        assert joining.of_ids(driver, columns, ids).apart() == [texts for _, texts in expected(rows, columns)]


def test_rows_far_apart_are_reached_without_a_look_at_each_number():
    rows = [(1, "one", "a"), (5_000_000_000, "two", "b"), (9_000_000_000_000, "three", "c")]
    with stored(rows) as driver:
        assert read(driver, PAIR) == expected(rows, PAIR)


def test_rows_that_are_not_asked_for_are_left_out():
    rows = [(i, f"question {i}", "kept" if i % 3 else "gone") for i in range(1, 2000)]
    with stored(rows) as driver:
        assert read(driver, PAIR, " AND answer = 'kept'") == expected([row for row in rows if row[0] % 3], PAIR)


def test_ids_that_are_gone_are_left_out():
    with stored([(2, "two", "b"), (4, "four", "d")]) as driver:
        texts = joining.of_ids(driver, PAIR, [1, 2, 3, 4])
    assert texts == minhash.Joined(b"two\nb\0four\nd\0", 2)


@pytest.mark.parametrize("answer", ["short", "a zero \0 inside", "too long " * 100])
def test_others_read_strings_of_any_length_between_two_pieces(monkeypatch, answer):
    monkeypatch.setattr(joining, "BYTES", 400)
    with stored([(1, "a question", answer), (2, "another", answer)]) as driver:
        for _ in joining.rows(driver, PAIR):
            assert driver.execute("SELECT answer FROM pair WHERE id = 1").fetchone() == (answer,)
            assert len(driver.execute("SELECT hex(zeroblob(1000))").fetchone()[0]) == 2000
