"""Near-duplicates are found while a pair is typed, by an index of bands; what a person says is none is remembered."""

import sqlalchemy as sa
from alembic import op

from curator import minhash

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "not_duplicate",
        sa.Column("one_id", sa.Integer(), nullable=False),
        sa.Column("other_id", sa.Integer(), nullable=False),
        sa.Column("one_fingerprint", sa.Text(), nullable=False),
        sa.Column("other_fingerprint", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["one_id"], ["pair.id"], name=op.f("fk_not_duplicate_one_id_pair")),
        sa.ForeignKeyConstraint(["other_id"], ["pair.id"], name=op.f("fk_not_duplicate_other_id_pair")),
        sa.PrimaryKeyConstraint("one_id", "other_id", name=op.f("pk_not_duplicate")),
    )
    op.create_index(op.f("ix_not_duplicate_other_id"), "not_duplicate", ["other_id"], unique=False)
    # No foreign key: it would be looked up eighteen times a pair.
    op.create_table(
        "pair_band",
        sa.Column("key", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("pair_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.PrimaryKeyConstraint("key", "pair_id", name=op.f("pk_pair_band")),
        sqlite_with_rowid=False,
    )
    scheme = op.create_table("pair_band_scheme", sa.Column("scheme", sa.Text(), nullable=False))
    # Without pairs it is whole; with pairs `neighbours.rebuild` makes it so.
    has_pairs = op.get_bind().scalar(sa.text("SELECT EXISTS (SELECT 1 FROM pair)"))
    op.bulk_insert(scheme, [{"scheme": "" if has_pairs else minhash.stored().id}])


def downgrade() -> None:
    op.drop_table("pair_band_scheme")
    op.drop_table("pair_band")
    op.drop_table("not_duplicate")
