"""The state of all that draws numbers in a step, as text, so that a run can go on as if never stopped."""

from __future__ import annotations

import base64
import random
from typing import Any

import torch


def random_state() -> dict[str, Any]:
    """Return the state of all that draws numbers in a step, as JSON."""
    version, numbers, gauss = random.getstate()
    devices = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return {
        "python": [version, list(numbers), gauss],
        "torch": as_text(torch.get_rng_state()),
        "cuda": [as_text(state) for state in devices],
    }


def set_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(from_text(state["torch"]))
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(from_text(state["cuda"][0]))


def as_text(state: torch.Tensor) -> str:
    return base64.b64encode(bytes(state.tolist())).decode()


def from_text(text: str) -> torch.Tensor:
    return torch.tensor(list(base64.b64decode(text)), dtype=torch.uint8)
