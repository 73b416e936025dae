"""How large a base is, from its config.json and the headers of its weights. Knows no torch, and loads no weight."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import UserError
from trainer.hub import hub_answers
from trainer.tokenizer import FILES, read_json

# Two matrices a feed-forward block; all others have the third, which gates.
UNGATED = {
    *("gpt2", "gpt_neo", "gptj", "gpt_neox", "gpt_bigcode", "opt", "bloom", "falcon", "mpt", "codegen"),
    *("phi", "starcoder2", "xglm", "biogpt"),
}
LEARNED_POSITIONS = {"gpt2", "gpt_neo", "gpt_bigcode", "opt", "xglm", "biogpt"}
# Each size has had several names.
HIDDEN = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
UNSAID_CONTEXT = 2048


@dataclass(frozen=True)
class Architecture:
    """The sizes that decide what a base needs. Weights are counted, not bytes."""

    model_type: str
    hidden_size: int
    layers: int
    vocabulary: int  # rows of the embedding
    context: int  # tokens the base was made for
    weights: int
    linear_weights: int  # of the matrices that are quantised and adapted: all but embedding and head
    linear_width: int  # inputs and outputs of those matrices added up: an adapter has rank x this many weights
    tied: bool
    counted_from: str  # "headers" of the weights, or "config"
    kept_width: int  # numbers that a layer keeps of each token for the way back, those in float32 aside
    cache_width: int  # numbers that a layer keeps of each token while answering: its key and its value

    @property
    def embedding_weights(self) -> int:
        return self.weights - self.linear_weights

    @property
    def has_learned_positions(self) -> bool:
        return self.model_type in LEARNED_POSITIONS

    def adapter_weights(self, rank: int) -> int:
        return rank * self.linear_width

    @property
    def matrix_weights(self) -> int:
        """Weights that every token is multiplied with: the linear ones and the output head."""
        return self.linear_weights + self.vocabulary * self.hidden_size


def locate(name: str) -> Path:
    """Return the folder with the configuration and the tokenizer of a base other than the built-in one.

    What the Hugging Face cache holds is taken from there; else only the small files are fetched, and
    only where the hub answers. Raises UserError.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"The base {name} is not a folder with a model in it.")
    import huggingface_hub

    is_cached = all(
        isinstance(huggingface_hub.try_to_load_from_cache(name, file), str)
        for file in ("config.json", "tokenizer_config.json")
    )
    if not is_cached and not hub_answers():
        raise UserError(
            f"The base {name} is neither a folder nor in the Hugging Face cache, and the hub cannot be reached. "
            "Name a folder, or take the base that needs no network: --base builtin"
        )
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES), local_files_only=is_cached))
    except Exception as error:  # each HTTP library has its own; the hub's say what is missing
        reason = " ".join(str(error).split())
        raise UserError(f"The base {name} cannot be fetched: {reason[:300]}") from error


def read_architecture(folder: Path) -> Architecture:
    """Return the sizes of the base in a folder. Raises UserError where its config.json does not say them."""
    if not (folder / "config.json").is_file():
        if (folder / "run.json").is_file() or (folder / "adapter_config.json").is_file():
            raise UserError(
                f"{folder} holds an adapter, which is no base of its own. Merge it first: "
                "python -m trainer merge RUN -o FOLDER — and name that folder."
            )
        raise UserError(f"{folder} holds no config.json, so there is no base in it. Name the folder of a model.")
    if not list(folder.glob("*.safetensors")) and (pickles := [*folder.glob("*.bin"), *folder.glob("*.pt*")]):
        raise UserError(
            f"The weights in {folder} are pickled ({pickles[0].name}), which could run any code when read. "
            "Take the base with .safetensors files."
        )
    said = read_json(folder / "config.json")
    config = said | (said.get("text_config") or {})
    try:
        hidden, layers, heads = (int(pick(config, names)) for names in (HIDDEN, LAYERS, HEADS))
        vocabulary = int(config["vocab_size"])
        context = int(pick(config, CONTEXT, 0)) or UNSAID_CONTEXT
        if min(hidden, layers, heads, vocabulary, context) < 1:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(
            f"{folder / 'config.json'} does not say how wide and deep the base is. Name the folder of a language model."
        ) from None
    model_type = str(config.get("model_type"))
    tied = bool(said.get("tie_word_embeddings", config.get("tie_word_embeddings", model_type in UNGATED)))
    counts = None if said.get("quantization_config") else count_headers(folder)
    source = "config" if counts is None else "headers"
    if counts is None:
        counts = count_config(config, model_type, hidden, layers, heads, vocabulary, context, tied)
    widths = count_kept(config, hidden, heads)
    return Architecture(model_type, hidden, layers, vocabulary, context, *counts, tied, source, *widths)


