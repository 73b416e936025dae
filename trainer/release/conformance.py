"""Whether a released model is asked with the very tokens it was trained with. Knows tokenizers; knows no torch.

A template that differs by a line end, a start token written twice, an end token that does not end: each
makes a good model babble, and none of them is seen in the weights. So the same prompts are turned into
token ids along each way that a question can take, and compared with those of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import UserError, tokenizer
from trainer.dataset import Example, Messages, Renderer
from trainer.release import modelfile
from trainer.tokenizer import read_json

PROMPTS = 20
FILE = "conformance.json"
# Texts that have come out wrong somewhere: spaces at the ends, line ends, other scripts, code, headings.
QUESTIONS = (
    "How long can I keep a book?",
    "  Two spaces before, two after  ",
    "One line\n\nand another,\twith a tab",
    "Wo liegt Köln? 東京はどこ? Где Москва? 📚👩🏽‍💻",
    "def add(a, b):\n    return a + b  # {{ not a template }}",
    "### Question:\nwhat is 2 + 2 = ?",
    "She said: \"It's 5 o'clock\", \\n and left.",
    "a",
)


@dataclass(frozen=True)
class Difference:
    """Where the ids of one prompt leave those of the training."""

    way: str
    prompt: str  # "probe 3", or the fingerprint of a line
    place: int | None  # the first token that differs; None where the way cannot be gone at all
    words: str


@dataclass(frozen=True)
class Report:
    """Along which ways how many of the prompts have the ids of the training, and whether answers end."""

    prompts: int
    equal: dict[str, int]
    differences: list[Difference]
    stops: dict[str, bool]

    @property
    def holds(self) -> bool:
        return not self.differences and all(self.stops.values())

    def lines(self) -> list[str]:
        """Return the report in words."""
        said = [
            f"Conformance: {count} of {self.prompts} prompts have the token ids of the training in the {way}."
            for way, count in self.equal.items()
        ]
        said += [f"  {each.prompt}, {each.way}: {each.words}" for each in self.differences[:3]]
        missing = [name for name, is_known in self.stops.items() if not is_known]
        return said + [f"  {name} does not name the end token that the model learnt." for name in missing]

    def as_json(self) -> dict[str, Any]:
        return {
            "holds": self.holds,
            "prompts": self.prompts,
            "equal": self.equal,
            "stops": self.stops,
            "differences": [vars(each) for each in self.differences],
        }


def prompts_of(examples: Iterable[Example]) -> dict[str, Messages]:
    """Return PROMPTS prompts by name: up to twelve of the lines, and others made here."""
    found = {each.fingerprint[:12]: each.prompt for each in list(examples)[: PROMPTS - len(QUESTIONS)]}
    probes = [
        shapes(question, QUESTIONS[number - 1])[(number + shift) % 4]
        for shift in range(3)
        for number, question in enumerate(QUESTIONS)
    ]
    for number, probe in enumerate(probes[: PROMPTS - len(found)], start=1):
        found[f"probe {number}"] = probe
    return found


def shapes(question: str, earlier: str) -> list[Messages]:
    """Return a question alone, after a system message, as a second turn, and as both."""
    rule = {"role": "system", "content": "Answer in one line."}
    asked = {"role": "user", "content": question}
    turns = [{"role": "user", "content": earlier}, {"role": "assistant", "content": "Let me see."}, asked]
    return [[asked], [rule, asked], turns, [rule, *turns]]


def check(trained: Renderer, folder: Path, examples: Iterable[Example]) -> Report:
    """Return how the model in a folder is asked, compared with the renderer of its training.

    Three ways: transformers' tokenizer of the folder, as transformers serve takes it; the folder's files as
    other servers read them; and the Modelfile, where there is one.
    """
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)

    def by_transformers(messages: Messages) -> list[int]:
        ids = saved.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
        return list(ids["input_ids"])

    ways: dict[str, Callable[[Messages], list[int]]] = {"saved tokenizer": by_transformers}
    files = tokenizer.Tokenizer(folder)

    def by_files(messages: Messages) -> list[int]:
        text = files.apply_chat_template(messages, add_generation_prompt=True)
        return list(files.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    ways["served prompt"] = by_files
    stops = {"generation_config.json": trained.end_token in end_tokens(folder)}
    if (folder / modelfile.FILE).is_file():
        written = modelfile.read(folder / modelfile.FILE)

        def by_ollama(messages: Messages) -> list[int]:
            # Its runner lets the tokenizer add what it adds on its own, so the template must not.
            return list(saved(written.frame.render(messages), add_special_tokens=True)["input_ids"])

        ways["Modelfile"] = by_ollama
        stops[modelfile.FILE] = trained.backend.id_to_token(trained.end_token) in written.stops
    return compare(trained, ways, prompts_of(examples), stops)


def compare(
    trained: Renderer,
    ways: Mapping[str, Callable[[Messages], list[int]]],
    prompts: Mapping[str, Messages],
    stops: dict[str, bool],
) -> Report:
    """Return the report on the ways: the ids of each prompt along each of them beside those of the training."""
    equal = dict.fromkeys(ways, 0)
    differences = []
    for name, messages in prompts.items():
        wanted = trained.prompt_ids(messages)
        for way, ids_of in ways.items():
            try:
                found = ids_of(messages)
            except Exception as error:  # a template may raise whatever its author chose
                differences.append(Difference(way, name, None, f"it is refused: {' '.join(str(error).split())[:200]}"))
                continue
            if found == wanted:
                equal[way] += 1
            else:
                differences.append(Difference(way, name, *first_difference(wanted, found)))
    return Report(len(prompts), equal, differences, stops)


def first_difference(wanted: list[int], found: list[int]) -> tuple[int, str]:
    """Return where two lists of ids part, and how, in words."""
    place = next(
        (place for place, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other),
        min(len(wanted), len(found)),
    )
    ids = [str(each[place]) if place < len(each) else "no token" for each in (wanted, found)]
    return place, f"token {place + 1} is {ids[1]}, and was trained as {ids[0]}."


def end_tokens(folder: Path) -> set[Any]:
    """Return the ids that end an answer, as the generation settings of a folder say."""
    said = read_json(folder / "generation_config.json").get("eos_token_id")
    return set(said) if isinstance(said, list) else {said}


def demand(report: Report) -> None:
    """Raise UserError where a report does not hold."""
    if report.holds:
        return
    told = ["The model would not be asked as it was trained, and so would answer worse than it can.", *report.lines()]
    if {each.way for each in report.differences} == {"Modelfile"} and all(report.stops.values()):
        told.append("Only the Modelfile is amiss: leave --ollama out, and serve with: python -m trainer serve")
    raise UserError("\n".join(told))
