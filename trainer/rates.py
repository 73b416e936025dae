"""Learning rates: which suits a base of this size, and what is wrong with another. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SMALL = 100e6  # weights
# Of what suits answers suits preferences, whose loss moves with the sum over a whole answer: 1.5e-5 at 4096 wide,
# amid the 5e-6 to 5e-5 of published recipes for adapters.
PREFERENCE = 1 / 20
HIGH, LOW = 3.0, 1 / 30  # times the prior: above, runs diverge; below, they end where they began


@dataclass(frozen=True)
class Judgement:
    """What is to be said about a learning rate beside the prior."""

    level: Literal["fits", "high", "low"]
    prior: float
    words: str


def prior(hidden_size: int, weights: int, *, adapter: bool = True, method: str = "sft") -> float:
    """Return the peak learning rate that suits a base of this width and number of weights.

    For adapters ten times that of full fine-tuning, and fifteen times for the short runs of a small base
    (Schulman et al., LoRA Without Regret, 2025): 2.9e-4 at 4096 wide, 1.1e-3 at 768, 4.7e-3 at 192.
    """
    times: float = (15 if weights < SMALL else 10) if adapter else 1
    if method != "sft":
        times *= PREFERENCE
    return float(f"{5e-5 * times * (2000 / hidden_size) ** 0.781:.2g}")


def judge(rate: float, prior: float) -> Judgement:
    """Return whether a peak learning rate is one that runs learn with, and what to do if not."""
    times = rate / prior
    if times > HIGH:
        words = (
            f"The learning rate {rate:g} is {times:,.1f} times what suits a base of this size, {prior:g}: "
            f"such runs diverge. Take {prior:g}, or leave it out."
        )
        return Judgement("high", prior, words)
    if times < LOW:
        words = (
            f"The learning rate {rate:g} is {1 / times:,.0f} times below what suits a base of this size, {prior:g}: "
            f"the run will end about where it began. Take {prior:g}, or leave it out."
        )
        return Judgement("low", prior, words)
    return Judgement("fits", prior, f"The learning rate {rate:g} fits a base of this size; the usual one is {prior:g}.")
