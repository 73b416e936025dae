"""The dataset card: README.md with the front matter that Hugging Face reads, from what was frozen alone."""

from __future__ import annotations

import json

from sqlalchemy.orm import Session

from curator.models import Version
from curator.versions.frozen import cleaning_before
from curator.versions.telling import sentences
from curator.words import SPLITS

# As Hugging Face names them: fewer than so many lines.
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def card(session: Session, version: Version, ending: str = "jsonl") -> str:
    """Return README.md of a version whose files end so: the same text as long as the version is there."""
    title = f"{version.dataset.name if version.dataset else 'All data sets'}, version {version.id}"
    total, report = sum(version.counts.values()), version.report
    head = [f"pretty_name: {json.dumps(title, ensure_ascii=False)}"]
    head += [f"license: {report['license']}"] if report.get("license") else []
    head += ["language:", *(f"- {one}" for one in report["language"].split(","))] if report.get("language") else []
    head += ["size_categories:", f"- {size_of(total)}", "task_categories:", "- question-answering", "- text-generation"]
    head += ["configs:", "- config_name: default", "  data_files:"]
    for side in SPLITS:
        if version.counts.get(side):
            head += [f"  - split: {side}", f"    path: {side}.{ending}"]
    parts = [
        f"# {title}",
        version.note,
        f"Questions and answers as chat messages, frozen on {version.created_at:%d %B %Y}.",
        table("split", {side: version.counts.get(side, 0) for side in SPLITS}),
        "\n".join(f"- {sentence}" for sentence in sentences(version))
        or "Near-duplicates, equal questions and turns of one conversation are on one side of the split.",
        "## Licence",
        report.get("license") or "None was named. Ask those who made it before you use it.",
        "## Sources",
        table("source", report.get("sources", {})) if report.get("sources") else "None were named.",
        "## Cleaning",
        "\n".join(f"- {step['action']}: {step['reason']} ({step['rows']:,} pairs)"
                  for step in cleaning_before(session, version)) or "- none",
        "## Known flags",
        table("flag", report.get("flags", {})) if report.get("flags") else "No check had flagged any of these pairs.",
        f"Fingerprint: `{version.fingerprint}`. Made with Curator.",
    ]  # fmt: skip
    front = "\n".join(head)
    return f"---\n{front}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def size_of(total: int) -> str:
    """Return the size category of so many lines."""
    return next((name for least, name in SIZES if total < least), "n>10M")


def table(what: str, counts: dict[str, int]) -> str:
    """Return numbers of lines as a table of Markdown."""
    rows = "\n".join(f"| {cell(name)} | {number:,} |" for name, number in counts.items())
    return f"| {what} | lines |\n|---|---|\n{rows}"


def cell(text: str) -> str:
    """Return a text as it may stand in a table: on one line, and with no border of its own."""
    return " ".join(text.replace("|", "\\|").split())
