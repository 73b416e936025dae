"""Conversations to messages: a list of turns in any common notation, or one text with marks between its turns."""

from __future__ import annotations

import json
import re
from typing import Any

from curator.formats.files import Refusal, shorten
from curator.text import Message

# OpenAI's roles, ShareGPT's, Open Assistant's, and the marks of Guanaco and Alpaca texts.
ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user", "instruction": "user", "input": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "bing": "assistant", "bard": "assistant", "model": "assistant", "response": "assistant",
}  # fmt: skip
TOOL_ROLES = ("tool", "function", "observation", "function_call", "tool_call", "function_response", "tool_response")
WHO, WORDS = ("role", "from"), ("content", "value")  # how OpenAI and ShareGPT name the two parts of a turn
MARKS = (
    re.compile(r"###\s*(Human|User|Assistant|System|Instruction|Input|Response):", re.IGNORECASE),
    re.compile(r"(?:\A|\n)\s*(Human|Assistant|System):"),  # Anthropic's HH-RLHF
)


def read_turns(chat: list[Any], line: int) -> list[Message] | Refusal:
    """Return turns with known roles and a text each, or what is wrong with the first that has not."""
    found: list[Message] = []
    for number, turn in enumerate(chat, 1):
        who = next((turn[name] for name in WHO if name in turn), None) if isinstance(turn, dict) else None
        if who is None:
            return Refusal(line, f"has no role in message {number}.")
        if str(who).casefold() in TOOL_ROLES:
            return Refusal(line, f"has the role {str(who)!r} in message {number}, and a pair holds no use of tools.")
        if turn.get("tool_calls") or turn.get("function_call"):
            return Refusal(line, f"calls a tool in message {number}, and a pair holds no use of tools.")
        role = ROLES.get(str(who).casefold())
        if role is None:
            return Refusal(
                line, f"has the role {shorten(str(who))!r} in message {number}. Known are system, user and assistant."
            )  # fmt: skip
        content = text_of(next((turn[name] for name in WORDS if turn.get(name) is not None), None))
        if content is None:
            return Refusal(line, f"has no text in message {number}, from the {role}.")
        found.append({"role": role, "content": content})
    return found


def text_of(content: Any) -> str | None:
    """Return the text of a message: a string, or OpenAI's list of text parts; None if it has other parts."""
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(texts)
        return None
    return content if isinstance(content, str) else None


def read_history(value: Any, line: int) -> list[Message] | Refusal:
    """Return earlier turns: messages, Alpaca's [[question, answer], …], or one of the two as JSON text."""
    chat = as_list(value or [])
    if chat is None:
        return Refusal(line, "has a history that is no JSON list of messages.")
    if chat and all(isinstance(turn, list) and len(turn) == 2 for turn in chat):
        chat = [
            {"role": role, "content": words}
            for turn in chat
            for role, words in zip(("user", "assistant"), turn, strict=True)
        ]
    return read_turns(chat, line)


def as_list(value: Any) -> list[Any] | None:
    """Return a list, or the list that a text holds as JSON, as the cell of a CSV does; None where it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def split_text(text: str) -> list[Message]:
    """Return the turns of a text like "### Human: Hi### Assistant: Hello", none where no mark is found.

    White space around a turn belongs to the notation and goes. What stands before the first mark is
    the system message; an "### Input:" belongs to the instruction above it.
    """
    for mark in MARKS:
        before, *parts = mark.split(text)
        found = [{"role": "system", "content": before.strip()}] if before.strip() else []
        for who, words in zip(parts[::2], parts[1::2], strict=True):
            if who.casefold() == "input" and found and found[-1]["role"] == "user":
                found[-1]["content"] = "\n\n".join(filter(None, [found[-1]["content"], words.strip()]))
            else:
                found.append({"role": ROLES[who.casefold()], "content": words.strip()})
        if parts:
            return found
    return []
