"""How long near-duplicates in files take, in one process and by Ray on one machine: `python -m bench.files`.

What Ray costs where it is not needed: its start and its shuffles. Runs are interleaved, each in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from bench import corpus
from curator.minhash import files

ENGINES = ("auto", "ray")


def child(path: str, engine: str) -> None:
    """Search once; print seconds until the report, and what tells one report from another."""
    start = time.perf_counter()
    report = list(files.search([path], 0.8, engine=engine).report(0.9))
    wall = time.perf_counter() - start
    digest = hashlib.sha256(repr(report).encode()).hexdigest()
    print(json.dumps({"wall": wall, "lines": len(report), "is": digest}))


def make(path: Path, rows: int) -> None:
    """Write the corpus of the other bench as Parquet, in as many row groups as such files have."""
    pairs = corpus.generate(rows).pairs
    columns = {"question": [question for question, _ in pairs], "answer": [answer for _, answer in pairs]}
    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=max(rows // 16, 10_000))


def main() -> None:
    """Measure, and print a table for bench/README.md."""
    if sys.argv[1:2] == ["--child"]:
        return child(*sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m bench.files", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, one round")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.rounds = [20_000], 1
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, {options.rounds} rounds, medians\n")
    print("| rows | lines that can go | engine | seconds | times |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            path = Path(folder) / f"{rows}.parquet"
            make(path, rows)
            runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
            for _ in range(options.rounds):
                for engine in ENGINES:
                    command = [sys.executable, "-m", "bench.files", "--child", str(path), engine]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    runs[engine].append(json.loads(done.stdout.splitlines()[-1]))
            if len({run["is"] for done in runs.values() for run in done}) != 1:
                print("The engines found something else!", file=sys.stderr)
            for engine, done in runs.items():
                wall, lines = (statistics.median(run[name] for run in done) for name in ("wall", "lines"))
                times = statistics.median(a["wall"] / b["wall"] for a, b in zip(done, runs[ENGINES[0]], strict=True))
                print(f"| {rows:,} | {lines:,.0f} | {engine} | {wall:.1f} | {times:.1f} |", flush=True)


if __name__ == "__main__":
    main()
