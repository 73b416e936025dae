"""How fast the list of pairs answers, beside Datasette on the same file: `python -m bench.workbench --pairs 1000000`.

Both are asked within their own process, by their own test clients, in turns: so that no network is measured, and a busy
moment of the machine touches both alike. Datasette runs in an environment of its own, named by --datasette.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TAGS = [f"topic {number}" for number in range(40)] + ["billing", "refund", "urgent", "pinned"]
SOURCES = ["desk", "email", "phone", "chat", "forum", "manual", "faq.csv", "tickets.jsonl"]
STATUSES = ("draft", "draft", "draft", "approved", "approved", "rejected")
PAIR = "/bench/pair?_size=50"
# What is asked: our address, and what comes nearest to it at Datasette. Both answer with a page for people.
ASKED = {
    "first page": ("/pairs/", PAIR),
    "last page": ("/pairs/?last=1", PAIR + "&_next={last}"),
    "a page in the middle": ("/pairs/?after={middle}", PAIR + "&_next={middle}"),
    "a filter (status)": ("/pairs/?status=approved", PAIR + "&status=approved"),
    "a filter (tag)": ("/pairs/?tag=billing", PAIR + "&tags__arraycontains=billing"),
    "facet counts of a filter": ("/pairs/?status=draft", PAIR + "&status=draft&_facet=source&_facet=created_by"),
    "a length": ("/pairs/?query=len:100..200", None),
    "longest first": ("/pairs/?sort=longest", PAIR + "&_sort_desc=answer"),
    "a rare word": ("/pairs/?query=bana", "{search}bana*"),
    "a rare word, beside SQL written by hand": ("/pairs/?query=bana", "{fts}bana*"),
    "a common word": ("/pairs/?query=what", "{search}what*"),
    "a common word, beside SQL written by hand": ("/pairs/?query=what", "{fts}what*"),
    "a word in nearly all, beside SQL written by hand": ("/pairs/?query=the", "{fts}the*"),
    "a pair and its place": ("/pairs/{middle}?status=draft", None),
}
# Its own page of a search, rows and their count; and rows alone, for one who writes the SQL.
SEARCH = PAIR + "&_fts_table=pair_text&_fts_pk=id&_searchmode=raw&_search="
FTS = (
    "/bench?sql=select+id,question,answer,status,tags+from+pair+where+id+in+(select+rowid+from+"
    "pair_text+where+pair_text+match+:q)+order+by+id+limit+50&q="
)


def write_rows(pairs: int, path: Path, seed: int = 1) -> None:
    """Write made pairs with statuses, sources, tags and notes as a CSV; the first tags are the most common."""
    from bench.corpus import generate

    rng = random.Random(seed)
    weights = [1 / (place + 1) for place in range(len(TAGS))]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "status", "source", "tags", "notes"])
        for question, answer in generate(pairs).pairs:
            tags = dict.fromkeys(rng.choices(TAGS, weights, k=rng.randrange(4)))
            notes = "Asked twice." if rng.random() < 0.02 else ""
            writer.writerow([question, answer, rng.choice(STATUSES), rng.choice(SOURCES), ",".join(tags), notes])


def make(pairs: int, folder: Path) -> None:
    """Make the database once; later runs find it."""
    from bench.__main__ import open_app
    from curator import database, imports

    if (folder / "bench.db").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(pairs, folder / "rows.csv")
    app = open_app(folder)
    with database.open_session(app) as session:
        imports.apply(session, folder / "rows.csv", by="bench")
    database.engine(app).dispose()


def clock(act: Callable[[], object]) -> tuple[float, float]:
    """Return milliseconds on the clock and of the processor."""
    start, processor = time.perf_counter(), time.process_time()
    act()
    return 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - processor)


def spread(times: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    return statistics.median(times), sorted(times)[int(0.95 * (len(times) - 1) + 0.5)]


PEER = """
import asyncio, json, sys, time
from datasette.app import Datasette
async def main():
    peer = Datasette([sys.argv[1]], settings={"sql_time_limit_ms": 20000, "facet_time_limit_ms": 20000})
    await peer.invoke_startup()
    for line in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        answer = await peer.client.get(line.strip())
        took = 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - processor)
        print(json.dumps([answer.status_code, *took]), flush=True)
