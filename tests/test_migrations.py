"""The tables that migrations make are those that the models speak of, on both databases."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from curator import create_app, database
from curator.errors import UserError
from curator.models import Base


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
    with pytest.raises(UserError, match="has the tables of another Curator .9999, this one makes 0001"):
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
