"""Texts in, one unit vector a text out, by a sentence-transformers model. Knows no pair and no search.

The vectors are a .npy file in the order of the texts, with a .json of the same name beside it that says
which model made them. Progress goes to standard error, once a second: to a terminal in words, to
another process as lines such as {"done": 4096, "total": 100000}.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import UserError
from trainer.hub import hub_answers
from trainer.record import write_whole

if TYPE_CHECKING:
    import numpy as np

DEFAULT_MODEL = "all-MiniLM-L6-v2"
# Sorted by length within a chunk, texts need little padding; and after a kill no more than a chunk is lost.
CHUNK = 4096
# What decides the vectors of a model. Its weights are read from safetensors only.
MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")


@dataclass
class Texts:
    """A file of texts, one {"id", "text"} a line, read once and found good."""

    path: Path
    count: int = 0
    ids: Any = field(default_factory=hashlib.sha256)
    content: Any = field(default_factory=hashlib.sha256)


def embed(texts_file: str, output: str, model: str = DEFAULT_MODEL, batch_size: int = 32, device: str = "auto") -> Path:
    """Write the vectors of the texts of a file: .npy, float16, each of length 1. Return its path.

    Float16 moves a cosine by at most 0.0002 and halves the file. A run that was ended goes on where it was,
    at most a chunk before, where texts and model are the same. Raises UserError.
    """
    target = check_output(output)
    texts = check_texts(Path(texts_file))
    folder, name = find_model(model)
    identity = {"model": model, "source": name, "fingerprint": fingerprint(folder)}
    encoder = load(folder, device)
    truncated = write_vectors(texts, target, encoder, batch_size, identity)
    if truncated:
        say(f"{truncated:,} of the texts have more than {encoder.max_seq_length} tokens: their ends were left out.")
    return target


def check_output(output: str) -> Path:
    target = Path(output)
    if target.suffix != ".npy":
        raise UserError(f"The vectors are written as a .npy file, and {target} is none. Write: -o {target}.npy")
    if not target.parent.is_dir():
        raise UserError(f"There is no folder {target.parent}. Make it, or name another with -o.")
    return target


def read_texts(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield id and text of each line. Raises UserError with the line that cannot be used."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield read_line(line, f"{path.name} line {number}")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8. Write it again as UTF-8.") from None


def read_line(line: str, where: str) -> tuple[Any, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UserError(f'{where} is not JSON. Each line must be like: {{"id": 1, "text": "…"}}') from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not isinstance(row.get("id"), int | str):
        raise UserError(f'{where} lacks an id or a text. Each line must be like: {{"id": 1, "text": "…"}}')
    if not row["text"].strip():
        raise UserError(f"{where} has an empty text, which is like nothing. Take the line out.")
    return row["id"], row["text"].encode("utf-8", "replace").decode()  # half a surrogate pair is no letter


def check_texts(path: Path) -> Texts:
    """Read the whole file once, so that a fault in its last line is told now and not after an hour."""
    texts = Texts(path)
    for name, text in read_texts(path):
        texts.count += 1
        texts.ids.update(json.dumps(name).encode() + b"\n")
        texts.content.update(json.dumps(text).encode() + b"\n")
    if not texts.count:
        raise UserError(f"{path} holds no texts.")
    return texts


def find_model(name: str) -> tuple[Path, str]:
    """Return the folder of a model and its full name: a folder, or what the hub or its cache has.

    A name without an owner is one of sentence-transformers' own. Nothing is asked of the network where
    the cache has it. Raises UserError.
    """
    if find_spec("sentence_transformers") is None:
        raise UserError("Embedding needs sentence-transformers. Install it with: pip install 'qa-curator[semantic]'")
    import huggingface_hub

    folder = Path(name).expanduser()
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return folder, str(folder.resolve())
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"The model {name} is not a folder with a model in it.")
    full_name = name if "/" in name else f"sentence-transformers/{name}"
    for offline in (True, False):
        if not offline and not hub_answers():
            raise UserError(
                f"The model {full_name} is not in the Hugging Face cache, and the hub cannot be reached. "
                "Name the folder of a model that is on this machine with --model FOLDER."
            )
        try:
            found = huggingface_hub.snapshot_download(
                full_name, allow_patterns=list(MODEL_FILES), local_files_only=offline
            )
        except (OSError, ValueError) as error:
            if not offline:
                reason = " ".join(str(error).split())
                raise UserError(f"The model {full_name} cannot be had from the hub: {reason[:300]}") from None
        else:
            if any(Path(found).glob("*.safetensors")):
                return Path(found), full_name
    raise UserError(f"The model {full_name} has no safetensors, and weights of other kinds are not read.")


def fingerprint(folder: Path) -> str:
    """Return a sha256 of all that decides a model's vectors: its weights, tokenizer and settings."""
    found = hashlib.sha256()
    for path in sorted({path for pattern in MODEL_FILES for path in folder.rglob(pattern)}):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return found.hexdigest()


