"""Ten people save while one imports: `python -m bench.soak`. A real server, real HTTP, and the journal replayed.

Each person edits pairs once a second: mostly their own, now and then one that all of them edit, where a conflict
is read anew and tried again. Meanwhile a file is imported by the job that a browser would start. At the end the
journal must hold each edit that was answered with "saved" exactly once, in a chain without a gap.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from curator import create_app, database, history, imports
from curator.models import Changeset, Pair, Revision

OWN, SHARED = 5, 3  # pairs of each person, and of all
ROOT = Path(__file__).parent.parent


class Unfollowed(urllib.request.HTTPRedirectHandler):
    """Gives a redirect back as it is: fetching the page behind it is no part of a save."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Person:
    """Somebody who edits, and what came of it."""

    name: str
    base: str
    pairs: list[int]
    shared: list[int]
    saved: list[tuple[int, str]] = field(default_factory=list)  # pair and answer, as the server said it was saved
    took: list[tuple[float, float]] = field(default_factory=list)  # when, and how many seconds
    conflicts: int = 0
    faults: list[str] = field(default_factory=list)

    def work(self, until: threading.Event, every: float) -> None:
        """Save once every so many seconds until told to stop; a slow save makes the next one late, not two."""
        chance = random.Random(self.name)
        time.sleep(every * chance.random())
        number = 0
        while not until.is_set():
            began = time.monotonic()
            number += 1
            pair_id = chance.choice(self.shared if number % 5 == 0 else self.pairs)
            self.save(pair_id, f"{self.name} wrote this as number {number}.")
            until.wait(max(0.0, began + every - time.monotonic()))

    def save(self, pair_id: int, answer: str) -> None:
        """Read the form, and save it; once more where somebody else was quicker."""
        for _ in range(5):
            page = call(f"{self.base}/pairs/{pair_id}/edit")[1]
            revision = re.search(r'name="revision" value="(\d+)"', page)
            form = {"question": f"Question {pair_id}?", "answer": answer, "status": "draft",
                    "revision": revision[1] if revision else "0"}  # fmt: skip
            start = time.monotonic()
            status, text = call(f"{self.base}/pairs/{pair_id}/edit", form)
            self.took.append((start, time.monotonic() - start))
            if status == 303:
                self.saved.append((pair_id, answer))
                return
            if status != 409:
                plain = re.sub(r"<[^>]+>|\s+", " ", text)
                self.faults.append(f"{status}: {plain[:300]}")
                return
            self.conflicts += 1


