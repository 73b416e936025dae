"""How fast the web side is, beside its peers: `make bench`. Real files, real databases, medians of interleaved rounds.

Each round does every measurement once, so that a busy moment of the machine touches all of them alike.
Rows are made with a fixed seed. Nothing here fails: it prints, and bench/README.md keeps the last figures.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import sqlite_utils
from flask import Flask
from sqlalchemy.orm import Session

from curator import create_app, database, duplicates, exports, history, imports, search, versions
from curator.formats import preflight
from curator.search import Selection

# Measured by modules of their own, in short after all else, and what they need.
ROOMS = {"duplicates": "numba", "semantic": "sentence_transformers", "files": "ray"}
PEERS = (
    ("import", "import: sqlite-utils, bare rows and FTS"),
    ("export", "export: datasets, bare rows"),
)


def make_rows(count: int, seed: int = 1) -> Iterator[str]:
    """Yield JSON lines of questions of about 10 and answers of about 40 words, no two of them alike."""
    rng = random.Random(seed)
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "s", "la", "to", "ri", "me")]
    for number in range(count):
        question = f"{' '.join(rng.choices(words, k=10))} {number}?"
        yield json.dumps({"question": question, "answer": " ".join(rng.choices(words, k=40)) + "."}) + "\n"


def make_files(pairs: int, folder: Path) -> tuple[Path, Path, Path]:
    """Return the rows as JSON lines, and as a table with ids in two versions, of which every answer differs."""
    source, table, newer = folder / "rows.jsonl", folder / "rows.csv", folder / "newer.csv"
    if not newer.exists():
        with source.open("w") as file:
            file.writelines(make_rows(pairs))
        for path, more in ((table, ""), (newer, " More.")):
            with path.open("w", newline="") as file, source.open() as rows:
                writer = csv.writer(file)
                writer.writerow(["id", "question", "answer"])
                for number, row in enumerate(map(json.loads, rows)):
                    writer.writerow([number, row["question"], row["answer"] + more])
    return source, table, newer


def open_app(home: Path) -> Flask:
    """Return the application on a fresh database."""
    app = create_app({"CURATOR_HOME": str(home), "DATABASE_URL": f"sqlite:///{home / 'bench.db'}"})
    database.engine(app)
    return app


def measure(pairs: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Do everything once on a fresh database. Return seconds by name: on the clock, and of the processor."""
    source, table, newer = make_files(pairs, folder)
    home = Path(tempfile.mkdtemp(dir=folder))
    app = open_app(home)
    took: dict[str, tuple[float, float]] = {}

    def clock(name: str, act: Callable[[], object]) -> None:
        start, processor = time.perf_counter(), time.process_time()
        act()
        took[name] = (time.perf_counter() - start, time.process_time() - processor)

    with database.open_session(app) as session:
        clock("import", lambda: imports.apply(session, source, by="bench"))
        clock("import again", lambda: imports.apply(session, source, by="bench"))
        clock("export", lambda: export(session, folder / "out.jsonl"))
        clock("read the pairs for the list, once", lambda: search.page(session, Selection()))
        clock("search", lambda: search.page(session, Selection(query="bana mela")))
        clock("last page", lambda: search.page(session, Selection(), last=True))
        if pairs <= 10_000:  # both still take minutes at a hundred thousand
            clock("duplicates", lambda: duplicates.search(session))
            clock("freeze", lambda: versions.freeze(session, Selection(), by="bench"))
    client = app.test_client()
    client.get("/pairs/")
    clock("page of the list", lambda: client.get("/pairs/"))
    database.engine(app).dispose()
    clock("import: sqlite-utils, bare rows and FTS", lambda: peer_import(source, home / "peer.db"))
    clock("export: datasets, bare rows", lambda: peer_export(home / "peer.db", folder / "peer.jsonl"))
    shutil.rmtree(home)
    home.mkdir()
    app = open_app(home)
    with database.open_session(app) as session:
        clock("import of a CSV", lambda: imports.apply(session, table, by="bench"))
        if pairs <= 100_000:
            again = {"name": table.name, "by": "bench"}  # a newer version has the name of the older
            clock("import, each pair changed by its id", lambda: imports.apply(session, newer, **again))
            clock("undo that", lambda: history.undo(session, history.recent(session)[0].id, by="bench"))
    database.engine(app).dispose()
    shutil.rmtree(home)
    return took