def load(folder: Path, device: str) -> Any:
    """Return the model in a folder, in float32. Raises UserError where it, or the device, is not to be had.

    In bfloat16 a CPU is nearly twice as quick, but cosines are off by up to 0.008.
    """
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.disable_progress_bar()
    try:
        place = None if device == "auto" else str(torch.zeros(0, device=device).device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"There is no device {device} here. Choose auto, cpu, cuda or mps.") from None
    try:
        model = SentenceTransformer(
            str(folder),
            device=place,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The model in {folder} cannot be loaded: {reason[:300]}") from error
    return model


def write_vectors(texts: Texts, target: Path, encoder: Any, batch_size: int, identity: dict[str, Any]) -> int:
    """Embed the texts chunk by chunk, and put the files in their place when whole. Return how many were cut."""
    import numpy as np

    dimensions = encoder.get_embedding_dimension()
    part, state = target.with_name(f".{target.name}.part"), target.with_name(f".{target.stem}.json.part")
    key = hashlib.sha256(json.dumps([identity, texts.content.hexdigest(), dimensions]).encode()).hexdigest()
    done, truncated = read_state(state, key, part)
    vectors = np.lib.format.open_memmap(
        part, mode="r+" if done else "w+", dtype=np.float16, shape=(texts.count, dimensions)
    )
    if done:
        say(f"Going on after the {done:,} texts that were embedded before.")
    progress = Progress(done, texts.count)
    rows = islice((text for _, text in read_texts(texts.path)), done, None)
    while chunk := list(islice(rows, CHUNK)):
        if done + len(chunk) > texts.count:
            raise UserError(f"{texts.path} was changed while it was read. Start again.")
        truncated += count_long(encoder, chunk)
        order = np.argsort([len(text) for text in chunk], kind="stable")
        for places in np.split(order, range(4 * batch_size, len(order), 4 * batch_size)):
            vectors[done + places] = encode(encoder, [chunk[place] for place in places], batch_size)
            progress.add(len(places))
        vectors.flush()
        done += len(chunk)
        write_whole(state, json.dumps({"key": key, "done": done, "truncated": truncated}))
    del vectors
    facts = identity | {
        "dimensions": dimensions,
        "count": texts.count,
        "dtype": "float16",
        "ids_sha256": texts.ids.hexdigest(),
        "max_tokens": encoder.max_seq_length,
        "truncated": truncated,
    }
    os.replace(part, target)
    write_whole(target.with_suffix(".json"), json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
    state.unlink()
    return truncated


def read_state(state: Path, key: str, part: Path) -> tuple[int, int]:
    """Return how many texts an ended run of the same texts and model embedded, and how many it cut."""
    try:
        left = json.loads(state.read_text("utf-8"))
        return (left["done"], left["truncated"]) if left["key"] == key and part.exists() else (0, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def encode(encoder: Any, texts: list[str], batch_size: int) -> np.ndarray:
    """Return the unit vectors of texts. Raises UserError where the model gives none."""
    import numpy as np

    vectors = encoder.encode(texts, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False)
    if not np.isfinite(vectors).all():
        raise UserError("The model gave vectors that are no numbers. Its weights are damaged: choose another --model.")
    return vectors


def count_long(encoder: Any, texts: list[str]) -> int:
    """Return how many texts the model reads only the beginning of."""
    limit = encoder.max_seq_length
    # Every token but the two around a text takes at least a byte.
    long = [text for text in texts if limit and len(text.encode()) > limit - 2]
    return sum(len(ids) > limit for ids in encoder.tokenizer(long)["input_ids"]) if long else 0


class Progress:
    """Tells how far the work is, once a second and at its end."""

    def __init__(self, done: int, total: int) -> None:
        self.start = self.done = done
        self.total = total
        self.started = time.monotonic()
        self.told = 0.0

    def add(self, texts: int) -> None:
        self.done += texts
        now = time.monotonic()
        if now - self.told < 1 and self.done < self.total:
            return
        self.told = now
        if not sys.stderr.isatty():
            say(json.dumps({"done": self.done, "total": self.total}))
            return
        rate = (self.done - self.start) / max(now - self.started, 1e-6)
        left = (self.total - self.done) / rate
        words = f"{self.done:,} of {self.total:,} texts, {rate:,.0f} a second, {left:,.0f} seconds left"
        print(f"\r{words:78}", end="\n" if self.done == self.total else "", file=sys.stderr, flush=True)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