asyncio.run(main())
"""


class Peer:
    """Datasette in a process of its own, asked one address after the other."""

    def __init__(self, python: str, path: Path) -> None:
        self.process = subprocess.Popen(
            [python, "-c", PEER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def get(self, address: str) -> tuple[float, float]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(address + "\n")
        self.process.stdin.flush()
        status, took, processor = json.loads(self.process.stdout.readline())
        if status != 200:
            raise SystemExit(f"Datasette answered {status} to {address}")
        return took, processor


def main() -> None:
    """Measure, and print a table for bench/README.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.workbench", description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/curator-workbench"))
    parser.add_argument("--datasette", help="the Python of an environment with Datasette; without it, no peer")
    options = parser.parse_args()
    folder = options.folder / str(options.pairs)
    make(options.pairs, folder)

    from bench.__main__ import open_app
    from curator import bitmaps, database, pairs, search
    from curator.search import Selection

    app = open_app(folder)
    for kept in folder.glob("index-*.npz"):
        kept.unlink()
    with database.open_session(app) as session:
        built = clock(bitmaps.of(session).refresh)
        index = bitmaps.of(session)
        kept = clock(lambda: index.keep(index.kept))
        opened = clock(lambda: type(index)(index.engine, index.kept).refresh())
        ids = search.ids(session, Selection())
    print(f"{len(ids):,} pairs; read at first {built[0]:,.0f} ms ({built[1]:,.0f} ms of the processor), ", end="")
    print(f"written to disk {kept[0]:,.0f} ms, from disk {opened[0]:,.0f} ms")

    client = app.test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    names = {"middle": ids[len(ids) // 2], "last": ids[-50], "fts": FTS, "search": SEARCH}
    peer = Peer(options.datasette, folder / "bench.db") if options.datasette else None
    first: dict[str, tuple[float, float]] = {}
    took: dict[str, list[tuple[float, float]]] = {}
    theirs: dict[str, list[tuple[float, float]]] = {}

    def get(address: str) -> None:
        assert client.get(address).status_code == 200, address

    def save() -> None:
        number = rng.choice(ids)
        with database.open_session(app) as session:
            pair = pairs.get(session, number)
            form = {"question": pair.question, "answer": f"{pair.answer} {rng.random()}", "revision": pair.revision}
        saved.append(clock(lambda: client.post(f"/pairs/{number}/edit", data=form, headers={"X-Fragment": "1"})))

    rng, saved = random.Random(1), []
    for turn in range(options.rounds):
        for name, (ours, other) in ASKED.items():
            here = clock(lambda ours=ours: get(ours.format(**names)))  # type: ignore[misc]
            took.setdefault(name, []).append(here) if turn else first.setdefault(name, here)
            if peer and other and turn % 8 < 2:
                there = peer.get(other.format(**names))
                if turn:
                    theirs.setdefault(name, []).append(there)
        save()
    took["a save"] = saved[1:]
    print("\n| what | first | p50 | p95 | processor p50 | p95 | Datasette p50 | p95 | processor p50 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, times in took.items():
        cells = [f"{first[name][0]:.0f}" if name in first else ""]
        cells += [f"{value:.1f}" for part in zip(*times, strict=True) for value in spread(list(part))]
        if name in theirs:
            (median, most), (processor, _) = (spread(list(part)) for part in zip(*theirs[name], strict=True))
            cells += [f"{median:.1f}", f"{most:.1f}", f"{processor:.1f}"]
        print(f"| {name} | " + " | ".join(cells + [""] * (8 - len(cells))) + " |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nMilliseconds. Most memory held: {peak:,.0f} MiB.")
    if peer:
        peer.process.kill()


if __name__ == "__main__":
    sys.exit(main())
