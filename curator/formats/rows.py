"""Records to rows: the pairs that a record holds in its shape, or why there is none. Knows no file."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from curator.formats.chats import WHO, WORDS, apart, as_list, read_history, read_turns, split_text
from curator.formats.files import Record, Refusal, shorten
from curator.formats.records import SURROGATE
from curator.formats.shapes import PASSED_OVER, Columns, find_columns
from curator.text import Message
from curator.words import STATUSES

PLAIN = frozenset(("key", "system", "source", "tags", "status", "notes"))  # a text in each is all there is to it
MAX_DEPTH = 100  # of nested lists and objects in a field that is kept as it is; SQLite's own limit is 1,000


@dataclass(slots=True)  # not frozen: setting twelve fields behind its own back would take four times as long
class Row:
    """One pair as it was read, and the line that it began on."""

    line: int
    question: str
    answer: str
    system: str = ""
    history: tuple[Message, ...] = ()
    source: str = ""
    tags: tuple[str, ...] = ()
    status: str = "draft"
    notes: str = ""
    rejected: str = ""  # an answer that this one is preferred to
    key: str = ""  # the source's own name for the row
    meta: dict[str, Any] = field(default_factory=dict)  # fields that a pair has no place for, kept as they are


def mended(record: Record | Refusal) -> Record | Refusal:
    """Return the record that was mended inside the `_raw` of a rejects file; any other comes back as it is."""
    text = record.fields.get("_raw")
    if text is None or isinstance(record, Refusal) or any(name not in PASSED_OVER for name in record.fields):
        return record
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return Record(record.line, value)
    return Refusal(
        record.line, "has no JSON object in _raw. Mend it there, or write the fields beside it.", record.fields
    )


def to_row(record: Record, columns: Columns | None = None) -> Row | Refusal:
    """Return the pair of a record, or why there is none."""
    rows = to_rows(record, columns)
    return rows if isinstance(rows, Refusal) else rows[0]


def to_rows(record: Record, columns: Columns | None = None, each_turn: bool = False) -> list[Row] | Refusal:
    """Return the pair of a record: its last question and answer, with the system message and all turns before.

    With `each_turn` there is one pair for each answer, the turns before it as its history; answers
    of OpenAI's weight 0 are not to be learnt and stay in the history alone. A Refusal says why there is
    no pair. Raises UserError where no shape fits and no columns are given.
    """
    if surplus := record.fields.get("_rest"):
        return Refusal(record.line, f"has {shorten(repr(surplus))} in _rest. Move it to where it belongs.")
    columns = columns or find_columns(record.fields)
    if row := plain_row(record, columns):
        return [row]
    values = {what: record.fields.get(column) for what, column in columns.named.items()}
    chat = read_chat(values, record.line)
    try:
        rest = {name: plain(record.fields[name]) for name in columns.kept if record.fields[name] not in (None, "")}
        rest = with_meta(rest, columns.named.get("meta", ""), values.get("meta"))
        others = read_others(values, rest, record.line)
    except RecursionError:
        return Refusal(record.line, f"has a field that is nested more than {MAX_DEPTH} levels deep. Remove it.")
    if isinstance(chat, Refusal):
        return chat
    if isinstance(others, Refusal):
        return others
    rejected = read_rejected(values, chat, record.line)
    if isinstance(rejected, Refusal):
        return rejected
    if chat and chat[0]["role"] == "system" and len(chat) > 2:
        if others["system"]:
            rest[columns.named["system"]] = others["system"]
        others["system"], chat = chat[0]["content"], chat[1:]
    ends = find_answers(chat, weights_of(values), each_turn, record.line)
    if isinstance(ends, Refusal):
        return ends
    key, rows = others.pop("key"), []
    for end in ends:
        row = Row(
            record.line, chat[end - 1]["content"], chat[end]["content"], history=tuple(chat[: end - 1]), **others,
            key=f"{key}#{end}" if key and len(ends) > 1 else key, meta=rest,
            rejected=rejected if end == len(chat) - 1 else "",
        )  # fmt: skip
        if fault := fault_of(row):
            return Refusal(record.line, fault)
        rows.append(row)
    return rows


def plain_row(record: Record, columns: Columns) -> Row | None:
    """Return the pair of a record that is all sound texts and numbers, None where `to_rows` has to look closer.

    It is what `to_rows` would return, in a fifth of the time, and most files hold nothing else.
    """
    if columns.beside is None:
        return None
    fields = record.fields
    question, answer = fields.get(columns.named["question"]), fields.get(columns.named["answer"])
    if type(question) is not str or type(answer) is not str or not question.strip() or not answer.strip():
        return None
    texts = [question, answer]
    others: dict[str, Any] = {}
    for what, column in columns.beside:
        value = fields.get(column)
        if value is not None and value != "":
            if type(value) is not str or what not in PLAIN:
                return None
            texts.append(value)
            others[what] = value
    rest = {}
    for name in columns.kept:
        value = fields[name]
        if value is not None and value != "":
            if type(value) is str:
                texts.append(value)
            elif type(value) not in (int, bool) and not (type(value) is float and math.isfinite(value)):
                return None
            texts.append(name)
            rest[name] = value
    text = "".join(texts)
    if "\0" in text or not (text.isascii() or SURROGATE.search(text) is None):
        return None
    if others:
        if "status" in others:
            others["status"] = others["status"].strip().casefold() or "draft"
            if others["status"] not in STATUSES:
                return None
        if "tags" in others:
            others["tags"] = tags_of(others["tags"])
        if "key" in others:
            others["key"] = others["key"].strip()
    return Row(record.line, question, answer, meta=rest, **others)


def read_chat(values: Mapping[str, Any], line: int) -> list[Message] | Refusal:
    """Return all turns of a record, its answer last."""
    if "messages" in values:
        turns = as_list(values["messages"])
        read = read_turns(turns, line) if turns else Refusal(line, "has messages that are not a list of turns.")
        return read if isinstance(read, Refusal) or "answer" not in values else with_answer(read, values, line)
    if "text" in values or "question" not in values:
        text = values.get("text", values.get("answer"))
        if isinstance(text, list):
            return read_turns(text, line)
        turns = split_text(text) if isinstance(text, str) else []
        return turns or Refusal(line, "has a text without turns. Mark them as in: ### Human: Hi ### Assistant: Hello")
    earlier = read_history(values.get("history"), line)
    asked = read_part(values, "question", "user", line)
    answered = read_part(values, "answer", "assistant", line)
    if isinstance(earlier, Refusal) or isinstance(asked, Refusal) or isinstance(answered, Refusal):
        return next(part for part in (earlier, asked, answered) if isinstance(part, Refusal))
    context = values.get("context")
    if context and str(context).strip() and len(asked) == 1:
        parts = [asked[0]["content"], str(context)]
        asked = [{"role": "user", "content": "\n\n".join(part for part in parts if part.strip())}]
    # A chosen answer often holds the whole conversation once more, the prompt included.
    if len(answered) > 1 and asked[-1] in answered[:-1]:
        return earlier + answered
    return earlier + asked + answered


def with_answer(chat: list[Message], values: Mapping[str, Any], line: int) -> list[Message] | Refusal:
    """Return a conversation with the answer that stands beside it, which may say the whole of it once more."""
    answered = read_part(values, "answer", "assistant", line)
    if isinstance(answered, Refusal) or chat[-1] in answered:
        return answered if isinstance(answered, Refusal) or len(answered) > 1 else chat
    return chat + answered


def read_part(values: Mapping[str, Any], what: str, role: str, line: int) -> list[Message] | Refusal:
    """Return the turns of a question or an answer: messages as TRL and OpenAI have them, one turn, or one text."""
    value = values[what]
    if isinstance(value, dict) and value:
        value = value.get("messages", [value] if any(name in value for name in WHO) else value)
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return read_turns(value, line)
    if value is None or isinstance(value, str):
        return [{"role": role, "content": value or ""}]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [{"role": role, "content": json.dumps(value)}]
    kind = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "no text"
    return Refusal(line, f"has {kind} as its {what}, where a text is needed.")


def read_rejected(values: Mapping[str, Any], chat: list[Message], line: int) -> str | Refusal:
    """Return the answer that was not preferred; a whole conversation must differ from the chosen in its end alone."""
    value = values.get("rejected")
    if isinstance(value, str) and ("question" in values or "messages" in values):
        return value
    turns = split_text(value) if isinstance(value, str) else [value] if isinstance(value, dict) else value or []
    read = read_turns(turns, line) if isinstance(turns, list) else []
    if isinstance(read, Refusal):
        return read
    if len(read) > 1 and read[:-1] != chat[-len(read) : -1]:
        return Refusal(line, "has a rejected conversation that differs from the chosen one before its last turn.")
    return read[-1]["content"] if read else ""


def turns_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of a conversation as they stand in the record."""
    turns = [one for turn in as_list(values.get("messages")) or [] for one in apart(turn)]
    return [turn for turn in turns if isinstance(turn, dict)]


