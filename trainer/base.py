"""The built-in base: a small language model and its tokenizer, made here from the text in primer/.

It is a teaching model: it shows that fine-tuning works, on any machine and without network, and it
knows next to nothing. Making it takes under a minute; it is then kept in the home folder of Curator.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NOTE = "The built-in base is a teaching model, made from 300 kB of text. Name a real one with: --base"
PRIMER = Path(__file__).parent / "primer"
PAD, END, ROLES = "<|pad|>", "<|end|>", ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """How the base is made. A change of any number makes another base, kept beside the old one."""

    vocabulary: int = 3072
    hidden_size: int = 192
    layers: int = 3
    heads: int = 3
    intermediate_size: int = 512
    steps: int = 220
    rows: int = 16
    row_tokens: int = 128
    learning_rate: float = 6e-3
    weight_decay: float = 0.1
    warmup_steps: int = 10
    seed: int = 1
    # More threads than two gain little at this size, and another number would give another model.
    threads: int = 2


def home() -> Path:
    """Return the folder where everything of this user is kept; the web app has the same rule."""
    here = Path(__file__).parent
    if os.environ.get("CURATOR_HOME"):
        return Path(os.environ["CURATOR_HOME"]).expanduser().absolute()
    if (here.parent / "templates").is_dir():
        return here.parent / "instance"
    import platformdirs

    return platformdirs.user_data_path("curator")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def ensure(recipe: Recipe = Recipe()) -> Path:
    """Return the folder of the built-in base, which is made first where it is not there yet.

    It is made in a folder beside and renamed when whole: a kill leaves no half of it, and of two
    programs that make it at once the first one's is kept.
    """
    text = "\n\n".join(file.read_text("utf-8").strip() for file in sorted(PRIMER.glob("*.txt")))
    folder = home() / "base" / sha256(text + json.dumps(asdict(recipe)) + CHAT_TEMPLATE)[:16]
    if folder.is_dir():
        return folder
    print("Making the built-in base, a small teaching model, once: about a minute.", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        make(text, recipe, staging)
        with contextlib.suppress(OSError):  # another program was quicker, and its base is the same
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def make(text: str, recipe: Recipe, folder: Path) -> None:
    """Train tokenizer and model on the text, and save both into the folder."""
    blocks = [read_block(block) for block in text.split("\n\n") if block.strip()]
    tokenizer = make_tokenizer(blocks, recipe.vocabulary)
    documents = [tokenizer(render_block(block, tokenizer)).input_ids for block in blocks]
    model = train(documents, tokenizer, recipe)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_block(block: str) -> list[dict[str, str]] | str:
    """Return the messages of a block of the form "Q: …, A: …", or the text of a plain one."""
    question, found, answer = block.strip().partition("\nA: ")
    if not found or not question.startswith("Q: "):
        return block.strip()
    return [
        {"role": "user", "content": question.removeprefix("Q: ")},
        {"role": "assistant", "content": answer},
    ]


def render_block(block, tokenizer):
    raise NotImplementedError


def make_tokenizer(blocks, vocabulary):
    raise NotImplementedError


def train(documents, tokenizer, recipe):
    raise NotImplementedError
