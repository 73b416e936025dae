"""Pairs to bytes: the shapes that programs read, written as JSON lines, CSV or Parquet. Knows no database."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any

import orjson

from curator.errors import UserError
from curator.formats.chats import split_text
from curator.text import Message

Fields = dict[str, Any]
Roles = tuple[str, ...]
Example = tuple[int, Roles, Sequence[str]]  # a chat with what to call it by: its number, who speaks, what they say

KINDS = {"jsonl": "one JSON object a line", "csv": "a table for spreadsheets", "parquet": "typed columns, compressed"}
BATCH = 200  # rows encoded, written and hashed together; at 500, memory goes to and from the system with each batch
ROW_GROUP = 5_000  # rows of a Parquet file in memory at a time

# What a column holds: a cell of CSV and a type of Parquet are made from it.
TEXT, NUMBER, TRUTH, WORDS = "text", "number", "truth", "words"
MESSAGES, TURNS, EXCHANGES, OBJECT = "messages", "turns", "exchanges", "object"
Columns = Mapping[str, str]
PREFERENCE = "preference"
REJECTED = "rejected"  # the role of an answer that another is preferred to; it stands last, for `preference` alone


@dataclass(frozen=True)
class Format:
    """One shape of a pair: who reads it, its columns, and the fields of a chat in it."""

    about: str
    columns: Columns
    fields: Callable[[list[Message]], Fields]
    is_apart: bool = True  # whether each text of a chat stands in it by itself


def prompt_completion(chat: list[Message]) -> Fields:
    """TRL's conversational prompt and completion."""
    return {"prompt": chat[:-1], "completion": chat[-1:]}


def alpaca(chat: list[Message]) -> Fields:
    """Alpaca's instruction, input, output; system and earlier turns as LLaMA-Factory reads them."""
    line: Fields = {"instruction": chat[-2]["content"], "input": "", "output": chat[-1]["content"]}
    if chat[0]["role"] == "system":
        line["system"] = chat[0]["content"]
    earlier = chat["system" in line : -2]
    if earlier:
        asked = [m["content"] for m in earlier if m["role"] == "user"]
        given = [m["content"] for m in earlier if m["role"] == "assistant"]
        if [m["role"] for m in earlier] != ["user", "assistant"] * len(asked):
            raise UserError("has earlier turns that don't alternate, which Alpaca can't hold.")
        line["history"] = [list(turn) for turn in zip(asked, given, strict=True)]
    return line


def sharegpt(chat: list[Message]) -> Fields:
    """ShareGPT's conversations of from and value."""
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[m["role"]], "value": m["content"]} for m in chat]}


def qa(chat: list[Message]) -> Fields:
    """Flat question and answer, with system and history only where there is one."""
    line: Fields = {"question": chat[-2]["content"], "answer": chat[-1]["content"]}
    start = 1 if chat[0]["role"] == "system" else 0
    if start:
        line["system"] = chat[0]["content"]
    if chat[start:-2]:
        line["history"] = chat[start:-2]
    return line


def openorca(chat: list[Message]) -> Fields:
    """OpenOrca's system_prompt, question, response."""
    line = qa(chat)
    if "history" in line:
        raise UserError("has earlier turns, which OpenOrca can't hold.")
    return {"system_prompt": line.get("system", ""), "question": line["question"], "response": line["answer"]}


def guanaco(chat: list[Message]) -> Fields:
    """Guanaco's one text: what the system says, then each turn behind its mark."""
    marks = {"system": "", "user": "### Human: ", "assistant": "### Assistant: "}
    text = "".join(marks[turn["role"]] + turn["content"] for turn in chat)
    if split_text(text) != chat:
        raise UserError(
            "has a text that is empty, begins or ends with white space, or holds a mark as ### Human: is one, "
            "which Guanaco can't hold."
        )
    return {"text": text}


