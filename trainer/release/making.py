"""A release, told top to bottom: merge, describe, convert, check, and put on the hub."""

from __future__ import annotations

from pathlib import Path

from trainer import UserError
from trainer.finished import Finished


def make(run: Finished, output: Path, *, dtype: str, base: str | None) -> list[str]:
    """Make the release of a run in `output`, and return what was done, in sentences. Raises UserError."""
    from trainer.release.merge import merge

    merged = merge(run, output, dtype=dtype, base=base)
    return [*merged.lines, f"The model is in {output}/."]


def check(run: Finished, folder: Path) -> list[str]:
    """Return how a release that was made before is asked, compared with the training of the run.

    Raises UserError where that differs.
    """
    from transformers import AutoTokenizer

    from trainer.dataset import Renderer
    from trainer.release import conformance

    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder} holds no tokenizer.json. Make a model with: python -m trainer merge {run.folder}")
    renderer = Renderer(AutoTokenizer.from_pretrained(run.result, local_files_only=True, trust_remote_code=False))
    report = conformance.check(renderer, folder, run.held_out(conformance.PROMPTS))
    conformance.demand(report)
    return report.lines()
