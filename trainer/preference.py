"""Learning from preferences: the losses of DPO and KTO over the steps of any run. Knows no file.

What is learnt is measured against the base below the adapter, which is the same model with the adapter off: no
second one is loaded. Its log-likelihoods never change, so each answer is asked of it once and then remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from trainer import batches, shards
from trainer.dataset import IGNORED, Rendered
from trainer.losses import collate
from trainer.training import StepTrainer, Worked


def dpo_losses(rewards: torch.Tensor) -> torch.Tensor:
    """Return the loss of each pair of rewards, (chosen, rejected), by Rafailov et al. (2023)."""
    return -logsigmoid(rewards[:, 0] - rewards[:, 1])


def kto_losses(rewards: torch.Tensor, good: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """Return the loss of each answer's reward, by Ethayarajh et al. (2024).

    `baseline` is the reward of answers to other prompts, which a good answer should pass and a bad one not reach.
    """
    return 1 - torch.sigmoid(torch.where(good, rewards - baseline, baseline - rewards))


class PreferenceTrainer(StepTrainer):
    """Makes answers likelier, or less likely, than the base has them: a reward is beta times that log-ratio.

    A step counts each line alike, whatever its length, and of KTO good and bad lines alike, whatever their number.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.reference: dict[tuple[int, ...], float] = {}
        self.found: list[tuple[torch.Tensor, torch.Tensor]] = []  # rewards and which are good, part by part
        self.baseline = torch.zeros(())
        super().__init__(*arguments, **options)
        self.compares = self.run_config.method == "dpo"
        good = sum(line.example.good for line in self.lines)
        bad = len(self.lines) - good
        # One side alone has nothing to be weighed against.
        self.weights = (len(self.lines) / (2 * good), len(self.lines) / (2 * bad)) if good and bad else (1.0, 1.0)

    def weigh(self, step: Sequence[int]) -> int:
        return len(step)

    def work_through(self, model: Any, step: Sequence[int], *, each_does_all: bool = False) -> Worked:
        if not self.reference:
            # All at once and in their order: rounding differs with what is read beside an answer, and a run that goes
            # on must find the numbers it began with.
            self.ask_base([answer for line in self.lines for answer in line.answers])
        self.found = []
        if not self.compares:
            self.baseline = self.estimate_baseline([self.lines[line] for line in step])
        worked = super().work_through(model, step, each_does_all=each_does_all)
        self.measures = self.measure(self.found)
        return worked

    def carried(self, total: torch.Tensor, found: Any) -> Any:
        judged = [(rewards.cpu(), good.cpu()) for rewards, good in self.found[: len(found)]]
        return *super().carried(total, found), judged

    def bring_together(self, brought: Sequence[Any]) -> Worked:
        self.found = [each for theirs in brought for each in theirs[2]]
        return super().bring_together(brought)

    def tensors(self, lines: Sequence[Rendered]) -> dict[str, torch.Tensor]:
        answers = [answer for line in lines for answer in line.answers]
        return collate(answers, self.pad, packed=self.packed) | {
            "reference": torch.tensor(self.ask_base(answers)),
            "good": torch.tensor([line.example.good for line in lines]),
        }

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a part as a share of the step's: the sum over its lines by all the step's lines."""
        inputs = dict(inputs)
        reference, good = inputs.pop("reference"), inputs.pop("good")
        rewards = self.run_config.beta * (self.likelihoods(model, inputs) - reference)
        if self.compares:
            rewards = rewards.view(-1, 2)
            losses = dpo_losses(rewards)
        else:
            likes, dislikes = self.weights
            losses = kto_losses(rewards, good, self.baseline) * torch.where(good, likes, dislikes)
        self.found.append((rewards.detach(), good))
        loss = losses.sum() / (len(losses) if num_items_in_batch is None else num_items_in_batch)
        return (loss, losses.detach()) if return_outputs else loss

    def likelihoods(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the log-likelihood of each answer, summed over its tokens."""
        losses, owners, counts = self.token_losses(model, inputs)
        return -torch.zeros_like(counts, dtype=losses.dtype).index_add(0, owners, losses)

    # Without a gradient

    def ask_base(self, answers: Sequence[Rendered]) -> list[float]:
        """Return the log-likelihood that the base gives to each answer."""
        keys = [tuple(answer.input_ids) for answer in answers]
        new = {key: answer for key, answer in zip(keys, answers, strict=True) if key not in self.reference}
        if new:
            self.reference |= zip(new, self.ask(list(new.values()), adapted=False), strict=True)
        return [self.reference[key] for key in keys]

    def ask(self, answers: Sequence[Rendered], *, adapted: bool) -> list[float]:
        """Return the log-likelihood of each answer, with the adapter or without, in parts that fit the memory."""
        model = self.accelerator.unwrap_model(self.model)

        def ask_some(some: Sequence[Rendered]) -> list[float]:
            lengths = [len(answer.input_ids) for answer in some]
            found: dict[int, float] = {}
            with self.looking_on(model), nullcontext() if adapted else model.disable_adapter():
                for part in batches.split_step(range(len(some)), lengths, self.tokens_at_once, packed=self.packed):
                    inputs = collate([some[place] for place in part], self.pad, packed=self.packed)
                    moved = {name: tensor.to(self.args.device) for name, tensor in inputs.items()}
                    found |= zip(part, self.likelihoods(model, moved).tolist(), strict=True)
            return [found[place] for place in range(len(some))]

        return shards.ask(model, answers, ask_some)

    @contextmanager
    def looking_on(self, model: Any) -> Iterator[None]:
        trains = model.training
        model.eval()
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                yield
        finally:
            model.train(trains)

    def estimate_baseline(self, lines: Sequence[Rendered]) -> torch.Tensor:
        """Return the mean reward of each line's answer to the prompt of the line behind it, 0 at least."""
        if len(lines) < 2:
            return torch.zeros((), device=self.args.device)
        crossed = [cross(prompt, answer) for prompt, answer in zip(lines, [lines[-1], *lines[:-1]], strict=True)]
        room = self.run_config.max_tokens
        crossed = [replace(line, input_ids=line.input_ids[:room], labels=line.labels[:room]) for line in crossed]
        adapted, base = self.ask(crossed, adapted=True), self.ask(crossed, adapted=False)
        ratio = sum(ours - theirs for ours, theirs in zip(adapted, base, strict=True)) / len(crossed)
        return torch.tensor(self.run_config.beta * max(0.0, ratio), device=self.args.device)

    def measure(self, found: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
        """Return the mean rewards of better and worse answers, and how far and how often the better ones lead."""
        rewards = torch.cat([rewards for rewards, _ in found])
        if self.compares:
            better, worse = rewards.unbind(1)
            measures = {"rewards/accuracies": (better > worse).float().mean()}
        else:
            good = torch.cat([good for _, good in found])
            better, worse = rewards[good], rewards[~good]
            measures = {"baseline": self.baseline}
        measures |= {
            name: side.mean() for name, side in (("rewards/chosen", better), ("rewards/rejected", worse)) if len(side)
        }
        if len(better) and len(worse):
            measures["rewards/margins"] = better.mean() - worse.mean()
        return {name: round(value.item(), 6) for name, value in measures.items()}

    def validate(self, lines: Sequence[Rendered]) -> tuple[float, dict[str, float]]:
        """Return the mean loss of lines that are not trained, and their rewards."""
        kept, baseline = (self.found, self.measures), self.baseline
        try:
            self.found = []
            if not self.compares:
                self.baseline = self.estimate_baseline(lines)
            losses = []
            model = self.accelerator.unwrap_model(self.model)
            lengths = [line.size for line in lines]
            for part in batches.split_step(range(len(lines)), lengths, self.tokens_at_once, packed=self.packed):
                inputs = self.tensors([lines[place] for place in part])
                moved = {name: tensor.to(self.args.device) for name, tensor in inputs.items()}
                with self.looking_on(model):
                    losses += self.compute_loss(model, moved, return_outputs=True)[1].tolist()
            return sum(losses) / len(losses), self.measure(self.found)
        finally:
            (self.found, self.measures), self.baseline = kept, baseline


def cross(prompt: Rendered, answer: Rendered) -> Rendered:
    """Return the prompt of one line with the answer of another."""
    head = prompt.labels.count(IGNORED)
    start = answer.labels.count(IGNORED)
    tail = answer.input_ids[start:]
    return replace(prompt, input_ids=prompt.input_ids[:head] + tail, labels=[IGNORED] * head + tail)
