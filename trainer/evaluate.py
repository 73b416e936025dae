"""Base beside tuned: the loss of each line, and how close the answers come. Trains nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from trainer.dataset import IGNORED, Example, Rendered, normalise
from trainer.model import Device
from trainer.sample import Answer, answering

TOKENS_AT_ONCE = 4096
MEASURES = {
    "perplexity": "Perplexity",
    "preferred": "Prefers better",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "token_f1": "Token F1",
    "exact_match": "Exact match",
    "repetition": "Repetitive",
    "truncated": "Truncated",
    "empty": "Empty",
}


@dataclass(frozen=True)
class LineLoss:
    """The mean negative log-likelihood of the answer of one line, in nats a token, end token included."""

    loss: float
    tokens: int


def collate(lines: Sequence[Mapping[str, list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Return a batch padded on the right. Padding is known by its length: the pad token may be the end token."""
    width = max(len(line["input_ids"]) for line in lines)

    def padded(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([line[name] + [filler] * (width - len(line[name])) for line in lines])

    mask = [[1] * len(line["input_ids"]) + [0] * (width - len(line["input_ids"])) for line in lines]
    return {
        "input_ids": padded("input_ids", pad),
        "attention_mask": torch.tensor(mask),
        "labels": padded("labels", IGNORED),
    }


def line_losses(model: Any, lines: Sequence[Rendered], pad: int, device: Device) -> list[LineLoss]:
    """Return the loss of each line, in the order of the lines."""
    order = sorted(range(len(lines)), key=lambda index: len(lines[index].input_ids))
    found: dict[int, LineLoss] = {}
    with answering(model), device.autocast():
        while order:
            longest = len(lines[order[-1]].input_ids)
            batch = [order.pop() for _ in range(min(len(order), max(1, TOKENS_AT_ONCE // longest)))]
            tensors = collate([vars(lines[index]) for index in batch], pad)
            tensors = {name: tensor.to(model.device) for name, tensor in tensors.items()}
            labels = tensors.pop("labels")[:, 1:]
            logits = model(**tensors, use_cache=False).logits[:, :-1]
            losses = cross_entropy(logits.transpose(1, 2).float(), labels, reduction="none")
            for index, row, row_labels in zip(batch, losses, labels, strict=True):
                tokens = int((row_labels != IGNORED).sum())
                found[index] = LineLoss(row.sum().item() / tokens, tokens)
    return [found[index] for index in range(len(lines))]


def perplexity(losses: Sequence[LineLoss]) -> float:
    """Return exp of the mean loss of all answer tokens."""
    total = sum(each.loss * each.tokens for each in losses)
    return math.exp(min(total / sum(each.tokens for each in losses), 700))


def loss_lines(lines: Sequence[Rendered], losses: Mapping[str, Sequence[LineLoss]]) -> Iterator[dict[str, Any]]:
    """Yield the lines of losses.jsonl."""
    for line, before, after in zip(lines, losses["base"], losses["tuned"], strict=True):
        yield {
            "fingerprint": line.example.fingerprint,
            "split": line.example.split,
            "tokens": before.tokens,
            "base_loss": round(before.loss, 5),
            "tuned_loss": round(after.loss, 5),
        }


def evaluate(
    lines: Sequence[Rendered],
    losses: Mapping[str, Sequence[LineLoss]],
    prompts: Sequence[Example],
    answers: Mapping[str, Sequence[Answer]],
    rejected: Mapping[str, Sequence[LineLoss]] | None = None,
) -> dict[str, Any]:
    """Return the content of evaluation.json: the measures of base and tuned on the test lines.

    Perplexity is that of all `n` test lines; of those that came with a `rejected` answer, `preferred` is the share
    whose own answer is the likelier. The other measures are of the `answered` prompts.
    """
    references = [prompt.answer for prompt in prompts]
    measures: dict[str, dict[str, float]] = {}
    tested = [place for place, line in enumerate(lines) if line.example.split == "test"]
    for name, found in losses.items():
        measures[name] = {"perplexity": perplexity([found[place] for place in tested])} if tested else {}
        if rejected and rejected[name]:
            measures[name]["preferred"] = preferred(
                [found[place] for place in tested if lines[place].rejected], rejected[name]
            )
        if prompts:
            measures[name] |= score_answers(answers[name], references)
        measures[name] = {measure: round(value, 4) for measure, value in measures[name].items()}
    return {"test": measures, "n": len(tested), "answered": len(prompts)}


def preferred(better: Sequence[LineLoss], worse: Sequence[LineLoss]) -> float:
    """Return the share of pairs of answers of which the better one is likelier as a whole."""
    return mean(a.loss * a.tokens < b.loss * b.tokens for a, b in zip(better, worse, strict=True))


def score_answers(answers: Sequence[Answer], references: Sequence[str]) -> dict[str, float]:
    """Return the measures of answers against their references: shares from 0 to 1, BLEU from 0 to 100."""
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    scored = [rouge.score(ref, answer.text) for ref, answer in zip(references, answers, strict=True)]
    texts = [answer.text for answer in answers]
    pairs = list(zip(texts, references, strict=True))
    return {name: mean(score[name].fmeasure for score in scored) for name in ("rouge1", "rouge2", "rougeL")} | {
        "bleu": sacrebleu.corpus_bleu(texts, [list(references)]).score,
        "token_f1": mean(token_f1(text, reference) for text, reference in pairs),
        "exact_match": mean(normalise(text) == normalise(reference) for text, reference in pairs),
        "repetition": mean(is_repetitive(text) for text in texts),
        "truncated": mean(answer.finish == "length" for answer in answers),
        "empty": mean(not text for text in texts),
    }


def token_f1(text: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of the words, order aside, as SQuAD has it."""
    said, wanted = Counter(normalise(text).split()), Counter(normalise(reference).split())
    return 2 * (said & wanted).total() / max(1, said.total() + wanted.total())


def is_repetitive(text: str) -> bool:
    """Return whether a fifth or more of the runs of three words were said before in the same text."""
    words = normalise(text).split()
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(runs) - len(set(runs)) >= max(2, len(runs) / 5)


def mean(values: Any) -> float:
    numbers = [float(value) for value in values]
    return sum(numbers) / len(numbers)
