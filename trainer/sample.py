"""Answers, many at a time. Knows the model and the prompt ids; measures nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainer.config import FilledConfig
from trainer.dataset import Example, Renderer
from trainer.model import Device

PROMPTS_AT_ONCE = 32


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
    model: Any, renderer: Renderer, examples: Sequence[Example], config: FilledConfig, device: Device
) -> list[Answer]:
    """Return one answer to the prompt of each example, in the order of the examples.

    Prompts are answered in batches of like length, padded on the left. The answer to a prompt depends
    on its batch only by rounding, so base and tuned must be given the same examples to be compared.
    """
    prompts = [renderer.prompt_ids(example.prompt) for example in examples]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: dict[int, Answer] = {}
    with answering(model), device.autocast():
        for start in range(0, len(order), PROMPTS_AT_ONCE):
            batch = order[start : start + PROMPTS_AT_ONCE]
            torch.manual_seed(config.seed)
            for index, ids in zip(
                batch, continue_all(model, renderer, [prompts[i] for i in batch], config), strict=True
            ):
                answers[index] = read_answer(ids, renderer)
    return [answers[index] for index in range(len(prompts))]


def continue_all(model: Any, renderer: Renderer, prompts: Sequence[list[int]], config: FilledConfig) -> list[list[int]]:
    """Return the ids that follow each prompt, end token and padding included."""
    width = max(len(prompt) for prompt in prompts)
    pad = renderer.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    chosen = {"do_sample": True, "temperature": config.temperature} if config.temperature else {"do_sample": False}
    continued = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=config.max_new_tokens,
        eos_token_id=sorted({renderer.end_token, renderer.tokenizer.eos_token_id}),
        pad_token_id=pad,
        **chosen,
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
    examples: Sequence[Example], answers: Mapping[str, Sequence[Answer]], config: FilledConfig
) -> Iterator[dict[str, Any]]:
    """Yield the lines of samples.jsonl: for each prompt what each model said."""
    decoding = {"temperature": config.temperature, "max_new_tokens": config.max_new_tokens}
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
