"""A base small enough to fine-tune in seconds, made without network, and bases with what real ones lack."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: threads that wait by spinning make these tests ten times slower beside other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SUMS = [(f"What is {a} plus {b}?", f"It is {a + b}.") for a in range(6) for b in range(5)]


def make_tokenizer(**changes: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        [text for pair in SUMS for text in pair],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    options = {"pad_token": "<|pad|>", "eos_token": "<|im_end|>", "chat_template": CHATML} | changes
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, extra_special_tokens=["<|im_start|>"], **{k: v for k, v in options.items() if v}
    )


def make_base(folder: Path, *, hidden_size: int = 64, vocabulary: int | None = None, **changes: Any) -> Path:
    """Save a tiny Llama with random weights; `changes` are to its tokenizer, None takes away."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    tokenizer = make_tokenizer(**changes)
    set_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary or len(tokenizer),
            hidden_size=hidden_size,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=2 * hidden_size,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.2,  # adapters on weights of the usual 0.02 learn nothing
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries as they are imported
        yield make_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty questions and answers, as flask export writes them."""
    file = tmp_path_factory.mktemp("data") / "sums.jsonl"
    lines = (
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in SUMS
    )
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file
