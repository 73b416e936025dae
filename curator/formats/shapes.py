"""The shapes in which people keep questions and answers, told by their columns. Reads no record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from curator.errors import UserError
from curator.formats.files import shorten

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
    ("title", "body"),
    ("parent", "reply"),
)
PROMPTS = ("prompt", "question", "instruction", "input")
CHATS = ("messages", "conversations", "conversation")
# The answer that is preferred and the other one: TRL, OpenAI, LLaMA-Factory, and Stack Exchange as TRL has it.
PREFERENCES = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("chosen_messages", "rejected_messages"),
    ("response_j", "response_k"),
)
# Each shape: what it is called when a file is looked at, and the columns it must have, a line for each way to
# name them. The first shape whose columns are all there is taken, so the more particular ones come first.
SHAPES: dict[str, tuple[str, tuple[dict[str, str], ...]]] = {
    "preference": (
        "preferences",
        (*({"question": p, "answer": good, "rejected": bad} for good, bad in PREFERENCES for p in PROMPTS),
         *({"messages": chat, "answer": good, "rejected": bad} for good, bad in PREFERENCES for chat in CHATS),
         *({"answer": good, "rejected": bad} for good, bad in PREFERENCES)),
    ),
    "messages": ("chat messages", ({"messages": "messages"},)),
    "sharegpt": ("ShareGPT conversations", ({"messages": "conversations"}, {"messages": "conversation"})),
    "openorca": ("OpenOrca", ({"system": "system_prompt", "question": "question", "answer": "response"},)),
    "alpaca": ("Alpaca", ({"question": "instruction", "answer": "output"},)),
    "prompt-completion": ("prompt and completion", ({"question": "prompt", "answer": "completion"},)),
    "qa": ("question and answer", tuple({"question": q, "answer": a} for q, a in QUESTION_ANSWER)),
    "guanaco": ("text whose turns are marked, as in Guanaco", ({"text": "text"},)),
}  # fmt: skip
OTHER_FIELDS = {
    "key": ("id", "row_id", "uid"),  # the source's own name for the row: what a second import finds it by
    "system": ("system", "system_prompt", "system prompt"),
    "context": ("input", "context"),  # joined below the question where the question is an instruction
    "history": ("history",),
    "rejected": ("rejected",),  # an answer that the one of the pair is preferred to
    "source": ("source", "origin", "url"),
    "tags": ("tags", "tag", "topic", "topics", "category", "categories", "label", "labels"),
    "status": ("status",),
    "notes": ("notes", "note", "comment", "comments"),
    "meta": ("meta",),  # an object of fields that are kept, as an export writes it
}
MAPPABLE = ("question", "answer", "messages", "text", *OTHER_FIELDS)
# What our own files say of a row, not in it: a rejects file the first four, a table the number of the pair.
PASSED_OVER = ("_line", "_reason", "_rest", "_raw", "_pair")


@dataclass(frozen=True)
class Columns:
    """Which field of a record is what; `kept` are the fields that go along as they are."""

    shape: str
    named: dict[str, str]  # {"question": "Frage", …}
    kept: tuple[str, ...]

    @property
    def question(self) -> str | None:
        return self.named.get("question")

    @property
    def answer(self) -> str | None:
        return self.named.get("answer")

    @cached_property
    def beside(self) -> tuple[tuple[str, str], ...] | None:
        """What stands beside the question and the answer, and in which column; None where they are not columns."""
        if not {"question", "answer"} <= self.named.keys() or {"messages", "text"} & self.named.keys():
            return None
        return tuple((what, column) for what, column in self.named.items() if what not in ("question", "answer"))

    def __str__(self) -> str:
        parts = ", ".join(f"{what} from {column!r}" for what, column in self.named.items())
        kept = f"; kept as they are: {quoted(self.kept)}" if self.kept else ""
        return f"{SHAPES[self.shape][0]}: {parts}{kept}"


def find_columns(headers: Iterable[str], mapping: Mapping[str, str] | None = None, shape: str | None = None) -> Columns:
    """Find the shape and its columns by their usual names, or as `mapping` says: {"question": "Frage", …}.

    Raises UserError, in a sentence that begins with "has", where no shape fits, or `shape` does not.
    """
    headers = [header for header in headers if header not in PASSED_OVER]
    by_name = {" ".join(str(h).casefold().split()): h for h in reversed(headers)}
    chosen = dict(mapping or {})
    for what, column in chosen.items():
        if what not in MAPPABLE:
            raise UserError(f"has no place for {what!r}. A column can be mapped to: {', '.join(MAPPABLE)}.")
        if column not in headers:
            raise UserError(f"has no column {column!r}. It has: {quoted(headers)}.")
    if shape is not None and shape not in SHAPES:
        raise UserError(f"can't be read as {shape!r}. Choose one of: {', '.join(SHAPES)}.")
    for name in [shape] if shape else shapes_for(chosen):
        for usual in SHAPES[name][1]:
            named = {what: chosen.get(what) or by_name.get(column) for what, column in usual.items()}
            if None not in named.values() and len(set(named.values())) == len(named):
                return with_others(name, {w: c for w, c in named.items() if c is not None}, headers, by_name, chosen)
    raise UserError(explain_missing(headers, by_name, chosen, shape))


def shapes_for(chosen: Mapping[str, str]) -> list[str]:
    """Return the shapes to try: where a person named a column, those that have such a part."""
    main = {"question", "answer", "messages", "text"} & set(chosen)
    names = [name for name, (_, ways) in SHAPES.items() if all(any(what in way for way in ways) for what in main)]
    return sorted(names, key=lambda name: name != "qa") if {"question", "answer"} <= main else names


def with_others(
    shape: str, named: dict[str, str], headers: list[str], by_name: dict[str, str], chosen: dict[str, str]
) -> Columns:
    """Return the columns of a shape, with those of the other fields and what is left."""
    named |= {what: column for what, column in chosen.items() if what not in named}
    for what, names in OTHER_FIELDS.items():
        if what == "context" and by_name.get("instruction") != named.get("question"):
            continue
        taken = set(named.values())
        found = next((by_name[n] for n in names if n in by_name and by_name[n] not in taken), None)
        if found is not None:
            named.setdefault(what, found)
    taken = set(named.values())
    return Columns(shape, named, tuple(h for h in headers if h not in taken and str(h).strip()))


def explain_missing(
    headers: list[str], by_name: Mapping[str, str], chosen: Mapping[str, str], shape: str | None
) -> str:
    """Say which columns are wanting, which there are, and how to name them."""
    if shape:
        wanted = " or ".join(dict.fromkeys(" and ".join(map(repr, way.values())) for way in SHAPES[shape][1][:3]))
        return f"does not have the columns of {shape}: {wanted}. It has: {quoted(headers)}. Name them with --map."
    has_question = chosen.get("question") or any(q in by_name for q, _ in QUESTION_ANSWER)
    has_answer = chosen.get("answer") or any(a in by_name for _, a in QUESTION_ANSWER)
    wanting = [what for what, there in (("question", has_question), ("answer", has_answer)) if not there]
    if {"data", "annotations"} <= set(by_name):
        return "is a full export of Label Studio, which holds each answer deep inside. Export CSV or JSON-MIN there."
    wanting = wanting or ["answer"]  # there are both, but not two that are known to belong together
    options = " ".join(f"--map {what}=COLUMN" for what in wanting)
    return (
        f"has no column for the {' and no column for the '.join(wanting)}. It has: {quoted(headers)}. "
        f"Say which it is with: {options}"
    )


def quoted(names: Iterable[Any]) -> str:
    """List the names of columns for a message."""
    names = [name if name.isprintable() else ascii(name) for name in map(str, names)]
    return ", ".join(map(shorten, names[:12])) + (" …" if len(names) > 12 else "") or "no columns"
