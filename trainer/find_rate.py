"""The learning rate that suits one base and one data set, found by trying all of them in one short run.

Source: L. Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from torch.optim.lr_scheduler import LambdaLR

from trainer import UserError, batches, dataset, rates
from trainer.config import RunConfig
from trainer.model import add_adapter
from trainer.preparing import prepare
from trainer.ranks import say
from trainer.record import choose_folder, write_json
from trainer.run import rows_of
from trainer.training import Diverged, StepTrainer

STEPS = 80
LOWEST, HIGHEST = 1 / 100, 30.0  # times the prior
SMOOTHING = 0.9  # how much of a smoothed loss is what was before
HOPELESS = 1.5  # times the first smoothed loss: from there on it only gets worse
HEIGHT, WIDTH = 8, 64  # of the curve in a terminal, in characters


def find(asked: RunConfig) -> tuple[Path, dict[str, Any]]:
    """Raise the rate over a short run, and keep and return the curve and the rate it suggests. Raises UserError."""
    folder = choose_folder(asked.output)
    if asked.method != "sft":
        raise UserError(f"find-lr is for --method sft; the rate that {asked.method} begins with is found by run.")
    path = Path(asked.data) if asked.data else dataset.newest_export()
    prepared = prepare(replace(asked, learning_rate=None, optimizer="adamw"), path)
    base, config, lines = prepared.base, prepared.config, prepared.split("train")
    prior = rates.prior(base.hidden_size, base.weights, adapter=config.adapter != "none")
    say(f"Trying rates from {prior * LOWEST:.2g} to {prior * HIGHEST:.2g} in {STEPS} steps.")
    each = math.ceil(len(lines) / config.batch_size)
    steps = batches.plan_steps(len(lines), epochs=STEPS / each, batch_size=config.batch_size, seed=config.seed)
    packed, tokens_at_once = rows_of(prepared, steps, [len(line.input_ids) for line in lines])
    ramp = Ramp()
    trainer = RampTrainer(
        base,
        add_adapter(base.model, config),
        lines,
        steps[:STEPS],
        replace(config, learning_rate=prior * HIGHEST, tracker="none"),
        folder,
        packed=packed,
        tokens_at_once=tokens_at_once,
        activation_checkpointing=prepared.predicted.memory.checkpointed,
        callbacks=[ramp],
    )
    ramp.trainer = trainer
    trainer.train()
    found = read_curve(ramp.rates, ramp.losses) | {"prior": prior, "base": base.identity["name"]}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "lr.json", found)
    return folder, found


class RampTrainer(StepTrainer):
    """Raises the learning rate by the same factor each step."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        lowest, last = LOWEST / HIGHEST, len(self.steps) - 1
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda step: lowest ** (1 - step / max(1, last)))
        return self.lr_scheduler


class Ramp(transformers.TrainerCallback):
    """Notes rates and losses, and ends where there is nothing left to see."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.trainer: StepTrainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if math.isfinite(self.trainer.loss):
            self.rates.append(self.trainer.lr_scheduler.get_last_lr()[0])
            self.losses.append(self.trainer.loss)
        smoothed = smooth(self.losses)
        if not math.isfinite(self.trainer.loss) or smoothed and smoothed[-1] > HOPELESS * smoothed[0]:
            control.should_training_stop = True
        if not self.losses:
            raise Diverged("The loss of the first step is no number: this base cannot be trained as it is.")


def smooth(losses: Sequence[float]) -> list[float]:
    """Return the exponential mean of the losses so far, as if the first had always been there less."""
    smoothed, mean = [], 0.0
    for place, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING**place))
    return smoothed


def read_curve(tried: Sequence[float], losses: Sequence[float]) -> dict[str, Any]:
    """Return the content of lr.json: rates, smoothed losses, and the rate they suggest.

    It is a third of the one with the lowest smoothed loss. That one is on the edge: the mean lags behind, so the loss
    itself has risen there already.
    """
    smoothed = smooth(losses)
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    return {
        "rates": [float(f"{rate:.4g}") for rate in tried],
        "losses": [round(loss, 4) for loss in losses],
        "smoothed": [round(loss, 4) for loss in smoothed],
        "suggestion": float(f"{tried[lowest] / 3:.2g}"),
    }


def curve(found: dict[str, Any]) -> list[str]:
    """Return the curve in characters, rates from left to right, and the suggestion marked below it."""
    tried, smoothed = found["rates"], found["smoothed"]
    top = min(max(smoothed), HOPELESS * smoothed[0])
    bottom = min(smoothed)
    columns = min(WIDTH, len(smoothed))
    places = [round(column * (len(smoothed) - 1) / max(1, columns - 1)) for column in range(columns)]
    heights = [round((min(smoothed[place], top) - bottom) / max(top - bottom, 1e-9) * (HEIGHT - 1)) for place in places]
    rows = []
    for height in reversed(range(HEIGHT)):
        label = f"{bottom + (top - bottom) * height / (HEIGHT - 1):8.3f} " if height in (0, HEIGHT - 1) else " " * 9
        rows.append(label + "".join("•" if each == height else " " for each in heights).rstrip())
    near = min(range(columns), key=lambda column: abs(math.log(tried[places[column]] / found["suggestion"])))
    rows.append(" " * (9 + near) + "▲")
    rows.append(f"{'':9}{tried[0]:<{columns - 8}.2g}{tried[-1]:>8.2g}")
    rows.append(f"{'':9}learning rate; suggested {found['suggestion']:g}, usual for this size {found['prior']:g}")
    return rows