def digest_weights(folder: Path) -> str | None:
    """Return a sha256 that other weights of the same shapes do not share, in milliseconds; None where there are none.

    It is of the header and of 256 places of each file: training changes almost every number.
    """
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as opened:
            header = opened.read(min(size, 8 + int.from_bytes(opened.read(8), "little")))
            digest.update(size.to_bytes(8) + header)
            for place in range(256):
                opened.seek(len(header) + (size - len(header)) * place // 256)
                digest.update(opened.read(1024))
    return digest.hexdigest() if files else None


def pick(config: dict[str, Any], names: tuple[str, ...], *default: Any) -> Any:
    """Return the value of the first of the names that has one. Raises KeyError where none has and nothing is given."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    if default:
        return default[0]
    raise KeyError(names[0])


def count_config(
    config: dict[str, Any],
    model_type: str,
    hidden: int,
    layers: int,
    heads: int,
    vocabulary: int,
    context: int,
    tied: bool,
) -> tuple[int, int, int]:
    """Return weights, linear weights and linear width by the formula of a decoder, right within a percent or two."""
    head = int(config.get("head_dim") or hidden // heads)
    key_heads = int(config.get("num_key_value_heads") or heads)
    inner = int(pick(config, INNER, 4 * hidden))
    shapes = [(hidden, heads * head), (hidden, key_heads * head), (hidden, key_heads * head), (heads * head, hidden)]
    block = [(hidden, inner), (inner, hidden), *([] if model_type in UNGATED else [(hidden, inner)])]
    experts = int(pick(config, EXPERTS, 0))
    if experts:
        inner = int(config.get("moe_intermediate_size") or inner)
        block = [(hidden, inner), (inner, hidden), (hidden, inner)] * experts + [(hidden, experts)]
    linear = layers * sum(rows * columns for rows, columns in shapes + block)
    width = layers * sum(rows + columns for rows, columns in shapes + block)
    embedding = vocabulary * hidden * (1 if tied else 2)
    positions = context * hidden if model_type in LEARNED_POSITIONS else 0
    norms = (2 * layers + 1) * hidden
    return linear + embedding + positions + norms, linear, width


def count_kept(config: dict[str, Any], hidden: int, heads: int) -> tuple[int, int]:
    """Return how many numbers of each token a layer keeps for the way back, and how many for the tokens to come.

    Those are what its matrices read, attention's three inputs, and what the feed-forward block makes in four steps.
    """
    head = int(config.get("head_dim") or hidden // heads)
    key_heads = int(config.get("num_key_value_heads") or heads)
    inner = int(pick(config, INNER, 4 * hidden))
    if pick(config, EXPERTS, 0):  # each token passes some of them
        inner = int(config.get("moe_intermediate_size") or inner) * int(config.get("num_experts_per_tok") or 1)
    return 3 * hidden + (heads + 2 * key_heads) * head + 4 * inner, 2 * key_heads * head


def count_headers(folder: Path) -> tuple[int, int, int] | None:
    """Return weights, linear weights and linear width by the headers of the weights; None where they are not there.

    Raises UserError where a file of weights has no header that can be read.
    """
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with file.open("rb") as opened:
                header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
                begin, size = opened.tell(), opened.seek(0, 2)
            tensors = {name: each for name, each in header.items() if name != "__metadata__"}
            shapes |= {name: each["shape"] for name, each in tensors.items()}
            whole = begin + max((each["data_offsets"][1] for each in tensors.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, MemoryError):
            raise UserError(f"{file} is not whole: its header cannot be read. Take the base anew.") from None
        if size != whole:
            raise UserError(f"{file} is not whole: it has {size:,} bytes, not {whole:,}. Take the base anew.")
    if not shapes:
        return None
    index = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    if missing := sorted(set(index.values()) - {file.name for file in folder.glob("*.safetensors")}):
        if len(missing) == len(set(index.values())):
            return None
        raise UserError(f"{folder / missing[0]} is not there, though its index names it. Take the base anew.")
    weights = sum(math.prod(shape) for shape in shapes.values())
    linear = [shape for name, shape in shapes.items() if len(shape) > 1 and is_linear(name)]
    # Experts may be one block of three dimensions: the last two are the matrices.
    width = sum(math.prod(shape[:-2]) * (shape[-1] + shape[-2]) for shape in linear)
    return weights, sum(math.prod(shape) for shape in linear), width


def is_linear(name: str) -> bool:
    parts = name.split(".")
    return not any(part in parts for part in ("lm_head", "embed_out", "wte", "wpe")) and "embed" not in name
