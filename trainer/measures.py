"""How good losses and answers are, each number with its interval. Knows texts and numbers; knows no model, no torch.

Every measure is a function of sums over lines, so that a resample of the lines is a weighing of the same facts: all
measures, of all models, are resampled by the same draws, and the difference of two models is that of the same lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from trainer.dataset import normalise

RESAMPLES = 1000
ENOUGH_LINES = 10  # below so many, resampled lines are too few to tell a change from chance
OPENING = 4  # words
CHRF_ORDER, CHRF_BETA = 6, 2  # sacrebleu's own
# Scripts that put no spaces between words, in the order of Unicode: Thai, Lao, Burmese, Khmer, Chinese, Japanese.
UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff])"
)

# Facts of lines, one row a line; and sums of such rows, the last axis being that of the facts.
Facts = dict[str, Any]
Value = Callable[[Any], Any]


@dataclass(frozen=True)
class Measure:
    """A measure: its title, which is better, its value of the sums of facts, and whether it is a share of the lines."""

    title: str
    better: str  # "higher" or "lower"
    value: Value
    is_share: bool = False


def ratio(sums: Any) -> Any:
    return sums[..., 0] / sums[..., 1]


def perplexity_of(sums: Any) -> Any:
    import numpy as np

    return np.exp(np.minimum(ratio(sums), 700))


def bleu_of(sums: Any) -> Any:
    import numpy as np
    from sacrebleu.metrics.bleu import BLEU

    def score(row: Any) -> float:
        correct, total, (said, wanted) = row[:4], row[4:8], row[8:]
        # Resampled counts are whole numbers too: a line is drawn so and so many times.
        found = BLEU.compute_bleu(
            [round(n) for n in correct], [round(n) for n in total], round(said), round(wanted), smooth_method="exp"
        )
        return float(found.score)

    return np.apply_along_axis(score, -1, sums)


def chrf_of(sums: Any) -> Any:
    """Return chrF2 of sums of what was said, wanted and matched, three for each length of characters."""
    import numpy as np

    said, wanted, matched = (sums[..., place::3] for place in range(3))
    counted = ((said > 0) & (wanted > 0)).sum(-1)
    precision, recall = (
        (matched * (total > 0) / np.maximum(total, 1) * ((said > 0) & (wanted > 0))).sum(-1) / np.maximum(counted, 1)
        for total in (said, wanted)
    )
    weight = CHRF_BETA**2
    below = weight * precision + recall
    return 100 * (1 + weight) * precision * recall / np.where(below > 0, below, 1)


MEASURES: Mapping[str, Measure] = {
    "perplexity": Measure("Perplexity", "lower", perplexity_of),
    "bits_per_byte": Measure("Bits per byte", "lower", ratio),
    "preferred": Measure("Prefers better", "higher", ratio, is_share=True),
    "rouge1": Measure("ROUGE-1", "higher", ratio),
    "rouge2": Measure("ROUGE-2", "higher", ratio),
    "rougeL": Measure("ROUGE-L", "higher", ratio),
    "bleu": Measure("BLEU", "higher", bleu_of),
    "chrf": Measure("chrF", "higher", chrf_of),
    "token_f1": Measure("Token F1", "higher", ratio),
    "exact_match": Measure("Exact match", "higher", ratio, is_share=True),
    "truncated": Measure("Truncated", "lower", ratio, is_share=True),
    "repetition": Measure("Repetitive", "lower", ratio, is_share=True),
    "echo": Measure("Echoes question", "lower", ratio, is_share=True),
    "empty": Measure("Empty", "lower", ratio, is_share=True),
    "templated": Measure("Templated", "lower", ratio, is_share=True),
}


def loss_facts(losses: Sequence[float], tokens: Sequence[int], sizes: Sequence[int]) -> Facts:
    """Return the facts of lines: the mean loss in nats of their answer tokens, these, and the bytes of the answers."""
    import numpy as np

    nats = np.asarray(losses, float) * np.asarray(tokens, float)
    return {
        "perplexity": np.stack([nats, np.asarray(tokens, float)], -1),
        "bits_per_byte": np.stack([nats / np.log(2), np.asarray(sizes, float)], -1),
    }


def preference_facts(better: Sequence[float], worse: Sequence[float]) -> Facts:
    """Return the facts of lines with two answers, from the loss of each as a whole: is the better one likelier?"""
    import numpy as np

    likelier = np.asarray(better, float) < np.asarray(worse, float)
    return {"preferred": np.stack([likelier.astype(float), np.ones(len(likelier))], -1)}


def answer_facts(
    texts: Sequence[str], cut: Sequence[bool], questions: Sequence[str], references: Sequence[str]
) -> Facts:
    """Return the facts of answers beside their references; `cut` are those that did not come to their end."""
    import numpy as np
    from rouge_score.rouge_scorer import RougeScorer

    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Words())
    pairs = list(zip(texts, references, strict=True))
    scored = [rouge.score(reference, text) for text, reference in pairs]
    means: dict[str, Sequence[float]] = {
        **{name: [score[name].fmeasure for score in scored] for name in ("rouge1", "rouge2", "rougeL")},
        "token_f1": [token_f1(text, reference) for text, reference in pairs],
        "exact_match": [normalise(text) == normalise(reference) for text, reference in pairs],
        "truncated": cut,
        "repetition": [is_repetitive(text) for text in texts],
        "echo": [echoes(text, question) for text, question in zip(texts, questions, strict=True)],
        "empty": [not text for text in texts],
        "templated": are_templated(texts, references),
    }
    found: Facts = {name: np.stack([np.asarray(rows, float), np.ones(len(rows))], -1) for name, rows in means.items()}
    found["bleu"] = np.array([bleu_facts(text, reference) for text, reference in pairs], float)
    found["chrf"] = np.array([chrf_facts(text, reference) for text, reference in pairs], float)
    return found


def values(facts: Facts) -> dict[str, float]:
    """Return the measures of facts, in the order of MEASURES."""
    return {name: float(each.value(facts[name].sum(0))) for name, each in MEASURES.items() if name in facts}


CHANGES = {"change": ("base", "tuned"), "since_previous": ("previous", "tuned")}


def intervals(
    models: Mapping[str, Facts], seed: int = 1, between: Mapping[str, tuple[str, str]] = CHANGES
) -> dict[str, dict[str, list[float]]]:
    """Return the 95 % bootstrap interval of each measure of each model, and of the changes `between` two of them.

    The models' facts are of the same lines in the same order. A change whose interval leaves 0 out is more than the
    chance by which these lines were drawn; how a model would turn out with another seed is not in it.
    """
    changes = {name: pair for name, pair in between.items() if all(each in models for each in pair)}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in (*models, *changes)}
    for measure, each in MEASURES.items():
        rows = {name: facts[measure] for name, facts in models.items() if measure in facts}
        if not rows or len(next(iter(rows.values()))) < 2:
            continue
        drawn = {name: each.value(draws(len(of_lines), seed) @ of_lines) for name, of_lines in rows.items()}
        for name, resampled in drawn.items():
            found[name][measure] = middle(resampled)
        for name, (first, last) in changes.items():
            found[name][measure] = middle(drawn[last] - drawn[first])
    return found


@cache
def draws(lines: int, seed: int) -> Any:
    """Return how many times each line is in each resample: as many lines as there are, drawn with replacement."""
    import numpy as np

    return np.random.default_rng(seed).multinomial(lines, np.full(lines, 1 / lines), RESAMPLES).astype(np.float32)


def middle(resampled: Any) -> list[float]:
    import numpy as np

    return [round(float(edge), 4) for edge in np.percentile(resampled, [2.5, 97.5])]


def compared(
    facts: Mapping[str, Facts], n: int, answered: int, between: Mapping[str, tuple[str, str]] = CHANGES
) -> dict[str, Any]:
    """Return the content of evaluation.json: the measures of each model on the same lines, with their intervals."""
    return {
        "test": {
            name: {measure: round(value, 4) for measure, value in values(each).items()} for name, each in facts.items()
        },
        "intervals": intervals(facts, between=between),
        "n": n,
        "answered": answered,
    }


def verdict(measure: str, change: Sequence[float], lines: int) -> str:
    """Return in words what a change of a measure amounts to, given its interval and the lines it is of."""
    low, high = change
    if low == high == 0:
        return "same"
    if lines < ENOUGH_LINES:
        return "too few lines to tell"
    if low <= 0 <= high:
        return "may be chance"
    return "better" if (low > 0) == (MEASURES[measure].better == "higher") else "worse"


def table(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table of evaluation.json: each measure, of each model, with its interval."""
    test, edges = evaluation["test"], evaluation.get("intervals", {})
    names = [name for name in test if test[name]]
    if not names:
        return
    yield (
        f"{'':16}"
        + "".join(f"{name:>26}" for name in names)
        + f"   {evaluation['n'] or evaluation['answered']} test lines"
    )
    for measure in test[names[0]]:
        cells = []
        for name in names:
            low_high = edges.get(name, {}).get(measure)
            between = "[{:.3f}, {:.3f}]".format(*low_high) if low_high else ""
            cells.append(f"{test[name][measure]:>9.3f} {between:>16}")
        lines = evaluation["n"] if measure in ("perplexity", "bits_per_byte", "preferred") else evaluation["answered"]
        told = {name: edges[name][measure] for name in edges if name not in test and measure in edges[name]}
        said = "".join(
            f"   {verdict(measure, change, lines)}{SINCE.get(name, f' {name}')}" for name, change in told.items()
        )
        yield f"{MEASURES[measure].title:16}" + "".join(cells) + said


