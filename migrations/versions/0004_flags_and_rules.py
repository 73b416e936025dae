"""What the checks found in each pair, and cleaning that is kept by name."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "pair_flag",
        sa.Column("pair_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("flag", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_pair_flag_pair_id_pair")),
        sa.PrimaryKeyConstraint("pair_id", "flag", name=op.f("pk_pair_flag")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pair_flag_flag", "pair_flag", ["flag", "pair_id"], unique=False)
    op.create_table(
        "checked",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("changeset_id", sa.Integer(), nullable=False),
        sa.Column("stamp", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checked")),
    )
    op.create_table(
        "cleaning_rule",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cleaning_rule")),
        sa.UniqueConstraint("name", name=op.f("uq_cleaning_rule_name")),
    )


def downgrade() -> None:
    op.drop_table("cleaning_rule")
    op.drop_table("checked")
    op.drop_table("pair_flag")
