"""The tables, and how a database is opened and written to. Knows SQLAlchemy; knows no rule of the nouns."""

from curator.models.opening import make_sessions, open_engine, to_json, writing
from curator.models.tables import (
    AccessToken,
    Base,
    Beside,
    Changeset,
    Checked,
    CleaningRule,
    Dataset,
    FlagFine,
    Job,
    Line,
    Loss,
    NotDuplicate,
    Pair,
    PairFlag,
    PairQuestion,
    Rating,
    Revision,
    Run,
    Sample,
    Signal,
    Version,
    VersionLine,
    now,
)

__all__ = [
    "AccessToken", "Base", "Beside", "Changeset", "Checked", "CleaningRule", "Dataset", "FlagFine", "Job", "Line",
    "Loss", "NotDuplicate", "Pair", "PairFlag", "PairQuestion", "Rating", "Revision", "Run", "Sample", "Signal",
    "Version", "VersionLine", "make_sessions", "now", "open_engine", "to_json", "writing",
]  # fmt: skip
