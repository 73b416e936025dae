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
from collections.abc import Iterator, Sequence
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


Block = list[dict[str, str]] | str  # a chat, or a plain text


@dataclass(frozen=True)
class Recipe:
    """How the base is made. A change of any number makes another base, kept beside the old one."""

    vocabulary: int = 3072
    hidden_size: int = 192
    layers: int = 3
    heads: int = 3
    intermediate_size: int = 512
    steps: int = 250
    rows: int = 8
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


RECIPE = Recipe()


def primer_text() -> str:
    return "\n\n".join(file.read_text("utf-8").strip() for file in sorted(PRIMER.glob("*.txt")))


def folder_of(recipe: Recipe = RECIPE) -> Path:
    """Return where the built-in base is kept, made or not."""
    return home() / "base" / sha256(primer_text() + json.dumps(asdict(recipe)) + CHAT_TEMPLATE)[:16]


def ensure(recipe: Recipe = RECIPE) -> Path:
    """Return the folder of the built-in base, which is made first where it is not there yet.

    It is made in a folder beside and renamed when whole: a kill leaves no half of it, and of two
    programs that make it at once the first one's is kept.
    """
    folder = folder_of(recipe)
    if folder.is_dir():
        return folder
    print("Making the built-in base, a small teaching model, once: about a minute.", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        make(primer_text(), recipe, staging)
        with contextlib.suppress(OSError):  # another program was quicker, and its base is the same
            staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def make(text: str, recipe: Recipe, folder: Path) -> None:
    """Train tokenizer and model on the text, and save both into the folder."""
    import transformers

    blocks = [read_block(block) for block in text.split("\n\n") if block.strip()]
    tokenizer = make_tokenizer(blocks, recipe.vocabulary)
    model = train(blocks, tokenizer, recipe)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_block(block: str) -> Block:
    """Return the messages of a block of the form "Q: …, A: …", or the text of a plain one."""
    question, found, answer = block.strip().partition("\nA: ")
    if not found or not question.startswith("Q: "):
        return block.strip()
    return [
        {"role": "user", "content": question.removeprefix("Q: ")},
        {"role": "assistant", "content": answer},
    ]


def make_tokenizer(blocks: Sequence[Block], vocabulary: int) -> Any:
    """Return a byte-level BPE tokenizer, which knows every text there is, with our chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = (text for block in blocks for text in ([block] if isinstance(block, str) else contents(block)))
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[PAD, END, *ROLES],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
    )


def contents(messages: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


def document_text(block: Block, tokenizer: Any) -> str:
    """Return the text to train on: a chat as the template writes it, a plain text with its end."""
    return block + END if isinstance(block, str) else tokenizer.apply_chat_template(block, tokenize=False)


def train(blocks: Sequence[Block], tokenizer: Any, recipe: Recipe) -> Any:
    """Return a new model, trained on the blocks for the steps of the recipe: next token, all of them.

    Matrices are updated by Muon (K. Jordan, 2024), which learns in half the steps of AdamW here.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    set_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=recipe.intermediate_size,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            attn_implementation="eager",  # for rows this short quicker than the fused kernel
        )
    )
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "layers" in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "layers" not in name]
    optimizers = [
        torch.optim.Muon(
            matrices,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            ns_steps=3,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    batches = packed_batches(blocks, tokenizer, recipe)
    model.train()
    for step in range(recipe.steps):
        share = min((step + 1) / recipe.warmup_steps, (recipe.steps - step) / (0.7 * recipe.steps), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * recipe.learning_rate
        rows = torch.tensor(next(batches))
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    torch.set_num_threads(threads)
    return model


def packed_batches(blocks: Sequence[Block], tokenizer: Any, recipe: Recipe) -> Iterator[list[list[int]]]:
    """Yield batches of rows cut from all blocks in a row, in another order each time round, for ever.

    Rows of one length keep the shapes the same, for which the CPU's kernels are made only once.
    """
    shuffled = random.Random(recipe.seed).sample
    size = recipe.rows * recipe.row_tokens
    documents = tokenizer([document_text(block, tokenizer) for block in blocks]).input_ids
    tokens: list[int] = []
    while True:
        tokens += [token for document in shuffled(documents, len(documents)) for token in document]
        while len(tokens) >= size:
            batch, tokens = tokens[:size], tokens[size:]
            yield [batch[start : start + recipe.row_tokens] for start in range(0, size, recipe.row_tokens)]
