"""How fast near-duplicates are found and resolved in Curator's own database: `python -m bench.stored`.

The corpus of bench.corpus is imported, with its index of bands and without; then one pair is looked up, all are
searched beside a bare fetch of the same rows, and what is alike is resolved and that undone. Seconds of the
processor stand beside those of the clock, which a busy machine stretches. Nothing here fails: it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bench import corpus
from bench.duplicates import timed
from curator import create_app, database, duplicates, history, imports, minhash, neighbours
from curator.duplicates.near import find_ids


def show(what: str, result: dict[str, float], note: str = "") -> None:
    print(f"| {what} | {result['wall']:.2f} | {result['cpu']:.2f} | {result['mb']:.0f} | {note} |", flush=True)


def bare_fetch(path: Path) -> None:
    """Read all texts out of SQLite and do nothing with them."""
    with sqlite3.connect(path) as connection:
        for _question, _answer in connection.execute("SELECT question, answer FROM pair ORDER BY id"):
            pass


def size_of(path: Path) -> int:
    """Return how many bytes the index takes in a file."""
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT sum(pgsize) FROM dbstat WHERE name = 'pair_band'").fetchone()[0])


def opened(home: Path) -> Any:
    return create_app({"CURATOR_HOME": str(home), "DATABASE_URL": f"sqlite:///{home / 'curator.db'}"})


def import_it(home: Path, source: Path, act: Callable[[], Any]) -> dict[str, float]:
    shutil.rmtree(home, ignore_errors=True)
    app = opened(home)
    database.engine(app)
    with database.open_session(app) as session, act():
        result, _ = timed(lambda: imports.apply(session, source, by="bench"))
    database.engine(app).dispose()
    return result


def without_index() -> Any:
    return mock.patch.multiple(neighbours, land=lambda *_: None, Bands=NoBands)


class NoBands(neighbours.Bands):
    """Stands in for the keys, and makes none."""

    def take(self, ids: Any, texts: Any) -> None:
        pass


def look_up(session: Session, made: corpus.Corpus, probes: int) -> str:
    """Return how long it takes to find and count what is like one edited pair, in words."""
    rng, chance = np.random.default_rng(1), random.Random(1)
    words, took = corpus.Words(rng), []
    for _ in range(probes):
        question, answer = made.pairs[chance.randrange(len(made.pairs))]
        text = neighbours.text_of(corpus.edit(question, 0.02, words, rng), answer)
        start = time.perf_counter()
        find_ids(session, text)
        took.append(1000 * (time.perf_counter() - start))
    return f"p50 {np.quantile(took, 0.5):.2f} ms, p95 {np.quantile(took, 0.95):.2f} ms of {probes}"


def measure(pairs: int, folder: Path, rounds: int) -> None:
    """Do everything once, and what is quick a few times; print a table."""
    made = corpus.generate(pairs)
    source, home = folder / "pairs.jsonl", folder / "home"
    with source.open("w") as file:
        file.writelines(json.dumps({"question": q, "answer": a}) + "\n" for q, a in made.pairs)
    minhash.find_similar([f"a text to load the loops with {i % 7}" for i in range(2000)], 0.75, engine="numba")
    print(f"\n{pairs:,} pairs, load {os.getloadavg()[0]:.1f}\n")
    print("| what | seconds | of the processor | MB above start | |\n|---|---|---|---|---|")
    show("import without the index", import_it(home, source, without_index))
    show("import", import_it(home, source, contextlib.nullcontext))
    app = opened(home)
    path = home / "curator.db"
    with database.open_session(app) as session:
        session.execute(sa.text("PRAGMA wal_checkpoint(truncate)"))
        fetches, searches = [], []
        for _ in range(rounds):
            fetches.append(timed(lambda: bare_fetch(path))[0])
            result, findings = timed(lambda: duplicates.search(session))
            searches.append(result)
        for what, done in (("bare fetch", fetches), ("search from 0.75 on, to clusters", searches)):
            ratios = [one["cpu"] / fetch["cpu"] for one, fetch in zip(done, fetches, strict=True)]
            middle = {key: statistics.median(one[key] for one in done) for key in done[0]}
            show(what, middle, f"{statistics.median(ratios):.1f} times the fetch, by processor")
        result, findings = timed(lambda: duplicates.judge(session, findings))
        show("look for facts", result, f"{int(findings.differs.sum()):,} of {len(findings.differs):,}")
        result, page = timed(lambda: duplicates.clusters(session, findings, start=100))
        show("a page of clusters", result, f"25 of {page.total:,}")
        result, would = timed(lambda: duplicates.above(session, findings))
        show("count what may go", result, f"{would.surplus:,} pairs")
        result, (changeset, _) = timed(lambda: duplicates.resolve_above(session, findings, by="bench"))
        show("resolve them", result)
        show("undo that", timed(lambda: history.undo(session, changeset.id, "bench"))[0])
        show("build the index anew", timed(lambda: neighbours.rebuild(session))[0])
        session.execute(sa.text("PRAGMA wal_checkpoint(truncate)"))
        texts = [neighbours.text_of(*pair) for pair in made.pairs[:5000]]
        show("look 5,000 new rows up", timed(lambda: duplicates.find_many(session, texts))[0])
        print(
            f"\nOne pair looked up: {look_up(session, made, 500)}. Its index: {size_of(path) / pairs:.0f} bytes a pair."
        )
    database.engine(app).dispose()


def main() -> None:
    """Measure, and print tables for bench/README.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.stored", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors")
    for pairs in options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            measure(pairs, Path(folder), options.rounds)


if __name__ == "__main__":
    main()
