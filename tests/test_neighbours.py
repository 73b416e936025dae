"""The index of near-duplicates: true after every kind of write, built where it is missing, and quick to ask."""

import subprocess
import sys

import pytest
import sqlalchemy as sa

from curator import create_app, database, duplicates, history, imports, minhash, neighbours, pairs
from curator.errors import Conflict
from curator.models import Pair, writing

HOURS = "The library opens at nine in the morning and closes at seven in the evening on every weekday of the year"


@pytest.fixture
def stored(either):
    """A session on an empty database, SQLite or PostgreSQL."""
    app = create_app()
    with database.open_session(app) as session:
        yield session
    database.engine(app).dispose()


def rows(session):
    return sorted(tuple(row) for row in session.execute(sa.text("SELECT key, pair_id FROM pair_band")))


def expected(session):
    live = session.execute(sa.select(Pair.id, Pair.question, Pair.answer).where(~Pair.trashed)).all()
    bands = minhash.band_keys([neighbours.text_of(question, answer) for _, question, answer in live], neighbours.SCHEME)
    return sorted((key, row[0]) for row, keys in zip(live, bands, strict=True) for key in keys)


def test_the_index_is_that_of_the_live_texts_after_every_kind_of_write(stored, write):
    def is_true():
        return rows(stored) == expected(stored) and len(rows(stored)) > 0

    one = pairs.add(stored, question="Open?", answer=HOURS, by="ada")
    other = pairs.add(stored, question="Closed?", answer="On Sundays.", by="ada")
    assert is_true()
    pairs.edit(stored, one.id, {"answer": HOURS + ", they say"}, revision=1, by="ada")
    assert is_true()
    changeset = pairs.trash(stored, [one.id, other.id], "ada")
    assert rows(stored) == []
    history.undo(stored, changeset.id, "ada")
    assert is_true()
    imports.apply(stored, write("a.csv", "id,q,a\n1,Late?,Yes.\n2,Dogs?,No dogs.\n3,Cats?,?\n"), by="ada")
    assert is_true()
    imports.apply(stored, write("a.csv", "id,q,a\n1,Late?,No more.\n2,Dogs?,No dogs.\n4,New?,Yes.\n"), by="ada")
    assert is_true()
    with writing(stored):
        changeset = history.begin(stored, "edited", "ada")
        some = stored.execute(sa.select(*Pair.__table__.columns)).all()
        history.change_many(stored, changeset, [(pair, {"answer": f"{pair.answer} Indeed."}) for pair in some])
    assert is_true()


def test_an_index_that_is_missing_is_built_as_it_would_have_been_kept(stored):
    for number in range(30):
        pairs.add(stored, question=f"Number {number}?", answer=HOURS * (number % 3), by="ada") if number % 3 else None
    kept = rows(stored)
    with writing(stored):
        neighbours.forget(stored.connection())
        stored.execute(sa.text("DELETE FROM pair_band WHERE pair_id < 9"))
    with pytest.raises(neighbours.NotIndexed, match="flask init-db"):
        duplicates.find_near(stored, "Open?", HOURS)
    told = []
    assert neighbours.rebuild(stored, lambda *progress: told.append(progress)) == 20
    assert rows(stored) == kept == expected(stored) and told[0] == (20, 20, "Reading for the index")


def test_what_is_written_while_the_index_is_built_is_in_it(stored):
    first, second, third = (pairs.add(stored, question=q, answer=HOURS, by="ada") for q in ("One?", "Two?", "Three?"))
    ids, written = (first.id, second.id), []

    def write_meanwhile(done, total, message):
        if message == "Writing the index" and not written:
            written.append(True)
            pairs.edit(stored, ids[0], {"question": "Another?"}, revision=1, by="bo")
            pairs.trash(stored, [ids[1]], "bo")
            pairs.add(stored, question="Four?", answer="Quite new.", by="bo")

    neighbours.rebuild(stored, write_meanwhile)
    assert written and rows(stored) == expected(stored)


def test_two_who_build_the_index_do_not_mix_theirs(session, make_pair):
    make_pair("Open?", HOURS)

    def begin_again(done, total, message):
        if message == "Reading for the index":
            neighbours.rebuild(session)

    with pytest.raises(Conflict, match="is being built elsewhere"):
        neighbours.rebuild(session, begin_again)
    assert rows(session) == expected(session) and neighbours.is_current(session)


def test_an_older_database_gets_its_index_with_its_tables(runner, session, make_pair):
    pair = make_pair("Open?", HOURS)
    with writing(session):
        neighbours.forget(session.connection())
    assert "1 pair entered into the index" in runner.invoke(args=["init-db"]).stderr
    assert [near.pair.id for near in duplicates.find_near(session, "Open", HOURS)] == [pair.id]


def test_one_pair_is_looked_up_without_compiled_loops(home):
    """numba takes half a second to start: the first save of a day does not wait for it."""
    script = (
        "import sys; from curator import create_app, database, duplicates, pairs\n"
        "with database.open_session(create_app()) as session:\n"
        "    pairs.add(session, question='Open?', answer='At nine in the morning.', by='ada')\n"
        "    assert duplicates.find_near(session, 'Open', 'At nine in the morning!')\n"
        "print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=create_app().root_path + "/..", capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