def call(
    address: str, form: dict[str, str] | None = None, body: bytes | None = None, kind: str = ""
) -> tuple[int, str]:
    """Return the status and the text of an answer; of a redirect, where it leads to."""
    data = urllib.parse.urlencode(form).encode() if form is not None else body
    request = urllib.request.Request(address, data)
    request.add_header("Origin", re.match(r"https?://[^/]+", address)[0])  # type: ignore[index]
    if kind:
        request.add_header("Content-Type", kind)
    try:
        with urllib.request.build_opener(Unfollowed).open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location") or error.read().decode()


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """Run `flask run` in a process of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"CURATOR_HOME": str(home)}
    environment.pop("DATABASE_URL", None)
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "flask", "run", "--port", str(port)], env=environment, stdout=log, stderr=log,
            cwd=ROOT,
        )  # fmt: skip
        try:
            base = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    if call(f"{base}/pairs/")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.1)
            yield base
        finally:
            server.terminate()
            server.wait(30)


def file_of(rows: int) -> bytes:
    """Return a form with a file of made pairs, as a browser sends it."""
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("an", "el", "ir", "oto", "umi")]
    chance = random.Random(7)
    lines = (json.dumps({"question": f"{' '.join(chance.choices(words, k=10))} {n}?",
                         "answer": " ".join(chance.choices(words, k=40))}) for n in range(rows))  # fmt: skip
    head = '--x\r\nContent-Disposition: form-data; name="file"; filename="many.jsonl"\r\n\r\n'
    return (head + "\n".join(lines) + "\n\r\n--x--\r\n").encode()


def import_file(base: str, body: bytes) -> tuple[float, float]:
    """Upload a file, import it as a browser does, and wait for the end. Return when the import began and ended."""
    place = call(f"{base}/import/", body=body, kind="multipart/form-data; boundary=x")[1]
    token = place.rpartition("/")[2].partition("?")[0]
    began = time.monotonic()
    status, job = call(f"{base}/import/{token}", {"into": "main"})
    if status != 303:
        raise SystemExit(f"The import was refused: {job[:300]}")
    while True:
        status, page = call(base + job)
        if status == 503:  # it says that the new pairs are read
            time.sleep(0.2)
            continue
        state = re.search(r'data-state="(\w+)"', page)
        if state is None or state[1] not in ("waiting", "running"):
            break
        time.sleep(0.2)
    if state is None or state[1] != "done":
        raise SystemExit(f"The import ended as {state and state[1]}.")
    return began, time.monotonic()


def replay(home: Path, people: list[Person], rows: int) -> list[str]:
    """Compare the journal with what the people were told. Return each way in which they differ."""
    wrong = []
    app = create_app({"CURATOR_HOME": str(home), "DATABASE_URL": f"sqlite:///{home / 'curator.db'}"})
    with database.open_session(app) as session:
        edits = session.execute(
            sa.select(Revision.pair_id, Revision.number, Revision.before)
            .join(Revision.changeset).where(Changeset.action == "edited").order_by(Revision.pair_id, Revision.number)
        ).all()  # fmt: skip
        told = sorted(one for person in people for one in person.saved)
        stored = []
        for pair_id in {pair_id for pair_id, _ in told}:
            steps = history.timeline(session, pair_id)
            if [step.number for step in steps] != list(range(len(steps), 0, -1)):
                wrong.append(f"pair {pair_id} has a gap in its revisions")
            for newer, older in zip(steps, steps[1:], strict=False):
                if newer.before and "answer" in newer.before and older.after.get("answer") != newer.before["answer"]:
                    wrong.append(f"pair {pair_id}: revision {newer.number} does not follow from {older.number}")
            stored += [(pair_id, step.after["answer"]) for step in steps if step.before]
        wrong += [f"lost: {one}" for one in told if one not in stored]
        wrong += [f"never told as saved: {one}" for one in stored if one not in told]
        if len(stored) != len(told) or len(edits) != len(told):
            wrong.append(f"{len(told)} saves were told, the journal has {len(edits)}")
        for person in people:  # nobody else edits these, so what they say is the last that was saved
            last = dict(one for one in person.saved if one[0] in person.pairs)
            for pair_id, answer in last.items():
                if session.get_one(Pair, pair_id).answer != answer:
                    wrong.append(f"pair {pair_id} does not say what {person.name} saved last")
        imports_of = sa.select(Changeset.rows).where(Changeset.action == "imported").order_by(Changeset.id.desc())
        imported = session.scalar(imports_of.limit(1))
        if imported != rows:
            wrong.append(f"{imported} rows were imported of {rows}")
    database.engine(app).dispose()
    return wrong


def soak(
    people: int, rows: int, warm_seconds: float = 2, calm_seconds: float = 5, every: float = 1, before: int = 0
) -> dict[str, Any]:
    """Let people save, import meanwhile, and compare. Return the figures.

    The seconds that are warm are not counted: the server loads what it needs for its first saves.
    """
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        app = create_app({"CURATOR_HOME": place, "DATABASE_URL": f"sqlite:///{home / 'curator.db'}"})
        with database.open_session(app) as session:
            count = people * OWN + SHARED
            seed = home / "seed.jsonl"
            seed.write_text("".join(
                json.dumps({"question": f"Question {n}?", "answer": f"Answer {n} as it was {n * 7919}."}) + "\n"
                for n in range(1, count + before + 1)
            ))  # fmt: skip
            imports.apply(session, seed, by="bench")
        database.engine(app).dispose()
        shared = list(range(people * OWN + 1, count + 1))
        body = file_of(rows)  # before anybody saves: making it takes a second of this process, which measures
        with serving(home) as base:
            crowd = [
                Person(f"person {n}", base, list(range(n * OWN + 1, n * OWN + OWN + 1)), shared) for n in range(people)
            ]
            until = threading.Event()
            threads = [threading.Thread(target=person.work, args=(until, every)) for person in crowd]
            for thread in threads:
                thread.start()
            time.sleep(warm_seconds)
            warm = time.monotonic()
            time.sleep(calm_seconds)
            load, uploads = os.getloadavg()[0], time.monotonic()
            began, ended = import_file(base, body)
            time.sleep(1)
            until.set()
            for thread in threads:
                thread.join()
        log = (home / "server.log").read_text()
        faults = [fault for person in crowd for fault in person.faults]
        faults += ["database is locked"] * log.count("database is locked") + ["traceback"] * log.count("Traceback")
        took = [one for person in crowd for one in person.took]
        return {
            "faults": faults, "wrong": replay(home, crowd, rows), "saves": len(took),
            "conflicts": sum(person.conflicts for person in crowd), "import seconds": round(ended - began, 2),
            "first": quantiles(seconds for at, seconds in took if at < warm),
            "calm": quantiles(seconds for at, seconds in took if warm <= at and at + seconds < uploads),
            "uploading": quantiles(seconds for at, seconds in took if uploads <= at + seconds and at < began),
            "during": quantiles(seconds for at, seconds in took if began <= at + seconds and at <= ended),
            "load before": load, "load after": os.getloadavg()[0],
        }  # fmt: skip


def quantiles(seconds: Iterator[float]) -> dict[str, int]:
    """Return median, 95th percentile and highest, in milliseconds."""
    found = sorted(seconds)
    at = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(1000 * found[min(int(len(found) * q), len(found) - 1)]) for name, q in at.items() if found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--before", type=int, default=0, help="pairs that are there already")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    for _ in range(asked.rounds):
        print(json.dumps(soak(asked.people, asked.rows, before=asked.before)), flush=True)


if __name__ == "__main__":
    main()
