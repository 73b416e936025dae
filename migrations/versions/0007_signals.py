"""What the losses of its lines, pass by pass, told a run of its data."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "signal",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=True),
        sa.Column("losses", sa.JSON(), nullable=False),
        sa.Column("suspicious", sa.Double(), nullable=True),
        sa.Column("memorised", sa.Boolean(), nullable=False),
        sa.Column("forgotten", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_signal_pair_id_pair")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_signal_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "fingerprint", name=op.f("pk_signal")),
    )
    op.create_index("ix_signal_pair_id", "signal", ["pair_id"], unique=False)


def downgrade() -> None:
    op.drop_table("signal")
