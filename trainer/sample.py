"""Answers, many at a time. Knows the model and the prompt ids; measures nothing."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from trainer import UserError
from trainer.config import FilledConfig
from trainer.dataset import Example, Renderer
from trainer.memory import PROMPTS_AT_ONCE
from trainer.model import Device


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen: at temperature 0 the likeliest, else by chance among those that are left."""

    temperature: float = 0.0
    top_k: int = 0  # the likeliest so many; 0: all
    top_p: float = 1.0  # the likeliest that have this probability together
    repetition_penalty: float = 1.0  # divides the logit of what was said before; 1: none


PRESETS = {"greedy": Decoding(), "creative": Decoding(temperature=0.9, top_k=30, top_p=0.95)}


# A base may come with settings of its own, such as a repetition penalty; generate would add them to what is asked for.
PLAIN = {"do_sample": False, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0, "num_beams": 1}


@dataclass(frozen=True)
class Answer:
    """What a model said to one prompt: finish is "stop" where it ended itself, "length" where it was cut."""

    text: str
    finish: str
    tokens: int


@contextlib.contextmanager
def answering(model: Any) -> Iterator[None]:
    """Put a model in order for answering, without dropout and gradients, and back to training after."""
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train()


def generate(
    model: Any,
    renderer: Renderer,
    examples: Sequence[Example],
    config: FilledConfig,
    device: Device,
    decoding: Decoding | None = None,
) -> list[Answer]:
    """Return one answer to the prompt of each example, in the order of the examples.

    Prompts are answered in batches of like length, padded on the left. Chance has a seed of its own for each prompt,
    made from the run's seed and the prompt: the answer to it depends on its batch only by rounding.
    """
    decoding = decoding or Decoding(config.temperature)
    prompts = [renderer.prompt_ids(example.prompt) for example in examples]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: dict[int, Answer] = {}
    with answering(model), device.autocast():
        for start in range(0, len(order), PROMPTS_AT_ONCE):
            batch = order[start : start + PROMPTS_AT_ONCE]
            some = [prompts[index] for index in batch]
            seeds = [seed_of(config.seed, prompt) for prompt in some]
            said = continue_all(model, renderer, some, seeds, config.max_new_tokens, decoding)
            for index, ids in zip(batch, said, strict=True):
                answers[index] = read_answer(ids, renderer)
    return [answers[index] for index in range(len(prompts))]


def seed_of(seed: int, prompt: Sequence[int]) -> int:
    """Return the seed of the answer to one prompt in one run."""
    return int.from_bytes(hashlib.sha256(f"{seed} {list(prompt)}".encode()).digest()[:7])


