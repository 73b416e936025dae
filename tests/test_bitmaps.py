"""The sets in memory say what the database says, whatever was done; on SQLite and on PostgreSQL."""

import random

import pytest
import sqlalchemy as sa

from curator import bitmaps, create_app, database, history, imports, pairs, search, versions
from curator.bitmaps.index import Index
from curator.models import Checked, Pair, PairFlag
from curator.search import Selection

TAGS, SOURCES, WORDS = ["loans", "late fees", "cards"], ["desk", "email", ""], ["dog", "book", "renew", "Café", "fee"]
QUERIES = [
    "dog", "bo", '"book renew"', "book -fee", "-dog", "question:dog", "answer:ren -question:book", "notes:twice",
    "history:dog", "tag:loans", "-tag:loans", 'tag:"late fees",cards', "tag:l*", "source:desk", "status:draft,rejected",
    "author:ada", "author:b*", "dataset:main", "dataset:nowhere", "split:train", "-split:test", "flag:long", "has:flag",
    "has:history", "has:notes", "-has:tag", "has:duplicate", "has:system", "has:rating", "has:source", "len:>20",
    "len:5..25", "-len:..12", "id:2..6", "id:3,5", "updated:>2020-01-01", "updated:2020", "cafe tag:cards len:>5",
    "qlen:<20", "-qlen:12..", "added:2020", "added:>2020", "tokens:<6", "tokens:4..8",
    "-tokens:>=7",
]  # fmt: skip


@pytest.fixture
def session(either):
    app = create_app()
    with database.open_session(app) as opened:
        yield opened
    database.engine(app).dispose()


def by_sql(session, selection):
    found = sa.select(Pair.id).where(*search.conditions(session, selection)).order_by(Pair.id)
    return list(session.scalars(found))


def by_sets(session, selection):
    index = bitmaps.of(session)
    return list(search.members(session, index.refresh(), selection))


def said(chance, some=6):
    return " ".join(chance.choices(WORDS, k=chance.randint(1, some)))


def add(session, chance, number):
    turns = [{"role": "user", "content": said(chance)}] if chance.random() < 0.3 else []
    pairs.add(
        session, question=f"{said(chance)} {number}?", answer=said(chance, 9), by=chance.choice(["ada", "bob"]),
        dataset=chance.choice(["main", "other"]), system="Be brief." if chance.random() < 0.2 else "", earlier=turns,
        status=chance.choice(["draft", "approved", "rejected"]), tags=chance.sample(TAGS, chance.randint(0, 2)),
        source=chance.choice(SOURCES), notes="Asked twice." if chance.random() < 0.2 else "",
    )  # fmt: skip


def act(session, chance, number, tmp_path):
    """Do something to some pairs, as people do."""
    ids = chance.sample(range(1, number), 4)
    kind = chance.randrange(8)
    if kind == 0:
        add(session, chance, f"{number} more")
    elif kind == 1:
        pair = pairs.get(session, ids[0])
        changes = {"answer": said(chance, 9), "tags": chance.sample(TAGS, 1), "notes": said(chance)}
        pairs.edit(session, pair.id, changes, revision=pair.revision, by="bob", restore=pair.trashed)
    elif kind == 2:
        pairs.set_status(session, ids, chance.choice(["draft", "approved"]), "ada")
    elif kind == 3:
        pairs.trash(session, ids, "ada")
    elif kind == 4:
        pairs.restore(session, ids, "ada")
    elif kind == 5:
        newest = next(c for c in history.recent(session) if not history.is_undone(session, c.id))
        if newest.rows:
            history.undo(session, newest.id, "ada")
    elif kind == 6:
        path = tmp_path / "more.csv"
        path.write_text(f"question,answer,tags\n{said(chance)} {chance.random()}?,Yes.,cards\n")
        imports.apply(session, path, by="ada")
    else:
        session.merge(PairFlag(pair_id=ids[0], flag=chance.choice(["long", "duplicate"]), detail=""))
        checked = session.get(Checked, 1) or Checked(id=1, stamp=0)
        checked.stamp += 1
        session.add(checked)
        session.commit()


@pytest.mark.parametrize("seed", [1, 2])
def test_sets_and_sql_agree_on_every_query_after_any_acts(session, tmp_path, seed):
    chance = random.Random(seed)
    for number in range(25):
        add(session, chance, number)
    versions.freeze(session, Selection(), by="ada")
    for turn in range(25):
        act(session, chance, 25, tmp_path)
        if turn == 15:
            versions.freeze(session, Selection(), by="ada")
        for query in chance.sample(QUERIES, 8):
            trash, dataset = chance.random() < 0.2, chance.choice([None, None, "main"])
            selection = Selection(query=query, trash=trash, dataset=dataset)
            assert by_sets(session, selection) == by_sql(session, selection), (turn, query, selection)
    for query in QUERIES:
        assert by_sets(session, Selection(query=query)) == by_sql(session, Selection(query=query)), query


