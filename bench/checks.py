"""What checks cost: each by itself, a pass over everything, a save beside it, the pages. `python -m bench.checks`.

Pairs are those of `bench.corpus`, with planted copies and stock refusals. Where there are real files under
shared/data, the single checks are timed on them too.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from bench import corpus
from curator import create_app, database, flags, history, pairs, private, quality
from curator.flags import Rules, Texts
from curator.models import writing

RULES = Rules(main={"1": "en"})


def single_checks(texts: list[Texts]) -> None:
    """Print what each check costs a pair, in microseconds of one processor."""
    looks: dict[str, Callable[[Texts], Any]] = {
        "empty": flags.empty, "echo": flags.echo, "refusal": flags.refusal,
        "truncated": lambda pair: flags.truncated(pair.answer, RULES), "mojibake": flags.mojibake,
        "language": lambda pair: flags.language(pair, RULES),
        "private, secret": lambda pair: [private.find_private(said) for _, said in flags.parts(pair)],
        "long": lambda pair: flags.too_long(pair, RULES), "roles": flags.roles,
        "duplicate, contradiction": flags.keys, "all": lambda pair: flags.find(pair, RULES),
    }  # fmt: skip
    flags.find(texts[0], RULES)
    print("\n| check | µs a pair |\n|---|---:|")
    for name, look in looks.items():
        rounds = []
        for _ in range(3):
            start = time.process_time()
            for pair in texts:
                look(pair)
            rounds.append((time.process_time() - start) / len(texts) * 1e6)
        print(f"| {name} | {statistics.median(rounds):.0f} |")


def fill(session: Session, made: list[tuple[str, str]]) -> None:
    """Write pairs as an import does."""
    with writing(session):
        place = pairs.dataset_named(session, "bench", create=True)
        changeset = history.begin(session, "imported", "bench")
        with history.in_bulk(session):
            for start in range(0, len(made), 5000):
                some = made[start : start + 5000]
                history.add(session, changeset, [
                    {"dataset_id": place.id, "question": question, "answer": answer} for question, answer in some
                ])  # fmt: skip


def saves(app: Any, stop: threading.Event, name: str) -> Iterator[float]:
    """Save a pair twenty times a second until it is to stop; yield how long each took, in milliseconds."""
    with database.open_session(app) as session:
        number = 0
        while not stop.is_set():
            number += 1
            start = time.perf_counter()
            pairs.add(session, question=f"{name} number {number}?", answer="It was saved.", by="bench", dataset="saved")
            yield 1000 * (time.perf_counter() - start)
            time.sleep(0.05)


def spread(times: list[float]) -> str:
    """Return the median and the 95th percentile in milliseconds."""
    ordered = sorted(times)
    return f"median {statistics.median(ordered):.1f} ms, p95 {ordered[int(0.95 * (len(ordered) - 1))]:.1f} ms"


def measure(number: int, folder: Path) -> None:
    """Print what a pass over so many pairs costs, with somebody saving beside it, and how quick the pages are."""
    app = create_app({"CURATOR_HOME": str(folder)})
    with database.open_session(app) as session:
        made = corpus.generate(number).pairs
        fill(session, made)
        start, before = time.perf_counter(), processor_seconds()
        stop, beside = threading.Event(), []
        saver = threading.Thread(target=lambda: beside.extend(saves(app, stop, "Beside")))
        saver.start()
        done = quality.check(session, Rules(), folder)
        stop.set()
        saver.join()
        wall, cpu = time.perf_counter() - start, processor_seconds() - before
        print(f"\n{done.looked_at:,} pairs: {wall:.1f} s, {cpu:.1f} processor seconds, {number / wall:,.0f} a second")
        print(f"Saves meanwhile: {spread(beside)}")
        start = time.perf_counter()
        again = quality.check(session, Rules(), folder)
        print(f"Once more, {again.looked_at:,} changed: {time.perf_counter() - start:.2f} s")
    client = app.test_client()
    for address in ("/check/", "/check/statistics"):
        times, spent = [], []
        for _ in range(6):
            start, before = time.perf_counter(), time.process_time()
            client.get(address)
            times.append(1000 * (time.perf_counter() - start))
            spent.append(1000 * (time.process_time() - before))
        print(f"{address}: first {times[0]:.0f} ms, then {statistics.median(times[1:]):.0f} ms; "
              f"by processor {spent[0]:.0f} and {statistics.median(spent[1:]):.0f} ms")  # fmt: skip
    stop, alone = threading.Event(), []
    for taken in saves(app, stop, "Alone"):
        alone.append(taken)
        if len(alone) == 100:
            stop.set()
    print(f"Saves alone, with their flags: {spread(alone)}")
    database.engine(app).dispose()


def processor_seconds() -> float:
    """Return the processor time of this process and of those it waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def main() -> None:
    """Measure, and print what bench/README.md keeps."""
    parser = argparse.ArgumentParser(prog="python -m bench.checks", description=__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000])
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors")
    made = corpus.generate(5000).pairs
    single_checks([Texts(question, answer, "", [], 1) for question, answer in made])
    for number in options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            measure(number, Path(folder))


if __name__ == "__main__":
    main()
