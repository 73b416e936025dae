"""The steps of a run: TRL's trainer over parts made beforehand, with the loss of each line. Writes nothing down.

Of TRL and transformers only what is meant to be overridden is: the loader, the step, the loss and the schedule. So
what they know about several processes, trackers and precisions holds here too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from trl import SFTTrainer

from trainer import UserError, batches, ranks, schedules, shards
from trainer.arguments import arguments, optimizer
from trainer.config import FilledConfig
from trainer.dataset import Rendered
from trainer.evaluate import line_losses, perplexity
from trainer.losses import collate, token_losses, trained_tokens
from trainer.model import Base

# The loss of a step, and of each of its parts the lines and their losses.
Worked = tuple[torch.Tensor, list[tuple[list[int], torch.Tensor]]]


class Diverged(UserError):
    """The loss or the gradient is no longer a number; the weights are those after step `good`, 0 for none to keep."""

    def __init__(self, words: str, good: int = 0) -> None:
        super().__init__(words)
        self.good = good


class StepTrainer(SFTTrainer):
    """Works through a list of steps from `start` on, each in parts that fit the memory.

    After a step `loss` is its mean over all answer tokens and `line_losses` has the mean of each of its lines,
    computed before the update. Where memory does not suffice, the parts are halved and the step is done again: the
    lines of a step stay the same.
    """

    def __init__(
        self,
        base: Base,
        model: Any,
        lines: Sequence[Rendered],
        steps: Sequence[Sequence[int]],
        config: FilledConfig,
        folder: Path,
        *,
        start: int = 0,
        packed: bool = False,
        tokens_at_once: int = 1024,
        activation_checkpointing: bool = False,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.base = base
        self.lines = lines
        self.lengths = [line.size for line in lines]
        self.learnt = [sum(trained_tokens(answer) for answer in line.answers) for line in lines]
        self.steps = steps
        self.run_config = config
        self.start = start
        self.packed = packed
        self.tokens_at_once = tokens_at_once
        self.pad = base.tokenizer.pad_token_id
        self.slowed = 1.0  # what the plateau schedule has multiplied the learning rate by
        self.step_lines: Sequence[int] = ()
        self.loss = float("nan")
        self.line_losses: list[tuple[int, float]] = []
        self.measures: dict[str, float] = {}  # what else a step is known by
        super().__init__(
            model=model,
            args=arguments(base, config, len(steps), folder, activation_checkpointing),
            # TRL looks at its first row, which a run that is only to be measured still needs.
            train_dataset=datasets.Dataset.from_dict({"step": list(range(len(steps)))}),
            processing_class=base.tokenizer,
            data_collator=list,
            callbacks=list(callbacks),
            optimizer_cls_and_kwargs=optimizer(config),
        )
        self.remove_callback(transformers.PrinterCallback)
        if ranks.is_sharded() and self.args.bf16:
            # Gradients are added up in the precision of the weights; accelerate would do so in bfloat16.
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32
            )
        # TRL turns the adapter of a quantised base into bfloat16, whose 8 bits lose small updates.
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()

    # What transformers asks for

    def get_train_dataloader(self) -> DataLoader:
        # A generator of its own: taking a number from the common one would change what dropout drops after a resume.
        return DataLoader(self.steps[self.start :], batch_size=None, collate_fn=as_step, generator=torch.Generator())

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        config, steps = self.run_config, len(self.steps)
        schedule = "constant" if config.optimizer == "schedule-free" else config.schedule
        self.lr_scheduler: Any = LambdaLR(
            optimizer or self.optimizer,
            lambda taken: self.slowed * schedules.share(self.start + taken, steps, schedule, config.warmup),
        )
        return self.lr_scheduler

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # transformers divides the first one after a resume by all steps before it
            logs |= {"loss": self.loss, **self.measures}
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # nobody reads it, and it is not asked for as transformers expects

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Work through one step and leave the sum of its gradients. Raises Diverged and UserError."""
        self.step_lines = inputs["lines"]
        total, found = self.as_memory_allows(model, lambda: self.work_through(model, self.step_lines))
        self.loss = total.item()
        self.line_losses = [
            (line, loss) for part, losses in found for line, loss in zip(part, losses.tolist(), strict=True)
        ]
        return total

    def as_memory_allows(self, model: Any, work: Callable[[], Worked]) -> Worked:
        """Do some work, again in parts half as large for as long as memory does not suffice."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the handler, which holds on to the tensors of the part that was too large.
            self.take_smaller_parts()
            model.zero_grad()

    def work_through(self, model: Any, step: Sequence[int], *, each_does_all: bool = False) -> Worked:
        """Add up the gradients of a step's lines. Return its loss and that of each line, both still on the device.

        Of several processes each works through its share, or through all of it where that is asked for.
        """
        model.train()
        if callable(getattr(self.optimizer, "train", None)):
            self.optimizer.train()  # of optimizers that learn with other weights than they answer with
        whole, count = self.weigh(step), ranks.count()
        if count == 1:
            return self.add_up(model, self.parts(step), whole)
        shares = [step if each_does_all else batches.share(step, self.lengths, rank, count) for rank in range(count)]
        mine = self.parts(shares[ranks.index()])
        if ranks.is_sharded():
            # Processes wait for each other in each part, so all have as many of them: some that weigh nothing.
            most = max(len(self.parts(lines)) for lines in shares)
            worked = self.add_up(model, mine, whole, idle=[list(step[:1])] * (most - len(mine)))
            brought = ranks.gather(self.carried(*worked))
        else:
            with self.accelerator.no_sync(model):
                brought = ranks.together(lambda: self.carried(*self.add_up(model, mine, whole)))
            add_gradients(model)
        return self.bring_together(brought)

    def add_up(self, model: Any, parts: Sequence[list[int]], whole: int, idle: Sequence[list[int]] = ()) -> Worked:
        """Add up the gradients of some parts of a step; those of the `idle` ones count nothing."""
        total = torch.zeros((), device=self.args.device)
        found = []
        for place, part in enumerate([*parts, *idle]):
            inputs = self.tensors([self.lines[line] for line in part])
            moved = {name: tensor.to(self.args.device, non_blocking=True) for name, tensor in inputs.items()}
            with self.compute_loss_context_manager():
                loss, losses = self.compute_loss(model, moved, return_outputs=True, num_items_in_batch=whole)
            if place >= len(parts):
                self.accelerator.backward(0 * loss)
                continue
            # FSDP takes the mean of all processes, where the sum is wanted.
            self.accelerator.backward(loss * ranks.count() if ranks.is_sharded() else loss)
            total += loss.detach()
            found.append((part, losses))
        return total, found

    def carried(self, total: torch.Tensor, found: Sequence[tuple[list[int], torch.Tensor]]) -> Any:
        """Return what a process tells the others of its share of a step, as it can be sent."""
        return total.item(), [(part, losses.cpu()) for part, losses in found]

    def bring_together(self, brought: Sequence[Any]) -> Worked:
        """Return the loss of a step and those of its lines, from what each process tells of its share."""
        total = torch.tensor(sum(theirs[0] for theirs in brought), device=self.args.device)
        return total, [each for theirs in brought for each in theirs[1]]

    def parts(self, lines: Sequence[int]) -> list[list[int]]:
        return batches.split_step(lines, self.lengths, self.tokens_at_once, packed=self.packed)

    def weigh(self, step: Sequence[int]) -> int:
        """Return what the sum of a step's losses is divided by."""
        return sum(self.learnt[line] for line in step)

    def tensors(self, lines: Sequence[Rendered]) -> dict[str, torch.Tensor]:
        """Return what `compute_loss` takes for a part of a step."""
        return collate(lines, self.pad, packed=self.packed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a part as a share of the step's: the sum over its answer tokens by all the step's tokens.

        With `return_outputs` also the mean loss of each line of the part, without a gradient.
        """
        losses, owners, counts = self.token_losses(model, inputs)
        loss = losses.sum() / (len(losses) if num_items_in_batch is None else num_items_in_batch)
        if not return_outputs:
            return loss
        return loss, torch.zeros_like(counts, dtype=losses.dtype).index_add_(0, owners, losses.detach()) / counts

    def token_losses(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of each token learnt, which line it is of, and how many each line has."""
        return token_losses(model, inputs, self.model), inputs["owners"], inputs["counts"]

    def validate(self, lines: Sequence[Rendered]) -> tuple[float, dict[str, float]]:
        """Return the mean loss of lines that are not trained, and what else they are known by."""
        losses = shards.ask(self.model, lines, lambda some: line_losses(self.model, some, self.pad, self.base.device))
        return math.log(perplexity(losses)), {}

    # Memory

    def take_smaller_parts(self) -> None:
        """Halve what is worked through at once. Raises UserError where a single line is too much."""
        if ranks.is_sharded():
            words = "The memory of one process does not suffice, and the others wait for it. Start again with a smaller"
            raise ranks.to_be_told(UserError(f"{words} --tokens-at-once than {self.tokens_at_once}."), by_this=True)
        longest = max(self.lengths)
        if self.tokens_at_once <= longest:
            line = self.lines[self.lengths.index(longest)]
            raise UserError(
                f"{line.example.place}, the longest line with {longest} tokens, does not fit into the memory of "
                f"{self.args.device}. Leave such lines out with --max-tokens, take a smaller --base, or 4-bit weights "
                "with --quantisation nf4."
            )
        self.tokens_at_once = max(self.tokens_at_once // 2, longest)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def probe(self, model: Any) -> None:
        """Work through the heaviest part of all, without an update, until the parts are small enough for it."""
        left = self.steps[self.start :]
        self.as_memory_allows(
            model,
            lambda: self.work_through(
                model,
                batches.heaviest(left, self.lengths, self.tokens_at_once, packed=self.packed),
                each_does_all=True,
            ),
        )
        model.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def add_gradients(model: Any) -> None:
    """Add up the gradients of all processes.

    Only once all are through with their lines: DDP would do so within the last part, where a process that has run out
    of memory leaves the others waiting, and one without a line would have to invent one.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    for work in [torch.distributed.all_reduce(weight.grad, async_op=True) for weight in weights]:
        work.wait()


def as_step(lines: Sequence[int]) -> dict[str, Sequence[int]]:
    return {"lines": lines}


def is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def keeps_lines_apart(base: Base) -> bool:
    """Return whether lines packed into one row are read as if each were alone: tried on this base, not assumed.

    Two short lines are read apart, packed, and joined into one text. Packed must be like apart, and joined must not.
    """
    tokens = torch.arange(4, 20, device=base.model.device).clamp(
        max=base.model.get_input_embeddings().num_embeddings - 1
    )
    second = tokens[8:].unsqueeze(0)
    whole = tokens.unsqueeze(0)
    positions = torch.arange(16, device=tokens.device).unsqueeze(0)
    with torch.no_grad(), base.device.autocast():
        base.model.eval()
        alone, packed, joined = (
            base.model(input_ids=ids, position_ids=places, use_cache=False).logits[:, -8:].float()
            for ids, places in ((second, positions[:, :8]), (whole, positions % 8), (whole, positions))
        )
    return bool((packed - alone).abs().max() <= 0.1 * (joined - alone).abs().max())


def longest_row(base: Base) -> int:
    """Return how many tokens a packed row may have: where positions are learnt, no more than the base has of them.

    Each line begins at position 0 again, but such bases keep a mask of fixed size for the row as a whole.
    """
    settings = base.model.config.get_text_config()
    turns = any(getattr(settings, name, None) for name in ("rope_parameters", "rope_theta", "rope_scaling"))
    return sys.maxsize if turns else base.max_tokens