def preference(chat: list[Message]) -> Fields:
    """TRL's conversational prompt, chosen and rejected."""
    if chat[-1]["role"] != REJECTED:
        raise UserError("has no rejected answer, which a preference needs.")
    return {"prompt": chat[:-2], "chosen": [chat[-2]], "rejected": [chat[-1] | {"role": "assistant"}]}


FORMATS: dict[str, Format] = {
    "messages": Format(
        "OpenAI fine-tuning, TRL, axolotl, LLaMA-Factory", {"messages": MESSAGES}, lambda chat: {"messages": chat}
    ),
    "prompt-completion": Format(
        "TRL, with the answer as the completion", {"prompt": MESSAGES, "completion": MESSAGES}, prompt_completion
    ),
    "alpaca": Format(
        "LLaMA-Factory and the Alpaca family",
        {"instruction": TEXT, "input": TEXT, "output": TEXT, "system": TEXT, "history": EXCHANGES},
        alpaca,
    ),
    "sharegpt": Format("axolotl, LLaMA-Factory, Unsloth", {"conversations": TURNS}, sharegpt),
    "qa": Format(
        "your own scripts: a question and an answer a line",
        {"question": TEXT, "answer": TEXT, "system": TEXT, "history": MESSAGES},
        qa,
    ),
    "openorca": Format(
        "what reads OpenOrca: a system prompt, a question, a response",
        {"system_prompt": TEXT, "question": TEXT, "response": TEXT},
        openorca,
    ),
    "guanaco": Format("what reads one text a line, as Guanaco and early TRL", {"text": TEXT}, guanaco, is_apart=False),
    PREFERENCE: Format(
        "TRL's DPO; of pairs that hold a rejected answer too",
        {"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
        preference,
    ),
}
# All that a person gave a pair; what a CSV is unless another shape is asked for. Not a shape of a chat alone.
TABLE = "table"
ABOUT_TABLE = "spreadsheets; with status, tags, notes and all other fields, and Curator reads it back"
# `_pair` is for the eye: an import passes over it. `id` is the source's own key, by which an import finds the pair.
TABLE_COLUMNS: Columns = {
    "_pair": NUMBER, "id": TEXT, "system": TEXT, "history": MESSAGES, "question": TEXT, "answer": TEXT,
    "rejected": TEXT, "status": TEXT, "tags": WORDS, "source": TEXT, "notes": TEXT, "meta": OBJECT,
}  # fmt: skip
# What is learnt from ratings, in TRL's words.
RATINGS: dict[str, Columns] = {
    "dpo": FORMATS[PREFERENCE].columns,
    "kto": {"prompt": MESSAGES, "completion": MESSAGES, "label": TRUTH},
}
COLUMNS: dict[str, Columns] = {name: each.columns for name, each in FORMATS.items()} | {TABLE: TABLE_COLUMNS} | RATINGS


def checked_format(format: str) -> str:
    """Return the name of a shape, or raise UserError listing those there are."""
    if format not in FORMATS and format != TABLE:
        raise UserError(f"There is no format {format!r}. Choose one of: {', '.join([*FORMATS, TABLE])}.")
    return format


def checked_kind(kind: str) -> str:
    """Return the name of a kind of file, or raise UserError listing those there are."""
    if kind not in KINDS:
        raise UserError(f"There is no kind of file {kind!r}. Choose one of: {', '.join(KINDS)}.")
    return kind


def chat_of(roles: Roles, texts: Sequence[str]) -> list[Message]:
    """Return who speaks and what they say as chat messages."""
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def said(chat: Sequence[Message]) -> tuple[Roles, list[str]]:
    """Return who speaks in chat messages, and what they say."""
    return tuple([message["role"] for message in chat]), [message["content"] for message in chat]


def to_fields(pair: Any, number: int, chat: list[Message], format: str) -> Fields:
    """Return a pair in a shape: its chat alone, or in a table its number and other attributes too.

    Raises UserError, in a sentence that begins with "has", where the shape can't hold it.
    """
    if format == TABLE:
        own = {"_pair": number, "id": pair.key}
        return {name: own[name] if name in own else getattr(pair, name) for name in TABLE_COLUMNS}
    if format == PREFERENCE and pair.rejected:
        chat = [*chat, {"role": REJECTED, "content": pair.rejected}]
    return FORMATS[format].fields(chat)


encode_json = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps makes one a call


def to_line(chat: list[Message], format: str = "messages") -> str:
    """Return one line of an export, with its line end; non-ASCII is kept as it is."""
    return encode_json(FORMATS[format].fields(chat)) + "\n"


@lru_cache(maxsize=1000)
def outline(format: str, roles: Roles) -> tuple[bytes, Callable[[Sequence[str]], Sequence[str]]]:
    """Return the line of every chat of these roles, with %s where a text goes, and what puts texts in that order.

    Two chats of the same roles differ in their texts alone, so one is encoded and the others are filled in.
    Raises UserError, in a sentence that begins with "has", where the shape can't hold these roles.
    """
    line = to_line(chat_of(roles, [f"<{place}>" for place in range(len(roles))]), format)
    order = [int(place) for place in re.findall('"<([0-9]+)>"', line)]
    return re.sub('"<[0-9]+>"', "%s", line.replace("%", "%%")).encode("utf-8"), itemgetter(*order)


def encode_examples(batches: Iterable[list[Example]], format: str, kind: str = "jsonl") -> Iterator[bytes]:
    """Yield the bytes of a file of chats in a shape, piece by piece.

    Raises UserError, with the number of the pair, where the shape can't hold it.
    """
    if checked_kind(kind) == "jsonl" and FORMATS[format].is_apart:
        return example_lines(batches, format)
    rows = (shaped(example, format) for batch in batches for example in batch)
    return encode(rows, kind, COLUMNS[format])


def example_lines(batches: Iterable[list[Example]], format: str) -> Iterator[bytes]:
    """Yield the lines of JSON of chats, a batch a piece: as `to_line` would write them, many times as fast."""
    quote = orjson.dumps  # of a text: the same bytes as json's, and bytes at once
    for batch in batches:
        lines = []
        for roles, group in groupby(batch, itemgetter(1)):
            alike = list(group)
            try:
                line, arranged = outline(format, roles)
            except UserError:
                shaped(alike[0], format)
                raise
            texts = chain.from_iterable(map(arranged, map(itemgetter(2), alike)))
            lines.append(line * len(alike) % tuple(map(quote, texts)))
        yield b"".join(lines)


def shaped(example: Example, format: str) -> Fields:
    """Return the fields of a chat in a shape; where the shape can't hold it, the UserError names the pair."""
    number, roles, texts = example
    try:
        return FORMATS[format].fields(chat_of(roles, texts))
    except UserError as error:
        raise UserError(f"Pair {number} {error} Export it with --format messages.") from error


def encode(rows: Iterable[Fields], kind: str, columns: Columns) -> Iterator[bytes]:
    """Yield the bytes of a file of rows, piece by piece; `columns` are those of the rows' shape."""
    if checked_kind(kind) == "csv":
        return csv_bytes(rows, columns)
    if kind == "parquet":
        return parquet_bytes(rows, columns)
    return ("".join([encode_json(row) + "\n" for row in batch]).encode("utf-8") for batch in batched(rows, BATCH))


def batched(rows: Iterable[Fields], size: int) -> Iterator[list[Fields]]:
    """Yield rows so many at a time."""
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


# CSV


def csv_bytes(rows: Iterable[Fields], columns: Columns) -> Iterator[bytes]:
    """Yield a CSV that a spreadsheet shows as it is and `flask import` takes back: a batch a piece."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")  # RFC 4180
    writer.writerow(columns)
    for batch in batched(rows, BATCH):
        writer.writerows([cell(fields.get(name), holds) for name, holds in columns.items()] for fields in batch)
        yield buffer.getvalue().encode("utf-8")
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode("utf-8")


def cell(value: Any, holds: str) -> str:
    """Return a value as a cell of CSV: texts neutralised, tags separated by commas, all else as JSON, nothing as ""."""
    if holds == TEXT:
        return neutralise(value or "")
    if value is None or (holds not in (NUMBER, TRUTH) and not value):
        return ""
    if holds == WORDS and not any("," in word or word.startswith("[") for word in value):
        return neutralise(", ".join(value))
    return encode_json(value)


# A spreadsheet takes a cell that begins with one of these for a formula, and runs it: OWASP, CSV injection.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
NEUTRALISED = re.compile(r"'+[=+\-@\t\r]")


def neutralise(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs: before a formula stands one apostrophe more.

    The rule has an exact inverse, `restore`, because apostrophes that the text itself begins with
    count too: `=1` becomes `'=1`, `'=1` becomes `''=1`. `'tis` and `2=2` stay as they are.
    """
    return "'" + text if FORMULA.match(text) else text


def restore(cell: str) -> str:
    """Return the text that `neutralise` made a cell of, to the byte."""
    return cell[1:] if NEUTRALISED.match(cell) else cell


OURS = {tuple(columns): columns for columns in COLUMNS.values()}


def restored(fields: dict[str, str]) -> Fields:
    """Return the row of a CSV as it was before `csv_bytes` wrote it, if it did: others pass untouched.

    A CSV is ours when its header is, name by name in our order, one of a shape's: every column of a
    shape is always written, used or not, so `question,answer,system,history` is ours and
    `question,answer` is not. A stranger's file with the very same header reads the same, unless a
    cell begins with an apostrophe before a formula sign: our rule then takes one apostrophe away.
    """
    columns = OURS.get(tuple(fields))
    if columns is None:
        return fields
    return {name: value(text, columns[name]) for name, text in fields.items()}


def value(cell: str, holds: str) -> Any:
    """Return what a cell of our CSV holds; one that a spreadsheet spoilt stays a text, to be refused as such."""
    if holds in (MESSAGES, TURNS, EXCHANGES, OBJECT) or (holds == WORDS and cell.startswith("[")):
        try:
            return json.loads(cell) if cell else None
        except (ValueError, RecursionError):
            return cell
    return restore(cell)


# Parquet


def parquet_bytes(rows: Iterable[Fields], columns: Columns) -> Iterator[bytes]:
    """Yield a Parquet file, a row group in memory at a time; a field that a row lacks is null."""
    import pyarrow as pa  # a fifth of a second
    import pyarrow.parquet as pq

    schema = arrow_schema(columns)
    objects = [name for name, holds in columns.items() if holds == OBJECT]
    sink = Pieces()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for group in batched(rows, ROW_GROUP):
            for name in objects:  # their fields differ from row to row, which no type of Parquet allows
                group = [fields | {name: encode_json(fields[name]) if fields[name] else None} for fields in group]
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            yield sink.taken()
    yield sink.taken()


def arrow_schema(columns: Columns) -> Any:
    """Return the Parquet types of columns: messages are list<struct<role, content>>, as `datasets` has them."""
    import pyarrow as pa

    text = pa.string()
    types = {
        TEXT: text,
        OBJECT: text,
        NUMBER: pa.int64(),
        TRUTH: pa.bool_(),
        WORDS: pa.list_(text),
        MESSAGES: pa.list_(pa.struct([("role", text), ("content", text)])),
        TURNS: pa.list_(pa.struct([("from", text), ("value", text)])),
        EXCHANGES: pa.list_(pa.list_(text)),
    }
    return pa.schema([(name, types[holds]) for name, holds in columns.items()])


class Pieces(io.RawIOBase):
    """A file that is only written, and taken away piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        """A file says what it can do."""
        return True

    def write(self, data: Any) -> int:
        """Keep the bytes until they are taken."""
        self.pieces.append(bytes(data))
        self.size += len(self.pieces[-1])
        return len(self.pieces[-1])

    def tell(self) -> int:
        """Return the place in the whole file, which Parquet's footer names."""
        return self.size

    def taken(self) -> bytes:
        """Return what was written since this was last called."""
        data, self.pieces = b"".join(self.pieces), []
        return data
