"""A trainer that learns nothing: it takes the commands of the real one, and writes the files of a run, slowly.

`sys.argv` is as for `python -m trainer`; the epochs are the seconds that a run takes, ten steps a second.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    command, place, *rest = sys.argv[1:]
    options = dict(word.removeprefix("--").split("=", 1) for word in rest if "=" in word)
    if options.get("learning-rate") == "high":
        print("Error: --learning-rate is 'high', but must be a number, more than 0.", file=sys.stderr)
        return 1
    if command == "plan":
        print(json.dumps(plan(place, options)))
        return 0
    if command == "find-lr":
        rates, losses = [1e-5, 1e-4, 1e-3, 1e-2], [3.0, 2.5, 2.0, 4.0]
        found = {"rates": rates, "losses": losses, "smoothed": losses, "suggestion": 3.3e-4, "prior": 2e-4}
        write(Path(options["output"]) / "lr.json", found)
        return 0
    folder = Path(options["output"] if command == "run" else place)
    file = folder / "run.json"
    if command == "run":
        folder.mkdir(parents=True, exist_ok=True)
        steps = round(10 * float(options.get("epochs", 1)))
        record = {"id": folder.name, "name": folder.name, "base": {"name": options["base"]}, "data": {"path": place}}
        record["plan"] = {"predicted": {"steps": steps}}
    else:
        record = json.loads(file.read_text())
        steps = record["plan"]["predicted"]["steps"]
    handle = os.open(folder, os.O_RDONLY) if folder.is_dir() else -1
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    write(file, record | {"state": "running"})
    (folder / "progress").mkdir(exist_ok=True)
    metrics = folder / "metrics.jsonl"
    done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    print(f"Going on after step {done}.", file=sys.stderr)
    for step in range(done + 1, steps + 1):
        time.sleep(0.1)
        row = {"step": step, "loss": 4 / step, "learning_rate": 2e-4, "tokens_per_second": 512.5, "seconds_left": 9.0}
        with metrics.open("a") as lines:
            lines.write(json.dumps(row | {"peak_memory": 3_200_000_000}) + "\n")
        said = {
            "messages": [{"role": "user", "content": "Dogs?"}],
            "text": f"Said <b>after</b> {step}.",
            "model": "tuned",
        }
        (folder / "progress" / f"samples-{step:06d}.jsonl").write_text(json.dumps(said) + "\n")
        if stopped:
            (folder / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
            write(file, record | {"state": "stopped"})
            return 143
    write(file, record | {"state": "done"})
    return 0


def write(file: Path, record: dict[str, object]) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(record))
    beside.replace(file)


def plan(place: str, options: dict[str, str]) -> dict[str, object]:
    memory = {"total": 3e9, "weights": 2e9, "activations": 1e9}
    return {
        "runs": True, "verdict": "fits this machine, with 5 GiB to spare", "left_out": ["a", "b"],
        "findings": [{"level": "warning", "name": "long", "words": "Two lines are long.", "lines": ["line 1: long"]}],
        "lines": {"train": 8, "validation": 1, "test": 1}, "template": "a plain one", "prior_learning_rate": 3e-4,
        "tokens": {"total": 900, "trained": 300, "p50": 40, "longest": 90}, "end_token": {"text": "</s>"},
        "base": {"name": options["base"], "weights": 5_000_000},
        "machine": {"title": "CPU", "dtype": "fp32", "free": 8e9},
        "config": {"quantisation": "nf4", "adapter": "lora", "rank": 16, "epochs": 3.0, "batch_size": 16,
                   "max_tokens": 90, "learning_rate": 3e-4},
        "predicted": {"seconds": 125.0, "memory": memory, "disk": 2e7, "steps": 30},
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
