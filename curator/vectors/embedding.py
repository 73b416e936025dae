"""Texts are embedded by the trainer, in a process of its own: torch never enters this one."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from curator.errors import UserError
from curator.vectors.store import Store

# Starting the process takes some seconds, a batch some minutes; what a finished batch made is kept.
BATCH = 20_000
HERE = Path(__file__).parents[2]  # where `python -m trainer` finds the trainer, in a checkout and in a wheel


class Embedded(NamedTuple):
    """How many texts were given a vector, and of how many the model read only the beginning."""

    texts: int
    truncated: int


def embed(
    store: Store,
    texts: Iterable[str],
    model: str,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> Embedded:
    """Give each text that has none its vector.

    `on_progress` is called twice a second; what it raises ends the process and the work, and finished batches
    stay. Blank texts are left alone: they say nothing. Raises UserError with what the trainer could not do.
    """
    distinct = [text for text in dict.fromkeys(texts) if text.strip()]
    made = truncated = 0
    while missing := store.missing(model, distinct):
        total = made + len(missing)
        batch = missing[:BATCH]
        with tempfile.TemporaryDirectory(prefix="curator-") as folder:
            vectors = run_trainer(Path(folder), batch, model, lambda done: on_progress(made + done, total))  # noqa: B023
            store.add(model, batch, vectors)
            truncated += json.loads(vectors.with_suffix(".json").read_text("utf-8"))["truncated"]
        made += len(batch)
    return Embedded(made, truncated)


def run_trainer(folder: Path, texts: Sequence[str], model: str, on_progress: Callable[[int], object]) -> Path:
    """Return the file of vectors that the trainer makes of texts. Raises UserError with what it says."""
    source, target = folder / "texts.jsonl", folder / "vectors.npy"
    source.write_text("".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)), "utf-8")
    place = str(Path(model).absolute()) if Path(model).is_dir() else model  # the process has a folder of its own
    command = [sys.executable, "-m", "trainer", "embed", str(source), "-o", str(target), "--model", place]
    process = subprocess.Popen(
        command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    listener = threading.Thread(target=listen, args=(process, said), daemon=True)
    listener.start()
    done, words = 0, []
    try:
        while process.poll() is None or listener.is_alive() or not said.empty():
            try:
                line = said.get(timeout=0.5)
            except queue.Empty:
                line = ""
            if line.startswith('{"done"'):
                done = json.loads(line)["done"]
            elif line:
                words.append(line.strip())
            on_progress(done)
    finally:
        stop(process)
        listener.join()
        if process.stderr:
            process.stderr.close()
    if process.returncode:
        fault = next((line.removeprefix("Error: ") for line in words if line.startswith("Error: ")), None)
        if fault:
            raise UserError(fault)
        raise RuntimeError("The trainer failed:\n" + "\n".join(words[-30:]))
    return target


def listen(process: subprocess.Popen[str], said: queue.SimpleQueue[str]) -> None:
    for line in process.stderr or ():
        said.put(line)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process that still runs: kindly, and after ten seconds not."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
