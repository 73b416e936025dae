"""One line in, its conversation out, or what is wrong about it in words. Knows no file."""

from __future__ import annotations

import json
from typing import Any

Messages = list[dict[str, str]]


def read_messages(line: str) -> Messages:
    """Return the conversation of one line. Raises ValueError with what is wrong about it, in words."""
    record = as_object(line)
    return checked(record["messages"] if "messages" in record else messages_of(record))


def as_object(line: str) -> dict[str, Any]:
    """Return the object of one line. Raises ValueError with what it is instead."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg}, character {error.pos + 1}.") from None
    except ValueError:  # Python's own limit
        raise ValueError("is not a pair: it holds a number of thousands of digits.") from None
    except RecursionError:
        raise ValueError("is not a pair: it is nested too deep.") from None
    if not isinstance(record, dict):
        raise ValueError(f"is not an object, but {type(record).__name__}.")
    return record


def checked(messages: Any) -> Messages:
    """Return a conversation that ends with an answer. Raises ValueError with what is wrong about it, in words."""
    if not isinstance(messages, list) or not messages:
        raise ValueError("has no list of messages.")
    for number, message in enumerate(messages, start=1):
        check_message(message, number)
    roles = [message["role"] for message in messages]
    if roles[-2:] != ["user", "assistant"]:
        raise ValueError("does not end with a question of the user and an answer of the assistant.")
    if "system" in roles[1:]:
        raise ValueError("has a system message that is not the first.")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def messages_of(record: dict[str, Any]) -> Messages:
    """Return the messages of a line in one of the two flat shapes."""
    for method, own in (("dpo", "rejected"), ("kto", "label")):
        if own in record and "prompt" in record:
            raise ValueError(f"is a row of preferences. Train on such rows with: --method {method}")
    for question, answer in (("question", "answer"), ("prompt", "completion")):
        if question in record or answer in record:
            for name in (question, answer):
                if name not in record:
                    raise ValueError(f"has no {name}.")
            turns = [("system", record["system"])] if record.get("system") else []
            turns += [("user", record[question]), ("assistant", record[answer])]
            return [{"role": role, "content": content} for role, content in turns]
    found = ", ".join(list(record)[:5]) or "nothing"
    raise ValueError(f"has no messages (nor question and answer, nor prompt and completion), but {found}.")


def check_message(message: Any, number: int) -> None:
    if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
        raise ValueError(f"has no role of system, user or assistant in message {number}.")
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"has no text in message {number}, of the {message['role']}.")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise ValueError(f"holds half of a surrogate pair, which is no character, in message {number}.") from None
