"""How fast versions are frozen, checked, compared and exported, and in how much room: `python -m bench.versions`.

The corpus of bench.corpus is imported, frozen, one per cent of it edited, and frozen again. Seconds of the processor
stand beside those of the clock, which a busy machine stretches. Nothing here fails: it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bench import corpus
from curator import create_app, database, exports, history, imports, versions
from curator.models import Pair, writing
from curator.search import Selection

TABLES = ("line", "sqlite_autoindex_line_1", "version_line", "version")


def clocked(what: str, act: Callable[[], Any], note: Callable[[Any], str] = lambda done: "") -> Any:
    """Do something, and print how long it took."""
    with contextlib.suppress(OSError):  # of Linux alone: the peak is that of what follows, and of what is kept before
        Path("/proc/self/clear_refs").write_text("5")
    wall, processor = time.perf_counter(), time.process_time()
    done = act()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {what} | {wall:.1f} | {processor:.1f} | {peak:,.0f} | {note(done)} |", flush=True)
    return done


def sizes(path: Path) -> dict[str, int]:
    """Return how many bytes the tables of versions take in a file."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
    return {name: size for name, size in rows if name in TABLES}


def edit(session: Session, every: int) -> int:
    """Change the answer of one pair in `every`."""
    with writing(session), history.in_bulk(session):
        changeset = history.begin(session, "edited", "bench")
        some = session.query(Pair).filter(Pair.id % every == 0).yield_per(1000)
        history.change_many(
            session, changeset, [(pair, {"answer": pair.answer + " Since then changed."}) for pair in some]
        )
        return changeset.rows


def measure(pairs: int, folder: Path) -> None:
    """Do everything once, and print a table."""
    made = corpus.generate(pairs)
    source, home = folder / "pairs.jsonl", folder / "home"
    with source.open("w") as file:
        file.writelines(json.dumps({"question": q, "answer": a}) + "\n" for q, a in made.pairs)
    del made
    app = create_app({"CURATOR_HOME": str(home), "DATABASE_URL": f"sqlite:///{home / 'curator.db'}"})
    print(f"\n{pairs:,} pairs, load {os.getloadavg()[0]:.1f}\n")
    print("| what | seconds | of the processor | peak MiB of the process | |\n|---|---|---|---|---|")
    with database.open_session(app) as session:
        clocked("import", lambda: imports.apply(session, source, by="bench"))

        def freeze() -> Any:
            return versions.freeze(session, Selection(), by="bench")[0]

        first = clocked("freeze", freeze, lambda v: f"{v.counts}, {v.report['groups']:,} groups")
        session.execute(sa.text("PRAGMA wal_checkpoint(truncate)"))
        before = sizes(home / "curator.db")
        clocked("freeze the same again", freeze, lambda v: f"version {v.id}")
        clocked("edit one in a hundred", lambda: edit(session, 100), lambda rows: f"{rows:,}")
        second = clocked("freeze that", freeze, lambda v: f"version {v.id}")
        session.execute(sa.text("PRAGMA wal_checkpoint(truncate)"))
        after = sizes(home / "curator.db")
        clocked("check it", lambda: versions.check(session, second.id), lambda found: f"holds: {found.holds}")
        clocked("compare the two", lambda: versions.compare(session, first.id, second.id),
                lambda found: f"{found.changed:,} changed")  # fmt: skip
        clocked("export it", lambda: exports.write_folder(session, second.id, folder / "out"))
        live = folder / "live.jsonl"
        clocked("export the live pairs", lambda: exports.write_file(exports.pieces(session, Selection()), live))
    text = before["line"] + before["sqlite_autoindex_line_1"]
    grew = after["line"] + after["sqlite_autoindex_line_1"] - text
    places = after["version_line"] - before["version_line"]
    print(
        f"\nA full copy takes {text / 2**20:,.0f} MiB; the second version added {100 * grew / text:.2f} % of that, "
        f"and {places / pairs:.1f} bytes a line."
    )
    database.engine(app).dispose()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.versions", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the data set")
    for pairs in parser.parse_args().pairs:
        with tempfile.TemporaryDirectory() as folder:
            measure(pairs, Path(folder))


if __name__ == "__main__":
    main()