SINCE = {"change": "", "since_previous": " since the previous"}


def bleu_facts(text: str, reference: str) -> list[int]:
    """Return what corpus BLEU adds up: matches and runs of one to four words, and both lengths."""
    score = bleu().sentence_score(parted(text), [parted(reference)])
    return [*score.counts, *score.totals, score.sys_len, score.ref_len]


@cache
def bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)  # of one line; its counts are those that the whole adds up


def chrf_facts(text: str, reference: str) -> list[int]:
    """Return what corpus chrF adds up: for each length, runs of characters said, wanted and matched; spaces aside."""
    found = []
    for order in range(1, CHRF_ORDER + 1):
        said, wanted = (
            Counter(letters[at : at + order] for at in range(len(letters) - order + 1))
            for letters in ("".join(text.split()), "".join(reference.split()))
        )
        found += [said.total(), wanted.total(), (said & wanted).total()]
    return found


def token_f1(text: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of the words, order aside, as SQuAD has it."""
    said, wanted = Counter(words(text)), Counter(words(reference))
    return 2 * (said & wanted).total() / max(1, said.total() + wanted.total())


def is_repetitive(text: str) -> bool:
    """Return whether a fifth or more of the runs of three words were said before in the same text."""
    runs = runs_of_three(text)
    return len(runs) - len(set(runs)) >= max(2, len(runs) / 5)


def echoes(text: str, question: str) -> bool:
    """Return whether an answer says the question again: four in five of its runs of three words."""
    asked = set(runs_of_three(question))
    if not asked:
        return words(text)[: len(words(question))] == words(question)
    return len(asked & set(runs_of_three(text))) >= 0.8 * len(asked)


def runs_of_three(text: str) -> list[tuple[str, str, str]]:
    said = words(text)
    return list(zip(said, said[1:], said[2:], strict=False))


def are_templated(texts: Sequence[str], references: Sequence[str]) -> list[bool]:
    """Return for each answer whether it opens as many others do.

    Many are three at least and a tenth of all, and more than twice as many as of the references: what these all open
    with, a model is right to learn.
    """
    said, wanted = (Counter(opening(each) for each in some) for some in (texts, references))
    most = max(3.0, len(texts) / 10)
    return [bool(opens := opening(text)) and said[opens] >= max(most, 2 * wanted[opens] + 1) for text in texts]


def opening(text: str) -> tuple[str, ...]:
    """Return the first words of a text, none where it has fewer."""
    opens = tuple(words(text)[:OPENING])
    return opens if len(opens) == OPENING else ()


def words(text: str) -> list[str]:
    """Return the words of a text in one case; where a script puts no spaces between them, its characters."""
    return parted(normalise(text)).split()


def parted(text: str) -> str:
    """Return a text with spaces around each character of a script that puts none between its words."""
    return UNSPACED.sub(r" \1 ", text)


class Words:
    """What rouge-score asks for words: its own are those of a-z and 0-9, so that Hindi would have none."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)
