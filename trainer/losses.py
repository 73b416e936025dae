"""What a model reads of some lines, and the loss of each token it is to say. Knows tensors; trains nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from trainer import attention
from trainer.dataset import IGNORED, Rendered

AT_ONCE = 2**21  # logits in float32: 8 MiB stay in a cache, all of a step's are its largest tensor
AT_ONCE_ON_GPU = 2**26


def collate(lines: Sequence[Rendered], pad: int, *, packed: bool) -> dict[str, torch.Tensor]:
    """Return the tensors of one part of a step: what the model reads, and what it is to learn from it.

    Packed, all lines lie in one row, each with positions from 0, by which attention keeps them apart. Else each has
    its row, padded on the right. `kept` are the places, counted through all rows, after which a token is learnt,
    `targets` those tokens, `owners` the lines, counted from 0, that they belong to, and `counts` how many each has.
    """
    width = max(len(line.input_ids) for line in lines)
    kept, targets, owners, start = [], [], [], 0
    for owner, line in enumerate(lines):
        for place, label in enumerate(line.labels[1:], start=start):
            if label != IGNORED:
                kept.append(place)
                targets.append(label)
                owners.append(owner)
        start += len(line.input_ids) if packed else width
    learnt = {
        "kept": torch.tensor(kept),
        "targets": torch.tensor(targets),
        "owners": torch.tensor(owners),
        "counts": torch.tensor([trained_tokens(line) for line in lines]),
    }
    if packed:
        ids = [token for line in lines for token in line.input_ids]
        positions = [place for line in lines for place in range(len(line.input_ids))]
        return {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions]), **learnt}
    rows = [line.input_ids + [pad] * (width - len(line.input_ids)) for line in lines]
    # Padding is known by its length, not by its token, which may be the end token.
    mask = [[1] * len(line.input_ids) + [0] * (width - len(line.input_ids)) for line in lines]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask), **learnt}


def trained_tokens(line: Rendered) -> int:
    """Return how many tokens of a line have a loss: the first of a line is never predicted."""
    return sum(label != IGNORED for label in line.labels[1:])


def token_losses(model: Any, inputs: dict[str, Any], inner: Any) -> torch.Tensor:
    """Return the loss of each token of `inputs["targets"]`. `inner` is the model without its wrapper for processes."""
    read = {name: inputs[name] for name in ("input_ids", "position_ids", "attention_mask") if name in inputs}
    if attention.is_used(inner):
        read.pop("attention_mask", None)  # tokens look back alone, and padding stands behind
    with only_at(inputs["kept"], inner):
        logits = model(**read, use_cache=False).logits
    if logits.dim() == 3:  # a model whose head cannot be reached
        logits = logits.flatten(0, 1)[inputs["kept"]]
    return losses_of(logits, inputs["targets"])


@contextlib.contextmanager
def only_at(places: torch.Tensor, model: Any) -> Iterator[None]:
    """Let only some places, counted through all rows, pass the head of a model.

    Of a question nobody needs the logits, which are the largest tensor of a step and on a CPU most of its work.
    """
    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    hook = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, -2)[places], *given[1:]))
    try:
        yield
    finally:
        hook.remove()


def losses_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of each target by the logits of its row, (tokens, vocabulary), in float32.

    It is cross_entropy(logits.float(), targets, reduction="none"), without the copies of all logits in float32.
    """
    return TokenLosses.apply(logits, targets)


class TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        sums = torch.cat([logits[rows].float().logsumexp(1) for rows in blocks(logits)])
        ctx.save_for_backward(logits, targets, sums)
        return sums - logits.gather(1, targets[:, None]).flatten().float()

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> Any:
        logits, targets, sums = ctx.saved_tensors
        slopes = torch.empty_like(logits)
        for rows in blocks(logits):
            likely = logits[rows].float().sub_(sums[rows, None]).exp_()
            likely.scatter_add_(1, targets[rows, None], torch.full_like(likely[:, :1], -1.0))
            slopes[rows] = likely.mul_(slope[rows, None])
        return slopes, None


def blocks(logits: torch.Tensor) -> list[slice]:
    tokens, vocabulary = logits.shape
    rows = max(1, (AT_ONCE if logits.device.type == "cpu" else AT_ONCE_ON_GPU) // vocabulary)
    return [slice(start, start + rows) for start in range(0, max(1, tokens), rows)]
