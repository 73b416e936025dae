"""How a loop is compiled, and where what is compiled is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile when first called, once a machine; once a process where nothing can be kept."""
    try:
        return njit(function, cache=True, nogil=True)
    except RuntimeError:  # neither beside this file nor in the user's cache folder
        return njit(function, nogil=True)
