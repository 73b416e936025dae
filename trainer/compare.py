"""Runs side by side: the same prompts, what each answered, word by word, and their numbers. Reads files alone."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import UserError, measures
from trainer.record import Record


@dataclass(frozen=True)
class Comparison:
    """What runs answered to the prompts that all of them were asked, with the measures of those answers."""

    names: list[str]
    prompts: list[dict[str, Any]]  # {"question", "reference", "answers": {run: text}}
    evaluation: dict[str, Any]  # as evaluation.json, with the runs in place of base and tuned

    def as_json(self) -> dict[str, Any]:
        return {"runs": self.names, "prompts": self.prompts, **self.evaluation}


def compare(folders: Sequence[Path]) -> Comparison:
    """Return runs side by side on the prompts that all were asked. Raises UserError where there is none.

    Prompts are the same where their messages and their reference are. Changes are those from the first run to each.
    """
    if len({folder.resolve() for folder in folders}) < 2:
        raise UserError("One run has nothing to be compared with. Name two at least: python -m trainer compare RUN RUN")
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    said = [answered(folder) for folder in folders]
    asked = [key for key in said[0] if all(key in each for each in said)]
    if not asked:
        raise UserError(
            "No prompt was asked of all of these runs. Train them on exports with the same test.jsonl, so that one is."
        )
    lines = [json.loads(key) for key in asked]
    questions, references = [line["messages"][-1]["content"] for line in lines], [line["reference"] for line in lines]
    facts = {
        name: measures.answer_facts(
            [each[key]["text"] for key in asked],
            [each[key]["finish"] == "length" for key in asked],
            questions,
            references,
        )
        for name, each in zip(names, said, strict=True)
    }
    prompts = [
        {
            "question": question,
            "reference": reference,
            "answers": {name: each[key]["text"] for name, each in zip(names, said, strict=True)},
        }
        for key, question, reference in zip(asked, questions, references, strict=True)
    ]
    changes = {f"in {name}": (names[0], name) for name in names[1:]}
    return Comparison(names, prompts, measures.compared(facts, 0, len(asked), changes))


def answered(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the tuned model of a run answered, by prompt and reference."""
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} is no run: it holds no run.json. Start one with: python -m trainer run")
    found = {}
    for line in Record(folder, {}).lines("samples.jsonl"):
        if line["model"] == "tuned":
            key = json.dumps({"messages": line["messages"], "reference": line["reference"]}, sort_keys=True)
            found[key] = line
    if not found:
        raise UserError(f"{folder} has answered nothing: it has no samples.jsonl. Run it with --samples")
    return found


def words_changed(old: str, new: str) -> str:
    """Return the new text with what it has more in {+ +}, and what the old had more in [- -]."""
    before, after = re.findall(r"\s+|\S+", old), re.findall(r"\s+|\S+", new)
    parts = []
    for act, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        gone, come = "".join(before[a:b]), "".join(after[c:d])
        if act == "equal":
            parts.append(come)
        else:
            parts += [f"[-{gone}-]"] if gone else []
            parts += [f"{{+{come}+}}"] if come else []
    return "".join(parts)


def in_words(found: Comparison) -> Iterator[str]:
    """Yield the lines of a comparison: the numbers, then each prompt with what the runs said of it."""
    yield from measures.table(found.evaluation)
    first, *others = found.names
    for prompt in found.prompts:
        yield f"\n> {prompt['question']}"
        yield f"{first}: {prompt['answers'][first]}"
        for name in others:
            yield f"{name}: {words_changed(prompt['answers'][first], prompt['answers'][name])}"
