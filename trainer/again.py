"""A run that came to its end, loaded again: base, tuned, and a run before it on the same test lines. Trains nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer import UserError, dataset, measures
from trainer.config import FilledConfig
from trainer.dataset import Example, Renderer
from trainer.evaluate import evaluate, line_losses
from trainer.model import Device, load_base
from trainer.preparing import use_threads
from trainer.ranks import say
from trainer.record import Record, write_json
from trainer.run import choose
from trainer.sample import Answer, Decoding, generate


@dataclass(frozen=True)
class Speaker:
    """A model that answers, and what is needed to ask it."""

    name: str  # "base", "previous" or "tuned"
    model: Any
    renderer: Renderer
    device: Device
    longest: int  # tokens of a line that it was trained or made for


def read_run(folder: Path) -> tuple[dict[str, Any], FilledConfig]:
    """Return the record of a run that left a model, and its options. Raises UserError."""
    try:
        facts = json.loads((folder / "run.json").read_text("utf-8"))
        config = FilledConfig(**facts["config"]["resolved"])
    except FileNotFoundError:
        raise UserError(f"{folder} is no run: it holds no run.json. Start one with: python -m trainer run") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder / 'run.json'} cannot be read: {error}.") from None
    file = result_of(folder, config)
    if not file.is_file():
        raise UserError(
            f"{folder} has no {file.name}: it is {facts.get('state')}. Go on: python -m trainer resume {folder}"
        )
    return facts, config


def result_of(folder: Path, config: FilledConfig) -> Path:
    """Return the file that says that a run left its result, which is safetensors: no pickle is ever loaded."""
    if config.adapter == "none":
        return folder / "model" / "config.json"
    return folder / "adapter" / "adapter_model.safetensors"


def speakers(folder: Path, names: Sequence[str], previous: Path | None = None) -> Iterator[Speaker]:
    """Yield those of "base", "previous" and "tuned" that are named, one after the other: one is held at once."""
    _, config = read_run(folder)
    if previous:
        read_run(previous)
    for name in names:
        if name == "base":
            yield speaker(name, folder, config, is_tuned=False)
        elif name == "tuned":
            yield speaker(name, folder, config, is_tuned=True)
        elif previous:
            yield speaker(name, previous, read_run(previous)[1], is_tuned=True)


def speaker(name: str, folder: Path, config: FilledConfig, *, is_tuned: bool) -> Speaker:
    whole = is_tuned and config.adapter == "none"
    base = load_base(replace(config, base=str(folder / "model")) if whole else config)
    model = base.model
    if is_tuned and not whole:
        from peft import PeftModel

        try:
            model = PeftModel.from_pretrained(model, folder / "adapter")
        except (ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"The adapter of {folder} does not fit its base {config.base}: {reason}") from error
    return Speaker(name, model, Renderer(base.tokenizer), base.device, min(config.max_tokens, base.max_tokens))


def evaluate_again(folder: Path, data: Path | None = None, previous: Path | None = None) -> dict[str, Any]:
    """Return evaluation.json anew: base, the previous run if there is one, and tuned, on the same test lines.

    Without `data` these are the run's own, and the file is written again; else the test split of an exported folder, or
    every line of a file. Lines that either run was trained on are left out. Raises UserError.
    """
    facts, config = read_run(folder)
    use_threads(config.threads)
    examples = untrained(test_lines(facts, config, data), [folder, *([previous] if previous else [])])
    names = ["base", *(["previous"] if previous else []), "tuned"]
    losses: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, Any]] = {}
    lines: dict[str, Any] = {}
    for each in speakers(folder, names, previous):
        say(f"Measuring {each.name}.")
        rendered, *_ = each.renderer.render_all(examples)
        rendered = [line for line in rendered if len(line.input_ids) <= each.longest]
        lines = {line.example.place: line for line in rendered if not lines or line.example.place in lines}
        if not lines:
            raise UserError("No test line is short enough for each of the models. Name other lines with --data")
        found = line_losses(each.model, list(lines.values()), each.renderer.tokenizer.pad_token_id, each.device)
        losses[each.name] = dict(zip(lines, found, strict=True))
        # Chosen of all that are left so far: a later model may leave out more, and answers to those go with them.
        prompts = [line.example for line in choose(list(lines.values()), config.samples, config.seed)]
        said = generate(each.model, each.renderer, prompts, config, each.device)
        answers[each.name] = {prompt.place: answer for prompt, answer in zip(prompts, said, strict=True)}
    asked = [line.example for place, line in lines.items() if all(place in said for said in answers.values())]
    evaluation = evaluate(
        list(lines.values()),
        {name: [found[place] for place in lines] for name, found in losses.items()},
        asked,
        {name: [said[prompt.place] for prompt in asked] for name, said in answers.items()},
    )
    if previous:
        evaluation["previous"] = str(previous)
    if data is None:
        write_json(folder / "evaluation.json", evaluation)
    return evaluation


@dataclass(frozen=True)
class Sampled:
    """What a run answered with one decoding, and what is to be said of all its answers: shares, and mean tokens."""

    decoding: Decoding
    answers: list[Answer]
    scores: dict[str, float]


def sample(
    folder: Path, prompts: Path | None, sweep: Sequence[Decoding], name: str = "tuned"
) -> tuple[list[Example], list[Sampled], FilledConfig]:
    """Return the prompts, and for each decoding the answers of a run, or of its base, with their scores."""
    _, config = read_run(folder)
    use_threads(config.threads)
    asked = read_prompts(prompts) if prompts else own_prompts(folder)
    (each,) = speakers(folder, [name])
    found = []
    for decoding in sweep:
        answers = generate(each.model, each.renderer, asked, config, each.device, decoding)
        texts = [answer.text for answer in answers]
        facts = measures.answer_facts(
            texts,
            [answer.finish == "length" for answer in answers],
            [example.question for example in asked],
            [example.answer for example in asked],
        )
        has_references = all(example.answer for example in asked)
        scores = {
            measure: round(value, 4)
            for measure, value in measures.values(facts).items()
            if measures.MEASURES[measure].is_share and measure != "exact_match" or has_references
        }
        tokens = sum(answer.tokens for answer in answers) / len(answers)
        found.append(Sampled(decoding, answers, scores | {"tokens": round(tokens, 1)}))
    return asked, found, config


def own_prompts(folder: Path) -> list[Example]:
    """Return the prompts that a run has answered itself, those of its test lines."""
    lines = Record(folder, {}).lines("samples.jsonl")
    found = {
        line["fingerprint"]: Example([*line["messages"], {"role": "assistant", "content": line["reference"]}], "")
        for line in lines
    }
    if not found:
        raise UserError(f"{folder} has answered no prompts of its own. Name a file of them with --prompts")
    return list(found.values())


def read_prompts(file: Path) -> list[Example]:
    """Return the prompts of a file: a question a line, or where it ends in .jsonl pairs or {"question": …} a line.

    A prompt without an answer has an empty one.
    """
    if not file.is_file():
        raise UserError(f"{file} is not there. Name a text with a question a line, or a .jsonl file.")
    found = []
    for number, raw in dataset.lines_of(file):
        place = f"{file.name} line {number}"
        try:
            line = dataset.decode(raw, number)
            found.append(Example(prompt_of(line) if file.suffix == ".jsonl" else asked_alone(line), place))
        except ValueError as fault:
            raise UserError(f"{place} {fault} Write a question as text, or a pair as flask export does.") from None
    if not found:
        raise UserError(f"{file} holds no question. Write one a line.")
    return found


def prompt_of(line: str) -> dataset.Messages:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if isinstance(record, dict) and isinstance(record.get("question"), str) and "answer" not in record:
        return asked_alone(record["question"])
    return dataset.read_messages(line)


def asked_alone(question: str) -> dataset.Messages:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": ""}]


def test_lines(facts: dict[str, Any], config: FilledConfig, data: Path | None) -> list[Example]:
    """Return the lines that are tested, each said to be of the test split."""
    if data and data.is_file():
        return [replace(example, split="test") for example in dataset.read_examples(data)]
    path = data or Path(facts["data"]["path"])
    if data is None and dataset.describe(path)["sha256"] != facts["data"]["sha256"]:
        raise UserError(f"{path} was changed since the run, so its test lines may be others. Name lines with --data")
    examples = dataset.split(dataset.read_examples(path), config.validation, config.test, config.seed)
    found = [example for example in examples if example.split == "test"]
    if not found:
        raise UserError(f"{path} has no test lines. Name others with --data FILE")
    return found


def untrained(examples: list[Example], folders: Sequence[Path]) -> list[Example]:
    """Return the examples that none of the runs was trained on, and say how many were."""
    trained = {line["fingerprint"] for folder in folders for line in Record(folder, {}).lines("train_losses.jsonl")}
    found = [example for example in examples if example.fingerprint not in trained]
    if len(found) < len(examples):
        say(f"Left out: {len(examples) - len(found)} lines that one of the runs was trained on.")
    if not found:
        raise UserError("One of the runs was trained on every one of these lines. Name others with --data FILE")
    return found
