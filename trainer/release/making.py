"""A release, told top to bottom: merge, describe, convert, check, and put on the hub."""

from __future__ import annotations

from pathlib import Path

from trainer import UserError
from trainer.dataset import Renderer
from trainer.finished import Finished


def make(run: Finished, output: Path, *, dtype: str, base: str | None, push: str | None, public: bool) -> list[str]:
    """Make the release of a run in `output`, and return what was done, in sentences.

    What can be refused without work is refused first. Raises UserError.
    """
    from trainer.release import card, publishing
    from trainer.release.merge import merge

    name = publishing.checked(push) if push else None

    def describe(folder: Path, renderer: Renderer) -> list[str]:
        (folder / card.FILE).write_text(card.write(run, name or output.name, dtype), "utf-8")
        return []

    merged = merge(run, output, dtype=dtype, base=base, extras=[describe])
    said = [*merged.lines, f"The model is in {output}/, described in {card.FILE}."]
    if name:
        said.append(f"Published: {publishing.push(output, name, is_public=public)}")
    return said


def check(run: Finished, folder: Path) -> list[str]:
    """Return how a release that was made before is asked, compared with the training of the run.

    Raises UserError where that differs.
    """
    from transformers import AutoTokenizer

    from trainer.release import conformance

    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder} holds no tokenizer.json. Make a model with: python -m trainer merge {run.folder}")
    renderer = Renderer(AutoTokenizer.from_pretrained(run.result, local_files_only=True, trust_remote_code=False))
    report = conformance.check(renderer, folder, run.held_out(conformance.PROMPTS))
    conformance.demand(report)
    return report.lines()
