"""The options of a run: name, type, default, unit and reason, each once. Knows no model and no file of data.

The command line, its help, the keys of trainer.toml and the record of a run are all made from `RunConfig`.
"""

from __future__ import annotations

import math
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from trainer import UserError, rates

CONFIG_FILE = "trainer.toml"


@dataclass(frozen=True)
class Limits:
    """What a value must keep to, as a test and as the words that say it."""

    holds: Callable[[Any], bool]
    words: str


def at_least(smallest: float) -> Limits:
    return Limits(lambda value: value >= smallest, f"{smallest:g} or more")


def above(bound: float) -> Limits:
    return Limits(lambda value: value > bound, f"more than {bound:g}")


def one_of(*choices: str) -> Limits:
    return Limits(lambda value: value in choices, " or ".join(choices))


# Two shares below a half leave something to train on.
SHARE = Limits(lambda value: 0 <= value < 0.5, "from 0 to below 0.5")
PROBABILITY = Limits(lambda value: 0 <= value < 1, "from 0 to below 1")


# What numpy takes, which is asked by libraries of ours.
SEED = Limits(lambda value: 0 <= value < 2**32, "from 0 to 4294967295")


def option(default: Any, reason: str, limits: Limits | None = None) -> Any:
    """Declare an option of a run: its default and, in one line, its unit and reason."""
    return field(default=default, metadata={"reason": reason, "limits": limits})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run. None means: found from the data or the base, and printed."""

    data: str | None = option(None, "a .jsonl file or an exported folder; unset: the newest under exports/")
    base: str = option("builtin", "a folder, a Hugging Face name, or builtin: the teaching model made here")
    output: str | None = option(None, "the run's folder, not there yet; unset: the next free name under runs/")
    unverified: bool = option(False, "train on an export that was changed since it was written; the record says so")
    method: str = option(
        "sft",
        "what is learnt from: sft (answers), dpo (chosen and rejected answers) or kto (answers that are good or not)",
        one_of("sft", "dpo", "kto"),
    )
    beta: float = option(
        0.1, "of dpo and kto: how closely the tuned model stays by the base; higher is closer", above(0)
    )
    max_tokens: int | None = option(
        None,
        "of a whole line; longer ones are named and left out, never cut; unset: 99.5 % of the lines fit",
        at_least(8),
    )
    validation: float = option(0.1, "share of lines held out to watch; ignored where exported", SHARE)
    test: float = option(0.1, "share of lines held out for the final measure; ignored where exported", SHARE)
    adapter: str = option(
        "lora",
        "what is trained on each linear layer: lora, rslora (scaled by alpha / sqrt(rank)), dora (slower), or none: "
        "all weights of the base, for 16 bytes each",
        one_of("lora", "rslora", "dora", "none"),
    )
    rank: int | None = option(None, "of each adapter matrix; unset: 16, or 64 for a base below 512 wide", at_least(1))
    alpha: int | None = option(
        None, "strength of the adapter, which is scaled by alpha / rank; unset: 2 x rank", at_least(1)
    )
    dropout: float = option(0.0, "share of adapter inputs dropped while training", PROBABILITY)
    quantisation: str = option(
        "nf4",
        "of the frozen base: nf4 (4 bit, with double quantisation), int8 or none",
        one_of("nf4", "int8", "none"),
    )
    epochs: float | None = option(
        None, "passes over the training lines; unset: 3, or 12 for a base below 100 M weights", above(0)
    )
    batch_size: int = option(16, "lines per optimizer step; below 32 suits adapters best", at_least(1))
    learning_rate: float | None = option(
        None, "peak, per optimizer step; unset: by the width of the base, 2.9e-4 at 4096", above(0)
    )
    force: bool = option(False, "train with a learning rate that is known to diverge; the record says so")
    warmup: float = option(0.05, "share of the steps in which the learning rate rises", PROBABILITY)
    schedule: str = option(
        "cosine",
        "of the learning rate after warm-up: cosine, linear, constant, or plateau: halved by each evaluation that "
        "brings nothing",
        one_of("cosine", "linear", "constant", "plateau"),
    )
    optimizer: str = option(
        "adamw",
        "adamw, schedule-free (in place of --schedule) or prodigy (in place of --learning-rate): packages of their own",
        one_of("adamw", "schedule-free", "prodigy"),
    )
    patience: int = option(
        4,
        "evaluations without a better validation loss after which training ends; the best adapter is kept; 0: train "
        "to the end and keep the last, as with fewer than 20 validation lines",
        at_least(0),
    )
    seed: int = option(1, "the same seed on the same machine gives the same numbers", SEED)
    keep_checkpoints: bool = option(False, "keep checkpoints/ when the run is done")
    precision: str = option(
        "auto", "of the arithmetic: bf16, fp32, or auto: bf16 where it is fast", one_of("auto", "bf16", "fp32")
    )
    packing: str = option(
        "auto",
        "of several lines into one row, where the base keeps them apart exactly: auto, or off: a row each, padded",
        one_of("auto", "off"),
    )
    tokens_at_once: int | None = option(
        None,
        "of one forward pass: a step is worked through in parts of so many, which changes its memory and nothing "
        "else; unset: what fits",
        at_least(8),
    )
    threads: int | None = option(None, "CPU threads; unset: the cores this process may use", at_least(1))

    samples: int = option(64, "test prompts answered by base and tuned, at most", at_least(0))
    max_new_tokens: int | None = option(
        None, "of one answer; unset: half more than the longest answer of the data", at_least(1)
    )
    temperature: float = option(0.0, "of sampling; 0 takes the likeliest token each time", at_least(0))
    progress_prompts: int = option(4, "validation prompts answered at each evaluation, to read along", at_least(0))
    tracker: str = option(
        "none",
        "that is told of each step too: tensorboard, mlflow, wandb, trackio or none",
        one_of("none", "tensorboard", "mlflow", "wandb", "trackio"),
    )
    report_to: str | None = option(
        None, "address of a Curator that is sent the run as it grows, such as http://127.0.0.1:5000; see --token"
    )


@dataclass(frozen=True)
class FilledConfig(RunConfig):
    """A configuration with nothing left open: what a run does."""

    epochs: float = field(kw_only=True)
    learning_rate: float = field(kw_only=True)
    rank: int = field(kw_only=True)
    alpha: int = field(kw_only=True)
    max_tokens: int = field(kw_only=True)
    max_new_tokens: int = field(kw_only=True)
    threads: int = field(kw_only=True)


def option_type(name: str) -> type:
    """Return the type a given value of the option must have: str, int, float or bool."""
    hint = typing.get_type_hints(RunConfig)[name]
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return hint


def make_config(given: Mapping[str, Any], config_file: Path | None = None) -> RunConfig:
    """Return the configuration of `given` options, then those of the file, then the defaults.

    Values are texts of the command line or values of TOML. Raises UserError naming every fault at once.
    """
    in_file = read_config_file(config_file)
    where = {name: f"{name} in {config_file or CONFIG_FILE}" for name in in_file}
    where |= {name: f"--{name.replace('_', '-')}" for name in given}
    known = {each.name: each for each in fields(RunConfig)}
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in {**in_file, **given}.items():
        if name not in known:
            faults.append(f"{where[name]} is not an option. All are listed by: python -m trainer run --help")
            continue
        try:
            values[name] = convert(value, option_type(name), known[name].metadata["limits"])
        except ValueError as fault:
            faults.append(f"{where[name]} is {value!r}, but must be {fault}.")
    config = RunConfig(**values)
    if config.adapter == "none" and config.quantisation != "none":
        if "quantisation" in values:
            faults.append(
                f"{where['quantisation']} is {config.quantisation!r}, but --adapter none trains the weights "
                "themselves, which are then kept in full: leave it out."
            )
        config = replace(config, quantisation="none")
    if config.adapter == "none" and config.method != "sft":
        faults.append(
            f"--method {config.method} compares what is learnt with the base below the adapter, so --adapter none "
            "cannot be used with it: leave it out."
        )
    if len(faults) > 1:
        raise UserError(f"{len(faults)} options cannot be used.\n" + "\n".join(f"  {each}" for each in faults))
    if faults:
        raise UserError(faults[0])
    return config


def convert(value: Any, kind: type, limits: Limits | None) -> str | int | float:
    """Return `value` as `kind`. Raises ValueError with the words of what it must be."""
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    noun = {int: "a whole number", float: "a number", str: "text"}[kind]
    must_be = noun if limits is None else limits.words if kind is str else f"{noun}, {limits.words}"
    # A truth value is an int to Python, and any number a text, but neither is what the user meant.
    if isinstance(value, bool) or not isinstance(value, str if kind is str else str | int | float):
        raise ValueError(must_be)
    try:
        converted = kind(value)
    except (ValueError, OverflowError):  # of a number no float can hold
        raise ValueError(must_be) from None
    if isinstance(value, float) and converted != value or kind is float and not math.isfinite(converted):
        raise ValueError(must_be)
    if limits and not limits.holds(converted):
        raise ValueError(must_be)
    return converted


def read_config_file(path: Path | None) -> dict[str, Any]:
    """Return what trainer.toml, or the file asked for, says; nothing where the first is not there."""
    file = path or Path(CONFIG_FILE)
    if path is None and not file.exists():
        return {}
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not TOML: {error}.") from None


def fill_in(
    config: RunConfig, *, weights: int, hidden_size: int, max_tokens: int, longest_answer: int, threads: int
) -> FilledConfig:
    """Return `config` with each None found from the base (its weights, its width) and from the data."""
    is_small = weights < rates.SMALL
    # A narrow matrix holds little, and what a small base does not know must fit into the adapter.
    rank = config.rank or (64 if hidden_size < 512 else 16)
    found: dict[str, Any] = {
        "epochs": 12.0 if is_small else 3.0,
        "learning_rate": rates.prior(hidden_size, weights, adapter=config.adapter != "none", method=config.method),
        "rank": rank,
        "alpha": 2 * rank,
        "max_tokens": max_tokens,
        "max_new_tokens": min(512, 16 * math.ceil(1.5 * longest_answer / 16)),
        "threads": threads,
    }
    asked = {name: value for name, value in asdict(config).items() if value is not None}
    return FilledConfig(**{**found, **asked})