def test_an_index_kept_on_disk_catches_up_with_what_happened_since(session, tmp_path):
    chance = random.Random(3)
    for number in range(12):
        add(session, chance, number)
    versions.freeze(session, Selection(), by="ada")
    Index(session.get_bind()).refresh().keep(tmp_path / "index.npz")
    pairs.trash(session, [2, 3], "ada")
    pairs.set_status(session, [4], "approved", "ada")
    again = Index(session.get_bind(), tmp_path / "index.npz")
    assert again.is_built
    again.refresh()
    fresh = Index(session.get_bind()).refresh()
    assert (again.live, again.trash) == (fresh.live, fresh.trash)
    for name, field in fresh.fields.items():
        assert again.fields[name].values == field.values, name


def test_an_index_that_is_damaged_on_disk_is_made_anew(session, tmp_path):
    add(session, random.Random(3), 1)
    (tmp_path / "index.npz").write_bytes(b"PK half of it")
    assert list(Index(session.get_bind(), tmp_path / "index.npz").refresh().live) == [1]


def test_flags_of_changed_pairs_are_seen_without_reading_all_flags(session):
    for number in range(3):
        add(session, random.Random(6), number)
    session.merge(Checked(id=1))
    session.add(PairFlag(pair_id=1, flag="long"))
    session.commit()
    index = Index(session.get_bind()).refresh()
    changeset = pairs.set_status(session, [2], "rejected", "ada")
    session.add(PairFlag(pair_id=2, flag="long"))
    session.get(Checked, 1).changeset_id = changeset.id
    session.commit()
    assert list(index.refresh().fields["flag"].values["long"]) == [1, 2]


def test_another_database_in_the_same_place_is_read_anew(session):
    add(session, random.Random(4), 1)
    index = Index(session.get_bind()).refresh()
    session.execute(sa.text("UPDATE changeset SET at = '2020-01-01 00:00:00'"))  # as after a restore
    session.execute(sa.text("UPDATE pair SET trashed = true"))
    session.commit()
    assert list(index.refresh().live) == []


def test_a_changeset_of_postgresql_that_comes_late_is_not_missed(session):
    if session.get_bind().dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    chance = random.Random(5)
    add(session, chance, 1)
    index = Index(session.get_bind())
    with session.get_bind().connect() as late:
        # It takes its number first and is committed last.
        late.execute(sa.text("INSERT INTO changeset (action, reason, by, at, rows) VALUES ('x', '', 'b', now(), 1)"))
        number = late.execute(sa.text("SELECT max(id) FROM changeset")).scalar()
        add(session, chance, 2)
        assert len(index.refresh().live) == 2
        late.execute(sa.text("UPDATE pair SET trashed = true, revision = 2 WHERE id = 1"))
        late.execute(sa.text(f"INSERT INTO revision (pair_id, number, changeset_id) VALUES (1, 2, {number})"))
        late.commit()
    assert list(index.refresh().trash) == [1]


def test_a_field_with_too_many_values_is_asked_of_the_database(session, monkeypatch):
    monkeypatch.setattr("curator.bitmaps.field.MOST_VALUES", 2)
    for number in range(5):
        pairs.add(session, question=f"{number}?", answer="Yes.", by="ada", source=f"page {number}", tags=[f"t{number}"])
    for query in ('source:"page 4"', "source:page*", "tag:t3", "-tag:t1"):
        assert by_sets(session, Selection(query=query)) == by_sql(session, Selection(query=query))


def test_while_many_pairs_are_read_a_page_says_so_and_the_next_one_shows_them(app, client, monkeypatch):
    monkeypatch.setattr(bitmaps, "MANY", 0)
    monkeypatch.setattr("curator.views.frame.PATIENCE_SECONDS", 0.05)
    with database.open_session(app) as opened:
        index = bitmaps.of(opened)
    with index.lock:
        waiting = client.get("/pairs/")
    assert (waiting.status_code, waiting.headers["Refresh"]) == (503, "1")
    assert "Reading the pairs" in waiting.text
    index.reader.join()
    assert client.get("/pairs/").status_code == 200


def test_after_a_large_import_in_the_terminal_a_page_says_that_it_is_read(app, client, write, monkeypatch):
    """The next page used to read all of it in silence."""
    assert client.get("/pairs/").status_code == 200
    monkeypatch.setattr(bitmaps, "MANY", 5)
    monkeypatch.setattr("curator.views.frame.PATIENCE_SECONDS", 0.05)
    with database.open_session(app) as opened:
        index = bitmaps.of(opened)
        imports.apply(opened, write("a.csv", "q,a\n" + "".join(f"{n}?,Yes.\n" for n in range(6))), by="ada")
    with index.lock:
        waiting = client.get("/pairs/")
    assert waiting.status_code == 503 and "Reading the pairs" in waiting.text
    index.reader.join()
    assert "5?" in client.get("/pairs/").text


def test_a_page_reads_again_what_somebody_else_could_not_read(session, monkeypatch):
    """A page that had looked before took the half of it for all."""
    pairs.add(session, question="Open?", answer="Yes.", by="ada")
    session.info["is_page"] = True
    index = bitmaps.now(session)
    with monkeypatch.context() as patch:

        def fails(connection):
            index.forget()
            raise OSError("the disk is gone")

        patch.setattr(index, "catch_up", fails)
        with pytest.raises(OSError, match="the disk"):
            index.refresh()
    assert search.page(session, Selection()).total == 1
