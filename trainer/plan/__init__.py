"""What a run would do, said before it is done: its lines, its memory, time and disk, and what speaks against it.

Knows data, tokenizer and sizes; knows no torch and loads no weight, so it answers in a second or two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer import UserError, dataset, rates
from trainer.architecture import Architecture, read_architecture
from trainer.config import FilledConfig, RunConfig, fill_in
from trainer.dataset import SPLITS, Example, Rendered, Renderer
from trainer.machine import Machine, find_machine
from trainer.memory import in_words
from trainer.plan.findings import (
    Finding,
    check_disk,
    check_export,
    check_faults,
    check_lines,
    check_memory,
    check_rate,
    check_sides,
    check_template,
)
from trainer.plan.prediction import ROOM, Prediction, duration, predict
from trainer.plan.showing import base_folder, make_renderer, show

__all__ = ["Finding", "Plan", "Prediction", "draw", "foresee", "make", "show"]

SHOWN = 10  # lines named in the terminal; --json names all


@dataclass(frozen=True)
class Lengths:
    """Tokens a line, over all lines that are used."""

    p50: int
    p95: int
    p99_5: int
    longest: int
    total: int
    trained: int  # those with labels

    @classmethod
    def of(cls, lines: Sequence[Rendered]) -> Lengths:
        ordered = sorted(len(line.input_ids) for line in lines)
        p50, p95, p99_5, longest = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95, 0.995, 1))
        return cls(p50, p95, p99_5, longest, sum(ordered), sum(line.answer_tokens for line in lines))


@dataclass(frozen=True)
class Plan:
    """What a run would do. `lines` says it in words, `as_json` in numbers."""

    data: str
    findings: list[Finding]
    counts: dict[str, int]
    lengths: Lengths
    template: str
    end_token: str
    ends_trained: int  # lines whose end token has a label
    base: dict[str, Any]
    architecture: Architecture
    machine: Machine
    config: FilledConfig
    prior: float
    predicted: Prediction
    kept: list[Rendered] = field(repr=False)
    left_out: list[str] = field(repr=False)

    @property
    def fits(self) -> bool:
        return self.predicted.memory.total <= ROOM * self.machine.free

    @property
    def stops(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == "stop"]

    def lines(self) -> list[str]:
        """Return the plan for a terminal, one line a fact, then what was found."""
        config, sizes, predicted, length = self.config, self.architecture, self.predicted, self.lengths
        counts = ", ".join(f"{self.counts[name]:,} to {verb}" for name, verb in zip(SPLITS, VERBS, strict=True))
        share = f"{self.ends_trained / len(self.kept):.0%}" if self.kept else "none"
        parts = asdict(predicted.memory)
        named = ", ".join(f"{name} {in_words(parts[name])}" for name in PARTS if name in predicted.memory.at_the_peak)
        speed = "assumed" if predicted.speed_from == "assumed" else f"as in {predicted.speed_from}"
        rows = [
            ("Data", f"{self.data}: {counts}"),
            (
                "Tokens",
                f"half of the lines have at most {length.p50:,}, 95 % {length.p95:,}, 99.5 % {length.p99_5:,}, all "
                f"{length.longest:,}; {length.total:,} in all, {length.trained:,} of them trained",
            ),
            ("Template", f"{self.template}; the end token {self.end_token} is trained in {share} of the lines"),
            (
                "Base",
                f"{self.base['name']}: {sizes.weights / 1e6:,.1f} M weights (from the {COUNTED[sizes.counted_from]}), "
                f"{sizes.layers} layers, {sizes.hidden_size} wide, made for {sizes.context:,} tokens",
            ),
            (
                "Run",
                f"{self.what_is_trained()}, {predicted.steps:,} steps of "
                f"{config.batch_size} lines, {config.epochs:g} epoch{'s' * (config.epochs != 1)}, "
                f"lines of at most {config.max_tokens:,} tokens",
            ),
            ("Method", METHODS[config.method].format(beta=config.beta)),
            ("Rate", f"{config.learning_rate:g}; what suits a base of this size is {self.prior:g}"),
            ("Machine", f"{self.machine.title}, {self.machine.dtype}: {in_words(self.machine.free)} of memory free"),
            ("Memory", f"{in_words(predicted.memory.total)} at the peak: {named}"),
            ("Time", f"{duration(predicted.seconds)}, at {predicted.tokens_per_second:,.0f} tokens/s ({speed})"),
            ("Disk", in_words(predicted.disk)),
            ("Verdict", self.verdict()),
        ]
        said = [f"{name:9} {words}" for name, words in rows]
        for finding in self.findings:
            said += ["", f"{HEADINGS[finding.level]}: {finding.words}"]
            said += [f"  {line}" for line in finding.lines[:SHOWN]]
            if len(finding.lines) > SHOWN:
                said.append(f"  and {len(finding.lines) - SHOWN:,} more lines; all are listed by --json")
        return said

    def what_is_trained(self) -> str:
        if self.config.adapter == "none":
            return "all weights of the base"
        kept = "as it is" if self.config.quantisation == "none" else f"in {self.config.quantisation}"
        return f"{self.config.adapter} of rank {self.config.rank} on the base {kept}"

    def verdict(self) -> str:
        if self.stops:
            return f"cannot be run so: {', '.join(finding.name for finding in self.stops)}"
        return f"fits this machine, with {in_words(self.machine.free - self.predicted.memory.total)} to spare"

    def as_json(self) -> dict[str, Any]:
        return {
            "runs": not self.stops,
            "verdict": self.verdict(),
            "data": self.data,
            "lines": self.counts,
            "left_out": self.left_out,
            "findings": [asdict(finding) for finding in self.findings],
            "tokens": asdict(self.lengths),
            "template": self.template,
            "end_token": {"text": self.end_token, "trained_in": self.ends_trained, "of": len(self.kept)},
            "base": self.base | asdict(self.architecture),
            "config": asdict(self.config),
            "prior_learning_rate": self.prior,
            "machine": asdict(self.machine),
            "predicted": self.predicted.as_json(),
        }


METHODS = {
    "sft": "sft: the answers are learnt",
    "dpo": "dpo with beta {beta:g}: chosen answers become likelier than rejected ones, measured against the base",
    "kto": "kto with beta {beta:g}: good answers become likelier and bad ones less, measured against the base",
}
VERBS = ("train", "validate", "test")
PARTS = ("weights", "adapters", "activations", "logits", "fixed", "answering")
COUNTED = {"headers": "headers of its files", "config": "sizes in its config.json"}
HEADINGS = {"stop": "Stop", "warning": "Warning", "note": "Note"}


def make(asked: RunConfig) -> Plan:
    """Return the plan of a run. Raises UserError where there is nothing to plan: no data, no base, no tokenizer."""
    path = Path(asked.data) if asked.data else dataset.newest_export()
    examples, faults = dataset.read(path, asked.method)
    if not any(example.split == "train" for example in examples):
        raise UserError(dataset.nothing_in(path, faults, asked.method))
    findings = [*check_export(path, asked), *check_faults(faults, asked.method)]
    try:
        examples = dataset.split(examples, asked.validation, asked.test, asked.seed)
    except UserError as error:
        findings.append(Finding("stop", "too-few", str(error)))
    folder = base_folder(asked.base)
    sizes = read_architecture(folder)
    return draw(asked, str(path), examples, make_renderer(asked.base, folder, sizes), sizes, findings)


def foresee(asked: RunConfig, config: FilledConfig, kept: Sequence[Rendered], machine: Machine) -> Prediction:
    """Return what a run over these lines will take, of the `machine` as it was before the base was loaded.

    Raises UserError as `make` does.
    """
    return predict(config, kept, read_architecture(base_folder(asked.base)), machine, asked)


def draw(
    asked: RunConfig,
    data: str,
    examples: Sequence[Example],
    renderer: Renderer,
    sizes: Architecture,
    findings: Sequence[Finding] = (),
) -> Plan:
    """Return the plan of a run on lines that were read and split. Raises UserError where no line is left."""
    machine = find_machine(asked.threads)
    rendered, forged, refused = renderer.render_all(examples)
    dataset.check_left(rendered, forged + refused)
    lengths = [line.longest for line in rendered]
    config = fill_in(
        asked,
        weights=sizes.weights,
        hidden_size=sizes.hidden_size,
        max_tokens=dataset.find_max_tokens(lengths, sizes.context),
        longest_answer=max(line.answer_tokens for line in rendered),
        threads=asked.threads or 1,
    )
    limit = min(config.max_tokens, sizes.context)
    kept, long = dataset.leave_out_long(rendered, limit)
    prior = rates.prior(sizes.hidden_size, sizes.weights, adapter=config.adapter != "none", method=config.method)
    predicted = predict(config, kept, sizes, machine, asked)
    return Plan(
        data=data,
        findings=[
            *findings,
            *check_template(renderer),
            *check_lines(rendered, kept, forged, refused, long, limit, sizes.context),
            *check_sides(kept, config.method),
            *check_rate(config, prior),
            *check_memory(predicted.memory, config, kept, sizes, machine),
            *check_disk(predicted.disk),
        ],
        counts={name: sum(line.example.split == name for line in kept) for name in SPLITS},
        lengths=Lengths.of(kept),
        template="the base's own chat template"
        if renderer.has_own_template
        else "a plain one (### Question, ### Answer), since the base has none",
        end_token=renderer.ending.strip() or renderer.tokenizer.eos_token,
        ends_trained=sum(line.labels[-1] == renderer.end_token for line in kept),
        base={"name": asked.base},
        architecture=sizes,
        machine=machine,
        config=config,
        prior=prior,
        predicted=predicted,
        kept=kept,
        left_out=forged + refused + long,
    )
