"""One run, told top to bottom: data, base, fine-tuning, measuring, answering. Each room does its own part."""

from __future__ import annotations

import contextlib
import math
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl
from torch.nn.functional import cross_entropy
from trl import SFTConfig, SFTTrainer

from trainer import UserError, dataset
from trainer.config import FilledConfig, RunConfig, fill_in
from trainer.dataset import IGNORED, SPLITS, Rendered, Renderer
from trainer.evaluate import LineLoss, collate, evaluate, line_losses, loss_lines
from trainer.model import Base, add_adapter, load_base
from trainer.record import Record, choose_folder
from trainer.sample import Answer, generate, sample_lines

# Below this many weights, what lies between the layers fits any GPU, and keeping it saves a third of the work.
CHECKPOINTED_ABOVE = 1e9
EVALUATIONS = 10


def run(asked: RunConfig) -> Record:
    """Fine-tune once, and leave in the run's folder all that is needed to look at it and to do it again.

    All that can be refused is refused before the folder is made. Raises UserError.
    """
    folder = choose_folder(asked.output)
    threads = use_threads(asked.threads)
    path = Path(asked.data) if asked.data else dataset.newest_export()
    data = dataset.describe(path)
    if not asked.unverified:
        dataset.verify(path, data)
    examples = dataset.split(dataset.read_examples(path), asked.validation, asked.test, asked.seed)

    base = load_base(asked)
    renderer = Renderer(base.tokenizer)
    lines, left_out = renderer.render_all(examples)
    config = fill_in(asked, **sizes(base, lines), threads=threads)
    lines, too_long = dataset.leave_out_long(lines, min(config.max_tokens, base.max_tokens))
    left_out += too_long
    by_split = {name: [line for line in lines if line.example.split == name] for name in SPLITS}
    tell_plan(path, by_split, left_out, base, renderer, config)

    with Record.begin(
        folder,
        asked,
        config,
        data=data,
        lines={name: len(split) for name, split in by_split.items()},
        left_out=left_out,
        base=base.identity,
        notes=renderer.notes,
        device={"name": base.device.title, "dtype": str(base.device.dtype).removeprefix("torch.")},
    ) as record:
        model = fit(base, by_split["train"], by_split["validation"], config, record)
        model.save_pretrained(folder / "adapter", save_embedding_layers=False)
        base.tokenizer.save_pretrained(folder / "adapter")
        measure(model, base, renderer, lines, config, record)
    return record


def use_threads(asked: int | None) -> int:
    """Fix the number of threads, since another number adds up in another order and gives other digits."""
    threads = asked or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    torch.set_num_threads(threads)
    return threads


def sizes(base: Base, lines: Sequence[Rendered]) -> dict[str, int]:
    return {
        "weights": base.weights,
        "hidden_size": base.hidden_size,
        "max_tokens": dataset.find_max_tokens([len(line.input_ids) for line in lines], base.max_tokens),
        "longest_answer": max(line.answer_tokens for line in lines),
    }


def tell_plan(
    path: Path,
    by_split: dict[str, list[Rendered]],
    left_out: Sequence[str],
    base: Base,
    renderer: Renderer,
    config: FilledConfig,
) -> None:
    """Say on standard error what is about to happen, and everything the user might not expect."""
    counts = ", ".join(f"{len(lines)} to {verb}" for verb, lines in zip(VERBS, by_split.values(), strict=True))
    say(f"Data: {path}: {counts}.")
    for reason in left_out[:10]:
        say(f"Left out: {reason}.")
    if len(left_out) > 10:
        say(f"Left out: {len(left_out) - 10} more lines; all are named in run.json.")
    say(f"Base: {base.identity['name']}, {base.weights / 1e6:,.1f} M weights, {config.quantisation}.")
    for note in [base.identity.get("note"), *renderer.notes]:
        if note:
            say(f"Note: {note}")
    say(f"Device: {base.device.title}, {base.device.dtype}, since {base.device.reason}.".replace("torch.", ""))
    say(
        f"Adapter: rank {config.rank}, learning rate {config.learning_rate:g}, {config.epochs:g} epochs of "
        f"{config.batch_size} lines a step, lines of at most {config.max_tokens} tokens."
    )


VERBS = ("train", "validate", "test")


