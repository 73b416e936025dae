"""Weights that FSDP lays in pieces over the processes of a run: whole again, and in pieces again. Knows tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from trainer import ranks

T = TypeVar("T")
Item = TypeVar("Item")


def is_sharded(model: Any) -> bool:
    return any(isinstance(weight, DTensor) for weight in model.parameters())


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return all of a tensor, which every process must ask for at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return the piece of a tensor that lies here."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def as_laid(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return a whole tensor laid in pieces as a weight of its shape is."""
    if not isinstance(weight, DTensor) or tensor.shape != weight.shape:
        return tensor
    return distribute_tensor(tensor.to(weight.device), weight.device_mesh, weight.placements)


def ask(model: Any, items: Sequence[Item], act: Callable[[Sequence[Item]], Sequence[T]]) -> list[T]:
    """Return what `act` finds by the model for each of the items, in their order.

    Processes that have a whole model are asked a part of them each. Those that have a piece of it must answer
    together, each of them everything; and before it is laid in pieces the first process alone has read the weights.
    """
    if not ranks.is_sharded():
        return ranks.shared(items, act)
    if not is_sharded(model):
        return ranks.first(lambda: list(act(items)))
    return ranks.gather(list(act(items)))[0]
