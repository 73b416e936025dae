"""The memory that a run is said to take beside what it takes: `python -m bench.memory`. Needs [train], no network.

Bases of random weights are written to a temporary folder, and the shipped command trains each a few steps on the CPU.
Printed is a table for bench/README.md: what run.json says under plan.predicted and actual.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.trainer import SHAPE

SHAPES: dict[str, dict[str, Any]] = {
    "135 M": SHAPE,
    "10 M": SHAPE | {
        "vocab_size": 16384, "hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 768,
    },
}  # fmt: skip
BUILT_IN = "builtin"
QLORA, LORA = ["--quantisation", "nf4"], ["--quantisation", "none"]
ALL_WEIGHTS = ["--quantisation", "none", "--adapter", "none", "--precision", "fp32"]
# Name, base, words of the longest line, options.
RUNS: list[tuple[str, str, int, list[str]]] = [
    ("all weights in float32, 16 lines of 40 to 120 tokens a step", "10 M", 120, ALL_WEIGHTS),
    ("QLoRA, 16 lines of 40 to 120 tokens a step", "135 M", 120, QLORA),
    ("QLoRA, 4 lines of 200 to 600 tokens a step", "135 M", 600, [*QLORA, "--batch-size", "4"]),
    ("LoRA, 16 lines of 40 to 120 tokens a step", "135 M", 120, LORA),
    ("LoRA, 4 lines of 200 to 600 tokens a step", "135 M", 600, [*LORA, "--batch-size", "4"]),
    ("QLoRA, 8 lines of 100 to 300 tokens a step", "135 M", 300, [*QLORA, "--batch-size", "8"]),
    ("LoRA, 8 lines of 100 to 300 tokens a step", "135 M", 300, [*LORA, "--batch-size", "8"]),
    ("QLoRA, 16 lines of 40 to 120 tokens a step, 12 epochs", BUILT_IN, 120, [*QLORA, "--epochs", "12"]),
]
LINES = 64


def write_base(folder: Path, shape: dict[str, Any]) -> None:
    """Write a base of random weights whose tokenizer knows a thousand words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    words = {word: place for place, word in enumerate(["<pad>", "<eos>", "<unk>", *(f"w{n}" for n in range(1000))])}
    known = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**shape)).bfloat16().save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=known, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)


def write_lines(file: Path, longest: int) -> None:
    """Write lines of a third of the words to all of them, half of them the answer's."""
    rng = random.Random(1)
    with file.open("w", encoding="utf-8") as out:
        for _ in range(LINES):
            half = rng.randint(longest // 3, longest) // 2
            question, answer = (" ".join(f"w{rng.randrange(1000)}" for _ in range(half)) for _ in range(2))
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            out.write(json.dumps({"messages": turns}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, help=f"how many of the {len(RUNS)} runs to do, the first ones")
    given = parser.parse_args()
    print("| | predicted | actual | |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, shape, longest, options in RUNS[: given.only]:
            base, lines, out = folder / shape.replace(" ", ""), folder / f"{longest}.jsonl", folder / "run"
            if shape == BUILT_IN:
                base = Path(BUILT_IN)
            elif not base.exists():
                write_base(base, SHAPES[shape])
            write_lines(lines, longest)
            command = [sys.executable, "-W", "ignore", "-m", "trainer", "run", str(lines), "--base", str(base)]
            command += ["-o", str(out), "--epochs", "1", "--samples", "4", "--max-new-tokens", "16", *options]
            environment = os.environ | {"HF_HUB_OFFLINE": "1"}
            subprocess.run(command, check=True, capture_output=True, env=environment)
            record = json.loads((out / "run.json").read_text("utf-8"))
            predicted, actual = record["plan"]["predicted"]["memory"]["total"], record["actual"]["peak_memory"]
            sizes = f"{predicted / 2**30:.2f} GiB | {actual / 2**30:.2f} GiB | {predicted / actual - 1:+.0%}"
            print(f"| {title}, {shape} | {sizes} |", flush=True)
            out.rename(folder / f"run-{len(list(folder.iterdir()))}")


if __name__ == "__main__":
    main()