def weights_of(values: Mapping[str, Any]) -> list[Any]:
    """Return OpenAI's weight of each turn, counted from the end as a system message may be gone."""
    turns = [] if "answer" in values else turns_of(values)
    return [turn.get("weight", turn.get("loss_weight")) for turn in turns]


def find_answers(chat: list[Message], weights: list[Any], each_turn: bool, line: int) -> list[int] | Refusal:
    """Return the places of the answers that make a pair: the last, or each that follows a question."""
    weights = [None] * (len(chat) - len(weights)) + weights[len(weights) - len(chat) :]
    if each_turn:
        answers = [
            place
            for place, turn in enumerate(chat)
            if place and turn["role"] == "assistant" and chat[place - 1]["role"] == "user" and weights[place] != 0
        ]
        return answers or Refusal(line, "has no answer that follows a question.")
    if not chat or chat[-1]["role"] != "assistant":
        last = chat[-1]["role"] if chat else "system"
        return Refusal(line, f"ends with a turn of the {last}, so it has no answer.")
    if len(chat) < 2 or chat[-2]["role"] != "user":
        return Refusal(line, "has no question before its last answer.")
    if weights[-1] == 0:
        return Refusal(
            line, "has weight 0 on its last answer, so nothing is to be learnt from it. Import it with --turns each."
        )
    return [len(chat) - 1]


