"""What TRL is told of a run: its arguments, and the optimizers that are packages of their own. Trains nothing."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import trl
from trl import SFTConfig

from trainer import UserError, ranks
from trainer.config import FilledConfig
from trainer.model import Base

MOST_GRADIENT = 1.0  # the norm that a longer gradient is cut to


def arguments(base: Base, config: FilledConfig, steps: int, folder: Path, activation_checkpointing: bool) -> SFTConfig:
    """Return the arguments of TRL; raises UserError where the installed TRL lacks one of them."""
    if config.tracker == "tensorboard":
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
    known = {each.name for each in fields(SFTConfig)}
    on_cpu = base.device.name == "cpu"
    wanted = {
        "output_dir": str(folder),
        "save_strategy": "no",
        "eval_strategy": "no",
        "max_steps": steps,
        "gradient_accumulation_steps": 1,  # a step is cut into parts here
        "learning_rate": peak(config),
        "max_grad_norm": MOST_GRADIENT,
        "weight_decay": 0.0,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": on_cpu,
        "bf16": base.device.dtype == torch.bfloat16,
        "logging_steps": 1,
        # What no step changes need not be told; and processes differ in how often they go through the model.
        "ddp_broadcast_buffers": False,
        "ddp_find_unused_parameters": False,
        # The default writes 0.0 for a loss that is no number, and goes on with ruined weights.
        "logging_nan_inf_filter": False,
        # After running out of memory it would start again from step 0 with the trained weights kept.
        "auto_find_batch_size": False,
        "report_to": config.tracker if ranks.is_first() else "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "max_length": None,
        "packing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        # The older name goes with transformers 6.
        "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing": (
            activation_checkpointing
        ),
    }
    if missing := wanted.keys() - known:
        raise UserError(
            f"trl {trl.__version__} does not know {', '.join(sorted(missing))}, which this program needs. "
            "Install a version it was tested with: pip install 'trl>=1.13,<1.17'"
        )
    return SFTConfig(**wanted)


def peak(config: FilledConfig) -> float:
    """Return the learning rate at its highest: 1 for an optimizer that finds the rate by itself."""
    return 1.0 if config.optimizer == "prodigy" else config.learning_rate


def optimizer(config: FilledConfig) -> tuple[Any, dict[str, Any]] | None:
    """Return the class and the options of an optimizer that is a package of its own; None for AdamW."""
    if config.optimizer == "schedule-free":
        from schedulefree import AdamWScheduleFree

        return AdamWScheduleFree, {"lr": config.learning_rate}
    if config.optimizer == "prodigy":
        from prodigyopt import Prodigy

        return Prodigy, {"lr": peak(config), "safeguard_warmup": True, "use_bias_correction": True}
    return None
