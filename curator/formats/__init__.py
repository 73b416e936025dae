"""Bytes in, rows out, and back. Knows files and fields; knows no database and no browser."""

from curator.formats.files import Reading, Record, Refusal, read
from curator.formats.shapes import FORMATS, SHAPES, Columns, Row, find_columns, to_line, to_row, to_rows

__all__ = [
    "FORMATS",
    "SHAPES",
    "Columns",
    "Reading",
    "Record",
    "Refusal",
    "Row",
    "find_columns",
    "read",
    "to_line",
    "to_row",
    "to_rows",
]
