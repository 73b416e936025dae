"""One run, told top to bottom: data, base, fine-tuning, measuring, answering. Each room does its own part."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from trainer import Stopped, UserError, attention, batches, checkpoints, dataset, ranks, report, shards, signals
from trainer.checkpoints import Checkpoint
from trainer.config import FilledConfig, RunConfig
from trainer.dataset import SPLITS, Rendered
from trainer.evaluate import LineLoss, evaluate, line_losses, loss_lines
from trainer.machine import count_cores
from trainer.model import add_adapter
from trainer.preference import PreferenceTrainer
from trainer.preparing import Prepared, prepare_all, steps_of
from trainer.ranks import say
from trainer.record import Record, Unwritten, alone, choose_folder, is_full, make_folder
from trainer.sample import Answer, generate, sample_lines
from trainer.training import Diverged, StepTrainer, keeps_lines_apart, longest_row
from trainer.watch import Watch, peak_memory

MUCH_PADDING = 1.5  # tokens worked through for each that a line has
CPU_ROW = 1024  # tokens: attention costs the square of it


def run(asked: RunConfig, token: str | None = None) -> Record:
    """Fine-tune once, and leave in the run's folder all that is needed to look at it and to do it again.

    All that can be refused is refused before the folder is made. Raises UserError. `token` opens `asked.report_to`.
    """
    with ranks.joined():
        _, path = ranks.first(lambda: (choose_folder(asked.output), find_data(asked)))
        to = ranks.agree(lambda: report.destination(asked.report_to, token, asks=ranks.is_first()))
        prepared = prepare_all(asked, path)
        tell_plan(prepared)
        base, config = prepared.base, prepared.config
        say(f"Expected: {prepared.predicted.in_words()}.")
        facts: dict[str, Any] = {
            "data": prepared.data,
            "lines": {name: len(prepared.split(name)) for name in SPLITS},
            "left_out": prepared.left_out,
            "plan": {"predicted": prepared.predicted.as_json()},
            "base": base.identity,
            "notes": prepared.renderer.notes,
            "device": {"name": base.device.title, "dtype": str(base.device.dtype).removeprefix("torch.")},
            "processes": ranks.count(),
        }
        folder = ranks.first(lambda: make_folder(asked.output))
        with holding(folder):
            ranks.first(lambda: choose_folder(str(folder)))  # refused where another run was there first
            record = ranks.agree(lambda: kind().begin(folder, asked, config, **facts))
            with report.sending(folder, to), record:
                ranks.agree(lambda: check_seen(folder))
                finish(prepared, record, None)
    return record


def kind() -> type[Record]:
    """Return what this process has of the run's record."""
    return Record if ranks.is_first() else Unwritten


