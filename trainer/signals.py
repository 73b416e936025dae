"""What the losses of its lines in each step tell of the data: which lines to look at. Knows numbers alone.

A line whose loss is still high late in training says something else than lines like it do: often it is wrong. Losses
of the first pass tell next to nothing of that. It may be right and rare, too: this makes a list to read, no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trainer.record import Record

LIKE = 100  # lines: of so many of the nearest length is a loss compared
SMALL = 0.05  # nats a token: lines that differ by less are alike
AT_ONCE = 0.25  # of its first loss is left when it is seen again
LEARNT, LOST = 0.5, 0.75  # of its first loss: below is learnt, above again is forgotten
CLEAR = 0.5  # nats a token: what rises less is noise


def write(record: Record) -> None:
    """Write signals.jsonl of a run from train_losses.jsonl, and the tokens of losses.jsonl where that is there."""
    tokens = {line["fingerprint"]: line["tokens"] for line in record.lines("losses.jsonl")}
    record.keep_lines("signals.jsonl", judge(record.lines("train_losses.jsonl"), tokens))


def judge(lines: Iterable[Mapping[str, Any]], tokens: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield for each line of train_losses.jsonl a line of signals.jsonl: {"fingerprint", "first", "late", …}.

    `first` is its loss when it was first seen, `late` the mean of the last half of its losses, in nats a token.
    `suspicious` says how far `late` lies above the median of lines of like length, in units of their spread; it is
    None for a line that was seen once, as are the others then. `memorised` is whether it was learnt when it was seen
    again; `forgotten` how often it was learnt and lost again.
    """
    seen = [line for line in lines if line["losses"]]
    late = [mean(line["losses"][len(line["losses"]) // 2 :]) for line in seen]
    scores = unlike(late, [tokens.get(line["fingerprint"], 0) for line in seen])
    usual = median([left_at_once(line["losses"]) for line in seen if len(line["losses"]) > 1] or [1.0])
    for line, level, score in zip(seen, late, scores, strict=True):
        losses = line["losses"]
        again = len(losses) > 1
        yield {
            "fingerprint": line["fingerprint"],
            "first": losses[0],
            "late": round(level, 4),
            "suspicious": round(score, 3) if again else None,
            "memorised": again and left_at_once(losses) < min(AT_ONCE, usual / 2),
            "forgotten": times_forgotten(losses),
        }


def unlike(values: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Return how far each value lies above the median of values of like size, in units of their spread.

    The spread is 1.4826 times the median distance from the median: the standard deviation where they are normal.
    """
    import numpy as np

    if not values:
        return []
    order = np.argsort(np.asarray(sizes), kind="stable")
    sorted_values = np.asarray(values, float)[order]
    width = min(LIKE, len(values))
    windows = np.lib.stride_tricks.sliding_window_view(sorted_values, width)
    middles = np.median(windows, axis=1)
    spreads = 1.4826 * np.median(np.abs(windows - middles[:, None]), axis=1)
    nearest = np.clip(np.arange(len(values)) - width // 2, 0, len(windows) - 1)
    found = np.empty(len(values))
    found[order] = (sorted_values - middles[nearest]) / np.maximum(spreads[nearest], SMALL)
    return [float(value) for value in found]


def left_at_once(losses: Sequence[float]) -> float:
    """Return which part of its first loss a line had left when it was seen again."""
    return losses[1] / max(losses[0], SMALL)


def times_forgotten(losses: Sequence[float]) -> int:
    times, is_learnt, lowest = 0, False, losses[0]
    for loss in losses[1:]:
        lowest = min(lowest, loss)
        if loss <= LEARNT * losses[0]:
            is_learnt = True
        elif is_learnt and loss >= LOST * losses[0] and loss - lowest >= CLEAR:
            times, is_learnt, lowest = times + 1, False, loss
    return times


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def median(values: Sequence[float]) -> float:
    import statistics

    return statistics.median(values)
