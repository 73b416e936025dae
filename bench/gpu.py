"""How fast fine-tuning is on a GPU beside plain TRL: `python -m bench.gpu`. Needs [train] and a CUDA device.

A base of random weights in the shape of Mistral 7B is written to a temporary folder once (15 GB) and loaded by either
side as its users load one: QLoRA and LoRA of rank 16, 8 lines a step of 2,048 and of 4,096 tokens, the last half of
each learnt. Every measurement is a process of its own, and the two sides take turns. Printed is a table for
bench/README.md: tokens a second, the peak of memory and what was predicted, and the share of what the device reaches in
a product of two bfloat16 matrices, taken in the same process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "mistral-7b": {
        "vocab_size": 32768, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 32768, "sliding_window": None,
    },
    "tiny": {
        "vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 256, "sliding_window": None,
    },
}  # fmt: skip
LENGTHS = {"mistral-7b": (2048, 4096), "tiny": (32,)}
METHODS = {"QLoRA": "nf4", "LoRA": "none"}
SIDES = {"plain": "TRL, its defaults", "ours": "python -m trainer"}
LINES_A_STEP = 8
WARM_UP, STEPS = 2, 5
Found = dict[tuple[str, int, str], list[dict[str, Any]]]
HEAD = "| method | tokens a line | side | tokens/s | of plain | of the ceiling | peak memory | predicted |"
NO_DEVICE = "Not measured: there is no CUDA device. Where there is one: python -m bench.gpu"


def write_base(folder: Path, shape: str) -> None:
    """Write a base of random weights, with a tokenizer as small as can be."""
    import torch
    from transformers import AutoModelForCausalLM, MistralConfig

    from bench.trainer import tokenizer

    torch.manual_seed(1)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        settings = MistralConfig(**SHAPES[shape], tie_word_embeddings=False)
        model = AutoModelForCausalLM.from_config(settings, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="4GB")
    tokenizer().save_pretrained(folder)


# In a process of its own, one for each measurement


def work(side: str, folder: Path, shape: str, method: str, length: int) -> dict[str, Any]:
    """Train some steps and return what they took."""
    from trainer.environment import prepare_environment

    if side == "ours":
        prepare_environment()
    import torch
    import transformers

    from trainer.architecture import read_architecture
    from trainer.config import fill_in, make_config
    from trainer.model import load_base
    from trainer.watch import peak_memory

    asked = make_config({"base": str(folder), "quantisation": METHODS[method], "rank": "16"}, None)
    base = load_base(asked)
    sizes = {"weights": base.weights, "hidden_size": base.hidden_size, "max_tokens": length, "longest_answer": length}
    config = replace(fill_in(asked, **sizes, threads=torch.get_num_threads()), batch_size=LINES_A_STEP)
    ceiling = matmul_speed(base.device.name)
    rng = random.Random(1)
    lines = []
    for _ in range(LINES_A_STEP * (WARM_UP + STEPS)):
        ids = [rng.randrange(3, SHAPES[shape]["vocab_size"]) for _ in range(length)]
        lines.append({"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]})
    ends: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as out:
        trainer, predicted = (ours if side == "ours" else plain)(base, config, lines, Path(out), Clock())
        trainer.train()
    took = [later - sooner for sooner, later in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)]
    said = {"tokens": LINES_A_STEP * length / statistics.median(took), "memory": peak_memory(), "predicted": predicted}
    said |= {"ceiling": ceiling, "device": base.device.title}
    return said | {"matrices": read_architecture(folder).matrix_weights}


def ours(base: Any, config: Any, lines: list[Any], out: Path, clock: Any) -> tuple[Any, int | None]:
    from trainer import batches, memory
    from trainer.architecture import read_architecture
    from trainer.dataset import Example, Rendered
    from trainer.machine import find_machine
    from trainer.model import add_adapter
    from trainer.plan.prediction import ROOM
    from trainer.training import StepTrainer, keeps_lines_apart

    length, machine = len(lines[0]["input_ids"]), find_machine()
    tokens_at_once, needed = memory.choose_part(
        read_architecture(Path(config.base)), config, longest=length, trained_share=0.5, dtype=machine.dtype,
        device=machine.kind, room=ROOM * machine.free, most_tokens=LINES_A_STEP * length,
    )  # fmt: skip
    rendered = [Rendered(Example([], f"line {n}"), **line) for n, line in enumerate(lines)]
    steps = batches.plan_steps(len(lines), epochs=1, batch_size=LINES_A_STEP, seed=1)
    trainer = StepTrainer(
        base, add_adapter(base.model, config), rendered, steps, config, out, packed=keeps_lines_apart(base),
        tokens_at_once=tokens_at_once, activation_checkpointing=needed.checkpointed, callbacks=[clock],
    )  # fmt: skip
    return trainer, round(needed.total)


def plain(base: Any, config: Any, lines: list[Any], out: Path, clock: Any) -> tuple[Any, int | None]:
    import datasets
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    base.model.set_attn_implementation("sdpa")  # what it was loaded with
    settings = SFTConfig(
        str(out), use_cpu=base.device.name == "cpu", disable_tqdm=True, save_strategy="no", report_to="none",
        num_train_epochs=1, per_device_train_batch_size=LINES_A_STEP, dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    rows = datasets.Dataset.from_list(lines)
    trainer = SFTTrainer(
        base.model, settings, train_dataset=rows, processing_class=base.tokenizer, peft_config=adapter,
        callbacks=[clock],
    )  # fmt: skip
    return trainer, None


def matmul_speed(device: str) -> float:
    """Return the FLOP a second of a product of two random bfloat16 matrices: what a device reaches at best."""
    import torch

    size = 8192 if device == "cuda" else 256
    one, other = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    took = []
    for _ in range(12):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(took[2:])


# The referee


def in_a_process(side: str, folder: Path, shape: str, method: str, length: int) -> dict[str, Any] | None:
    """Return what a process of its own has measured; where it fails, say so: the others are measured all the same."""
    given = {"side": side, "folder": folder, "shape": shape, "method": method, "length": length}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-W", "ignore", "-m", "bench.gpu", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    print(f"{SIDES[side]}, {method}, {length:,} tokens: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return None


def measure(folder: Path, shape: str, rounds: int, one: Callable[..., dict[str, Any] | None] = in_a_process) -> Found:
    """Return what each round has found, by method, length and side."""
    found: Found = {}
    for _, method, length, side in itertools.product(range(rounds), METHODS, LENGTHS[shape], SIDES):
        said = one(side, folder, shape, method, length)
        if said:
            found.setdefault((method, length, side), []).append(said)
    return found


def table(found: Found) -> list[str]:
    rows = [HEAD, "|---" * 8 + "|"]
    for (method, length, side), said in found.items():
        speed = statistics.median(each["tokens"] for each in said)
        other = found.get((method, length, "plain"))
        times = f"{speed / statistics.median(each['tokens'] for each in other):.2f}" if other else ""
        # Forwards, and backwards to the inputs alone: what LoRA needs at least.
        share = speed * 4 * said[0]["matrices"] / statistics.median(each["ceiling"] for each in said)
        peak = max(each["memory"] for each in said)
        predicted = said[0]["predicted"]
        words = f"{predicted / 2**30:.2f} GiB ({predicted / peak - 1:+.0%})" if predicted else ""
        cells = [method, f"{length:,}", SIDES[side], f"{speed:,.0f}", times, f"{share:.0%}"]
        cells += [f"{peak / 2**30:.2f} GiB", words]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="mistral-7b", help="tiny: its whole path, on any machine")
    parser.add_argument("--rounds", type=int, default=3)
    for hidden in ("--side", "--folder", "--method", "--length"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(work(given.side, Path(given.folder), given.shape, given.method, int(given.length))))
        return
    import torch

    if given.shape != "tiny" and not torch.cuda.is_available():
        print(NO_DEVICE)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_base(Path(folder), given.shape)
        found = measure(Path(folder), given.shape, given.rounds)
    if found:
        first = next(iter(found.values()))[0]
        print(f"{first['device']}; {first['ceiling'] / 1e12:,.1f} TFLOP/s in a product of bfloat16 matrices\n")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
