"""The model card: README.md with the front matter that the hub reads. Knows records; shows no line of the data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from trainer.finished import Finished

FILE = "README.md"


def write(run: Finished, name: str, dtype: str) -> str:
    """Return the card of a merged model, from what the run has recorded."""
    from huggingface_hub import EvalResult, ModelCardData

    base, data = base_of(run), data_of(run)
    tuned = run.evaluation().get("test", {}).get("tuned", {})
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="curator",
            dataset_name=data,
            dataset_split="test",
            metric_type=measure,
            metric_value=value,
        )
        for measure, value in tuned.items()
    ]
    head = ModelCardData(
        base_model=base if is_on_hub(run) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["curator", method_of(run), *([] if run.config["method"] == "sft" else [run.config["method"]])],
        model_name=name,
        eval_results=results or None,
    )
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {name}",
        f"{base}, fine-tuned on {LEARNT_FROM[run.config['method']]}: {data}.",
        "## Use",
        USE.format(name=name),
        "System messages, earlier turns and questions are written by the chat template in this folder, as they were "
        "in training. 20 prompts were compared, token by token: `conformance.json`.",
        "## Measured",
        numbers(run.evaluation()) or "Nothing was held out, so nothing was measured.",
        "## Training",
        "\n".join(f"- {fact}" for fact in training(run, dtype)),
        "## Data",
        "\n".join(f"- {fact}" for fact in describe_data(run)),
        "Made with Curator.",
    ]
    return "\n\n".join(parts) + "\n"


LEARNT_FROM = {
    "sft": "questions and answers",
    "dpo": "chosen and rejected answers to the same questions",
    "kto": "answers that were judged good or bad",
}
METHODS = {
    "sft": "Learnt are answers and their end tokens; system messages, earlier turns and questions are read only",
    "dpo": "DPO, beta {beta:g}: chosen answers became likelier than rejected ones, measured against the base",
    "kto": "KTO, beta {beta:g}: good answers became likelier and bad ones less, measured against the base",
}
USE = """```python
from transformers import pipeline

answer = pipeline("text-generation", "{name}")
print(answer([{{"role": "user", "content": "…"}}], max_new_tokens=200)[0]["generated_text"][-1]["content"])
```"""


def is_on_hub(run: Finished) -> bool:
    # A folder inside the hub's cache has a revision too, and its path is nobody's business.
    is_name = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", run.base["name"]) is not None
    return bool(is_name and run.base["name"] != "builtin" and run.base.get("revision"))


def base_of(run: Finished) -> str:
    """Return the name of the base as anybody may read it: of a folder its last part, never where it lies."""
    name = str(run.base["name"])
    return {"builtin": "Curator's built-in teaching model"}.get(name, name if is_on_hub(run) else Path(name).name)


def data_of(run: Finished) -> str:
    manifest = run.facts["data"].get("manifest") or {}
    name = manifest.get("dataset") or Path(run.facts["data"]["path"]).stem
    return f"{name}, version {manifest['version']}" if manifest.get("version") else str(name)


def method_of(run: Finished) -> str:
    if not run.is_adapter:
        return "full-fine-tune"
    return "qlora" if run.config["quantisation"] == "nf4" else str(run.config["adapter"])


def numbers(evaluation: dict[str, Any]) -> str:
    """Return the measures as a table, base beside tuned, with their intervals where there are any."""
    models = evaluation.get("test", {})
    if not models.get("tuned"):
        return ""
    edges = evaluation.get("intervals", {})

    def cell(model: str, measure: str) -> str:
        value, edge = models[model].get(measure), edges.get(model, {}).get(measure)
        if value is None:
            return ""
        return f"{value:.3f}" + (f" ({edge[0]:.3f}–{edge[1]:.3f})" if edge else "")

    names = list(models)
    rows = [f"| {m.replace('_', ' ')} | {' | '.join(cell(each, m) for each in names)} |" for m in models["tuned"]]
    head = [f"| {evaluation['n']} test lines | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    note = ["", "In brackets: between these, with 95 % confidence."] if edges else []
    return "\n".join(head + rows + note)


def training(run: Finished, dtype: str) -> list[str]:
    """Return how the model was trained, in sentences."""
    config, lines = run.config, run.facts.get("lines", {})
    what = (
        f"{config['adapter']} on all linear layers, rank {config['rank']}, alpha {config['alpha']}, on a base in "
        f"{config['quantisation'] if config['quantisation'] != 'none' else 'full'}; merged into the base in {dtype}"
        if run.is_adapter
        else f"all weights; kept in {dtype}"
    )
    revision = f", revision `{run.base['revision']}`" if is_on_hub(run) else ""
    return [
        f"Base: {base_of(run)}{revision}",
        f"Trained: {what}",
        f"{lines.get('train', 0):,} lines, {config['epochs']:g} epochs, {config['batch_size']} lines a step, "
        f"learning rate {config['learning_rate']:g} ({config['schedule']}), seed {config['seed']}",
        METHODS[config["method"]].format(beta=config["beta"]),
        "Software: " + ", ".join(f"{name} {version}" for name, version in run.facts.get("software", {}).items()),
    ]


def describe_data(run: Finished) -> list[str]:
    """Return what the data was, in sentences: names, numbers and licence, and nothing of what is in it."""
    data = run.facts["data"]
    manifest = data.get("manifest") or {}
    counts = ", ".join(f"{count:,} to {name}" for name, count in run.facts.get("lines", {}).items())
    facts = [f"{data_of(run)}: {counts}"]
    if manifest.get("fingerprint"):
        facts.append(f"Fingerprint: `{manifest['fingerprint']}`")
    facts += [f"{name}: sha256 `{digest}`" for name, digest in data["sha256"].items()]
    facts.append(f"Licence of the data: {licence_of(Path(data['path'])) or 'none was named'}")
    return facts


def licence_of(data: Path) -> str | None:
    """Return the licence that the card of an exported data set names in its front matter."""
    card = data / "README.md"
    if not card.is_file():
        return None
    front = card.read_text("utf-8", errors="replace").split("\n---", 1)[0]
    found = re.search(r"^license:\s*(.+?)\s*$", front, re.MULTILINE)
    return found[1].strip("\"'") if found else None