def find_data(asked: RunConfig) -> Path:
    return Path(asked.data) if asked.data else dataset.newest_export()


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold the run for its first process. Raises UserError in all of them where it is held already.

    A disk that is full, whatever was to be written, is raised as UserError too.
    """
    with contextlib.ExitStack() as held:
        ranks.agree(lambda: held.enter_context(alone(folder)) if ranks.is_first() else None)
        try:
            yield
        except Exception as error:
            if isinstance(error, UserError) or not is_full(error):
                raise
            raise UserError(
                f"The disk of {folder}/ is full. Make room, then go on with: python -m trainer resume {folder}"
            ) from error


def check_seen(folder: Path) -> None:
    """Raise UserError where the folder of a run that has begun is not there for this process."""
    if not (folder / "run.json").is_file():
        raise UserError(
            f"The run's folder {folder} is not seen by {ranks.name()}. All processes read it: name one with -o that "
            "lies on storage of all machines, under the same path."
        )


def resume(folder: Path, report_to: str | None = None, token: str | None = None) -> Record:
    """Go on with a run that was broken off, from its newest whole checkpoint, as if it never had been.

    Raises UserError where it is done, is at work, or its data, base or batches are no longer the same.
    """
    with ranks.joined():
        with holding(folder):  # before its record is read, which another process might be bringing to its end
            record = ranks.agree(lambda: kind().reopen(folder))
            reported = report_to or record.facts["config"]["resolved"].get("report_to")
            to = ranks.agree(lambda: report.destination(reported, token, asks=ranks.is_first()))
            go_on(record, to)
    return record


def go_on(record: Record, to: report.Destination | None) -> None:
    """Check that a run is still what it was, and bring it to its end, reported where that is asked."""
    config = FilledConfig(**record.facts["config"]["resolved"])
    if record.facts.get("processes", 1) != ranks.count():  # else the digits are those of a run never stopped
        config = replace(config, threads=count_cores())
    checkpoint, faults = ranks.first(lambda: checkpoints.newest_whole(record.folder))
    for fault in faults:
        say(fault)
    ranks.agree(lambda: check_data(record))
    prepared = prepare_all(replace(config, unverified=True), Path(record.facts["data"]["path"]))
    ranks.agree(lambda: check_same(prepared, record, checkpoint))
    step = checkpoint.step if checkpoint else 0
    none = "No checkpoint is whole" if faults else "There is no checkpoint yet"
    say(f"Going on after step {step}." if checkpoint else f"{none}: beginning at the first step.")
    record.facts["processes"] = ranks.count()
    record.go_on(step)
    ranks.first(lambda: checkpoints.keep_until(record.folder, step))
    with report.sending(record.folder, to), record:
        finish(prepared, record, checkpoint)


def check_data(record: Record) -> None:
    data = record.facts["data"]
    if dataset.describe(Path(data["path"]))["sha256"] != data["sha256"]:
        raise UserError(
            f"{data['path']} was changed since {record.folder} began, so its steps cannot be gone on with. Put the "
            "data back, or start a new run with: python -m trainer run"
        )


def check_same(prepared: Prepared, record: Record, checkpoint: Checkpoint | None) -> None:
    """Raise UserError where the base or the steps of a run are no longer those it began with."""
    folder, config = record.folder, prepared.config
    began = record.facts["base"]
    # Older records do not know the weights: nothing can be said against those.
    if any(began.get(name, now) != now for name, now in prepared.base.identity.items() if name.endswith("_sha256")):
        raise UserError(f"The base {config.base} is no longer the one that {folder} began with. Start a new run.")
    if checkpoint and checkpoint.state["config"]["batch_size"] != config.batch_size:
        raise UserError(
            f"The checkpoint of step {checkpoint.step} took {checkpoint.state['config']['batch_size']} lines a "
            f"step, and run.json says {config.batch_size}. Put run.json back, or start a new run."
        )
    if checkpoint and checkpoint.state["batches"] != batches.digest(*steps_of(prepared)):
        raise UserError(
            f"The steps of {folder} are no longer those it began with: its tokenizer or its options have changed. "
            "Put them back, or start a new run."
        )


def tell_plan(prepared: Prepared) -> None:
    """Say on standard error what is about to happen, and everything the user might not expect."""
    config, base, left_out = prepared.config, prepared.base, prepared.left_out
    counts = ", ".join(f"{len(prepared.split(name))} to {verb}" for name, verb in zip(SPLITS, VERBS, strict=True))
    say(f"Data: {prepared.data['path']}: {counts}.")
    for reason in left_out[:10]:
        say(f"Left out: {reason}.")
    if len(left_out) > 10:
        say(f"Left out: {len(left_out) - 10} more lines; all are named in run.json.")
    say(f"Base: {base.identity['name']}, {base.weights / 1e6:,.1f} M weights, {config.quantisation}.")
    for note in [base.identity.get("note"), *prepared.renderer.notes]:
        if note:
            say(f"Note: {note}")
    say(f"Device: {base.device.title}, {base.device.dtype}, since {base.device.reason}.".replace("torch.", ""))
    if config.method != "sft":
        say(f"Method: {config.method}, beta {config.beta:g}, measured against the base below the adapter.")
    trained = "All weights" if config.adapter == "none" else f"Adapter: {config.adapter}, rank {config.rank}"
    say(
        f"{trained}, learning rate {config.learning_rate:g}, "
        f"{config.epochs:g} epoch{'s' * (config.epochs != 1)} of at most "
        f"{config.batch_size} lines a step, lines of at most {config.max_tokens} tokens."
    )


VERBS = ("train", "validate", "test")


def finish(prepared: Prepared, record: Record, checkpoint: Checkpoint | None) -> None:
    """Train, from a checkpoint on if there is one, keep the result, and measure base and tuned."""
    base, config = prepared.base, prepared.config
    prompts = [line.example for line in choose(prepared.tested, config.samples, config.seed)]
    found: dict[str, Measured] = {}
    if config.adapter == "none":  # what the base says is known only before its weights change
        found["base"] = measure("base", base.model, prepared, prompts)
    model = fit(prepared, record, checkpoint)
    keep_result(model, prepared, record)
    if config.adapter != "none":
        with model.disable_adapter():  # the same model, so that nothing else differs
            found["base"] = measure("base", model, prepared, prompts)
    found["tuned"] = measure("tuned", model, prepared, prompts)
    ranks.first(lambda: write_down(prepared, record, prompts, found))


def write_down(prepared: Prepared, record: Record, prompts: Sequence[Any], found: Mapping[str, Measured]) -> None:
    """Write what was measured, and what it took; take away what only a run that goes on needs."""
    config = prepared.config
    losses = {name: each.losses for name, each in found.items()}
    rejected = {name: each.rejected for name, each in found.items()}
    answers = {name: each.answers for name, each in found.items()}
    record.keep_lines("losses.jsonl", loss_lines(prepared.answers, losses))
    signals.write(record)
    record.keep_lines("samples.jsonl", sample_lines(prompts, answers, config))
    record.keep("evaluation.json", evaluate(prepared.answers, losses, prompts, answers, rejected))
    record.facts["actual"] |= {"peak_memory": peak_memory(), "disk": bytes_below(record.folder)}
    if not config.keep_checkpoints:
        checkpoints.remove_all(record.folder)


def fit(prepared: Prepared, record: Record, checkpoint: Checkpoint | None) -> Any:
    """Train the lines, step by step, and return the model with what it learnt: the best that was evaluated.

    Raises Diverged where the loss or the gradient is no longer a number, and Stopped after a signal; what was
    learnt until then is kept.
    """
    base, config = prepared.base, prepared.config
    steps, lengths = steps_of(prepared)
    # Before FSDP hands them round only the first process has weights to try anything on.
    settle = ranks.first if ranks.is_sharded() else ranks.agree
    packed, tokens_at_once = settle(lambda: rows_of(prepared, steps, lengths))
    agreed = ranks.gather((packed, tokens_at_once, prepared.predicted.memory.checkpointed))
    packed, tokens_at_once = all(each[0] for each in agreed), min(each[1] for each in agreed)
    model = add_adapter(base.model, config)
    identity = {
        "batches": batches.digest(steps, lengths),
        "data": prepared.data["sha256"],
        "config": asdict(config),
    }
    watched = prepared.split("validation")
    prompts = [
        line.example
        for line in choose([line for line in watched if line.example.good], config.progress_prompts, config.seed)
    ]
    watch = Watch(record, base, prepared.renderer, watched, prompts, config, identity, checkpoint)
    trainer = (StepTrainer if config.method == "sft" else PreferenceTrainer)(
        base,
        model,
        prepared.split("train"),
        steps,
        config,
        record.folder,
        start=checkpoint.step if checkpoint else 0,
        packed=packed,
        tokens_at_once=tokens_at_once,
        activation_checkpointing=any(each[2] for each in agreed),
        callbacks=[watch],
    )
    watch.follow(trainer)
    if trainer.start < len(steps) and not watch.is_over:
        try:
            with watch.catching_signals():
                trainer.train()
        except Diverged as diverged:
            if diverged.good:
                keep_result(model, prepared, record)
            raise
    if watch.stops is not None:
        raise Stopped(watch.stops, f"Stopped. Go on with: python -m trainer resume {record.folder}")
    watch.restore_best()
    record.facts["actual"] = {"seconds": round(watch.seconds, 1)}
    return model


def rows_of(prepared: Prepared, steps: Sequence[Sequence[int]], lengths: Sequence[int]) -> tuple[bool, int]:
    """Return whether lines are packed into rows, and how many tokens are worked through at once.

    On a CPU attention over a packed row costs more than padding does, unless there is a lot of it or each line is
    read alone.
    """
    base, config, tokens_at_once = prepared.base, prepared.config, prepared.predicted.tokens_at_once
    on_cpu = base.device.name == "cpu" and not attention.is_used(base.model)
    packed = config.packing == "auto" and keeps_lines_apart(base)
    if packed and on_cpu and batches.padding(steps, lengths, tokens_at_once) < MUCH_PADDING:
        packed = False
    if not packed:
        return False, tokens_at_once
    if on_cpu and config.tokens_at_once is None:
        tokens_at_once = max(*lengths, min(tokens_at_once, CPU_ROW))
    return True, min(tokens_at_once, longest_row(base))


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def keep_result(model: Any, prepared: Prepared, record: Record) -> None:
    """Save the adapter, or the whole model where all of it was trained, as `from_pretrained` reads it."""
    options: dict[str, Any] = {"state_dict": shards.trained_weights(model)} if shards.is_sharded(model) else {}
    ranks.first(lambda: save_result(model, prepared, record, options))


def save_result(model: Any, prepared: Prepared, record: Record, options: dict[str, Any]) -> None:
    if prepared.config.adapter == "none":
        folder = record.folder / "model"
        model.save_pretrained(folder, **options)
    else:
        folder = record.folder / "adapter"
        model.save_pretrained(folder, save_embedding_layers=False, **options)
        (folder / "README.md").unlink(missing_ok=True)  # a form that PEFT leaves to be filled in; `merge` writes a card
    prepared.base.tokenizer.save_pretrained(folder)


class Measured(NamedTuple):
    """The loss of each answer to be like, of each rejected one among the test lines, and the answer to each prompt."""

    losses: list[LineLoss]
    rejected: list[LineLoss]
    answers: list[Answer]


def measure(name: str, model: Any, prepared: Prepared, prompts: Sequence[Any]) -> Measured:
    """Let a model read the lines and answer the prompts."""
    base, pad = prepared.base, prepared.base.tokenizer.pad_token_id
    say(f"Measuring {name}.")

    def read(lines: Sequence[Rendered]) -> list[LineLoss]:
        return line_losses(model, lines, pad, base.device)

    def answer(some: Sequence[Any]) -> list[Answer]:
        return generate(model, prepared.renderer, some, prepared.config, base.device)

    others = [line.rejected for line in prepared.tested if line.rejected]
    return Measured(
        shards.ask(model, prepared.answers, read),
        shards.ask(model, others, read),
        shards.ask(model, prompts, answer),
    )


def choose(lines: Sequence[Rendered], most: int, seed: int) -> list[Rendered]:
    """Return at most so many of the lines, drawn with the seed, in their order."""
    drawn = random.Random(seed).sample(range(len(lines)), min(most, len(lines)))
    return [lines[index] for index in sorted(drawn)]
