"""Exported lines in, token ids and labels out. Knows text, splits and chat templates; knows no torch.

What is trained is decided here by construction: a line is rendered once without its answer and once
with it, the two parts are tokenised apart, and only the second part, through its end token, has labels.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer import UserError

SPLITS = ("train", "validation", "test")
IGNORED = -100  # the label of a token that is read but not trained, as torch's cross entropy has it
MOST_FAULTS = 10

Messages = list[dict[str, str]]

# For a base without a chat template. A question that holds such a heading itself does no harm: the
# boundary is kept in token ids, never looked for in text.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Question:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ '### Answer:\n' + message['content'] + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Answer:\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Example:
    """One line: a conversation that ends with the answer to learn."""

    messages: Messages
    place: str  # "train.jsonl line 12"
    split: str = "train"

    @property
    def prompt(self) -> Messages:
        return self.messages[:-1]

    @property
    def question(self) -> str:
        return self.messages[-2]["content"]

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"]

    @property
    def fingerprint(self) -> str:
        """The identity of the pair, the same in every program of Curator: sha256 of its canonical JSON."""
        canonical = json.dumps(self.messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


# Reading


def newest_export(folder: Path = Path("exports")) -> Path:
    """Return the newest exported file or folder below `folder`."""
    exports = [*folder.glob("*.jsonl"), *(path.parent for path in folder.glob("*/train.jsonl"))]
    if not exports:
        raise UserError(
            f"No data is named and {folder}/ holds no export. "
            "Make one with: flask export --jsonl -o exports/pairs.jsonl"
        )
    return max(exports, key=lambda path: path.stat().st_mtime)


def export_files(path: Path) -> dict[str, Path]:
    """Return the files of an export by split: all of it is "train" where it is one file."""
    if path.is_file():
        return {"train": path}
    if not path.exists():
        raise UserError(f"{path} is not there. Name a .jsonl file or a folder that flask export -o made.")
    files = {split: path / f"{split}.jsonl" for split in SPLITS if (path / f"{split}.jsonl").is_file()}
    if "train" not in files:
        raise UserError(f"{path} holds no train.jsonl. Make an export with: flask export --version 1 -o {path}/")
    return files


def describe(path: Path) -> dict[str, Any]:
    """Return what the record of a run keeps of its data: path, sha256 of each file, and the manifest."""
    manifest = path / "manifest.json"
    try:
        said = json.loads(manifest.read_text("utf-8")) if manifest.is_file() else None
    except ValueError as error:
        raise UserError(f"{manifest} is not JSON: {error}. Make the export again, or take it away.") from None
    if said is not None and not isinstance(said, dict):
        raise UserError(f"{manifest} is no manifest. Make the export again, or take it away.")
    return {
        "path": str(path),
        "sha256": {f.name: digest_of(f) for f in export_files(path).values()},
        "manifest": said,
        "verified": None if said is None else not changed(path, said),
    }


def digest_of(file: Path) -> str:
    """Return the sha256 of a file, which may be larger than memory."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def changed(path: Path, manifest: dict[str, Any]) -> list[str]:
    """Return the files of an exported folder that are not, or not as, its manifest says."""
    files = manifest.get("files")
    files = files if isinstance(files, dict) else {}
    # The data set card belongs to no split: people may write into it.
    said = {name: file.get("sha256") for name, file in files.items() if isinstance(file, dict) and file.get("split")}
    there = {f.name for f in export_files(path).values()}
    found = {name: digest_of(path / name) if (path / name).is_file() else None for name in {*said, *there}}
    return sorted(name for name in found if found[name] != said.get(name))


def verify(path: Path, data: dict[str, Any]) -> None:
    """Raise UserError where an export is not the one that its manifest, as `describe` read it, speaks of."""
    if data["verified"] is False:
        manifest = data["manifest"]
        version = f" --version {manifest['version']}" if manifest.get("version") else ""
        raise UserError(
            f"{path / changed(path, manifest)[0]} is not the file that was exported: its sha256 is another than in "
            f"manifest.json. Write it again with: flask export{version} -o {path}/ — or train on it as it is with "
            "--unverified, which the record of the run will say."
        )


