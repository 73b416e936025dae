"""What stands for each question, so that pairs that ask the same are found; and flags that people found to be none."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "pair_question",
        sa.Column("key", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("pair_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("answer", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_pair_question_pair_id_pair")),
        sa.PrimaryKeyConstraint("key", "pair_id", name=op.f("pk_pair_question")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pair_question_pair_id", "pair_question", ["pair_id"], unique=False)
    op.create_table(
        "flag_fine",
        sa.Column("pair_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("flag", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_flag_fine_pair_id_pair")),
        sa.PrimaryKeyConstraint("pair_id", "flag", name=op.f("pk_flag_fine")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("flag_fine")
    op.drop_table("pair_question")
