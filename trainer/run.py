"""One run, told top to bottom: data, base, fine-tuning, measuring, answering. Each room does its own part."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trainer import Stopped, UserError, attention, batches, checkpoints, dataset, plan, rates, signals
from trainer.checkpoints import Checkpoint
from trainer.config import FilledConfig, RunConfig, fill_in
from trainer.dataset import SPLITS, Rendered, Renderer
from trainer.evaluate import LineLoss, evaluate, line_losses, loss_lines
from trainer.machine import find_cpu, find_machine
from trainer.model import Base, add_adapter, load_base
from trainer.preference import PreferenceTrainer
from trainer.record import Record, choose_folder
from trainer.sample import Answer, generate, sample_lines
from trainer.training import Diverged, StepTrainer, keeps_lines_apart, longest_row
from trainer.watch import Watch, peak_memory

PACKAGES = {"schedule-free": "schedulefree", "prodigy": "prodigyopt"}

MUCH_PADDING = 1.5  # tokens worked through for each that a line has
CPU_ROW = 1024  # tokens: attention costs the square of it


@dataclass(frozen=True)
class Prepared:
    """All that a run begins with: nothing of it changes while it goes on."""

    config: FilledConfig
    data: dict[str, Any]
    base: Base
    renderer: Renderer
    lines: list[Rendered]
    left_out: list[str]
    predicted: plan.Prediction

    def split(self, name: str) -> list[Rendered]:
        return [line for line in self.lines if line.example.split == name]

    @property
    def answers(self) -> list[Rendered]:
        """The lines whose answer is one to be like: all but those that were judged as bad."""
        return [line for line in self.lines if line.example.good]

    @property
    def tested(self) -> list[Rendered]:
        return [line for line in self.answers if line.example.split == "test"]


def run(asked: RunConfig) -> Record:
    """Fine-tune once, and leave in the run's folder all that is needed to look at it and to do it again.

    All that can be refused is refused before the folder is made. Raises UserError.
    """
    folder = choose_folder(asked.output)
    path = Path(asked.data) if asked.data else dataset.newest_export()
    prepared = prepare(asked, path)
    tell_plan(prepared)
    base, config = prepared.base, prepared.config
    say(f"Expected: {prepared.predicted.in_words()}.")
    record = Record.begin(
        folder,
        asked,
        config,
        data=prepared.data,
        lines={name: len(prepared.split(name)) for name in SPLITS},
        left_out=prepared.left_out,
        plan={"predicted": prepared.predicted.as_json()},
        base=base.identity,
        notes=prepared.renderer.notes,
        device={"name": base.device.title, "dtype": str(base.device.dtype).removeprefix("torch.")},
    )
    with record.alone(), record:
        finish(prepared, record, None)
    return record


def resume(folder: Path) -> Record:
    """Go on with a run that was broken off, from its newest whole checkpoint, as if it never had been.

    Raises UserError where it is done, is at work, or its data, base or batches are no longer the same.
    """
    record = Record.reopen(folder)
    with record.alone():
        config = FilledConfig(**record.facts["config"]["resolved"])
        checkpoint, faults = checkpoints.newest_whole(folder)
        for fault in faults:
            say(fault)
        data = record.facts["data"]
        if dataset.describe(Path(data["path"]))["sha256"] != data["sha256"]:
            raise UserError(
                f"{data['path']} was changed since {folder} began, so its steps cannot be gone on with. Put the data "
                "back, or start a new run with: python -m trainer run"
            )
        prepared = prepare(replace(config, unverified=True), Path(data["path"]))
        if prepared.base.identity["config_sha256"] != record.facts["base"]["config_sha256"]:
            raise UserError(f"The base {config.base} is no longer the one that {folder} began with. Start a new run.")
        if checkpoint and checkpoint.state["config"]["batch_size"] != config.batch_size:
            raise UserError(
                f"The checkpoint of step {checkpoint.step} took {checkpoint.state['config']['batch_size']} lines a "
                f"step, and run.json says {config.batch_size}. Put run.json back, or start a new run."
            )
        if checkpoint and checkpoint.state["batches"] != batches.digest(*steps_of(prepared)):
            raise UserError(
                f"The steps of {folder} are no longer those it began with: its tokenizer or its options have changed. "
                "Put them back, or start a new run."
            )
        step = checkpoint.step if checkpoint else 0
        say(
            f"Going on after step {step}." if checkpoint else "There is no checkpoint yet: beginning at the first step."
        )
        record.go_on(step)
        with record:
            finish(prepared, record, checkpoint)
    return record


def prepare(asked: RunConfig, path: Path) -> Prepared:
    """Read and check the data, load the base, and settle every option. Raises UserError."""
    check_packages(asked)
    threads = use_threads(asked.threads)
    data = dataset.describe(path)
    if not asked.unverified:
        dataset.verify(path, data)
    examples = dataset.split(dataset.read_examples(path, asked.method), asked.validation, asked.test, asked.seed)
    machine = find_machine(threads)
    base = load_base(asked)
    if base.device.name != machine.kind:  # a GPU that this torch cannot use
        machine = find_cpu(threads)
    renderer = Renderer(base.tokenizer)
    lines, left_out = renderer.render_all(examples)
    config = fill_in(asked, **sizes(base, lines), threads=threads)
    judge_rate(config, base)
    lines, too_long = dataset.leave_out_long(lines, min(config.max_tokens, base.max_tokens))
    predicted = plan.foresee(asked, config, lines, machine)
    return Prepared(config, data, base, renderer, lines, left_out + too_long, predicted)


def judge_rate(config: FilledConfig, base: Base) -> None:
    """Warn of a learning rate that brings nothing; raise UserError for one that runs diverge with, unless forced."""
    if config.optimizer == "prodigy":  # it finds its own
        return
    prior = rates.prior(base.hidden_size, base.weights, adapter=config.adapter != "none", method=config.method)
    judged = rates.judge(config.learning_rate, prior)
    if judged.level == "high" and not config.force:
        raise UserError(f"{judged.words} Look for one with: python -m trainer find-lr — or insist on it with --force")
    if judged.level != "fits":
        say(f"Warning: {judged.words}")


def check_packages(config: RunConfig) -> None:
    """Raise UserError where an option needs a package that is not installed."""
    for option, name in (("optimizer", PACKAGES.get(config.optimizer)), ("tracker", config.tracker)):
        if name not in (None, "none") and importlib.util.find_spec(name) is None:
            raise UserError(
                f"--{option} {getattr(config, option)} needs a package that is not installed: pip install {name}"
            )


def use_threads(asked: int | None) -> int:
    """Fix the number of threads, since another number adds up in another order and gives other digits."""
    threads = asked or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    torch.set_num_threads(threads)
    return threads


def sizes(base: Base, lines: Sequence[Rendered]) -> dict[str, int]:
    return {
        "weights": base.weights,
        "hidden_size": base.hidden_size,
        "max_tokens": dataset.find_max_tokens([line.longest for line in lines], base.max_tokens),
        "longest_answer": max(line.answer_tokens for line in lines),
    }


def tell_plan(prepared: Prepared) -> None:
    """Say on standard error what is about to happen, and everything the user might not expect."""
    config, base, left_out = prepared.config, prepared.base, prepared.left_out
    counts = ", ".join(f"{len(prepared.split(name))} to {verb}" for name, verb in zip(SPLITS, VERBS, strict=True))
    say(f"Data: {prepared.data['path']}: {counts}.")
    for reason in left_out[:10]:
        say(f"Left out: {reason}.")
    if len(left_out) > 10:
        say(f"Left out: {len(left_out) - 10} more lines; all are named in run.json.")
    say(f"Base: {base.identity['name']}, {base.weights / 1e6:,.1f} M weights, {config.quantisation}.")
    for note in [base.identity.get("note"), *prepared.renderer.notes]:
        if note:
            say(f"Note: {note}")
    say(f"Device: {base.device.title}, {base.device.dtype}, since {base.device.reason}.".replace("torch.", ""))
    if config.method != "sft":
        say(f"Method: {config.method}, beta {config.beta:g}, measured against the base below the adapter.")
    trained = "All weights" if config.adapter == "none" else f"Adapter: {config.adapter}, rank {config.rank}"
    say(
        f"{trained}, learning rate {config.learning_rate:g}, {config.epochs:g} epochs of at most "
        f"{config.batch_size} lines a step, lines of at most {config.max_tokens} tokens."
    )


VERBS = ("train", "validate", "test")


def finish(prepared: Prepared, record: Record, checkpoint: Checkpoint | None) -> None:
    """Train, from a checkpoint on if there is one, keep the result, and measure base and tuned."""
    base, config = prepared.base, prepared.config
    prompts = [line.example for line in choose(prepared.tested, config.samples, config.seed)]
    found: dict[str, Measured] = {}
    if config.adapter == "none":  # what the base says is known only before its weights change
        found["base"] = measure("base", base.model, prepared, prompts)
    model = fit(prepared, record, checkpoint)
    keep_result(model, prepared, record)
    if config.adapter != "none":
        with model.disable_adapter():  # the same model, so that nothing else differs
            found["base"] = measure("base", model, prepared, prompts)
    found["tuned"] = measure("tuned", model, prepared, prompts)
    losses = {name: each.losses for name, each in found.items()}
    rejected = {name: each.rejected for name, each in found.items()}
    answers = {name: each.answers for name, each in found.items()}
    record.keep_lines("losses.jsonl", loss_lines(prepared.answers, losses))
    signals.write(record)
    record.keep_lines("samples.jsonl", sample_lines(prompts, answers, config))
    record.keep("evaluation.json", evaluate(prepared.answers, losses, prompts, answers, rejected))
    record.facts["actual"] |= {"peak_memory": peak_memory(), "disk": bytes_below(record.folder)}
    if not config.keep_checkpoints:
        checkpoints.remove_all(record.folder)


def steps_of(prepared: Prepared) -> tuple[list[list[int]], list[int]]:
    """Return the steps of a run, each a list of training lines by number, and the lengths of those lines."""
    lengths = [line.size for line in prepared.split("train")]
    config = prepared.config
    return batches.plan_steps(
        len(lengths), epochs=config.epochs, batch_size=config.batch_size, seed=config.seed
    ), lengths


def fit(prepared: Prepared, record: Record, checkpoint: Checkpoint | None) -> Any:
    """Train the lines, step by step, and return the model with what it learnt: the best that was evaluated.

    Raises Diverged where the loss or the gradient is no longer a number, and Stopped after a signal; what was
    learnt until then is kept.
    """
    base, config = prepared.base, prepared.config
    steps, lengths = steps_of(prepared)
    packed, tokens_at_once = rows_of(prepared, steps, lengths)
    model = add_adapter(base.model, config)
    identity = {
        "batches": batches.digest(steps, lengths),
        "data": prepared.data["sha256"],
        "config": asdict(config),
    }
    watched = prepared.split("validation")
    prompts = [
        line.example
        for line in choose([line for line in watched if line.example.good], config.progress_prompts, config.seed)
    ]
    watch = Watch(record, base, prepared.renderer, watched, prompts, config, identity, checkpoint)
    trainer = (StepTrainer if config.method == "sft" else PreferenceTrainer)(
        base,
        model,
        prepared.split("train"),
        steps,
        config,
        record.folder,
        start=checkpoint.step if checkpoint else 0,
        packed=packed,
        tokens_at_once=tokens_at_once,
        activation_checkpointing=prepared.predicted.memory.checkpointed,
        callbacks=[watch],
    )
    watch.follow(trainer)
    if trainer.start < len(steps) and not watch.is_over:
        try:
            with watch.catching_signals():
                trainer.train()
        except Diverged:
            keep_result(model, prepared, record)
            raise
    if watch.asked_to_stop is not None:
        raise Stopped(watch.asked_to_stop, f"Stopped. Go on with: python -m trainer resume {record.folder}")
    watch.restore_best()
    record.facts["actual"] = {"seconds": round(watch.seconds, 1)}
    return model


def rows_of(prepared: Prepared, steps: Sequence[Sequence[int]], lengths: Sequence[int]) -> tuple[bool, int]:
    """Return whether lines are packed into rows, and how many tokens are worked through at once.

    On a CPU attention over a packed row costs more than padding does, unless there is a lot of it or each line is
    read alone.
    """
    base, config, tokens_at_once = prepared.base, prepared.config, prepared.predicted.tokens_at_once
    on_cpu = base.device.name == "cpu" and not attention.is_used(base.model)
    packed = config.packing == "auto" and keeps_lines_apart(base)
    if packed and on_cpu and batches.padding(steps, lengths, tokens_at_once) < MUCH_PADDING:
        packed = False
    if not packed:
        return False, tokens_at_once
    if on_cpu and config.tokens_at_once is None:
        tokens_at_once = max(*lengths, min(tokens_at_once, CPU_ROW))
    return True, min(tokens_at_once, longest_row(base))


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def keep_result(model: Any, prepared: Prepared, record: Record) -> None:
    """Save the adapter, or the whole model where all of it was trained, as `from_pretrained` reads it."""
    if prepared.config.adapter == "none":
        folder = record.folder / "model"
        model.save_pretrained(folder)
    else:
        folder = record.folder / "adapter"
        model.save_pretrained(folder, save_embedding_layers=False)
    prepared.base.tokenizer.save_pretrained(folder)


class Measured(NamedTuple):
    """The loss of each answer to be like, of each rejected one among the test lines, and the answer to each prompt."""

    losses: list[LineLoss]
    rejected: list[LineLoss]
    answers: list[Answer]


def measure(name: str, model: Any, prepared: Prepared, prompts: Sequence[Any]) -> Measured:
    """Let a model read the lines and answer the prompts."""
    base = prepared.base
    say(f"Measuring {name}.")
    losses = line_losses(model, prepared.answers, base.tokenizer.pad_token_id, base.device)
    others = [line.rejected for line in prepared.tested if line.rejected]
    rejected = line_losses(model, others, base.tokenizer.pad_token_id, base.device)
    return Measured(losses, rejected, generate(model, prepared.renderer, prompts, prepared.config, base.device))


def choose(lines: Sequence[Rendered], most: int, seed: int) -> list[Rendered]:
    """Return at most so many of the lines, drawn with the seed, in their order."""
    drawn = random.Random(seed).sample(range(len(lines)), min(most, len(lines)))
    return [lines[index] for index in sorted(drawn)]


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
