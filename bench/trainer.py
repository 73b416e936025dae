"""How fast fine-tuning is on a CPU beside plain TRL: `python -m bench.trainer`. Needs [train], no network; 5 minutes.

Both train the same lines on the same base, with the same adapters and as many lines a step: a Llama of 135 million
random weights, in the precision that either chooses. They live in a process each, with the environment that either
sets for itself, and take turns step by step; first alone on the machine, then with a neighbour that keeps a core busy.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPE = {
    "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "intermediate_size": 1536, "tie_word_embeddings": True, "max_position_embeddings": 2048,
}  # fmt: skip
LINES_A_STEP = 8
NAMES = {"ours": "python -m trainer", "plain": "TRL, its defaults"}


def make_lines(count: int, seed: int = 1) -> list[dict[str, list[int]]]:
    """Return lines of 40 to 200 tokens, of which the last half is learnt."""
    rng = random.Random(seed)
    lines = []
    for _ in range(count):
        length = rng.randint(40, 200)
        ids = [rng.randrange(3, SHAPE["vocab_size"]) for _ in range(length)]
        lines.append({"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]})
    return lines


# In a process of its own, one for each side


def work(side: str) -> None:
    """Train, one step for each line of standard input, and print what each took."""
    started = float(os.environ["BENCH_STARTED"])
    if side == "ours":
        from trainer.environment import prepare_environment

        prepare_environment()
    import torch
    import transformers
    from transformers import LlamaConfig, LlamaForCausalLM

    from trainer.model import find_device

    class Turns(transformers.TrainerCallback):
        """Waits for its turn, and tells how long the step took and how many tokens it has learnt."""

        def tell(self, seconds: float) -> None:
            learnt = trainer.learnt_tokens() if side == "ours" else seen.pop()
            print(json.dumps({"seconds": seconds, "tokens": learnt}), flush=True)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.tell(time.time() - (started if state.global_step == 1 else self.began))
            if sys.stdin.readline().strip() != "step":
                control.should_training_stop = True
            self.began = time.time()

    lines = make_lines(LINES_A_STEP * 60)
    device = find_device()
    torch.manual_seed(1)
    dtype = device.dtype
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).to(dtype).requires_grad_(False)
    seen: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = (ours if side == "ours" else plain)(model, lines, device, Path(folder), Turns(), seen)
        trainer.train()


def ours(model: Any, lines: list[Any], device: Any, folder: Path, turns: Any, seen: list[int]) -> Any:
    from trainer import attention, batches
    from trainer.config import RunConfig, fill_in
    from trainer.dataset import Example, Rendered
    from trainer.losses import trained_tokens
    from trainer.model import Base, add_adapter
    from trainer.training import StepTrainer, keeps_lines_apart

    class Measured(StepTrainer):
        def learnt_tokens(self) -> int:
            assert len(self.line_losses) == LINES_A_STEP  # the loss of each line is computed all the same
            return sum(trained_tokens(self.lines[line]) for line in self.step_lines)

    base = Base(model, tokenizer(), device, {})
    sizes = {"weights": 135e6, "hidden_size": 576, "max_tokens": 256, "longest_answer": 100, "threads": 2}
    config = fill_in(RunConfig(rank=16, batch_size=LINES_A_STEP), **sizes)  # type: ignore[arg-type]
    rendered = [Rendered(Example([], f"line {n}"), **line) for n, line in enumerate(lines)]
    steps = batches.plan_steps(len(lines), epochs=1, batch_size=LINES_A_STEP, seed=1)
    attention.use(model)
    packed = keeps_lines_apart(base)
    return Measured(
        base, add_adapter(model, config), rendered, steps, config, folder, packed=packed, callbacks=[turns]
    )  # fmt: skip


def plain(model: Any, lines: list[Any], device: Any, folder: Path, turns: Any, seen: list[int]) -> Any:
    import datasets
    import torch
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    rows = datasets.Dataset.from_list(lines)
    config = SFTConfig(
        str(folder), use_cpu=True, bf16=device.dtype == torch.bfloat16, disable_tqdm=True, save_strategy="no",
        per_device_train_batch_size=LINES_A_STEP, dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model, config, train_dataset=rows, processing_class=tokenizer(), peft_config=adapter, callbacks=[turns]
    )
    collate = trainer.data_collator

    def counted(batch: Any) -> Any:
        made = collate(batch)
        seen.insert(0, int((made["labels"] != -100).sum()))
        return made

    trainer.data_collator = counted
    return trainer


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


# The referee


class Side:
    """One of the two processes: `first` is its first step, with all that was before it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "bench.trainer", "--side", name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | {"BENCH_STARTED": str(time.time())},
        )  # fmt: skip
        self.first = self.read()

    def read(self) -> dict[str, float]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('{"'):  # TRL prints dictionaries of its own
                return json.loads(line)
        raise SystemExit(f"{NAMES[self.name]} has ended before its time.")

    def step(self) -> float:
        """Let it do a step; return how many tokens it has learnt a second."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        said = self.read()
        return said["tokens"] / said["seconds"]


def measure(sides: list[Side], rounds: int) -> dict[str, list[float]]:
    """Return the learnt tokens a second of each side, in turns."""
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            found[side.name].append(side.step())
    return found


def tell(title: str, found: dict[str, list[float]]) -> None:
    ratios = [one / other for one, other in zip(found["ours"], found["plain"], strict=True)]
    for name, speeds in found.items():
        print(f"{title:<24}{NAMES[name]:<20}{statistics.median(speeds):>9.1f} learnt tokens/s")
    print(f"{title:<24}{'ratio':<20}{statistics.median(ratios):>9.2f} ({min(ratios):.2f} to {max(ratios):.2f})\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="steps of each side when idle; half as many when busy")
    parser.add_argument("--side", choices=NAMES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        work(given.side)
        return
    sides = [Side("plain"), Side("ours")]
    neighbour = None
    try:
        for side in sides:
            print(f"{'to the end of step 1':<24}{NAMES[side.name]:<20}{side.first['seconds']:>9.1f} s", flush=True)
        print()
        measure(sides, 1)  # caches and clocks
        tell("alone", measure(sides, given.rounds))
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        time.sleep(1)
        tell("with a busy neighbour", measure(sides, max(2, given.rounds // 2)))
    finally:
        for each in [neighbour, *(side.process for side in sides)]:
            if each is not None:
                each.kill()
                each.wait()


if __name__ == "__main__":
    main()
