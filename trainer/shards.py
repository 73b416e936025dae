"""What is trained of a model, taken out and put back: also where FSDP lays weights in pieces over the processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from trainer import UserError, ranks

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


def trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return what is trained, by name, as it is now."""
    return {
        name: whole(weight.detach()).cpu().contiguous().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def load_weights(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Put saved weights back. Raises UserError where they are of another adapter."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if {name: weight.shape for name, weight in trained.items()} != {name: w.shape for name, w in weights.items()}:
        raise UserError("The weights of the checkpoint are those of another base or adapter. Start a new run.")
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(as_laid(weights[name], weight))


def lay_out(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """Return what an optimizer remembered, as its weights are laid over the processes now."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    memories = {
        place: {
            name: as_laid(value, weights[place]) if isinstance(value, torch.Tensor) else value
            for name, value in memory.items()
        }
        for place, memory in state["state"].items()
    }
    return state | {"state": memories}
