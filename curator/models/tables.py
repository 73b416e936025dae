"""The tables. Knows SQLAlchemy; knows no rule of the nouns, and not where a database is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from curator.words import STATUSES


def now() -> datetime:
    """Return the current moment in UTC."""
    return datetime.now(UTC)


class UTCDateTime(sa.TypeDecorator[datetime]):
    """A moment in UTC. SQLite forgets the zone of what it stores, so it is put back on the way out."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UTCDateTime, dict[str, Any]: sa.JSON, list[Any]: sa.JSON, str: sa.Text}


class Dataset(Base):
    """A named collection of pairs."""

    __tablename__ = "dataset"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Pair(Base):
    """One question and its answer, with what came before: the system message and the earlier turns.

    Written through `history` alone, so that every change can be seen and undone.
    """

    __tablename__ = "pair"
    __table_args__ = (
        sa.CheckConstraint(f"status IN {STATUSES}", name="status"),
        sa.Index("ix_pair_fingerprint", "fingerprint", "dataset_id"),
        # Most pairs have no key, and those are looked up by nobody.
        sa.Index(
            "ix_pair_dataset_key",
            "dataset_id",
            "key",
            sqlite_where=sa.text("key != ''"),
            postgresql_where=sa.text("key != ''"),
        ),
        # Never gives an id a second time: a run or a revision that names a pair names it for ever.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(sa.ForeignKey("dataset.id"))
    system: Mapped[str] = mapped_column(default="")
    history: Mapped[list[Any]] = mapped_column(default=list)  # earlier turns: [{"role": …, "content": …}]
    question: Mapped[str]
    answer: Mapped[str]
    status: Mapped[str] = mapped_column(default="draft")
    tags: Mapped[list[Any]] = mapped_column(default=list)
    source: Mapped[str] = mapped_column(default="")
    notes: Mapped[str] = mapped_column(default="")
    rejected: Mapped[str] = mapped_column(default="")  # an answer that the one above is preferred to
    key: Mapped[str] = mapped_column(default="")  # the source's own name for it: an import finds it again
    meta: Mapped[dict[str, Any]] = mapped_column(default=dict)  # fields of the source that have no place of their own
    fingerprint: Mapped[str]
    trashed: Mapped[bool] = mapped_column(default=False)
    revision: Mapped[int] = mapped_column(default=1)  # 1 when added, one more with each change
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by: Mapped[str]
    updated_at: Mapped[datetime] = mapped_column(default=now)
    updated_by: Mapped[str]

    dataset: Mapped[Dataset] = relationship()


class Changeset(Base):
    """One act on one or many pairs: who, when, why. What can be undone is undone by changeset."""

    __tablename__ = "changeset"
    __allow_unmapped__ = True  # for `undoing`, which is no column
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    action: Mapped[str]  # a verb in the past: "added", "edited", "imported", "trashed", "cleaned" …
    reason: Mapped[str] = mapped_column(default="")
    by: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)
    rows: Mapped[int] = mapped_column(default=0)  # how many pairs it changed
    undoes_id: Mapped[int | None] = mapped_column(sa.ForeignKey("changeset.id"), unique=True)

    undoing: Changeset | None = None  # the one that took it back; `history.recent` finds it


class Revision(Base):
    """What one changeset replaced in one pair.

    `before` holds the old values of the fields that changed, None where the pair was added by it.
    The new values stand in the pair or in the `before` of a later revision: each text is kept once.
    """

    __tablename__ = "revision"
    __table_args__ = (
        sa.Index(
            "ix_revision_fingerprint",
            "fingerprint",
            sqlite_where=sa.text("fingerprint IS NOT NULL"),
            postgresql_where=sa.text("fingerprint IS NOT NULL"),
        ),
        {"sqlite_with_rowid": False},
    )

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # the pair's revision after this change
    changeset_id: Mapped[int] = mapped_column(sa.ForeignKey("changeset.id"), index=True)
    before: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON(none_as_null=True))
    fingerprint: Mapped[str | None]  # the old one, where the text changed

    changeset: Mapped[Changeset] = relationship()
    pair: Mapped[Pair] = relationship()


class Line(Base):
    """A frozen line: the canonical messages of a pair. Stored once, however many versions hold it."""

    __tablename__ = "line"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(unique=True)
    messages: Mapped[list[Any]]


