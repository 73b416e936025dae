"""A run as others use it once it is trained: its record, what it learnt, and prompts to try it on. Knows no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import UserError
from trainer.config import FilledConfig
from trainer.dataset import Example, read_examples, split
from trainer.dataset.reading import describe
from trainer.record import Record

SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Finished:
    """The folder of a run that has a result, and its record."""

    folder: Path
    facts: dict[str, Any]

    @property
    def result(self) -> Path:
        """The folder with what was learnt: an adapter, or a whole model where all weights were trained."""
        return self.folder / ("adapter" if self.is_adapter else "model")

    @property
    def is_adapter(self) -> bool:
        return bool(self.config["adapter"] != "none")

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.facts["config"]["resolved"]
        return config

    @property
    def base(self) -> dict[str, Any]:
        base: dict[str, Any] = self.facts["base"]
        return base

    @property
    def options(self) -> FilledConfig:
        """The options of the run. Raises UserError where this version of Curator has others."""
        try:
            return FilledConfig(**self.config)
        except TypeError as error:
            raise UserError(f"{self.folder / 'run.json'} is of another version of Curator: {error}.") from None

    def answered_prompts(self) -> dict[str, Example]:
        """Return the test prompts that the run has answered, with their references, by fingerprint."""
        return {
            line["fingerprint"]: Example(
                [*line["messages"], {"role": "assistant", "content": line["reference"]}], SAMPLES, "test"
            )
            for line in Record(self.folder, {}).lines(SAMPLES)
        }

    def check_base(self, found: Mapping[str, Any]) -> None:
        """Raise UserError where a base, by what `model.identify` found of it, is not the one of the run."""
        for name, what in (
            ("config_sha256", "its configuration is another"),
            ("weights_sha256", "its weights are others"),
        ):
            if self.base.get(name) and found.get(name) not in (None, self.base[name]):
                raise UserError(
                    f"The adapter of {self.folder} is of another base: {found['name']} is not the one it was trained "
                    f"on, since {what}. Put that one back, or tell merge where it is with: --base"
                )

    def evaluation(self) -> dict[str, Any]:
        """Return what was measured; nothing where the run did not come so far."""
        file = self.folder / "evaluation.json"
        found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        return found

    def held_out(self, most: int) -> list[Example]:
        """Return lines that were not trained, as far as there are any, else others of the data: at most so many.

        The answered test prompts lie in the run's own folder; its data may be gone since, or changed.
        """
        found = self.answered_prompts()
        if len(found) < most:
            try:
                path = Path(self.facts["data"]["path"])
                if describe(path)["sha256"] == self.facts["data"]["sha256"]:
                    shares = (self.config[name] for name in ("validation", "test", "seed"))
                    examples = split(read_examples(path, self.config["method"]), *shares)
                    examples = sorted((each for each in examples if each.good), key=lambda each: each.split == "train")
                    found |= {each.fingerprint: each for each in examples if each.fingerprint not in found}
            except UserError:
                pass
        return list(found.values())[:most]


def open_run(folder: Path) -> Finished:
    """Return the run in a folder. Raises UserError where there is none, or where it has learnt nothing yet."""
    file = folder / "run.json"
    try:
        facts = json.loads(file.read_text("utf-8"))
        run = Finished(folder, facts)
        state, result, _ = facts["state"], run.result, run.base["name"]
    except FileNotFoundError:
        raise UserError(f"{folder} is no run: it holds no run.json. Start one with: python -m trainer run") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} cannot be read: {error}.") from None
    if not list(result.glob("*.safetensors")):
        raise UserError(
            f"{folder} is {state} and has no result: {result}/ holds no weights. "
            f"Let it come to its end with: python -m trainer resume {folder}"
        )
    return run
