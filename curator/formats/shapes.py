"""Records to rows: the shapes in which people keep questions and answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from curator.errors import UserError
from curator.formats.files import Record, Refusal, shorten
from curator.text import Message
from curator.words import STATUSES

# Which column holds the question and which the answer, the surest names first.
QUESTION_ANSWER = (
    ("question", "answer"),
    ("q", "a"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("input", "output"),
    ("user", "assistant"),
    ("human", "assistant"),
)
OTHER_FIELDS = {
    "system": ("system", "system_prompt", "system prompt"),
    "context": ("input", "context"),  # joined below the question where the question is an instruction
    "history": ("history",),
    "source": ("source", "origin", "url"),
    "tags": ("tags", "tag", "topic", "topics", "category", "categories", "label", "labels"),
    "status": ("status",),
    "notes": ("notes", "note", "comment", "comments"),
}
ROLES = {"system": "system", "user": "user", "assistant": "assistant", "developer": "system"}


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True)
class Columns:
    """Which field of a record is what; `unread` are the fields that no one asked for."""

    question: str
    answer: str
    others: dict[str, str]
    unread: tuple[str, ...]

    def __str__(self) -> str:
        named = {"question": self.question, "answer": self.answer, **self.others}
        return ", ".join(f"{what} from {column!r}" for what, column in named.items())


def find_columns(headers: Iterable[str], mapping: Mapping[str, str] | None = None) -> Columns:
    """Find the columns by their usual names, or as `mapping` says: {"question": "Frage", …}.

    Raises UserError, in a sentence that begins with "has", where none is found.
    """
    headers = list(headers)
    by_name = {" ".join(str(h).casefold().split()): h for h in reversed(headers)}
    chosen = dict(mapping or {})
    for what, column in chosen.items():
        if what not in ("question", "answer", *OTHER_FIELDS):
            known = ", ".join(["question", "answer", *OTHER_FIELDS])
            raise UserError(f"has no place for {what!r}. A column can be mapped to: {known}.")
        if column not in headers:
            raise UserError(f"has no column {column!r}. It has: {quoted(headers)}.")
    for usual_question, usual_answer in QUESTION_ANSWER:
        q = chosen.get("question") or by_name.get(usual_question)
        a = chosen.get("answer") or by_name.get(usual_answer)
        if q is not None and a is not None and q != a:
            break
    else:
        some_q = chosen.get("question") or next((by_name[q] for q, _ in QUESTION_ANSWER if q in by_name), None)
        some_a = chosen.get("answer") or next((by_name[a] for _, a in QUESTION_ANSWER if a in by_name), None)
        missing = "answer" if some_q else "question" if some_a else "question and no column for the answer"
        advice = " ".join(
            f"--map {what}=COLUMN" for what, found in (("question", some_q), ("answer", some_a)) if not found
        )
        raise UserError(
            f"has no column for the {missing}. It has: {quoted(headers)}. "
            f"Say which it is with: {advice or '--map question=COLUMN --map answer=COLUMN'}"
        )
    taken = {q, a, *chosen.values()}
    others = {}
    for what, names in OTHER_FIELDS.items():
        if what == "context" and by_name.get("instruction") != q:
            names = ()
        found = chosen.get(what) or next((by_name[n] for n in names if by_name.get(n) not in {None, *taken}), None)
        if found is not None:
            others[what] = found
            taken.add(found)
    return Columns(q, a, others, tuple(h for h in headers if h not in taken and str(h).strip()))


def quoted(names: Iterable[Any]) -> str:
    """List the names of columns for a message."""
    names = [str(name) for name in names]
    return ", ".join(map(shorten, names[:12])) + (" …" if len(names) > 12 else "") or "no columns"


def to_row(record: Record, columns: Columns | None) -> Row | Refusal:
    """Return the pair of a record, or why there is none. `columns` is None for chat messages."""
    row = from_messages(record) if columns is None else from_columns(record, columns)
    if isinstance(row, Refusal):
        return row
    for name in ("question", "answer"):
        if not getattr(row, name).strip():
            return Refusal(row.line, f"has an empty {name}. Fill it in, or remove the row.")
    texts = [row.question, row.answer, row.system, row.source, row.notes, *row.tags]
    for text in texts + [turn["content"] for turn in row.history]:
        if "\0" in text:
            return Refusal(row.line, f"holds a NUL character near {shorten(text.replace(chr(0), '␀'))!r}. Remove it.")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            return Refusal(row.line, "holds half of a surrogate pair (\\ud800–\\udfff). Remove it.")
    return row


def from_columns(record: Record, columns: Columns) -> Row | Refusal:
    """Return the pair whose parts stand in named fields."""
    values: dict[str, Any] = {}
    for what, column in {"question": columns.question, "answer": columns.answer, **columns.others}.items():
        value = record.fields.get(column)
        if what in ("tags", "history") and isinstance(value, list):
            values[what] = value
        elif value is None:
            values[what] = ""
        elif isinstance(value, str):
            values[what] = value
        elif isinstance(value, bool | int | float) and what not in ("question", "answer"):
            values[what] = str(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            values[what] = json.dumps(value)
        else:
            kind = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "no text"
            return Refusal(record.line, f"has {kind} as its {what} ({column!r}), where a text is needed.")
    question = values["question"]
    if values.get("context", "").strip():
        question = f"{question}\n\n{values['context']}"
    history = history_of(values.get("history", ""), record.line)
    if isinstance(history, Refusal):
        return history
    status = str(values.get("status", "")).strip().casefold() or "draft"
    if status not in STATUSES:
        return Refusal(record.line, f"has the status {shorten(values['status'])!r}. Write draft, approved or rejected.")
    return Row(
        record.line, question, values["answer"], values.get("system", ""), history,
        values.get("source", ""), tags_of(values.get("tags", "")), status, values.get("notes", ""),
    )  # fmt: skip


def tags_of(value: str | list[Any]) -> tuple[str, ...]:
    """Return the tags of a list, or of a text that separates them by commas."""
    parts = [str(tag) for tag in value] if isinstance(value, list) else value.split(",")
    return tuple(dict.fromkeys(tag for part in parts if (tag := " ".join(part.split()))))


def history_of(value: str | list[Any], line: int) -> tuple[Message, ...] | Refusal:
    """Return the earlier turns of a `history` field: a list of messages, or that list as JSON text."""
    try:
        chat = json.loads(value or "[]") if isinstance(value, str) else value
    except ValueError:
        chat = None
    if not isinstance(chat, list):
        return Refusal(line, "has a history that is no JSON list of messages.")
    return turns(chat, line)


def turns(chat: list[Any], line: int) -> tuple[Message, ...] | Refusal:
    """Return messages with known roles and a text each, or what is wrong with the first that has not."""
    found = []
    for number, message in enumerate(chat, 1):
        if not isinstance(message, dict) or "role" not in message:
            return Refusal(line, f"has no role in message {number}.")
        role = ROLES.get(str(message["role"]))
        if role is None:
            return Refusal(
                line, f"has the role {shorten(str(message['role']))!r} in message {number}. "
                "Known are system, user and assistant."
            )  # fmt: skip
        content = text_of(message.get("content"))
        if content is None:
            return Refusal(line, f"has no text in message {number}, from the {role}.")
        found.append({"role": role, "content": content})
    return tuple(found)


def text_of(content: Any) -> str | None:
    """Return the text of a message: a string, or OpenAI's list of text parts; None if it has other parts."""
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(texts)
        return None
    return content if isinstance(content, str) else None


def from_messages(record: Record) -> Row | Refusal:
    """Return the pair of a chat: its last question and answer, the system message, and all turns before."""
    chat = record.fields["messages"]
    if not isinstance(chat, list) or not chat:
        return Refusal(record.line, "has messages that are no list of turns.")
    read = turns(chat, record.line)
    if isinstance(read, Refusal):
        return read
    if read[-1]["role"] != "assistant":
        return Refusal(record.line, f"ends with a turn of the {read[-1]['role']}, so it has no answer.")
    if len(read) < 2 or read[-2]["role"] != "user":
        return Refusal(record.line, "has no question before its last answer.")
    system = read[0]["content"] if read[0]["role"] == "system" and len(read) > 2 else ""
    history = read[1 if system else 0 : -2]
    extra = record.fields
    source = extra.get("source")
    return Row(
        record.line, read[-2]["content"], read[-1]["content"], system, history,
        source if isinstance(source, str) else "", tags_of(extra.get("tags") or []),
    )  # fmt: skip
