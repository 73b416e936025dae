"""What speaks against a run, or should be known before it: each finding by name. Knows no file but the export's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal

from trainer import UserError, dataset, rates
from trainer.architecture import Architecture
from trainer.config import FilledConfig, RunConfig
from trainer.dataset import Rendered, Renderer
from trainer.machine import Machine
from trainer.memory import Memory, in_words
from trainer.plan.prediction import ROOM, part

OUTLIER = 100  # times the median
FEW_LINES = 10

Level = Literal["stop", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing to know before a run: "stop" says that it cannot be done so."""

    level: Level
    name: str  # one word that a script can look for
    words: str
    lines: list[str] = field(default_factory=list)  # of the data, with what is the matter with each


def check_export(path: Path, asked: RunConfig) -> list[Finding]:
    data = dataset.describe(path)
    if asked.unverified:
        return []
    try:
        dataset.verify(path, data)
    except UserError as error:
        return [Finding("stop", "changed-export", str(error))]
    return []


def check_faults(faults: list[str], method: str) -> list[Finding]:
    if not faults:
        return []
    remedy = f"Mend {'it' if len(faults) == 1 else 'them'}, or write the file again with: {dataset.WRITTEN_BY[method]}"
    return [Finding("stop", "fault", f"{counted(faults)} cannot be read. {remedy}", faults)]


def check_template(renderer: Renderer) -> list[Finding]:
    found = []
    if not renderer.has_own_template:
        found.append(Finding("note", "no-template", renderer.notes[0]))
    if renderer.folds_system:
        found.append(
            Finding(
                "note",
                "no-system-role",
                "The chat template of the base has no system role: system messages open the first question.",
            )
        )
    pad = renderer.tokenizer.pad_token
    if pad is None or pad == renderer.tokenizer.eos_token:
        words = "has no pad token" if pad is None else f"pads with its end token, {pad}"
        found.append(
            Finding(
                "note",
                "pad-is-end",
                f"The tokenizer {words}. Padding is masked by its place, so the end of each answer is trained all the "
                "same.",
            )
        )
    return found


def check_lines(
    rendered: Sequence[Rendered],
    kept: Sequence[Rendered],
    forged: list[str],
    refused: list[str],
    long: list[str],
    limit: int,
    context: int,
) -> list[Finding]:
    """Return what is to be said of single lines: left out, or unlike the others."""
    found = []
    if forged:
        words = (
            f"{number_of(forged)} left out, since a control token of the base stands in the text. Write it otherwise."
        )
        found.append(Finding("warning", "control-token", words, forged))
    if refused:
        words = f"{number_of(refused)} left out, refused by the chat template of the base."
        found.append(Finding("warning", "refused", f"{words} Mend the turns, or choose another base.", refused))
    if long:
        hopeless = sum(line.answer_tokens > context for line in rendered)
        why = f"; of {hopeless:,} the answer alone is longer than the {context:,} tokens of the base" * bool(hopeless)
        words = f"{number_of(long)} left out whole, as longer than {limit:,} tokens{why}. "
        words += "Shorten them." if limit >= context else "Shorten them, or allow more with: --max-tokens"
        found.append(Finding("warning", "too-long", words, long))
    middle = median(len(line.input_ids) for line in rendered)
    outliers = [
        f"{line.example.place} has {len(line.input_ids):,} tokens"
        for line in rendered
        if len(line.input_ids) >= OUTLIER * middle
    ]
    if outliers:
        verb = "is" if len(outliers) == 1 else "are"
        words = f"{counted(outliers)} {verb} {OUTLIER} times as long as the median of {middle:,.0f} tokens, or longer."
        found.append(Finding("warning", "outlier", words, outliers))
    train = sum(line.example.split == "train" for line in kept)
    if train < FEW_LINES:
        words = f"only {train} lines to train on: they" if train > 1 else "only 1 line to train on: it"
        verb = "are" if train > 1 else "is"
        found.append(Finding("warning", "few-lines", f"There {verb} {words} will be learnt by heart. Add pairs."))
    return found


def check_sides(kept: Sequence[Rendered], method: str) -> list[Finding]:
    """Return whether answers were judged of which all are good or all bad."""
    sides = {line.example.good for line in kept if line.example.split == "train"}
    if method != "kto" or len(sides) == 2:
        return []
    side, other = ("good", "bad") if True in sides else ("bad", "good")
    words = f"All answers to train on are {side}, and kto learns from the difference. Rate some as {other}, too."
    return [Finding("warning", "one-sided", words)]


def counted(lines: Sequence[str]) -> str:
    return "1 line" if len(lines) == 1 else f"{len(lines):,} lines"


def number_of(lines: Sequence[str]) -> str:
    return f"{counted(lines)} {'is' if len(lines) == 1 else 'are'}"


def check_rate(config: FilledConfig, prior: float) -> list[Finding]:
    """Return what is to be said of the learning rate: a run refuses one that diverges, unless it is forced."""
    judged = rates.judge(config.learning_rate, prior)
    if judged.level == "fits" or config.optimizer == "prodigy":  # which finds its own
        return []
    if judged.level == "high" and not config.force:
        return [Finding("stop", "learning-rate", f"{judged.words} Or insist on it with: --force")]
    return [Finding("warning", "learning-rate", judged.words)]


def check_memory(
    needed: Memory, config: FilledConfig, kept: Sequence[Rendered], sizes: Architecture, machine: Machine
) -> list[Finding]:
    """Return whether a run does not fit this machine, and the least change with which it would."""
    room = ROOM * machine.free
    if needed.total <= room:
        return []
    words = f"It takes {in_words(needed.total)}, and {machine.title} has {in_words(machine.free)} free."
    for change, changed in cheaper(config):
        _, smaller = part(changed, kept, sizes, machine)
        if smaller.total <= room:
            lost = sum(line.longest > changed.max_tokens for line in kept)
            price = f" and leaves out {lost:,} of the {len(kept):,} lines" if lost else ""
            return [Finding("stop", "memory", f"{words} With {change} it takes {in_words(smaller.total)}{price}.")]
    return [Finding("stop", "memory", f"{words} No option makes it fit: choose a smaller base or a larger machine.")]


def cheaper(config: FilledConfig) -> list[tuple[str, FilledConfig]]:
    """Return changes that save memory, in the order of what they cost: precision, then length."""
    changes, said = [], ""
    if config.adapter == "none":
        config, said = replace(config, adapter="lora"), "--adapter lora "
        changes.append((said.rstrip(), config))
    if config.quantisation != "nf4":
        config, said = replace(config, quantisation="nf4"), f"{said}--quantisation nf4 "
        changes.append((said.rstrip(), config))
    for tokens in (1024, 512, 256):
        if tokens < config.max_tokens:
            changes.append((f"{said}--max-tokens {tokens}", replace(config, max_tokens=tokens, tokens_at_once=None)))
    return changes


def check_disk(needed: int) -> list[Finding]:
    free = shutil.disk_usage(".").free
    if needed < free:
        return []
    return [Finding("stop", "disk", f"The run's folder takes up to {in_words(needed)}, and {in_words(free)} are free.")]
