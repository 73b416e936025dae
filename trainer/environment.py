"""What libraries read from the environment when they are imported, set before they are."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import warnings

SETTINGS = {
    # Threads that wait by spinning take turns with the web app's: up to 34 times slower where cores are shared.
    "OMP_WAIT_POLICY": "PASSIVE",
    # PyTorch on a CPU keeps what it has compiled for 1,024 shapes, and every step brings new ones: 500 MiB of them for
    # a base of 5 M weights. Those of one step suffice.
    "LRU_CACHE_CAPACITY": "64",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


def prepare_environment() -> None:
    """Set what libraries read when they are imported; what the user has set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:  # what libraries say to each other's authors is no news to the user
        warnings.simplefilter("ignore")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with contextlib.suppress(OSError, AttributeError):  # glibc alone: it gives memory back after each use,
        glibc = ctypes.CDLL("libc.so.6")  # and taking it again for each step costs a fifth of the time
        glibc.mallopt(-3, 2**30)  # M_MMAP_THRESHOLD
        glibc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    if "WORLD_SIZE" not in os.environ:  # one process is one GPU; more of them is for accelerate launch
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