class Version(Base):
    """Frozen text: lines in their order with their split. Never changed after it was made."""

    __tablename__ = "version"

    id: Mapped[int] = mapped_column(primary_key=True)  # the number that the user sees
    name: Mapped[str] = mapped_column(default="")
    note: Mapped[str] = mapped_column(default="")
    dataset_id: Mapped[int | None] = mapped_column(sa.ForeignKey("dataset.id"))  # None: all of them
    fingerprint: Mapped[str] = mapped_column(index=True)  # sha256 over split and fingerprint of each line
    selection: Mapped[dict[str, Any]]
    shares: Mapped[dict[str, Any]]  # as asked: {"train": 0.8, …}
    counts: Mapped[dict[str, Any]]  # as made: {"train": 231, …}
    seed: Mapped[int]
    changeset_id: Mapped[int | None] = mapped_column(sa.ForeignKey("changeset.id"))  # the newest it contains
    created_at: Mapped[datetime] = mapped_column(default=now)
    created_by: Mapped[str]
    report: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # how it was split, and proved

    dataset: Mapped[Dataset | None] = relationship()


class VersionLine(Base):
    """One place in a version; its lines stand in the order of their pairs."""

    __tablename__ = "version_line"
    __table_args__ = ({"sqlite_with_rowid": False},)

    version_id: Mapped[int] = mapped_column(sa.ForeignKey("version.id"), primary_key=True)
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, autoincrement=False)
    line_id: Mapped[int] = mapped_column(sa.ForeignKey("line.id"))
    split: Mapped[str] = mapped_column(sa.String(10))

    line: Mapped[Line] = relationship()


class Run(Base):
    """One training run, as its folder told it."""

    __tablename__ = "run"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)  # the id in run.json: importing it again finds it
    name: Mapped[str]
    state: Mapped[str]  # running, done, failed, stopped
    base: Mapped[str]
    record: Mapped[dict[str, Any]]  # run.json, whole
    metrics: Mapped[list[Any]] = mapped_column(default=list)  # metrics.jsonl, a dict a step
    evaluation: Mapped[dict[str, Any]] = mapped_column(default=dict)  # evaluation.json
    rates: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # lr.json: how it was found
    version_id: Mapped[int | None] = mapped_column(sa.ForeignKey("version.id"))
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    imported_at: Mapped[datetime] = mapped_column(default=now)

    version: Mapped[Version | None] = relationship()
    samples: Mapped[list[Sample]] = relationship(back_populates="run", order_by="Sample.id")


