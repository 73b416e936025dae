"""Bytes in, rows out, and back. Knows files and fields; knows no database and no browser."""

from curator.formats.files import Reading, Record, Refusal, read
from curator.formats.hub import read_hub
from curator.formats.shapes import FORMATS, Columns, Row, find_columns, to_line, to_row

__all__ = [
    "FORMATS",
    "Columns",
    "Reading",
    "Record",
    "Refusal",
    "Row",
    "find_columns",
    "read",
    "read_hub",
    "to_line",
    "to_row",
]