def read_others(values: Mapping[str, Any], rest: dict[str, Any], line: int) -> dict[str, Any] | Refusal:
    """Return the fields beside the chat; what a turn says beside its words goes to `rest`."""
    texts = {}
    for name in ("key", "system", "source", "notes", "status"):
        value = values.get(name)
        if value is not None and not isinstance(value, str | int | float):
            kind = "an object" if isinstance(value, dict) else "a list"
            return Refusal(line, f"has {kind} as its {name}, where a text is needed.")
        texts[name] = "" if value is None else str(value)
    status = texts["status"].strip().casefold() or "draft"
    if status not in STATUSES:
        return Refusal(line, f"has the status {shorten(texts['status'])!r}. Write draft, approved or rejected.")
    tags = values.get("tags")
    if isinstance(tags, bool):  # KTO's label: whether the completion is a good one
        status, tags = status if tags else "rejected", None
    beside = [
        {k: plain(v) for k, v in turn.items() if k not in (*WHO, *WORDS) and v is not None} for turn in turns_of(values)
    ]
    if any(beside):
        rest["turns"] = beside
    return texts | {"status": status, "tags": tags_of(tags), "key": texts["key"].strip()}


def with_meta(rest: dict[str, Any], column: str, value: Any) -> dict[str, Any]:
    """Return the fields that are kept, with those of an object beside them; what is none is kept as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict) and not value.keys() & rest.keys():
        return rest | plain(value)
    return rest if value in (None, "") else rest | {column: plain(value)}


def tags_of(value: Any) -> tuple[str, ...]:
    """Return the tags of a list, or of a text that separates them by commas."""
    parts = [str(tag) for tag in value] if isinstance(value, list) else str("" if value is None else value).split(",")
    return tuple(dict.fromkeys(tag for part in parts if (tag := " ".join(part.split()))))


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON can keep it: dates and the like as text, and so what is no finite number.

    Raises RecursionError beyond MAX_DEPTH.
    """
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        return {str(name): plain(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, depth + 1) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, str | int) else str(value)


def fault_of(row: Row) -> str | None:
    """Say what keeps a row from being a pair, None where nothing does."""
    for name in ("question", "answer"):
        if not getattr(row, name).strip():
            return f"has an empty {name}. Fill it in, or remove the row."
    texts = [row.question, row.answer, row.system, row.source, row.notes, row.rejected, row.key, *row.tags]
    for text in [*texts, *(turn["content"] for turn in row.history), *strings(row.meta)]:
        if "\0" in text:
            return f"holds a NUL character near {shorten(text.replace(chr(0), '␀'))!r}. Remove it."
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            return "holds half of a surrogate pair (\\ud800–\\udfff). Remove it."
    return None


def strings(value: Any) -> Iterator[str]:
    """Yield each text in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