def fit(
    base: Base, train: Sequence[Rendered], validation: Sequence[Rendered], config: FilledConfig, record: Record
) -> Any:
    """Train a new adapter on the lines, noting each step, and return the model with it.

    Raises UserError where the loss is no longer a number.
    """
    model = add_adapter(base.model, config)
    trainer = AnswerTrainer(
        model=model,
        args=training_arguments(base, config, len(train), bool(validation), record.folder),
        train_dataset=token_rows(train),
        eval_dataset=token_rows(validation) if validation else None,
        processing_class=base.tokenizer,
        data_collator=partial(collate, pad=base.tokenizer.pad_token_id),
        callbacks=[Watch(record)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    # TRL turns the adapter of a quantised base into bfloat16, whose 8 bits lose small updates.
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    trainer.train()
    return model


def training_arguments(base: Base, config: FilledConfig, lines: int, has_validation: bool, folder: Path) -> SFTConfig:
    """Return the arguments of TRL; raises UserError where the installed TRL lacks one of them."""
    steps = math.ceil(config.epochs * math.ceil(lines / config.batch_size))
    known = {each.name for each in fields(SFTConfig)}
    on_cpu = base.device.name == "cpu"
    wanted = {
        "output_dir": str(folder),
        "save_strategy": "no",
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": config.batch_size // config.accumulation,
        "per_device_eval_batch_size": config.batch_size // config.accumulation,
        "gradient_accumulation_steps": config.accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": math.ceil(config.warmup * steps),
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "seed": config.seed,
        "data_seed": config.seed,
        "use_cpu": on_cpu,
        "bf16": base.device.dtype == torch.bfloat16,
        "dataloader_pin_memory": not on_cpu,
        "eval_strategy": "steps" if has_validation else "no",
        "eval_steps": math.ceil(steps / EVALUATIONS),
        "logging_steps": 1,
        # The default writes 0.0 for a loss that is no number, and goes on with ruined weights.
        "logging_nan_inf_filter": False,
        # After running out of memory it would start again from step 0 with the trained weights kept.
        "auto_find_batch_size": False,
        "include_num_input_tokens_seen": "non_padding",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "max_length": None,
        "packing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        # The older name goes with transformers 6.
        "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing": (
            not on_cpu and base.weights > CHECKPOINTED_ABOVE
        ),
    }
    if missing := wanted.keys() - known:
        raise UserError(
            f"trl {trl.__version__} does not know {', '.join(sorted(missing))}, which this program needs. "
            "Install a version it was tested with: pip install 'trl>=1.13,<1.17'"
        )
    return SFTConfig(**wanted)


def token_rows(lines: Sequence[Rendered]) -> datasets.Dataset:
    return datasets.Dataset.from_list([{"input_ids": line.input_ids, "labels": line.labels} for line in lines])


class AnswerTrainer(SFTTrainer):
    """TRL's trainer, with a loss that suits a CPU; on a GPU it is TRL's own."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss of the answer tokens of a whole batch, all its parts together.

        TRL never holds all logits at once, but computes them twice, which on a CPU is 40 % of a step.
        """
        if model.device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")[:, 1:]
        trained = labels != IGNORED
        logits = model(**inputs, use_cache=False).logits[:, :-1]
        tokens = trained.sum() if num_items_in_batch is None else num_items_in_batch
        return cross_entropy(logits[trained].float(), labels[trained], reduction="sum") / tokens


class Watch(transformers.TrainerCallback):
    """Notes each step in the record, shows progress, and stops a run whose loss is no longer a number."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.started = time.monotonic()
        self.line: dict[str, Any] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        for name in ("loss", "grad_norm", "eval_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise UserError(
                    f"The {name.replace('_', ' ')} of step {state.global_step} is {logs[name]}, so nothing can be "
                    f"learned any more. Try a lower --learning-rate than {args.learning_rate:g}."
                )
        if "eval_loss" in logs:  # comes after the line of its step
            self.line["eval_loss"] = logs["eval_loss"]
        if "loss" in logs:
            self.write_line()
            seconds = time.monotonic() - self.started
            self.line = {
                "step": state.global_step,
                "epoch": logs["epoch"],
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "grad_norm": logs["grad_norm"],
                "tokens": int(state.num_input_tokens_seen),
                "tokens_per_second": round(float(state.num_input_tokens_seen) / seconds, 1),
            }
            self.show(state.max_steps)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.write_line()

    def write_line(self) -> None:
        if self.line:
            self.record.note(self.line)
            self.line = {}

    def show(self, steps: int) -> None:
        step = self.line["step"]
        words = f"Step {step} of {steps}, loss {self.line['loss']:.3f}, {self.line['tokens_per_second']:,.0f} tokens/s"
        if sys.stderr.isatty():
            print(f"\r{words}  ", end="\n" if step == steps else "", file=sys.stderr, flush=True)
        elif step == steps or step % math.ceil(steps / EVALUATIONS) == 0:
            say(words)


def measure(
    model: Any, base: Base, renderer: Renderer, lines: Sequence[Rendered], config: FilledConfig, record: Record
) -> None:
    """Measure base and tuned on all lines, let both answer the same test prompts, and keep all of it.

    The base is the same model with its adapter switched off, so that nothing else differs.
    """
    tested = [line for line in lines if line.example.split == "test"]
    prompts = [line.example for line in choose(tested, config.samples, config.seed)]
    losses: dict[str, list[LineLoss]] = {}
    answers: dict[str, list[Answer]] = {}
    for name, adapter in (("base", model.disable_adapter), ("tuned", contextlib.nullcontext)):
        say(f"Measuring {name}.")
        with adapter():
            losses[name] = line_losses(model, lines, base.tokenizer.pad_token_id, base.device)
            answers[name] = generate(model, renderer, prompts, config, base.device)
    record.keep_lines("losses.jsonl", loss_lines(lines, losses))
    record.keep_lines("samples.jsonl", sample_lines(prompts, answers, config))
    record.keep("evaluation.json", evaluate(lines, losses, prompts, answers))


def choose(lines: Sequence[Rendered], most: int, seed: int) -> list[Rendered]:
    """Return at most so many of the lines, drawn with the seed, in their order."""
    drawn = random.Random(seed).sample(range(len(lines)), min(most, len(lines)))
    return [lines[index] for index in sorted(drawn)]


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
