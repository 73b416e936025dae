"""What this machine has to train on: memory, cores, GPUs. Asks the system alone; knows no torch."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import ranks

NVIDIA_SECONDS = 5
# Dense bfloat16 arithmetic on paper, TFLOP/s.
GPU_SPEEDS = {
    **{"B200": 2250, "H200 NVL": 835, "H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "H800": 989},
    **{"A100": 312, "A800": 312, "L40S": 362, "L40": 181, "L4": 121, "A40": 150, "A30": 165, "A10": 125},
    **{"5090": 210, "4090": 165, "4080": 97, "3090": 71, "3080": 60, "A6000": 155, "T4": 16, "V100": 31},
}
UNKNOWN_GPU = 40
# Of one core, GFLOP/s as seen in training steps on a server's core; about half of what a matrix product reaches.
CORE_SPEEDS = {"bfloat16": 120, "float32": 45}


@dataclass(frozen=True)
class Machine:
    """Where a run would be done: the first GPU if there is one, else the CPU. Memory is in bytes."""

    kind: str  # "cuda" or "cpu"
    title: str
    memory: int  # in all
    free: int
    dtype: str  # "bfloat16" or "float32"
    speed: float  # FLOP a second that a training step reaches

    @property
    def is_cpu(self) -> bool:
        return self.kind == "cpu"


def find_machine(threads: int | None = None) -> Machine:
    return find_gpu() or find_cpu(threads)


def find_gpu() -> Machine | None:
    """Return the GPU that nvidia-smi and CUDA_VISIBLE_DEVICES let this process have, or None."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    each = [str(ranks.index_here())] if given is None else given.split(",")
    visible = each[ranks.index_here() % len(each)].strip()
    if visible in ("", "-1") or not shutil.which("nvidia-smi"):
        return None
    asked = "--query-gpu=name,memory.total,memory.free,compute_cap"
    try:
        said = subprocess.run(
            ["nvidia-smi", asked, "--format=csv,noheader,nounits", f"--id={visible}"],
            capture_output=True,
            text=True,
            timeout=NVIDIA_SECONDS,
            check=True,
        )
        name, total, free, capability = (part.strip() for part in said.stdout.splitlines()[0].split(","))
        dtype = "bfloat16" if float(capability) >= 8 else "float32"
        peak = next((speed for part, speed in GPU_SPEEDS.items() if part in name), UNKNOWN_GPU)
        return Machine("cuda", name, int(total) * 2**20, int(free) * 2**20, dtype, 0.4 * peak * 1e12)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None  # a driver that does not answer is no GPU


def count_gpus() -> int:
    """Return how many GPUs nvidia-smi and CUDA_VISIBLE_DEVICES let a run have."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1") or not shutil.which("nvidia-smi"):
        return 0
    try:
        said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=NVIDIA_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return len(said.stdout.splitlines() if visible is None else visible.split(","))


def words_of_idle_gpus(gpus: int, typed: Sequence[str]) -> str | None:
    """Return what to type for a run on all of so many GPUs, where it would take one of them."""
    if gpus < 2 or ranks.count() > 1:
        return None
    return (
        f"{gpus} GPUs are there, and this run takes the first. For all of them type: "
        f"accelerate launch --multi_gpu --num_processes {gpus} -m trainer {shlex.join(typed)}"
    )


def find_cpu(threads: int | None = None) -> Machine:
    cores = threads or count_cores()
    flags = read_text("/proc/cpuinfo")
    dtype = "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = next(
        (int(line.split()[1]) * 1024 for line in read_text("/proc/meminfo").splitlines() if "MemAvailable" in line),
        pages,
    )
    limit, used = (read_text(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdecimal():  # of a container; what it may still take
        pages = min(pages, int(limit))
        free = min(free, int(limit) - int(used or 0))
    free //= ranks.count_here()  # each process holds a model of its own
    return Machine("cpu", f"CPU, {cores} threads", pages, free, dtype, cores * CORE_SPEEDS[dtype] * 1e9)


def count_cores() -> int:
    """Return how many cores this process may keep busy: its share, where others of its run are on the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // ranks.count_here())


def read_text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
