"""How much memory, time and disk a run takes: each number by a formula, with its parts. Pure arithmetic."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from trainer.architecture import Architecture
from trainer.config import FilledConfig

NF4_BITS = 4.127  # a weight, its share of the scales and of the scales' scales included
ADAM = 4 + 4 + 8  # bytes a trained weight: itself, its gradient and Adam's two means, all in float32
CAST = 2  # bytes a weight in float32 that is computed with in bfloat16
FIXED = {"cpu": 0.6e9, "cuda": 0.6e9}  # the libraries, or CUDA's context, and workspaces
COMPILED = {"cpu": 0.15e9, "cuda": 0.0}  # what oneDNN has compiled for the shapes of a step, in bfloat16 alone
# What comes and goes within a step lies in the heap of a CPU with room between: measured with glibc, which gives none
# of it back (see trainer/environment.py).
SPREAD = {"cpu": 1.65, "cuda": 1.0}
NORMS = 8  # bytes that a layer keeps of each token in float32, times the width; as much again where norms are trained
# Bytes that each layer keeps of each token, times the width, where the rest is computed again; and those of one layer.
KEPT_CHECKPOINTED, COMPUTED_AGAIN = 2, 34
MOST_AT_ONCE = {"cpu": 4096, "cuda": 16384}  # tokens of a part: more of them are no faster
ENOUGH_AT_ONCE = 2048  # below, a GPU waits for the calls
LOGITS = 2  # numbers for each entry of the vocabulary and trained token: itself and its gradient
PROMPTS_AT_ONCE = 32


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training step, by part."""

    weights: float
    adapters: float  # or, where all weights are trained, their gradients and means
    activations: float
    logits: float
    fixed: float
    answering: float  # what the prompts that are answered together keep of each token, when no step is done
    checkpointed: bool

    @property
    def total(self) -> float:
        return self.weights + self.adapters + max(self.activations + self.logits, self.answering) + self.fixed

    @property
    def at_the_peak(self) -> tuple[str, ...]:
        """The parts that add up to the total: a step is done, or prompts are answered, never both at once."""
        answers = self.answering > self.activations + self.logits
        return ("weights", "adapters", *(("answering",) if answers else ("activations", "logits")), "fixed")

    def as_json(self) -> dict[str, Any]:
        return {name: round(value) if name != "checkpointed" else value for name, value in asdict(self).items()} | {
            "total": round(self.total)
        }


def estimate(
    base: Architecture,
    *,
    quantisation: str,
    rank: int | None,
    tokens: int,
    trained_tokens: int,
    dtype: str,
    checkpointed: bool,
    device: str,
    answered_tokens: int = 0,
) -> Memory:
    """Return the memory of a step that works through `tokens` at once, `trained_tokens` of them with labels.

    `rank` is the adapter's, None where all weights are trained. `dtype` is what is computed in. `answered_tokens` are
    those of the prompts that are answered together, and of their answers.
    """
    size = 2 if dtype == "bfloat16" else 4
    cast = CAST if dtype == "bfloat16" else 0
    if rank is None:
        weights, trained = 4.0 * base.weights, (ADAM - 4.0) * base.weights + cast * base.linear_weights
    else:
        linear = {"nf4": NF4_BITS / 8, "int8": 1.0}.get(quantisation, float(size))
        weights = linear * base.linear_weights + size * base.embedding_weights
        trained = float((ADAM + cast) * base.adapter_weights(rank))
    if checkpointed:
        kept = (KEPT_CHECKPOINTED * base.layers + COMPUTED_AGAIN) * size / 2 * base.hidden_size
    else:
        kept = base.layers * (size * base.kept_width + NORMS * base.hidden_size * (2 if rank is None else 1))
    kept *= SPREAD[device]
    logits = float(SPREAD[device] * LOGITS * size * base.vocabulary * trained_tokens)
    answering = float(size * base.layers * base.cache_width * answered_tokens)
    fixed = FIXED[device] + (COMPILED[device] if dtype == "bfloat16" else 0)
    return Memory(weights, trained, kept * tokens, logits, fixed, answering, checkpointed)


def choose_part(
    base: Architecture,
    config: FilledConfig,
    *,
    longest: int,
    trained_share: float,
    dtype: str,
    device: str,
    room: float,
    answered_tokens: int = 0,
    most_tokens: int | None = None,
    pieces: int = 1,
) -> tuple[int, Memory]:
    """Return how many tokens a step works through at once, and the memory that takes: what fits `room`, or the least.

    Weights that lie in `pieces` over as many processes take that much less of each.

    A part is never shorter than the longest line, and none has more than `most_tokens`, those of the largest step.
    What lies between the layers is computed again only where a part worth its calls does not fit otherwise, since that
    costs a third of the speed.
    """
    most = max(longest, config.tokens_at_once or MOST_AT_ONCE[device])
    least = most if config.tokens_at_once else longest
    for checkpointed in (False, True):
        tokens, enough = most, least if checkpointed else max(least, min(most, ENOUGH_AT_ONCE))
        while True:
            needed = estimate(
                base,
                quantisation=config.quantisation,
                rank=None if config.adapter == "none" else config.rank,
                tokens=min(tokens, most_tokens or tokens),
                trained_tokens=round(trained_share * min(tokens, most_tokens or tokens)),
                dtype=dtype,
                checkpointed=checkpointed,
                device=device,
                answered_tokens=answered_tokens,
            )
            needed = replace(needed, weights=needed.weights / pieces, adapters=needed.adapters / pieces)
            if needed.total <= room:
                return tokens, needed
            if tokens <= enough:
                break
            tokens = max(tokens // 2, enough)
    return tokens, needed


def flops_of_a_token(base: Architecture, *, trains_all: bool, checkpointed: bool) -> float:
    """Return the arithmetic of one trained token: forwards, backwards, and forwards again where it is checkpointed."""
    return (2 + 2 + 2 * trains_all + 2 * checkpointed) * base.matrix_weights


def run_bytes(base: Architecture, rank: int | None) -> int:
    """Return what a run needs on the disk at its largest: the adapter, and three checkpoints with Adam's means."""
    trained = base.weights if rank is None else base.adapter_weights(rank)
    return 4 * trained + 3 * 12 * trained + 50_000_000


def in_words(size: float) -> str:
    """Return bytes as people read them: "24.7 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
