"""Which lines are learnt from in which step, settled before the first one. Knows lengths and a seed; no text, no torch.

The list of steps follows from its arguments alone, so a run that was broken off goes on at step k of the same list.
A step is what the optimizer sees at once; how many parts it is worked through in is a matter of memory and changes
neither the step nor what is learnt.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence


def plan_steps(lines: int, *, epochs: float, batch_size: int, seed: int) -> list[list[int]]:
    """Return the steps of a run, each a list of line numbers from 0.

    An epoch takes each line once, in an order of its own, in as few steps as `batch_size` allows. They differ by
    one line at most, so that no left-over step of one line weighs as much as a full one. Of a broken epoch the
    first steps are taken.
    """
    each = math.ceil(lines / batch_size)
    wanted = max(1, math.ceil(round(epochs * each, 6)))
    steps: list[list[int]] = []
    for epoch in range(math.ceil(wanted / each)):
        order = shuffled(lines, f"{seed} {epoch}")
        bounds = [round(part * lines / each) for part in range(each + 1)]
        steps += [order[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
    return steps[:wanted]


def shuffled(lines: int, seed: str) -> list[int]:
    """Return the numbers below `lines` in an order that is the same in every version of Python."""
    return sorted(range(lines), key=lambda line: hashlib.sha256(f"{seed} {line}".encode()).digest())


def share(step: Sequence[int], lengths: Sequence[int], rank: int, ranks: int) -> list[int]:
    """Return the lines of a step that one of several processes works through, all with about as many tokens."""
    ordered = by_length(step, lengths)
    there_and_back = [*range(ranks), *reversed(range(ranks))]
    return [line for place, line in enumerate(ordered) if there_and_back[place % (2 * ranks)] == rank]


def split_step(step: Sequence[int], lengths: Sequence[int], tokens: int, *, packed: bool) -> list[list[int]]:
    """Return the parts that a step is worked through in, the longest lines first: at most `tokens` tokens each.

    Packed lines lie behind each other in one row; others have a row each, and short ones are padded. A line longer
    than `tokens` is a part of its own.
    """
    parts: list[list[int]] = []
    room: list[int] = []
    for line in by_length(step, lengths):
        # Lines come longest first, so the first line of a part sets the width of all its rows.
        if packed:
            place = next((place for place, free in enumerate(room) if lengths[line] <= free), None)
        else:
            place = len(parts) - 1 if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= tokens else None
        if place is None:
            parts.append([line])
            room.append(tokens - lengths[line])
        else:
            parts[place].append(line)
            room[place] -= lengths[line]
    return parts


def by_length(step: Sequence[int], lengths: Sequence[int]) -> list[int]:
    return sorted(step, key=lambda line: (-lengths[line], line))


def padding(steps: Sequence[Sequence[int]], lengths: Sequence[int], tokens: int) -> float:
    """Return how many tokens are worked through for each one of the lines, where every line has a row of its own."""
    parts = [part for step in steps for part in split_step(step, lengths, tokens, packed=False)]
    return sum(len(part) * lengths[part[0]] for part in parts) / sum(lengths[line] for part in parts for line in part)


def heaviest(steps: Sequence[Sequence[int]], lengths: Sequence[int], tokens: int, *, packed: bool) -> list[int]:
    """Return the part of all steps that takes the most memory: what fits it fits the run."""

    def size(part: list[int]) -> int:
        return sum(lengths[line] for line in part) if packed else len(part) * lengths[part[0]]

    return max((part for step in steps for part in split_step(step, lengths, tokens, packed=packed)), key=size)


def digest(steps: Sequence[Sequence[int]], lengths: Sequence[int]) -> str:
    """Return the sha256 by which a run that goes on knows that its steps are still the same."""
    return hashlib.sha256(json.dumps([steps, lengths], separators=(",", ":")).encode()).hexdigest()
