"""What a run will take: memory, time and disk. Knows lengths and sizes; knows no text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer import batches, memory, ranks
from trainer.architecture import Architecture
from trainer.config import FilledConfig, RunConfig
from trainer.dataset import SPLITS, Rendered
from trainer.machine import Machine
from trainer.memory import Memory, in_words

ROOM = 0.95  # the share of the free memory that a run may take: the rest is for what no formula knows
# Bytes a second between memory and cores, and seconds that a layer costs for being called.
BANDWIDTH = {"cpu": 20e9, "cuda": 2e12}
LAYER_SECONDS = {"cpu": 0.001, "cuda": 0.0004}
PROMPTS_AT_ONCE = 16
PRECISIONS = {"bf16": "bfloat16", "fp32": "float32"}
# How often a step writes or reads what it keeps: of narrow bases this is most of the time.
TOUCHED = 12


@dataclass(frozen=True)
class Prediction:
    """What a run will take. Seconds are of the whole run, and of its training alone; disk is in bytes."""

    memory: Memory
    seconds: float
    training_seconds: float
    tokens_per_second: float
    speed_from: str  # the folder of an earlier run that was so fast, or "assumed"
    disk: int
    steps: int
    tokens_at_once: int  # a step is worked through in parts of so many

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"memory": self.memory.as_json()}

    def in_words(self) -> str:
        return f"{in_words(self.memory.total)} of memory, {duration(self.seconds)}, {in_words(self.disk)} of disk"


def predict(
    config: FilledConfig, kept: Sequence[Rendered], sizes: Architecture, machine: Machine, asked: RunConfig
) -> Prediction:
    """Return memory, time and disk of a run over these lines."""
    tokens_at_once, needed = part(config, kept, sizes, machine)
    by_split = {name: [line for line in kept if line.example.split == name] for name in SPLITS}
    tokens = {name: sum(line.size for line in lines) for name, lines in by_split.items()}
    steps = math.ceil(config.epochs * math.ceil(len(by_split["train"]) / config.batch_size))
    arithmetic = memory.flops_of_a_token(sizes, trains_all=config.adapter == "none", checkpointed=needed.checkpointed)
    called = LAYER_SECONDS[machine.kind] * sizes.layers
    step_tokens = min(tokens_at_once, tokens["train"] / max(1, len(by_split["train"])) * config.batch_size)
    carried = TOUCHED * (needed.activations + needed.logits) / BANDWIDTH[machine.kind]
    assumed = step_tokens / (step_tokens * arithmetic / machine.speed + carried + 4 * called)
    earlier = earlier_speed(asked, machine)
    speed, source = earlier or (assumed * ranks.count(), "assumed")

    forward = 2 * sizes.matrix_weights / machine.speed
    watched = 10 * tokens["validation"] * forward
    measured = 2 * sum(tokens.values()) * forward
    answers = 2 * math.ceil(min(config.samples, len(by_split["test"])) / PROMPTS_AT_ONCE)
    longest = config.max_new_tokens * (needed.weights / BANDWIDTH[machine.kind] + called)
    training = config.epochs * tokens["train"] / speed + watched
    seconds = round(training + measured + answers * longest, 1)
    disk = memory.run_bytes(sizes, None if config.adapter == "none" else config.rank)
    return Prediction(
        needed, round(seconds, 1), round(training, 1), round(speed, 1), source, disk, steps, tokens_at_once
    )


def part(config: FilledConfig, kept: Sequence[Rendered], sizes: Architecture, machine: Machine) -> tuple[int, Memory]:
    """Return how many tokens a step works through at once, and the memory of that and of answering."""
    lines = [line for line in kept if line.longest <= config.max_tokens] or kept
    trained = [line for line in lines if line.example.split == "train"] or lines
    asked = [len(line.input_ids) - line.answer_tokens for line in lines if line.example.split != "train"]
    lengths = [line.size for line in trained]
    # Those of one epoch: the largest step of another is hardly larger.
    steps = batches.plan_steps(len(lengths), epochs=1, batch_size=config.batch_size, seed=config.seed)
    prompts = min(memory.PROMPTS_AT_ONCE, max(config.samples, config.progress_prompts), len(asked))
    learnt = [sum(answer.answer_tokens for answer in line.answers) for line in trained]
    largest = max(steps, key=lambda step: sum(lengths[line] for line in step))
    tokens = sum(lengths[line] for line in largest)
    return memory.choose_part(
        sizes,
        config,
        longest=max(line.size for line in lines),
        trained_share=sum(learnt[line] for line in largest) / tokens,
        dtype=PRECISIONS.get(config.precision, machine.dtype),
        device=machine.kind,
        room=ROOM * machine.free,
        answered_tokens=prompts * (max(asked, default=0) + config.max_new_tokens),
        most_tokens=tokens,
        pieces=ranks.count() if ranks.is_sharded() else 1,
    )


def earlier_speed(asked: RunConfig, machine: Machine) -> tuple[float, str] | None:
    """Return the tokens a second, and the folder, of the newest run beside this one on the same base and machines."""
    folder = Path(asked.output).parent if asked.output else Path("runs")
    records = sorted(folder.glob("*/run.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in records[:20]:
        try:
            record = json.loads(file.read_text("utf-8"))
            same = record["state"] == "done" and record["base"]["name"] == asked.base
            same = same and record["config"]["resolved"]["quantisation"] == asked.quantisation
            same = same and record.get("processes", 1) == ranks.count()
            if same and record["device"]["name"] == machine.title:
                last = (file.parent / "metrics.jsonl").read_text("utf-8").splitlines()[-1]
                return float(json.loads(last)["tokens_per_second"]), str(file.parent)
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            continue  # not a record of ours, or not whole
    return None


def duration(seconds: float) -> str:
    """Return a time as people say it: "about 3 minutes"."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            return f"about {seconds / size:.0f} {unit}s"
    return "about a second" if seconds < 1.5 else f"about {seconds:.0f} seconds"
