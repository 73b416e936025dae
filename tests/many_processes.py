"""One of several processes of `accelerate launch`: runs the commands of a file, one after the other, as typed.

A line of the file is {"argv", "fault"}; what this process ended each with is added to results-RANK.json beside it.
A fault befalls the last process alone, in its third step.
"""

import json
import os
import signal
import sys
from pathlib import Path


def on_cpu_with_fsdp():
    """Let accelerate take FSDP on a CPU, which it offers on GPUs alone: the same code over gloo."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)


def befall(fault):
    """Let something go wrong in this process; return how to put it right again."""
    import torch

    from trainer import preparing, ranks
    from trainer.training import StepTrainer

    compute_loss, prepare = StepTrainer.compute_loss, preparing.prepare
    done = []

    def faulty(self, model, *args, **options):
        loss, losses = compute_loss(self, model, *args, **options)
        if self.state.global_step != 2 or done or not model.training:
            return loss, losses
        done.append(fault)
        if fault == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        if fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss * (torch.nan if fault == "nan" else 1), losses

    def refuses(*_):
        raise ranks.UserError("There is no such base here.")

    if fault == "refuses":
        preparing.prepare = refuses
    elif fault:
        StepTrainer.compute_loss = faulty

    def undo():
        StepTrainer.compute_loss, preparing.prepare = compute_loss, prepare

    return undo


if __name__ == "__main__":
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        on_cpu_with_fsdp()
    from trainer import ranks
    from trainer.__main__ import main

    file = Path(sys.argv[1])
    codes = []
    with ranks.joined():
        for line in file.read_text("utf-8").splitlines():
            asked = json.loads(line)
            undo = befall(asked["fault"] if ranks.index() == ranks.count() - 1 else None)
            codes.append(main(asked["argv"]))
            undo()
            file.with_name(f"results-{ranks.index()}.json").write_text(json.dumps(codes), "utf-8")