def read_examples(path: Path) -> list[Example]:
    """Return the lines of an export, in order.

    Raises UserError naming file and line of each fault, up to ten of them.
    """
    examples: list[Example] = []
    faults: list[str] = []
    for split, file in export_files(path).items():
        for number, line in lines_of(file):
            place = f"{file.name} line {number}"
            try:
                examples.append(Example(read_messages(line), place, split))
            except ValueError as fault:
                faults.append(f"{place} {fault}")
    if faults:
        more = len(faults) - MOST_FAULTS
        shown = faults[:MOST_FAULTS] + ([f"and {more} more lines"] if more > 0 else [])
        remedy = "Mend it, or write the file again with: flask export --jsonl"
        raise UserError("\n  ".join([*shown, remedy]) if len(shown) > 1 else f"{shown[0]} {remedy}")
    if not any(example.split == "train" for example in examples):
        raise UserError(f"{path} has no line to train on. Write it again with: flask export --jsonl")
    return examples


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Yield each line that is not blank, with its number from 1."""
    # Split at \n alone: JSON may hold the other line ends that str.splitlines knows, such as U+2028.
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise UserError(
                f"{file.name} line {number} is not UTF-8 text: byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}. Name a .jsonl file, as flask export --jsonl writes it."
            ) from None
        if text:
            yield number, text


def read_messages(line: str) -> Messages:
    """Return the conversation of one line. Raises ValueError with what is wrong about it, in words."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg}, character {error.pos + 1}.") from None
    except RecursionError:
        raise ValueError("is not a pair: it is nested too deep.") from None
    if not isinstance(record, dict):
        raise ValueError(f"is not an object, but {type(record).__name__}.")
    if "messages" not in record:
        record = {"messages": messages_of(record)}
    messages = record["messages"]
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
    if any(unicodedata.category(character) == "Cs" for character in content):
        raise ValueError(f"holds half of a surrogate pair, which is no character, in message {number}.")


# Splitting


def split(examples: list[Example], validation: float, test: float, seed: int) -> list[Example]:
    """Return the examples, each with its split: as exported, and what is missing taken from "train".

    Equal questions stay together, so that nothing tested was trained. The choice depends on the seed
    and on each question alone: a line that is added moves no other line by more than the share shifts.
    """
    shares = {"test": test, "validation": validation}
    missing = [name for name in shares if shares[name] and all(each.split != name for each in examples)]
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.split == "train":
            groups[normalise(example.question)].append(example)
    drawn = sorted(groups, key=lambda question: hashlib.sha256(f"{seed} {question}".encode()).digest())
    if len(drawn) <= len(missing):
        raise UserError(
            f"{len(drawn)} different questions are too few: to train, validate and test takes 3 at least. "
            "Add pairs, or hold nothing out with: --validation 0 --test 0"
        )
    total = sum(len(group) for group in groups.values())
    moved: dict[int, str] = {}
    for name in missing:
        wanted = max(1, round(shares[name] * total))
        held = 0
        while held < wanted and len(drawn) > 1:
            group = groups[drawn.pop(0)]
            held += len(group)
            moved |= {id(example): name for example in group}
    return [replace(each, split=moved.get(id(each), each.split)) for each in examples]


