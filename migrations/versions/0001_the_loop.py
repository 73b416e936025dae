"""The tables of the loop, with full text over the pairs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# A migration keeps its own types: the models go on changing, what it makes does not.
MOMENT = sa.DateTime(timezone=True)

TURNS = "(SELECT group_concat(value ->> 'content', char(10)) FROM json_each({row}.history))"
WORDS = "{row}.id, {row}.question, {row}.answer, {row}.system, {row}.notes, " + TURNS
COLUMNS = "question, answer, system, notes, turns"
REMOVE = f"INSERT INTO pair_text (pair_text, rowid, {COLUMNS}) VALUES ('delete', {WORDS.format(row='old')});"
ENTER = f"INSERT INTO pair_text (rowid, {COLUMNS}) VALUES ({WORDS.format(row='new')});"
# The index keeps no text of its own: it reads it from the pair. Triggers keep it in step with changes;
# what is new is entered by `history.add`, many rows at once, which is ten times as fast as a trigger.
FULL_TEXT_SQLITE = (
    f"CREATE VIEW pair_words AS SELECT pair.id, question, answer, system, notes, "
    f"{TURNS.format(row='pair')} AS turns FROM pair",
    f"CREATE VIRTUAL TABLE pair_text USING fts5({COLUMNS}, content = 'pair_words', content_rowid = 'id', "
    "tokenize = 'unicode61 remove_diacritics 2')",
    f"CREATE TRIGGER pair_text_delete AFTER DELETE ON pair BEGIN {REMOVE} END",
    f"CREATE TRIGGER pair_text_update AFTER UPDATE OF question, answer, system, notes, history ON pair "
    f"BEGIN {REMOVE} {ENTER} END",
)
# PostgreSQL refuses a tsvector above 1 MB, so only the beginning of a very long text is indexed.
FULL_TEXT_POSTGRESQL = (
    "ALTER TABLE pair ADD COLUMN search tsvector GENERATED ALWAYS AS ("
    "to_tsvector('simple', left(question, 100000)) || to_tsvector('simple', left(answer, 100000)) || "
    "to_tsvector('simple', left(system, 100000)) || to_tsvector('simple', left(notes, 100000)) || "
    """json_to_tsvector('simple', history, '["string"]')) STORED""",
    "CREATE INDEX ix_pair_search ON pair USING gin (search)",
)

CHANGED = sa.text("fingerprint IS NOT NULL")  # a pair that was only added had no text before
WHERE_TEXT_CHANGED = {"sqlite_where": CHANGED, "postgresql_where": CHANGED}


def upgrade() -> None:

    op.create_table(
        "changeset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("undoes_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["undoes_id"], ["changeset.id"], name=op.f("fk_changeset_undoes_id_changeset")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changeset")),
        sa.UniqueConstraint("undoes_id", name=op.f("uq_changeset_undoes_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("name", name=op.f("uq_dataset_name")),
    )
    op.create_table(
        "line",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_line_fingerprint")),
    )
    op.create_table(
        "pair",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("history", sa.JSON(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("trashed", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint("status IN ('draft', 'approved', 'rejected')", name=op.f("ck_pair_status")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_pair_dataset_id_dataset")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pair")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pair_fingerprint", "pair", ["fingerprint", "dataset_id"], unique=False)
    op.create_table(
        "version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("shares", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("changeset_id", sa.Integer(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["changeset_id"], ["changeset.id"], name=op.f("fk_version_changeset_id_changeset")),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_version_dataset_id_dataset")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version")),
    )
    op.create_index(op.f("ix_version_fingerprint"), "version", ["fingerprint"], unique=False)
    op.create_table(
        "revision",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("changeset_id", sa.Integer(), nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["changeset_id"], ["changeset.id"], name=op.f("fk_revision_changeset_id_changeset")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_revision_pair_id_pair")),
        sa.PrimaryKeyConstraint("pair_id", "number", name=op.f("pk_revision")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_revision_changeset_id"), "revision", ["changeset_id"], unique=False)
    op.create_index("ix_revision_fingerprint", "revision", ["fingerprint"], **WHERE_TEXT_CHANGED)
    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("evaluation", sa.JSON(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("imported_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_run_version_id_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("key", name=op.f("uq_run_key")),
    )
    op.create_table(
        "version_line",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(length=10), nullable=False),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name=op.f("fk_version_line_line_id_line")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_version_line_pair_id_pair")),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_version_line_version_id_version")),
        sa.PrimaryKeyConstraint("version_id", "position", name=op.f("pk_version_line")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_version_line_line_id"), "version_line", ["line_id"], unique=False)
    op.create_index(op.f("ix_version_line_pair_id"), "version_line", ["pair_id"], unique=False)
    op.create_table(
        "loss",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=True),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("base_loss", sa.Double(), nullable=False),
        sa.Column("tuned_loss", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_loss_pair_id_pair")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_loss_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "fingerprint", name=op.f("pk_loss")),
    )
    op.create_index(op.f("ix_loss_pair_id"), "loss", ["pair_id"], unique=False)
    op.create_table(
        "sample",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=True),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("finish", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("decoding", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_sample_pair_id_pair")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_sample_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sample")),
        sa.UniqueConstraint("run_id", "number", "model", name=op.f("uq_sample_run_id_number_model")),
    )
    op.create_index(op.f("ix_sample_fingerprint"), "sample", ["fingerprint"], unique=False)
    op.create_index(op.f("ix_sample_pair_id"), "sample", ["pair_id"], unique=False)
    op.create_index(op.f("ix_sample_run_id"), "sample", ["run_id"], unique=False)
    op.create_table(
        "rating",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sample_id", sa.Integer(), nullable=False),
        sa.Column("stars", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("correction", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.CheckConstraint("stars BETWEEN 1 AND 5", name=op.f("ck_rating_stars")),
        sa.ForeignKeyConstraint(["sample_id"], ["sample.id"], name=op.f("fk_rating_sample_id_sample")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rating")),
        sa.UniqueConstraint("sample_id", "by", name=op.f("uq_rating_sample_id_by")),
    )
    op.create_index(op.f("ix_rating_sample_id"), "rating", ["sample_id"], unique=False)

    for statement in FULL_TEXT_POSTGRESQL if op.get_bind().dialect.name == "postgresql" else FULL_TEXT_SQLITE:
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    raise RuntimeError("The first tables have none before them. Restore a backup instead.")
