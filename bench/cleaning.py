"""How fast pairs are cleaned: `python -m bench.cleaning --pairs 1000000`.

Made pairs are imported; then steps are looked at and applied with full history, beside a plain loop of `re` over a bare
fetch of the same answers, and pandas' `str.replace` on them in memory, which keep, count and show nothing.
Seconds of the processor stand beside those of the clock, which a busy machine stretches. Nothing here fails: it prints.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import regex
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bench.__main__ import make_rows, open_app
from curator import cleaning, database, history, imports
from curator.models import Pair
from curator.search import Selection

# A word of 385: in every tenth answer. Two of them: in every fifth. A beginning: in each.
LITERAL, SOME, ALL = "replace:lato=>latino", r"regex:\bl(an|ar)\b=>L\1", r"regex:^(\w)=>-\1"
WEB = "unicode html markdown whitespace boilerplate mask".split()


def timed(what: str, pairs: int, act: Callable[[], Any]) -> Any:
    """Do something, and print how long it took."""
    start, processor = time.perf_counter(), time.process_time()
    made = act()
    wall, cpu = time.perf_counter() - start, time.process_time() - processor
    print(f"| {what} | {wall:.2f} | {cpu:.2f} | {pairs / wall:,.0f} | {pairs / cpu:,.0f} |", flush=True)
    return made


def plain_loop(path: Path) -> int:
    """Read all answers and replace in each, keeping nothing."""
    pattern, changed = re.compile(r"\bl(an|ar)\b"), 0
    with sqlite3.connect(path) as connection:
        for _id, answer in connection.execute("SELECT id, answer FROM pair ORDER BY id"):
            changed += pattern.subn(r"L\1", answer)[1] > 0
    return changed


def by_pandas(path: Path) -> int:
    """Read all answers and replace in the column."""
    import pandas as pd

    with sqlite3.connect(path) as connection:
        answers = pd.read_sql("SELECT id, answer FROM pair ORDER BY id", connection)["answer"]
    return int((answers.str.replace(r"\bl(an|ar)\b", r"L\1", regex=True) != answers).sum())


def limits(texts: list[str]) -> None:
    """Print what the time limit of `regex` costs a text, beside `re`, which has none."""
    for name, compiled, options in (
        ("`re`", re.compile(r"\bl(an|ar)\b"), {}),
        ("`regex`", regex.compile(r"\bl(an|ar)\b"), {}),
        ("`regex` with a time limit", regex.compile(r"\bl(an|ar)\b"), {"timeout": 1.0}),
    ):
        start = time.process_time()
        for text in texts:
            compiled.subn(r"L\1", text, **options)
        print(f"{name}: {1e6 * (time.process_time() - start) / len(texts):.2f} µs a text")


def measure(session: Session, path: Path, pairs: int) -> None:
    """Look and apply, beside the peers."""

    def look(words: list[str], fields: tuple[str, ...] = ("answer",)) -> cleaning.Found:
        return cleaning.look(session, cleaning.steps_named(session, words, fields), Selection())

    print(f"\n{pairs:,} pairs\n\n| what | seconds | CPU seconds | pairs a second | by CPU |\n|---|---|---|---|---|")
    timed("a plain loop of `re`, answers", pairs, lambda: plain_loop(path))
    timed("pandas `str.replace`, answers", pairs, lambda: by_pandas(path))
    timed("look: a pattern in the answers, every fifth matches", pairs, lambda: look([SOME]))
    timed("look: the same in question, answer, system, turns", pairs, lambda: look([SOME], cleaning.TEXTS))
    timed("look: a literal text in the answers, every tenth", pairs, lambda: look([LITERAL]))
    timed("look: a literal text that is nowhere", pairs, lambda: look(["replace:nowhere=>x"], cleaning.TEXTS))
    every = timed("look: a pattern that matches every answer", pairs, lambda: look([ALL]))
    done = timed("apply: every answer, with full history", pairs,
                 lambda: cleaning.apply(session, every.steps, Selection(), "bench", found=every))  # fmt: skip
    assert done.changeset and done.changeset.rows == pairs
    timed(f"look: {', '.join(WEB)}; all texts", pairs, lambda: look(WEB, cleaning.TEXTS))
    timed("undo that", pairs, lambda: history.undo(session, done.changeset.id, "bench"))


def main() -> None:
    """Measure, and print tables for bench/README.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.cleaning", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000])
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors")
    for pairs in options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "rows.jsonl"
            with source.open("w") as file:
                file.writelines(make_rows(pairs))
            home = Path(folder) / "home"
            home.mkdir()
            app = open_app(home)
            with database.open_session(app) as session:
                imports.apply(session, source, by="bench")
                limits(list(session.scalars(sa.select(Pair.answer).limit(20_000))))
                measure(session, home / "bench.db", pairs)
            database.engine(app).dispose()


if __name__ == "__main__":
    main()
