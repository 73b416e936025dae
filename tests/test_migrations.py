"""The tables that migrations make are those that the models speak of, on both databases."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from curator import create_app, database, history, pairs, search
from curator.errors import UserError
from curator.models import Base, writing
from curator.search import Selection


def test_migrations_and_models_agree(either):
    engine = database.engine(create_app())
    ours = set(Base.metadata.tables)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or name in ours}
        )
        differences = [d for d in compare_metadata(context, Base.metadata) if "search" not in str(d)]
    engine.dispose()
    assert differences == []


def test_rows_of_the_first_tables_are_kept_and_found_after_an_upgrade(either):
    app = create_app()
    old = database.connect(app)
    command.upgrade(database.alembic_config(old), "0001")
    stamp = {"at": datetime(2026, 1, 1, tzinfo=UTC)}
    with old.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO dataset (id, name, created_at) VALUES (1, 'main', :at)").bindparams(**stamp)
        )
        connection.execute(
            sa.text(
                "INSERT INTO pair (id, dataset_id, system, history, question, answer, status, tags, source, notes, "
                "fingerprint, trashed, revision, created_at, created_by, updated_at, updated_by) VALUES "
                "(7, 1, '', '[]', 'Old?', 'Yes.', 'draft', '[]', '', '', 'f', false, 1, :at, 'ada', :at, 'ada')"
            ).bindparams(**stamp)
        )
    database.upgrade(old)
    old.dispose()
    with database.open_session(app) as session:
        pair = pairs.get(session, 7)
        assert (pair.question, pair.rejected, pair.key, pair.meta) == ("Old?", "", "", {})
        with writing(session):
            history.change(session, history.begin(session, "edited", "ada"), pair, {"meta": {"city": ["Zürich", 8001]}})
        assert [search.ids(session, Selection(query=word)) for word in ("old", "zürich", "8001", "city")] == [
            [7], [7], [7], [],
        ]  # fmt: skip
    database.engine(app).dispose()


def test_sqlite_is_opened_with_its_promises(home):
    engine = database.engine(create_app())
    with engine.connect() as connection:
        pragmas = {
            p: connection.scalar(sa.text(f"PRAGMA {p}")) for p in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30000}


def test_a_database_of_another_curator_is_not_touched(home):
    app = create_app()
    engine = database.engine(app)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(UserError, match="has the tables of another Curator .9999, this one makes 0008"):
        database.engine(create_app())


@pytest.mark.parametrize("url, sentence", [
    ("nonsense", "is no address of a database"),
    ("mysql://localhost/x", "DATABASE_URL names mysql"),
    ("sqlite:////proc/nowhere/x.db", "can't be opened"),
    ("postgresql://nobody@127.0.0.1:1/x", "can't be opened"),
])  # fmt: skip
def test_a_database_that_cannot_be_opened_is_one_sentence(home, url, sentence):
    with pytest.raises(UserError, match=sentence):
        database.engine(create_app({"DATABASE_URL": url}))