def export(session: Session, target: Path) -> None:
    """Do what `flask export --jsonl > FILE` does, its report on standard error included."""
    seen = preflight.Report()
    with target.open("wb") as file:
        file.writelines(exports.pieces(session, Selection(), seen=seen))
    list(preflight.sentences(seen))


def peak_of_import(file: Path) -> str:
    """Return the most memory that an import of a file holds in a process of its own, in MiB."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "bench.peak", str(file), home]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def peer_import(source: Path, path: Path) -> None:
    """Put the bare rows into SQLite with a full-text index, as `sqlite-utils insert` and `enable-fts` do."""
    peer = sqlite_utils.Database(path)
    with source.open() as rows:
        peer["pair"].insert_all(json.loads(row) for row in rows)
    peer["pair"].enable_fts(["question", "answer"], create_triggers=True)
    peer.close()


def peer_export(path: Path, target: Path) -> None:
    """Write the same rows out of SQLite as `datasets` does, its cache empty."""
    with tempfile.TemporaryDirectory() as cache:
        sql = "SELECT question, answer FROM pair"
        rows = datasets.Dataset.from_sql(sql, f"sqlite:///{path}", cache_dir=cache)
        rows.to_json(target)


def help_seconds(*command: str) -> float:
    """Return how long a command takes to print its help, in a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command, "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print a table for bench/README.md."""
    datasets.disable_progress_bars()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="sizes of the data set")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {options.rounds} rounds, medians\n")
    print("| what | " + " | ".join(f"{pairs:,} pairs" for pairs in options.pairs) + " |")
    print("|---|" + "---|" * len(options.pairs))
    with tempfile.TemporaryDirectory() as folder:
        rounds: list[list[dict[str, tuple[float, float]]]] = []
        for _ in range(options.rounds):
            here = []
            for pairs in options.pairs:
                place = Path(folder) / str(pairs)
                place.mkdir(exist_ok=True)
                here.append(measure(pairs, place))
            rounds.append(here)
        files = [Path(folder) / str(pairs) for pairs in options.pairs]
        peaks = {kind: [peak_of_import(place / f"rows.{kind}") for place in files] for kind in ("jsonl", "csv")}
    for name in rounds[0][0]:
        known = [[r[i][name][0] for r in rounds if name in r[i]] for i in range(len(options.pairs))]
        print(f"| {name} | " + " | ".join(f"{statistics.median(k):.3f} s" if k else "" for k in known) + " |")
    for ours, peer in PEERS:
        for clock, words in enumerate(("times the peer's", "times the peer's, by processor time")):
            ratios = [[r[i][ours][clock] / r[i][peer][clock] for r in rounds] for i in range(len(options.pairs))]
            print(f"| {ours}, {words} | " + " | ".join(f"{statistics.median(ratio):.2f}" for ratio in ratios) + " |")
    for kind, found in peaks.items():
        print(f"| import of rows.{kind}, peak memory | " + " | ".join(f"{mib} MiB" for mib in found) + " |")
    for command in (("flask",), ("trainer",)):
        seconds = statistics.median(help_seconds(*command) for _ in range(5))
        print(f"| `{' '.join(command)} --help` |{' |' * (len(options.pairs) - 1)} {seconds:.3f} s |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory: {peak:,.0f} MiB, all of the above in one process.", flush=True)
    for room, needed in ROOMS.items():
        print(f"\n## {room.capitalize()}\n", flush=True)
        if importlib.util.find_spec(needed):
            subprocess.run([sys.executable, "-m", f"bench.{room}", "--quick"], check=False)
        else:
            print(f"Not measured: {needed} is not installed.")


if __name__ == "__main__":
    main()
