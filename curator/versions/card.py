"""The dataset card: README.md with the front matter that Hugging Face reads."""

from __future__ import annotations

from sqlalchemy.orm import Session

from curator.models import Version
from curator.versions.frozen import cleaning_before
from curator.words import SPLITS


def card(session: Session, version: Version, ending: str = "jsonl") -> str:
    """Return the dataset card: README.md with the front matter that Hugging Face reads; `ending` is its files'."""
    title = version.dataset.name if version.dataset else "All data sets"
    files = "\n".join(
        f"      - split: {side}\n        path: {side}.{ending}" for side in SPLITS if version.counts.get(side)
    )
    splits = "\n".join(f"| {side} | {version.counts.get(side, 0):,} |" for side in SPLITS)
    steps = cleaning_before(session, version)
    cleaned = "\n".join(f"- {s['action']}: {s['reason']} ({s['rows']:,} pairs)" for s in steps) or "- none"
    return (
        f"---\nconfigs:\n  - config_name: default\n    data_files:\n{files}\n---\n\n"
        f"# {title}, version {version.id}\n\n"
        + (f"{version.note}\n\n" if version.note else "")
        + f"Questions and answers as chat messages, frozen on {version.created_at:%d %B %Y}.\n\n"
        f"| split | lines |\n|---|---|\n{splits}\n\n"
        "Near-duplicates, equal questions and turns of one conversation are on one side of the split.\n\n"
        f"## Cleaning\n\n{cleaned}\n\n"
        f"Fingerprint: `{version.fingerprint}`. Made with Curator.\n"
    )
