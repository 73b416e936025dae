"""All that a run begins with: lines, base, options, each checked and seen alike by all processes. Trains nothing."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer import UserError, batches, dataset, plan, ranks, rates
from trainer.config import FilledConfig, RunConfig, fill_in
from trainer.dataset import Rendered, Renderer
from trainer.machine import count_cores, find_cpu, find_machine
from trainer.model import Base, load_base, locate
from trainer.ranks import say

PACKAGES = {"schedule-free": "schedulefree", "prodigy": "prodigyopt"}


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


def prepare_all(asked: RunConfig, path: Path) -> Prepared:
    """Prepare all processes of a run. Raises UserError where one of them cannot, or sees something else."""
    if ranks.count() == 1:
        return prepare(asked, path)
    ranks.first(lambda: str(locate(asked.base)))  # what is made or looked up once is there for all
    prepared = ranks.agree(lambda: prepare(asked, path))
    seen = ranks.gather((batches.digest(*steps_of(prepared)), prepared.data["sha256"], prepared.base.identity))
    for place, theirs in enumerate(seen):
        if theirs != seen[0]:
            raise UserError(
                f"Process {place} sees other lines or another base than process 0. Name data and base that are the "
                "same under the same path on all machines."
            )
    return prepared


def prepare(asked: RunConfig, path: Path) -> Prepared:
    """Read and check the data, load the base, and settle every option. Raises UserError."""
    check_packages(asked)
    check_sharding(asked)
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
    lines, forged, refused = renderer.render_all(examples)
    dataset.check_left(lines, forged + refused)
    config = fill_in(asked, **sizes(base, lines), threads=threads)
    judge_rate(config, base)
    lines, too_long = dataset.leave_out_long(lines, min(config.max_tokens, base.max_tokens))
    predicted = plan.foresee(asked, config, lines, machine)
    return Prepared(config, data, base, renderer, lines, forged + refused + too_long, predicted)


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


def check_sharding(config: RunConfig) -> None:
    """Raise UserError where FSDP is asked for and cannot do what the options say."""
    if not ranks.is_sharded():
        return
    if config.quantisation != "none":
        raise UserError(
            f"FSDP lays weights in pieces over the processes, and those of --quantisation {config.quantisation} cannot "
            "be. Add --quantisation none, or leave out --use_fsdp: each process then holds a whole base."
        )
    if config.method != "sft":
        raise UserError(f"--method {config.method} needs a whole base in each process: leave out --use_fsdp.")


def use_threads(asked: int | None) -> int:
    """Fix the number of threads, since another number adds up in another order and gives other digits."""
    threads = asked or count_cores()
    torch.set_num_threads(threads)
    if ranks.count() > 1:  # accelerate sets it again where this is not said
        os.environ["OMP_NUM_THREADS"] = str(threads)
    return threads


def sizes(base: Base, lines: Sequence[Rendered]) -> dict[str, int]:
    return {
        "weights": base.weights,
        "hidden_size": base.hidden_size,
        "max_tokens": dataset.find_max_tokens([line.longest for line in lines], base.max_tokens),
        "longest_answer": max(line.answer_tokens for line in lines),
    }


def steps_of(prepared: Prepared) -> tuple[list[list[int]], list[int]]:
    """Return the steps of a run, each a list of training lines by number, and the lengths of those lines."""
    lengths = [line.size for line in prepared.split("train")]
    config = prepared.config
    return batches.plan_steps(
        len(lengths), epochs=config.epochs, batch_size=config.batch_size, seed=config.seed
    ), lengths
