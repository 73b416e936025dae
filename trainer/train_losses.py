"""The loss of each training line in each step that has seen it: train_losses.jsonl. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.dataset import Rendered
from trainer.record import Record


class TrainLosses:
    """What is noted of each line, step by step, and written at each checkpoint."""

    def __init__(self, record: Record, steps: int) -> None:
        """Begin with those of the first `steps` steps that the record has already."""
        self.record = record
        self.lines: list[Rendered] = []
        self.found: dict[int, tuple[list[int], list[float]]] = {}
        self.earlier = {line["place"]: line for line in record.lines("train_losses.jsonl")} if steps else {}
        self.steps = steps

    def begin(self, lines: Sequence[Rendered]) -> None:
        self.lines = list(lines)
        for place, line in enumerate(lines):
            seen = self.earlier.get(line.example.place, {"steps": [], "losses": []})
            kept = [
                (step, loss) for step, loss in zip(seen["steps"], seen["losses"], strict=True) if step <= self.steps
            ]
            self.found[place] = ([step for step, _ in kept], [loss for _, loss in kept])

    def add(self, step: int, losses: Sequence[tuple[int, float]]) -> None:
        for line, loss in losses:
            steps, found = self.found[line]
            steps.append(step)
            found.append(round(loss, 4))

    def write(self) -> None:
        self.record.keep_lines(
            "train_losses.jsonl",
            (
                {
                    "fingerprint": line.example.fingerprint,
                    "place": line.example.place,
                    "steps": self.found[place][0],
                    "losses": self.found[place][1],
                }
                for place, line in enumerate(self.lines)
            ),
        )
