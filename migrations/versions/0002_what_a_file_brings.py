"""What a file brings beside the pair is kept: its own key, other fields (searchable), the rejected answer."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TURNS = "(SELECT group_concat(value ->> 'content', char(10)) FROM json_each({row}.history))"
# Most pairs have no other fields, and json_tree takes its time even over none.
FIELDS = (
    "CASE {row}.meta WHEN '{{}}' THEN NULL ELSE (SELECT group_concat(atom, char(10)) FROM json_tree({row}.meta)) END"
)
WORDS = "{row}.id, {row}.question, {row}.answer, {row}.system, {row}.notes, " + TURNS + ", " + FIELDS
COLUMNS = "question, answer, system, notes, turns, fields"
REMOVE = f"INSERT INTO pair_text (pair_text, rowid, {COLUMNS}) VALUES ('delete', {WORDS.format(row='old')});"
ENTER = f"INSERT INTO pair_text (rowid, {COLUMNS}) VALUES ({WORDS.format(row='new')});"
FULL_TEXT_SQLITE = (
    "DROP TRIGGER pair_text_delete",
    "DROP TRIGGER pair_text_update",
    "DROP TABLE pair_text",
    "DROP VIEW pair_words",
    f"CREATE VIEW pair_words AS SELECT pair.id, question, answer, system, notes, "
    f"{TURNS.format(row='pair')} AS turns, {FIELDS.format(row='pair')} AS fields FROM pair",
    f"CREATE VIRTUAL TABLE pair_text USING fts5({COLUMNS}, content = 'pair_words', content_rowid = 'id', "
    "tokenize = 'unicode61 remove_diacritics 2')",
    f"CREATE TRIGGER pair_text_delete AFTER DELETE ON pair BEGIN {REMOVE} END",
    f"CREATE TRIGGER pair_text_update AFTER UPDATE OF question, answer, system, notes, history, meta ON pair "
    f"BEGIN {REMOVE} {ENTER} END",
    # Not by 'rebuild': FTS5 can't read json_each, a virtual table itself, through a view.
    f"INSERT INTO pair_text (rowid, {COLUMNS}) SELECT id, {COLUMNS} FROM pair_words",
)


def beginning_of(column: str) -> str:
    """Index the values of a JSON column, or its beginning as text where a tsvector can't hold it all."""
    values = f"""json_to_tsvector('simple', {column}, '["string", "numeric"]')"""
    short = f"left(CAST({column} AS text), 100000)"
    return f"CASE WHEN length(CAST({column} AS text)) < 500000 THEN {values} ELSE to_tsvector('simple', {short}) END"


# PostgreSQL refuses a tsvector above 1 MB, so only the beginning of a very long text is indexed.
FULL_TEXT_POSTGRESQL = (
    "ALTER TABLE pair DROP COLUMN search",
    "ALTER TABLE pair ADD COLUMN search tsvector GENERATED ALWAYS AS ("
    "to_tsvector('simple', left(question, 100000)) || to_tsvector('simple', left(answer, 100000)) || "
    "to_tsvector('simple', left(system, 100000)) || to_tsvector('simple', left(notes, 100000)) || "
    f"({beginning_of('history')}) || ({beginning_of('meta')})) STORED",
    "CREATE INDEX ix_pair_search ON pair USING gin (search)",
)


def upgrade() -> None:
    op.add_column("pair", sa.Column("rejected", sa.Text(), nullable=False, server_default=""))
    op.add_column("pair", sa.Column("key", sa.Text(), nullable=False, server_default=""))
    op.add_column("pair", sa.Column("meta", sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
    has_key = sa.text("key != ''")
    op.create_index(
        "ix_pair_dataset_key", "pair", ["dataset_id", "key"], sqlite_where=has_key, postgresql_where=has_key
    )
    for statement in FULL_TEXT_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else FULL_TEXT_SQLITE:
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    raise RuntimeError("What a file brought would be lost. Restore a backup instead.")
