"""Base beside tuned: the loss of each line, and the measures of both. Knows the model; trains nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer import measures
from trainer.dataset import Example, Rendered
from trainer.losses import collate, token_losses
from trainer.model import Device
from trainer.sample import Answer, answering

TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 4096}


@dataclass(frozen=True)
class LineLoss:
    """The mean negative log-likelihood of the answer of one line, in nats a token, end token included."""

    loss: float
    tokens: int

    @property
    def total(self) -> float:
        return self.loss * self.tokens


def line_losses(model: Any, lines: Sequence[Rendered], pad: int, device: Device) -> list[LineLoss]:
    """Return the loss of each line, in the order of the lines."""
    order = sorted(range(len(lines)), key=lambda index: len(lines[index].input_ids))
    found: dict[int, LineLoss] = {}
    with answering(model), device.autocast():
        while order:
            longest = len(lines[order[-1]].input_ids)
            batch = [order.pop() for _ in range(min(len(order), max(1, TOKENS_AT_ONCE[device.name] // longest)))]
            inputs = collate([lines[index] for index in batch], pad, packed=False)
            inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            losses = token_losses(model, inputs, model).split(inputs["counts"].tolist())
            found |= {index: LineLoss(each.mean().item(), len(each)) for index, each in zip(batch, losses, strict=True)}
    return [found[index] for index in range(len(lines))]


def perplexity(losses: Sequence[LineLoss]) -> float:
    """Return exp of the mean loss of all answer tokens."""
    total = sum(each.loss * each.tokens for each in losses)
    return math.exp(min(total / sum(each.tokens for each in losses), 700))


def loss_lines(lines: Sequence[Rendered], losses: Mapping[str, Sequence[LineLoss]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of losses.jsonl."""
    for line, before, after in zip(lines, losses["base"], losses["tuned"], strict=True):
        yield {
            "fingerprint": line.example.fingerprint,
            "split": line.example.split,
            "tokens": before.tokens,
            "base_loss": round(before.loss, 5),
            "tuned_loss": round(after.loss, 5),
        }


def evaluate(
    lines: Sequence[Rendered],
    losses: Mapping[str, Sequence[LineLoss]],
    prompts: Sequence[Example],
    answers: Mapping[str, Sequence[Answer]],
    rejected: Mapping[str, Sequence[LineLoss]] | None = None,
) -> dict[str, Any]:
    """Return the content of evaluation.json: the measures of base and tuned on the test lines, and their intervals.

    Perplexity and bits per byte are those of all `n` test lines; of those that came with a `rejected` answer,
    `preferred` is the share whose own answer is the likelier. The other measures are of the `answered` prompts.
    """
    tested = [place for place, line in enumerate(lines) if line.example.split == "test"]
    facts: dict[str, measures.Facts] = {name: {} for name in losses}
    for name, found in losses.items():
        if tested:
            facts[name] |= measures.loss_facts(
                [found[place].loss for place in tested],
                [found[place].tokens for place in tested],
                [len(lines[place].example.answer.encode()) for place in tested],
            )
        if rejected and rejected[name]:
            facts[name] |= measures.preference_facts(
                [found[place].total for place in tested if lines[place].rejected],
                [worse.total for worse in rejected[name]],
            )
        if prompts:
            facts[name] |= measures.answer_facts(
                [answer.text for answer in answers[name]],
                [answer.finish == "length" for answer in answers[name]],
                [prompt.question for prompt in prompts],
                [prompt.answer for prompt in prompts],
            )
    return measures.compared(facts, len(tested), len(prompts))
