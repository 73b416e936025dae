"""A run that came to its end, loaded again: base, tuned, and a run before it on the same test lines. Trains nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer import UserError, dataset, measures
from trainer.config import FilledConfig
from trainer.dataset import Example, Renderer
from trainer.evaluate import evaluate, line_losses
from trainer.finished import Finished, open_run
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


def speaker(name: str, run: Finished) -> Speaker:
    """Return the base of a run, or what it has learnt. Raises UserError where the base is another by now."""
    whole = name != "base" and not run.is_adapter
    base = load_base(replace(run.options, base=str(run.result)) if whole else run.options)
    model = base.model
    if not whole:
        run.check_base(base.identity)
        if name != "base":
            from peft import PeftModel

            try:
                model = PeftModel.from_pretrained(model, run.result, use_safetensors=True)
            except (ValueError, RuntimeError, OSError) as error:
                reason = " ".join(str(error).split())[:300]
                raise UserError(f"The adapter of {run.folder} does not fit its base: {reason}") from error
    return Speaker(name, model, Renderer(base.tokenizer), base.device, min(run.options.max_tokens, base.max_tokens))


def evaluate_again(folder: Path, data: Path | None = None, previous: Path | None = None) -> dict[str, Any]:
    """Return evaluation.json anew: base, the previous run if there is one, and tuned, on the same test lines.

    Without `data` these are the run's own, and the file is written again; else the test split of an exported folder, or
    every line of a file. Lines that either run was trained on are left out. Raises UserError.
    """
    run = open_run(folder)
    asked_of = {"base": run} | ({"previous": open_run(previous)} if previous else {}) | {"tuned": run}
    config = run.options
    use_threads(config.threads)
    examples = untrained(test_lines(run, data), {each.folder for each in asked_of.values()})
    losses: dict[str, dict[str, Any]] = {}
    rejected: dict[str, dict[str, Any]] = {}
    answers: dict[str, dict[str, Any]] = {}
    lines: dict[str, Any] = {}
    for name, owner in asked_of.items():
        each = speaker(name, owner)
        say(f"Measuring {each.name}.")
        rendered, *_ = each.renderer.render_all(examples)
        rendered = [line for line in rendered if line.longest <= each.longest]
        lines = {line.example.place: line for line in rendered if not lines or line.example.place in lines}
        if not lines:
            raise UserError("No test line is short enough for each of the models. Name other lines with --data")
        others = {place: line.rejected for place, line in lines.items() if line.rejected}
        for kept, some in ((losses, lines), (rejected, others)):
            found = line_losses(each.model, list(some.values()), each.renderer.tokenizer.pad_token_id, each.device)
            kept[each.name] = dict(zip(some, found, strict=True))
        # Chosen of all that are left so far: a later model may leave out more, and answers to those go with them.
        prompts = [line.example for line in choose(list(lines.values()), config.samples, config.seed)]
        said = generate(each.model, each.renderer, prompts, config, each.device)
        answers[each.name] = {prompt.place: answer for prompt, answer in zip(prompts, said, strict=True)}
        del each  # or two models would be held while the next is loaded
    asked = [line.example for place, line in lines.items() if all(place in said for said in answers.values())]
    evaluation = evaluate(
        list(lines.values()),
        {name: [found[place] for place in lines] for name, found in losses.items()},
        asked,
        {name: [said[prompt.place] for prompt in asked] for name, said in answers.items()},
        {name: [found[place] for place in lines if place in found] for name, found in rejected.items()},
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
    run = open_run(folder)
    config = run.options
    use_threads(config.threads)
    asked = read_prompts(prompts) if prompts else own_prompts(run)
    each = speaker(name, run)
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


def own_prompts(run: Finished) -> list[Example]:
    """Return the prompts that a run has answered itself, those of its test lines."""
    found = run.answered_prompts()
    if not found:
        raise UserError(f"{run.folder} has answered no prompts of its own. Name a file of them with --prompts")
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


def test_lines(run: Finished, data: Path | None) -> list[Example]:
    """Return the lines that are tested, each said to be of the test split: answers to be like, no bad ones.

    Other lines may be pairs, also of a run that learnt from preferences, or rows such as that run was trained on.
    """
    facts, config = run.facts, run.options
    method = config.method
    if data and method != "sft" and not dataset.read(data, "sft")[1]:
        method = "sft"
    if data and data.is_file():
        return [replace(each, split="test") for each in dataset.read_examples(data, method) if each.good]
    path = data or Path(facts["data"]["path"])
    if data is None and dataset.describe(path)["sha256"] != facts["data"]["sha256"]:
        raise UserError(f"{path} was changed since the run, so its test lines may be others. Name lines with --data")
    examples = dataset.split(dataset.read_examples(path, method), config.validation, config.test, config.seed)
    found = [example for example in examples if example.split == "test" and example.good]
    if not found:
        raise UserError(f"{path} has no test lines. Name others with --data FILE")
    return found


def untrained(examples: list[Example], folders: Collection[Path]) -> list[Example]:
    """Return the examples that none of the runs was trained on, and say how many were."""
    trained = {line["fingerprint"] for folder in folders for line in Record(folder, {}).lines("train_losses.jsonl")}
    found = [example for example in examples if example.fingerprint not in trained]
    if len(found) < len(examples):
        say(f"Left out: {len(examples) - len(found)} lines that one of the runs was trained on.")
    if not found:
        raise UserError("One of the runs was trained on every one of these lines. Name others with --data FILE")
    return found
