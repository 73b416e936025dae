"""A release, told top to bottom: merge, describe, convert, check, and put on the hub."""

from __future__ import annotations

from pathlib import Path

from trainer import UserError
from trainer.finished import Finished


def make(
    run: Finished,
    output: Path,
    *,
    dtype: str,
    base: str | None,
    gguf: bool,
    llama_cpp: Path | None,
    ollama: bool,
    push: str | None,
    public: bool,
) -> list[str]:
    """Make the release of a run in `output`, and return what was done, in sentences.

    What can be refused without work is refused first. Raises UserError.
    """
    from trainer.release import card, conformance, modelfile, publishing
    from trainer.release.gguf import convert, find_converter
    from trainer.release.merge import merge, renderer_of

    if public and not push:
        raise UserError("--public is of a model on the hub. Name that with: --push hub:OWNER/NAME")
    if llama_cpp and not gguf:
        raise UserError("--llama-cpp says where the converter is. Ask for the file it makes with: --gguf")
    name = publishing.checked(push) if push else None
    converter = find_converter(llama_cpp) if gguf else None

    source = f"./{output.name}.gguf" if gguf else "."
    asking = modelfile.of(source, renderer_of(run), run.held_out(conformance.PROMPTS)) if ollama else None

    def complete(folder: Path) -> list[str]:
        said = []
        (folder / card.FILE).write_text(card.write(run, name or output.name, dtype), "utf-8")
        if converter:
            said.append(f"For llama.cpp: {output / convert(converter, folder, output.name, dtype)}")
        if asking:
            (folder / modelfile.FILE).write_text(asking, "utf-8")
            said.append(f"For Ollama: ollama create {output.name.lower()} -f {output / modelfile.FILE}")
        return said

    merged = merge(run, output, complete, dtype=dtype, base=base, copies=2 if gguf else 1)
    said = [*merged.lines, f"The model is in {output}/, described in {card.FILE}."]
    if name:
        said.append(f"Published: {publishing.push(output, name, is_public=public)}")
    return said


def check(run: Finished, folder: Path) -> list[str]:
    """Return how a release that was made before is asked, compared with the training of the run.

    Raises UserError where that differs.
    """
    from trainer.release import conformance
    from trainer.release.merge import renderer_of

    if not (folder / "tokenizer.json").is_file():
        raise UserError(f"{folder} holds no tokenizer.json. Make a model with: python -m trainer merge {run.folder}")
    report = conformance.check(renderer_of(run), folder, run.held_out(conformance.PROMPTS))
    conformance.demand(report)
    return report.lines()
