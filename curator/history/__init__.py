"""Changesets and revisions: the only place that writes pairs, so that every change is seen and can be undone."""

from curator.history.changing import (
    CHANGEABLE,
    FIELDS,
    FIRST,
    JSON_FIELDS,
    PAIR_COLUMNS,
    TEXT_FIELDS,
    add,
    at_once,
    begin,
    change,
    change_many,
    changeable,
    fingerprint_of,
    insert,
)
from curator.history.indexing import frozen_heap, in_bulk
from curator.history.landing import land, prepare, withdraw
from curator.history.reading import (
    Row,
    Step,
    changeset,
    find,
    left_by,
    recent,
    rows_of,
    timeline,
    version_of,
    who_and_what,
)
from curator.history.stepping import in_step
from curator.history.undoing import Undone, is_undone, undo
from curator.neighbours import quiet

__all__ = [
    "CHANGEABLE",
    "FIELDS",
    "FIRST",
    "JSON_FIELDS",
    "TEXT_FIELDS",
    "PAIR_COLUMNS",
    "Row",
    "Step",
    "Undone",
    "add",
    "at_once",
    "begin",
    "change",
    "change_many",
    "changeable",
    "changeset",
    "find",
    "fingerprint_of",
    "frozen_heap",
    "in_bulk",
    "in_step",
    "insert",
    "is_undone",
    "land",
    "left_by",
    "prepare",
    "quiet",
    "recent",
    "rows_of",
    "timeline",
    "undo",
    "version_of",
    "who_and_what",
    "withdraw",
]
