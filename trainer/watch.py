"""What happens between two steps: numbers, evaluations, checkpoints, early stopping, signals. Knows no data file."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from trainer import Stopped, UserError, checkpoints, ranks, schedules, shards
from trainer.chance import random_state, set_random_state
from trainer.config import FilledConfig
from trainer.dataset import Example, Rendered, Renderer
from trainer.model import Base
from trainer.record import STOP, Record
from trainer.sample import generate, sample_lines
from trainer.train_losses import TrainLosses
from trainer.training import Diverged, StepTrainer

EVALUATIONS = 10  # in a run
ENOUGH_LINES = 20  # of validation, to take one adapter for better than another
SAVE_SECONDS = 900  # between two checkpoints, at most
KEPT = 2  # newest checkpoints, beside the best


class Watch(transformers.TrainerCallback):
    """Notes each step in the record, and decides when to evaluate, to save, and to stop.

    All of it happens once a step, after the update; only a gradient that is no number is found before. Of several
    processes each decides from the same numbers; the first one alone writes, and speaks.
    """

    def __init__(
        self,
        record: Record,
        base: Base,
        renderer: Renderer,
        validation: Sequence[Rendered],
        prompts: Sequence[Example],
        config: FilledConfig,
        identity: dict[str, Any],
        resumed: checkpoints.Checkpoint | None,
    ) -> None:
        self.record = record
        self.base = base
        self.renderer = renderer
        self.validation = validation
        self.prompts = prompts  # answered at each evaluation
        self.config = config
        self.identity = identity  # what a run that goes on must find unchanged
        self.resumed = resumed
        was = resumed.state["watch"] if resumed else {}
        self.best: dict[str, float] | None = was.get("best")
        self.since_best: int = was.get("since_best", 0)
        self.seconds: float = was.get("seconds", 0.0)  # of training alone
        self.side_seconds: list[float] = []  # of evaluations, one by one
        self.saved_at = time.monotonic()
        self.asked_to_stop: int | None = None  # by a signal to this process
        self.stops: int | None = None  # by a signal to any process, once all know
        self.warned: set[str] = set()
        self.line_losses = TrainLosses(record, resumed.step if resumed else 0)
        self.losses = [line["loss"] for line in record.metrics()] if resumed else []

    def follow(self, trainer: StepTrainer) -> None:
        """Take up the trainer that is watched, and put it where the checkpoint was."""
        self.trainer = trainer
        self.line_losses.begin(trainer.lines)
        if self.resumed:
            shards.load_weights(trainer.model, self.resumed.tensors("weights"))
            trainer.tokens_at_once = self.resumed.state["watch"]["tokens_at_once"]

    @property
    def is_over(self) -> bool:
        """Whether the run had stopped early already when it was broken off."""
        return self.picks_best and self.since_best >= self.config.patience

    def restore_best(self) -> None:
        """Put the weights of the best evaluation in place, where there are lines enough to tell; else the last stay."""
        if self.picks_best and self.best:
            try:
                best = checkpoints.read_step(self.record.folder, self.best_step)
            except UserError as fault:  # to go on with it would end here again
                words = f"{fault} It was the best; the weights of the last step are kept in its place."
                self.record.facts["notes"] = [*self.record.facts.get("notes", []), words]
                self.say(words)
            else:
                shards.load_weights(self.trainer.model, best.tensors("weights"))
                self.say(f"Kept: step {self.best_step}, with the lowest validation loss, {self.best['eval_loss']:.3f}.")
                return
        if self.has_learning_weights and self.trainer.optimizer:
            self.trainer.optimizer.eval()

    @property
    def picks_best(self) -> bool:
        """Whether the adapter of the best evaluation is the result, and a run may end early."""
        return self.config.patience > 0 and len(self.validation) >= ENOUGH_LINES

    # What transformers calls

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        self.steps = len(trainer.steps)
        self.evaluated_each = math.ceil(self.steps / EVALUATIONS)
        tokens = [sum(trainer.lengths[line] for line in step) for step in trainer.steps]
        learnt = [sum(trainer.learnt[line] for line in step) for step in trainer.steps]
        self.tokens, self.learnt = running(tokens), running(learnt)
        self.seen = running([len(step) for step in trainer.steps])
        self.first = trainer.start
        if trainer.args.device.type == "cuda":
            before = random_state()  # a probe must not change what dropout drops
            trainer.probe(trainer.model_wrapped)
            set_random_state(before)
        if self.resumed:
            state.global_step = self.resumed.step
            trainer.slowed = self.resumed.state["watch"]["slowed"]
            packed = checkpoints.unpack_optimizer(self.resumed.tensors("optimizer"), self.resumed.state["optimizer"])
            trainer.optimizer.load_state_dict(shards.lay_out(packed, trainer.optimizer))
            rates = [group["lr"] for group in trainer.optimizer.param_groups]
            trainer.lr_scheduler.load_state_dict(trainer.lr_scheduler.state_dict() | {"_last_lr": rates})
            if self.has_learning_weights:
                trainer.optimizer.train()
                shards.load_weights(trainer.model, self.resumed.tensors("learning"))
            chances = self.resumed.state["random"]
            set_random_state(chances[ranks.index() % len(chances)])
        self.started = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step, weights = state.global_step + 1, list(self.trainer.model.parameters())
        what, value = "loss", self.trainer.loss
        if math.isfinite(value):
            if are_finite([shards.local(weight.grad) for weight in weights if weight.grad is not None]):
                return
            what, value = "gradient", math.nan
        if not are_finite([shards.local(weight.detach()) for weight in weights if weight.requires_grad]):
            raise self.diverged(what, value, step, self.fall_back())
        if self.has_learning_weights:
            self.trainer.optimizer.eval()
        raise self.diverged(what, value, step, step - 1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        if "loss" not in logs:
            return
        step = state.global_step
        self.seconds += time.monotonic() - self.started
        late = time.monotonic() - self.saved_at > SAVE_SECONDS
        told = ranks.gather((self.asked(), late, peak_memory()))
        self.stops = self.signal_of([each for each, _, _ in told])
        self.line_losses.add(step, self.trainer.line_losses)
        self.losses.append(self.trainer.loss)
        line = self.measure_step(step, logs, max(peak for _, _, peak in told))
        if self.validation and (step % self.evaluated_each == 0 or step == self.steps):
            line |= self.evaluate(step)
            if self.is_over:
                self.say(
                    f"Stopped early: no better validation loss than that of step {self.best_step} "
                    f"in {self.since_best} evaluations."
                )
                control.should_training_stop = True
        self.record.note(line)
        self.show(line)
        self.warn(step)
        ends = step == self.steps or control.should_training_stop or self.stops is not None
        if ends or "eval_loss" in line or told[0][1]:
            self.save(step)
        if self.stops is not None:
            control.should_training_stop = True
        self.started = time.monotonic()

    # Numbers

    def measure_step(self, step: int, logs: dict[str, Any], peak: int) -> dict[str, Any]:
        done = self.tokens[step] - self.tokens[self.first]
        here = self.seconds - (self.resumed.state["watch"]["seconds"] if self.resumed else 0.0)
        speed = done / max(here, 1e-9)
        evaluations_left = self.steps // self.evaluated_each - step // self.evaluated_each if self.validation else 0
        left = (self.tokens[-1] - self.tokens[step]) / speed
        left += evaluations_left * (sum(self.side_seconds) / max(1, len(self.side_seconds)))
        return {
            "step": step,
            "epoch": round(self.seen[step] / len(self.trainer.lines), 4),
            "loss": round(self.trainer.loss, 6),
            "learning_rate": logs["learning_rate"],
            "grad_norm": round(float(logs["grad_norm"]), 6),
            "tokens": self.tokens[step],
            "supervised_tokens": self.learnt[step],
            "tokens_per_second": round(speed, 1),
            "seconds_left": round(left, 1),
            "peak_memory": peak,
            **self.trainer.measures,
        }

    def evaluate(self, step: int) -> dict[str, float]:
        """Return the measures of the validation lines, remember whether they are the best, and slow down if not."""
        started = time.monotonic()
        with self.answering_weights():
            # Of one process, since they decide by it and may find the last digits otherwise.
            loss, measures = ranks.gather(self.trainer.validate(self.validation))[0]
            self.answer(step)
        if not math.isfinite(loss):  # the weights are ruined already
            raise self.diverged("validation loss", loss, step, self.fall_back())
        if self.best is None or loss < self.best["eval_loss"]:
            self.best, self.since_best = {"step": step, "eval_loss": loss}, 0
        else:
            self.since_best += 1
            if self.config.schedule == "plateau":
                self.trainer.slowed *= schedules.SLOWED
        self.side_seconds.append(time.monotonic() - started)
        return {"eval_loss": round(loss, 6)} | {f"eval_{name}": value for name, value in measures.items()}

    def answer(self, step: int) -> None:
        """Answer the fixed prompts, to be read along; what chance brings to the next step stays as it is."""
        if not self.prompts:
            return
        cards = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=cards):
            model = self.trainer.model
            answers = shards.ask(
                model,
                self.prompts,
                lambda some: generate(model, self.renderer, some, self.config, self.base.device),
            )
        self.record.keep_lines(
            f"progress/samples-{step:06d}.jsonl", sample_lines(self.prompts, {"tuned": answers}, self.config)
        )

    @property
    def best_step(self) -> int:
        return int(self.best["step"]) if self.best else 0

    @property
    def has_learning_weights(self) -> bool:
        """Whether the optimizer learns with other weights than it answers with."""
        return self.config.optimizer == "schedule-free"

    @contextlib.contextmanager
    def answering_weights(self) -> Iterator[checkpoints.Tensors]:
        """Put the weights in place that the optimizer answers with; yield those it learns with, where they are others.

        These come back as they were: computed from the others they would be so to the last digit but one.
        """
        if not self.has_learning_weights:
            yield {}
            return
        optimizer, learning = self.trainer.optimizer, shards.trained_weights(self.trainer.model)
        optimizer.eval()
        try:
            yield learning
        finally:
            optimizer.train()
            shards.load_weights(self.trainer.model, learning)

    # Checkpoints

    def save(self, step: int) -> None:
        """Keep all that the next step depends on, and take away what no step needs any more."""
        with self.answering_weights() as learning:
            weights = shards.trained_weights(self.trainer.model)
            optimizer, packed = checkpoints.pack_optimizer(self.trainer.optimizer.state_dict())
            state = {
                **self.identity,
                "optimizer": packed,
                "random": ranks.gather(random_state()),
                "watch": {
                    "best": self.best,
                    "since_best": self.since_best,
                    "seconds": self.seconds,
                    "slowed": self.trainer.slowed,
                    "tokens_at_once": self.trainer.tokens_at_once,
                },
            }
            tensors = {"weights": weights, "optimizer": optimizer} | ({"learning": learning} if learning else {})
            ranks.first(lambda: self.write(step, tensors, state))
        self.saved_at = time.monotonic()

    def write(self, step: int, tensors: dict[str, checkpoints.Tensors], state: dict[str, Any]) -> None:
        # Whoever goes on from the checkpoint takes of these what it has seen, so none of that may come after it.
        checkpoints.flush(self.record.folder / "metrics.jsonl")
        self.line_losses.write()
        checkpoints.save(self.record.folder, step, tensors, state)
        newest = checkpoints.numbers(self.record.folder / checkpoints.FOLDER)[-KEPT:]
        checkpoints.keep_only(self.record.folder, {*newest, *([self.best_step] if self.picks_best else [])})

    # Ends

    @contextlib.contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the step and save; the second one stops at once.

        One that came too late for the last step stops the run behind it, where all is saved already.
        """

        def note(number: int, frame: Any) -> None:
            if self.asked_to_stop is not None:
                raise Stopped(number)
            self.asked_to_stop = number
            self.say("Stopping after this step, and saving it. Once more stops at once.")

        # Ray's thread gets no signals.
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self.stops = self.signal_of(ranks.gather(self.asked()))

    def asked(self) -> int | None:
        """Return the signal by which this process was asked to stop, or which the file for it stands for."""
        if self.asked_to_stop is None and ranks.is_first():
            with contextlib.suppress(OSError):  # taken away, else it would stop the run that goes on as well
                (self.record.folder / STOP).unlink()
                self.asked_to_stop = signal.SIGINT
        return self.asked_to_stop

    def signal_of(self, told: Sequence[int | None]) -> int | None:
        """Return the signal that any of the processes was told to stop by."""
        return next((each for each in told if each is not None), None)

    def fall_back(self) -> int:
        """Put the weights of the newest checkpoint in place, and return its step; 0 where there is none."""
        found, _ = checkpoints.newest_whole(self.record.folder)
        if found is None:
            return 0
        shards.load_weights(self.trainer.model, found.tensors("weights"))
        return found.step

    def diverged(self, what: str, value: float, step: int, good: int) -> Diverged:
        places = [self.trainer.lines[line].example.place for line in self.trainer.step_lines]
        shown = ", ".join(places[:16]) + (f" and {len(places) - 16} more" if len(places) > 16 else "")
        kept = f"The weights of step {good} are kept. " if good else ""
        return Diverged(
            f"The {what} of step {step} is {value}, so nothing can be learned any more. {kept}"
            f"Try a third of the learning rate: --learning-rate {self.config.learning_rate / 3:.2g}, and look at the "
            f"lines of the step: {shown}.",
            good,
        )

    def warn(self, step: int) -> None:
        """Say once what the losses tell of the learning rate."""
        trouble = schedules.trouble(self.losses)
        if trouble is None or trouble in self.warned or step < self.steps / 5:
            return
        self.warned.add(trouble)
        rate = self.config.learning_rate
        if trouble == "rises":
            self.say(f"Warning: the loss rises. The learning rate, {rate:g}, may be too high: try {rate / 3:.2g}.")
        else:
            self.say(
                f"Warning: the loss hardly moves. The learning rate, {rate:g}, may be too low: try {3 * rate:.2g}."
            )

    # Words

    def show(self, line: dict[str, Any]) -> None:
        if not ranks.is_first():
            return
        step = line["step"]
        words = [f"step {step} of {self.steps}", f"loss {line['loss']:.3f}"]
        if self.best:
            words.append(f"validation {self.best['eval_loss']:.3f} at best")
        words += [f"{line['tokens_per_second']:,.0f} tokens/s", f"{duration(line['seconds_left'])} left"]
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            room = min(24, width - len(text := "  ".join(words)) - 2)
            bar = f"{bar_of(step / self.steps, room)}  " if room >= 8 else ""
            print(
                f"\r\x1b[K{(bar + text)[:width]}", end="\n" if step == self.steps else "", file=sys.stderr, flush=True
            )
        elif step == self.steps or step % self.evaluated_each == 0:
            print(", ".join(words).capitalize(), file=sys.stderr, flush=True)

    def say(self, words: str) -> None:
        if not ranks.is_first():
            return
        lead = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{lead}{words}", file=sys.stderr, flush=True)


def are_finite(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether tensors hold nothing but numbers, those of all processes."""
    return all(ranks.gather(bool(torch.stack(torch._foreach_norm(tensors)).isfinite().all())))


def running(numbers: Sequence[int]) -> list[int]:
    """Return the sums of none, the first, the first two … numbers."""
    sums = [0]
    for number in numbers:
        sums.append(sums[-1] + number)
    return sums


def peak_memory() -> int:
    """Return the most bytes this process has held at once: of the GPU where one is used."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with contextlib.suppress(OSError):  # what Linux counts for getrusage begins with what the parent process had
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
        if found:
            return 1024 * int(found.group(1))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def bar_of(share: float, width: int) -> str:
    full = round(share * width)
    return "━" * full + "─" * (width - full)


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
