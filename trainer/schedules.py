"""How the learning rate goes over a run, and what the losses say of it. Pure; knows no model and no file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

SLOWED = 0.5  # what the plateau schedule multiplies the rate by where an evaluation brings nothing


def share(step: int, steps: int, schedule: str, warmup: float) -> float:
    """Return which share of its peak the learning rate has in a step, counted from 0.

    It rises evenly over the first `warmup` of the steps, whatever comes after; "plateau" is held there, to be
    slowed by the evaluations.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(1, steps - rising)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    return max(0.0, 1 - done) if schedule == "linear" else 1.0


def trouble(losses: Sequence[float]) -> str | None:
    """Return "rises" or "creeps" where the losses so far, one a step, say that the learning rate is wrong.

    The median of the last tenth (8 steps at least) is compared: it rises where it is half above the best such
    median before, and creeps where it has come down by less than a fiftieth of the first.
    """
    width = max(8, len(losses) // 10)
    if len(losses) < 3 * width:
        return None
    medians = [median(losses[end - width : end]) for end in range(width, len(losses) + 1, width)]
    last = median(losses[-width:])
    if last > 1.5 * min(medians):
        return "rises"
    return "creeps" if last > 0.98 * medians[0] else None