class OwnChance:
    """Adds to the logits of each row noise of its own seed: the likeliest token then is one drawn by chance.

    Source: the Gumbel-max trick; E. J. Gumbel, Statistical theory of extreme values, 1954.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.chances = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        waits = torch.stack([torch.empty(scores.shape[1]).exponential_(generator=each) for each in self.chances])
        return scores.float().log_softmax(-1) - waits.clamp_min(1e-30).log().to(scores.device)


def choosers(decoding: Decoding, seeds: Sequence[int]) -> Any:
    """Return what is done to the logits before the highest is taken."""
    from transformers import generation

    found: list[Any] = []
    if decoding.repetition_penalty != 1:
        found.append(generation.RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.temperature:
        found.append(generation.TemperatureLogitsWarper(float(decoding.temperature)))
        if decoding.top_k:
            found.append(generation.TopKLogitsWarper(decoding.top_k))
        if decoding.top_p < 1:
            found.append(generation.TopPLogitsWarper(decoding.top_p))
        found.append(OwnChance(seeds))
    return generation.LogitsProcessorList(found)


def continue_all(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[list[int]],
    seeds: Sequence[int],
    max_new_tokens: int,
    decoding: Decoding,
) -> list[list[int]]:
    """Return the ids that follow each prompt, end token and padding included."""
    width = max(len(prompt) for prompt in prompts)
    pad = renderer.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    continued = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted({renderer.end_token, renderer.tokenizer.eos_token_id}),
        pad_token_id=pad,
        logits_processor=choosers(decoding, seeds),
        **PLAIN,  # chance, where it is wanted, is in what is done to the logits
    )
    return continued[:, width:].tolist()


def read_answer(ids: list[int], renderer: Renderer) -> Answer:
    """Return the answer in `ids`, which the end token ends; what follows it is padding."""
    ends = {renderer.end_token, renderer.tokenizer.eos_token_id}
    length = next((place for place, token in enumerate(ids) if token in ends), None)
    said = ids if length is None else ids[:length]
    text = renderer.tokenizer.decode(said, skip_special_tokens=True).strip()
    return Answer(text, "length" if length is None else "stop", len(said) + (length is not None))


def sample_lines(
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[Answer]],
    config: FilledConfig,
    how: Decoding | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the lines of samples.jsonl: for each prompt what each model said."""
    chosen = {"temperature": config.temperature} if how is None else asdict(how)
    decoding = chosen | {"max_new_tokens": config.max_new_tokens}
    for place, example in enumerate(examples):
        for name, said in answers.items():
            yield {
                "fingerprint": example.fingerprint,
                "messages": example.prompt,
                "reference": example.answer,
                "model": name,
                "text": said[place].text,
                "finish": said[place].finish,
                "tokens": said[place].tokens,
                "decoding": decoding,
                "seed": config.seed,
            }


LIMITS: dict[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda value: 0 <= value <= 100, "from 0 to 100"),
    "top_k": (lambda value: value >= 0 and value == int(value), "a whole number, 0 for all"),
    "top_p": (lambda value: 0 < value <= 1, "above 0, to 1"),
    "repetition_penalty": (lambda value: 0 < value <= 100, "above 0; 1 is none"),
}


def vary(preset: Decoding, sweep: Sequence[str]) -> list[Decoding]:
    """Return every combination of the values of a sweep, as in ["temperature=0,0.9", "top_p=1"]. Raises UserError."""
    values: dict[str, list[float]] = {}
    for text in sweep:
        name, _, listed = text.partition("=")
        if name not in LIMITS:
            raise UserError(f"--sweep {text!r} names no setting of decoding. Choose one of: {', '.join(LIMITS)}.")
        holds, words = LIMITS[name]
        try:
            values[name] = [float(value) for value in listed.split(",")]
        except ValueError:
            values[name] = []
        if not values[name] or not all(holds(value) for value in values[name]):
            raise UserError(f"--sweep {text!r}: {name} must be {words}, as in: --sweep {name}={EXAMPLES[name]}")
    found = []
    for each in itertools.product(*values.values()):
        chosen: dict[str, Any] = dict(zip(values, each, strict=True))
        if "top_k" in chosen:
            chosen["top_k"] = int(chosen["top_k"])
        found.append(replace(preset, **chosen))
    return found


EXAMPLES = {"temperature": "0,0.7,0.9", "top_k": "0,30", "top_p": "0.9,1", "repetition_penalty": "1,1.1"}


def table(rows: Sequence[tuple[Decoding, Mapping[str, float]]]) -> Iterator[str]:
    """Yield the lines of a table of a sweep: each decoding, and the scores of its answers."""
    from trainer.measures import MEASURES

    settings = [each.name for each in fields(Decoding)]
    scores = list(rows[0][1])
    titles = settings + [MEASURES[name].title if name in MEASURES else name.capitalize() for name in scores]
    widths = [max(len(title), 6) + 2 for title in titles]
    yield "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))
    for decoding, found in rows:
        cells = [f"{getattr(decoding, name):g}" for name in settings]
        for name in scores:
            is_share = name in MEASURES and MEASURES[name].is_share
            cells.append(f"{100 * found[name]:.0f} %" if is_share else f"{found[name]:.3g}")
        yield "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