def normalise(text: str) -> str:
    """Return the letters and digits of a text in one case, words parted by one space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split()) or folded


# Rendering


@dataclass(frozen=True)
class Rendered:
    """One example in token ids: labels equal the ids from the answer on, and are IGNORED before it."""

    example: Example
    input_ids: list[int]
    labels: list[int]

    @property
    def answer_tokens(self) -> int:
        return sum(label != IGNORED for label in self.labels)


class Renderer:
    """A tokenizer and its chat template: turns examples into ids and labels, and prompts into ids.

    Where the tokenizer has no template it is given PLAIN_TEMPLATE; `notes` says such things in words.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.notes: list[str] = []
        if tokenizer.eos_token is None:
            raise UserError("The tokenizer of this base has no end token, so no answer could ever end.")
        if tokenizer.chat_template is None:
            starts = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
            tokenizer.chat_template = ("{{ bos_token }}" if starts else "") + PLAIN_TEMPLATE
            self.notes.append("The base has no chat template: a plain one (### Question, ### Answer) is saved with it.")
        self.folds_system = not self.shows_system()
        self.opening, self.closing = self.find_frame()
        # What stands behind the end token, a line end for most, is never trained: nobody asks for it.
        special = set(tokenizer.all_special_ids)
        self.end_token = next((t for t in self.ids(self.closing) if t in special), tokenizer.eos_token_id)

    def text(self, messages: Messages, *, prompt: bool) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def shows_system(self) -> bool:
        """Return whether the template lets a system message through; some refuse it, some drop it."""
        probe = [{"role": "system", "content": "the-rule"}, {"role": "user", "content": "the-question"}]
        try:
            return "the-rule" in self.text(probe, prompt=True)
        except Exception:  # a template may raise whatever its author chose
            return False

    def find_frame(self) -> tuple[str, str]:
        """Return what the template writes between a prompt and its answer, and after the answer."""
        question = {"role": "user", "content": "the-question"}
        prompt = self.text([question], prompt=True)
        whole = self.text([question, {"role": "assistant", "content": "the-answer"}], prompt=False)
        opening, _, closing = whole.removeprefix(prompt).partition("the-answer")
        return (opening if whole.startswith(prompt) else ""), closing

    def fold_system(self, messages: Messages) -> Messages:
        """Return the messages with the system message, where the template has no place for it, in the first turn."""
        if not self.folds_system or messages[0]["role"] != "system":
            return messages
        note = "The chat template of the base has no system role: system messages open the first question."
        if note not in self.notes:
            self.notes.append(note)
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        return [first, *messages[2:]]

    def prompt_ids(self, prompt: Messages) -> list[int]:
        """Return the ids after which the model is to answer."""
        return self.ids(self.text(self.fold_system(prompt), prompt=True))

    def render(self, example: Example) -> Rendered:
        """Return the ids and labels of one example; raises UserError where the template refuses it."""
        messages = self.fold_system(example.messages)
        try:
            prompt = self.text(messages[:-1], prompt=True)
            whole = self.text(messages, prompt=False)
        except Exception as error:  # a template may raise whatever its author chose
            raise UserError(
                f"{example.place} is refused by the chat template of the base: {error} "
                "Leave the line out, or choose another base."
            ) from error
        if whole.startswith(prompt) and whole.endswith(self.closing):
            answer = whole[len(prompt) : len(whole) - len(self.closing)]
        else:  # a template that writes the last turn otherwise when more follows
            answer = self.opening + example.answer
        prompt_ids, answer_ids = self.ids(prompt), [*self.ids(answer), self.end_token]
        return Rendered(example, input_ids=prompt_ids + answer_ids, labels=[IGNORED] * len(prompt_ids) + answer_ids)

    def control_token(self, example: Example) -> str | None:
        """Return a special token of the tokenizer that stands in the text, where it would act as one."""
        texts = [message["content"] for message in example.messages]
        return next((t for t in self.tokenizer.all_special_tokens if any(t in text for text in texts)), None)

    def render_all(self, examples: Iterable[Example]) -> tuple[list[Rendered], list[str]]:
        """Return the examples rendered, and those that no model could learn from, each with the reason."""
        rendered, left_out = [], []
        for example in examples:
            if token := self.control_token(example):
                left_out.append(f"{example.place} holds {token}, a control token of the base")
            else:
                rendered.append(self.render(example))
        return rendered, left_out


def find_max_tokens(lengths: Iterable[int], model_limit: int) -> int:
    """Return a limit that 99.5 % of the lines keep, rounded up to a multiple of 32, as far as the model goes."""
    ordered = sorted(lengths)
    kept = ordered[math.ceil(0.995 * len(ordered)) - 1]
    return min(32 * math.ceil(kept / 32), model_limit)


def leave_out_long(rendered: list[Rendered], max_tokens: int) -> tuple[list[Rendered], list[str]]:
    """Return the lines of at most `max_tokens`, and the others in words."""
    kept = [each for each in rendered if len(each.input_ids) <= max_tokens]
    left_out = [
        f"{each.example.place} has {len(each.input_ids)} tokens, more than {max_tokens}"
        for each in rendered
        if len(each.input_ids) > max_tokens
    ]
    if not any(each.example.split == "train" for each in kept):
        raise UserError(
            f"No line is left to train on: {'; '.join(left_out[:3])}. Allow longer lines with: --max-tokens"
        )
    return kept, left_out
