"""How fast versions are frozen, checked, compared and exported, and in how much room: `python -m bench.versions`.

The corpus of bench.corpus is imported, frozen, one per cent of it edited, and frozen again. Seconds of the processor
stand beside those of the clock, which a busy machine stretches. Nothing here fails: it prints.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from bench import corpus
from curator import create_app, database, exports, history, imports, versions
from curator.formats.preflight import Report
from curator.models import Pair, writing
from curator.search import Selection

Act = Callable[..., str]

TABLES = ("line", "sqlite_autoindex_line_1", "version_line", "version")
LIVE_ROUNDS = 3  # of both exports, in turn


def app_in(home: Path) -> Flask:
    return create_app({"CURATOR_HOME": str(home), "DATABASE_URL": f"sqlite:///{home / 'curator.db'}"})


def clocked(act: Act, home: Path, *told: Any) -> tuple[Any, float, float, float]:
    """Do something in a process that has done nothing before, as a command does.

    Returns what it says, the seconds it took by the clock and of the processor, and the most MiB the process held.
    """
    app = app_in(home)
    wall, processor = time.perf_counter(), time.process_time()
    with database.open_session(app) as session:
        said = act(session, *told)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    database.engine(app).dispose()
    return said, wall, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bring_in(session: Session, source: Path) -> str:
    imports.apply(session, source, by="bench")
    return ""


def freeze(session: Session) -> str:
    version, _ = versions.freeze(session, Selection(), by="bench")
    session.execute(sa.text("PRAGMA wal_checkpoint(truncate)"))
    return f"version {version.id}: {version.counts}, {version.report['groups']:,} groups"


def edit(session: Session, every: int) -> str:
    """Change the answer of one pair in `every`."""
    with writing(session), history.in_bulk(session):
        changeset = history.begin(session, "edited", "bench")
        some = session.query(Pair).filter(Pair.id % every == 0).yield_per(1000)
        history.change_many(
            session, changeset, [(pair, {"answer": pair.answer + " Since then changed."}) for pair in some]
        )
        return f"{changeset.rows:,} rows"


def check(session: Session, version: int) -> str:
    return f"holds: {versions.check(session, version).holds}"


def compare(session: Session, first: int, second: int) -> str:
    return f"{versions.compare(session, first, second).changed:,} changed"


def export(session: Session, version: int, folder: Path) -> str:
    """Do as flask export --version does: a folder, and a report of what training would meet in it."""
    exports.write_folder(session, version, folder, seen=Report())
    return ""


def export_live(session: Session, folder: Path) -> str:
    exports.write_selection(session, Selection(), folder, seen=Report())
    return ""


def write_corpus(pairs: int, path: Path) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps({"question": q, "answer": a}) + "\n" for q, a in corpus.generate(pairs).pairs)


def sizes(path: Path) -> dict[str, int]:
    """Return how many bytes the tables of versions take in a file."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
    return {name: size for name, size in rows if name in TABLES}


def measure(pairs: int, folder: Path) -> None:
    """Do everything once, and print a table."""
    source, home = folder / "pairs.jsonl", folder / "home"
    fresh = {"mp_context": multiprocessing.get_context("spawn"), "max_workers": 1, "max_tasks_per_child": 1}
    with ProcessPoolExecutor(**fresh) as others:

        def row(what: str, act: Act, *told: Any) -> None:
            said, wall, processor, peak = others.submit(clocked, act, home, *told).result()
            print(f"| {what} | {wall:.1f} | {processor:.1f} | {peak:,.0f} | {said} |", flush=True)

        others.submit(write_corpus, pairs, source).result()
        print(f"\n{pairs:,} pairs, load {os.getloadavg()[0]:.1f}\n")
        print("| what | seconds | of the processor | peak MiB of the process | |\n|---|---|---|---|---|")
        row("import", bring_in, source)
        row("freeze", freeze)
        before = sizes(home / "curator.db")
        row("freeze the same again", freeze)
        row("edit one in a hundred", edit, 100)
        row("freeze that", freeze)
        after = sizes(home / "curator.db")
        row("check it", check, 2)
        row("compare the two", compare, 1, 2)
        for _ in range(LIVE_ROUNDS):
            row("export it", export, 2, folder / "out")
            row("export the live pairs", export_live, folder / "live")
            shutil.rmtree(folder / "out")
    text = before["line"] + before["sqlite_autoindex_line_1"]
    grew = after["line"] + after["sqlite_autoindex_line_1"] - text
    places = after["version_line"] - before["version_line"]
    print(
        f"\nA full copy takes {text / 2**20:,.0f} MiB; the second version added {100 * grew / text:.2f} % of that, "
        f"and {places / pairs:.1f} bytes a line."
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.versions", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the data set")
    for pairs in parser.parse_args().pairs:
        with tempfile.TemporaryDirectory() as folder:
            measure(pairs, Path(folder))


if __name__ == "__main__":
    main()
