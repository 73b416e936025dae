"""A version's lines in a third of the room, a report of its split, and a database that refuses to change it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

FROZEN = {
    "line": "",
    "version_line": "",
    # Its name and its note are for people, and may change.
    "version": "id, dataset_id, fingerprint, selection, shares, counts, seed, changeset_id, created_at, created_by, "
    "report",
}
SENTENCE = "What is frozen stays as it is: freeze another version instead."
REFUSE = f"""CREATE FUNCTION refuse_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{SENTENCE}'; END $$"""


def upgrade() -> None:
    op.add_column("version", sa.Column("report", sa.JSON(), nullable=False, server_default="{}"))
    op.rename_table("version_line", "old_version_line")
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    if on_postgresql:  # where names of constraints are those of indexes, and taken
        op.drop_constraint("pk_version_line", "old_version_line")
    make_lines()
    op.execute(
        "INSERT INTO version_line (version_id, pair_id, line_id, split) SELECT version_id, pair_id, line_id, split "
        "FROM old_version_line ORDER BY version_id, pair_id"
    )
    op.drop_table("old_version_line")
    if on_postgresql:
        op.execute(REFUSE)
    for table, columns in FROZEN.items():
        for act in ("UPDATE", "DELETE"):
            of = f" OF {columns}" if columns and act == "UPDATE" else ""
            does = (
                "FOR EACH ROW EXECUTE FUNCTION refuse_frozen()"
                if on_postgresql
                else f"BEGIN SELECT RAISE(ABORT, '{SENTENCE}'); END"
            )
            op.execute(f"CREATE TRIGGER {table}_{act.lower()} BEFORE {act}{of} ON {table} {does}")


def make_lines() -> None:
    """Make the table of the places; without an index of its own, as a version is few and read whole."""
    op.create_table(
        "version_line",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("line_id", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(length=10), nullable=False),
        sa.ForeignKeyConstraint(["line_id"], ["line.id"], name=op.f("fk_version_line_line_id_line")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_version_line_pair_id_pair")),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_version_line_version_id_version")),
        sa.PrimaryKeyConstraint("version_id", "pair_id", name=op.f("pk_version_line")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    raise RuntimeError("Versions have no way back to the wider tables. Restore a backup instead.")
