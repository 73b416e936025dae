"""Bytes in, rows out, and back. Knows files and fields; knows no database and no browser."""

from curator.formats.files import Reading, Record, Refusal, read
from curator.formats.hub import read_hub
from curator.formats.records import Refusals
from curator.formats.rows import Row, mended, to_row, to_rows
from curator.formats.shapes import SHAPES, Columns, find_columns
from curator.formats.streams import PACKINGS
from curator.formats.writing import FORMATS, KINDS, encode, to_line

__all__ = [
    "FORMATS",
    "KINDS",
    "PACKINGS",
    "SHAPES",
    "Columns",
    "Reading",
    "Record",
    "Refusal",
    "Refusals",
    "Row",
    "encode",
    "find_columns",
    "mended",
    "read",
    "read_hub",
    "to_line",
    "to_row",
    "to_rows",
]