class Sample(Base):
    """What a model answered to one prompt in one run."""

    __tablename__ = "sample"
    __table_args__ = (sa.UniqueConstraint("run_id", "number", "model"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(sa.ForeignKey("run.id"), index=True)
    number: Mapped[int]  # the prompt's place in the run; base and tuned answer the same number
    model: Mapped[str]  # base, tuned
    fingerprint: Mapped[str] = mapped_column(index=True)
    pair_id: Mapped[int | None] = mapped_column(sa.ForeignKey("pair.id"), index=True)
    messages: Mapped[list[Any]]  # the prompt
    reference: Mapped[str]
    text: Mapped[str]
    finish: Mapped[str]  # stop, length
    tokens: Mapped[int]
    decoding: Mapped[dict[str, Any]]
    seed: Mapped[int | None]

    run: Mapped[Run] = relationship(back_populates="samples")
    pair: Mapped[Pair | None] = relationship()


class Loss(Base):
    """How hard one line was for the base and for the tuned model: mean nats per answer token."""

    __tablename__ = "loss"

    run_id: Mapped[int] = mapped_column(sa.ForeignKey("run.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    pair_id: Mapped[int | None] = mapped_column(sa.ForeignKey("pair.id"), index=True)
    split: Mapped[str]
    tokens: Mapped[int]
    base_loss: Mapped[float]
    tuned_loss: Mapped[float]


class Signal(Base):
    """What the losses of one line tell, pass by pass: far above like lines, memorised at once, forgotten how often."""

    __tablename__ = "signal"

    run_id: Mapped[int] = mapped_column(sa.ForeignKey("run.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    pair_id: Mapped[int | None] = mapped_column(sa.ForeignKey("pair.id"), index=True)
    losses: Mapped[list[Any]]  # mean nats per answer token, each before the step that learnt from it
    suspicious: Mapped[float | None]  # how far the late losses lie above those of like length; None: seen once
    memorised: Mapped[bool]
    forgotten: Mapped[int]

    run: Mapped[Run] = relationship()
    pair: Mapped[Pair | None] = relationship()


class Rating(Base):
    """One person's judgement of one sample: stars, a better answer, or both; judging again replaces it."""

    __tablename__ = "rating"
    __table_args__ = (
        sa.UniqueConstraint("sample_id", "by"),
        sa.CheckConstraint("stars BETWEEN 1 AND 5", name="stars"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sample_id: Mapped[int] = mapped_column(sa.ForeignKey("sample.id"), index=True)
    stars: Mapped[int | None]
    note: Mapped[str] = mapped_column(default="")
    correction: Mapped[str] = mapped_column(default="")  # the answer that it should have given
    by: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)

    sample: Mapped[Sample] = relationship()


class PairFlag(Base):
    """What a check found in a pair. It follows from the text, so it is no part of the history."""

    __tablename__ = "pair_flag"
    __table_args__ = (sa.Index("ix_pair_flag_flag", "flag", "pair_id"), {"sqlite_with_rowid": False})

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, autoincrement=False)
    flag: Mapped[str] = mapped_column(primary_key=True)  # a name of flags.FLAGS: "truncated"
    detail: Mapped[str] = mapped_column(default="")  # what a person would want to know: "ends with an open bracket"


class Checked(Base):
    """How far the flags go: one row, none before the first check. Pairs changed later may have old flags, or none."""

    __tablename__ = "checked"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # always 1
    scheme: Mapped[str] = mapped_column(default="")  # which checks, by which rules: others make all flags old
    changeset_id: Mapped[int] = mapped_column(default=0)  # the newest whose pairs were looked at, with all before it
    stamp: Mapped[int] = mapped_column(default=0)  # one more each time flags of unchanged pairs changed


class PairQuestion(Base):
    """What stands for the question and the answer of a checked pair, so that those that ask the same are found."""

    __tablename__ = "pair_question"
    __table_args__ = ({"sqlite_with_rowid": False},)

    key: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)  # as flags.keys makes it
    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, autoincrement=False, index=True)
    answer: Mapped[int] = mapped_column(sa.BigInteger)


class FlagFine(Base):
    """A flag that a person found to be none; it stands as long as the pair says what it said then."""

    __tablename__ = "flag_fine"
    __table_args__ = ({"sqlite_with_rowid": False},)

    pair_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, autoincrement=False)
    flag: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    by: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)


class CleaningRule(Base):
    """Steps of cleaning that somebody kept under a name."""

    __tablename__ = "cleaning_rule"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    steps: Mapped[list[Any]]  # as cleaning reads them
    by: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)


class NotDuplicate(Base):
    """Two pairs that a person judged to be no duplicates; it stands as long as both say what they said then."""

    __tablename__ = "not_duplicate"

    one_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True)  # the lower of the two
    other_id: Mapped[int] = mapped_column(sa.ForeignKey("pair.id"), primary_key=True, index=True)
    one_fingerprint: Mapped[str]
    other_fingerprint: Mapped[str]
    by: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)


class AccessToken(Base):
    """What lets a program in that has no browser, such as a trainer on another machine; the token itself is not kept.

    A hash without salt is enough: what is hashed are 32 random bytes, which nobody can guess.
    """

    __tablename__ = "access_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    by: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]


class Beside(DeclarativeBase):
    """Tables of a file of their own, beside the database: see `jobs`."""

    type_annotation_map = Base.type_annotation_map


class Job(Beside):
    """A piece of long work: what was asked for, how far it is, and what came of it."""

    __tablename__ = "job"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]  # a key of jobs.KINDS
    title: Mapped[str]  # as a person would say it: "Import faq.csv"
    arguments: Mapped[dict[str, Any]]
    by: Mapped[str]
    # waiting, running, then done, failed, cancelled or interrupted
    state: Mapped[str] = mapped_column(default="waiting", index=True)
    is_cancel_asked: Mapped[bool] = mapped_column(default=False)
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]  # None where it can't be told; often an estimate
    rate: Mapped[float] = mapped_column(default=0.0)  # of `done`, a second
    message: Mapped[str] = mapped_column(default="")  # what it is at
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str] = mapped_column(default="")  # why it failed
    log: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
