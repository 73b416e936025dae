"""Runs that do not go straight to their end: stopped, gone on with, diverged, ended early."""

import errno
import json
import os
import shutil
import signal
import threading

import pytest
from trainer_fixtures import SUMS, sums, tiny_base  # noqa: F401

from trainer import UserError
from trainer.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = ["--samples", "1", "--max-new-tokens", "4", "--progress-prompts", "0"]
TEN_STEPS = ["--epochs", "5", "--dropout", "0.1", "--quantisation", "none", *QUICK]


def lines_of(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def stop_after(step, monkeypatch, number=signal.SIGTERM):
    """Let a signal come in the middle of a step."""
    from trainer.training import StepTrainer

    work_through = StepTrainer.work_through

    def interrupted(self, model, lines):
        if self.state.global_step == step - 1:
            os.kill(os.getpid(), number)
        return work_through(self, model, lines)

    monkeypatch.setattr(StepTrainer, "work_through", interrupted)


@pytest.fixture(scope="module")
def ended_in_step_five(tiny_base, sums, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(5, patch)
        assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 143
    return folder


@pytest.fixture
def stopped(ended_in_step_five, tmp_path):
    """The folder of a run of ten steps that was ended in its fifth."""
    return shutil.copytree(ended_in_step_five, tmp_path / "stopped")


def test_five_steps_and_five_after_a_stop_are_ten_bit_for_bit(stopped, tiny_base, sums, tmp_path, capsys):  # noqa: F811
    assert json.loads((stopped / "run.json").read_text())["state"] == "stopped"
    assert len(lines_of(stopped / "metrics.jsonl")) == 5
    assert main(["resume", str(stopped)]) == 0
    assert "Going on after step 5." in capsys.readouterr().err

    whole = tmp_path / "whole"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(whole), *TEN_STEPS]) == 0
    adapter = "adapter/adapter_model.safetensors"
    assert (stopped / adapter).read_bytes() == (whole / adapter).read_bytes()
    for file in ("train_losses.jsonl", "losses.jsonl", "samples.jsonl", "evaluation.json"):
        assert (stopped / file).read_text() == (whole / file).read_text()
    same = ("step", "epoch", "loss", "eval_loss", "learning_rate", "grad_norm", "tokens")
    one, other = (
        [{k: v for k, v in line.items() if k in same} for line in lines_of(f / "metrics.jsonl")]
        for f in (stopped, whole)
    )
    assert one == other
    record = json.loads((stopped / "run.json").read_text())
    assert (record["state"], record["resumed"][0]["step"], record["resumed"][0]["was"]) == ("done", 5, "stopped")
    assert not (stopped / "checkpoints").exists()


@pytest.mark.parametrize(
    ("options", "evaluations"),
    [
        # Answers with other weights than it learns with: one evaluation, so that the stop alone looks at those.
        (["--optimizer", "schedule-free", "--patience", "0"], 1),
        (["--optimizer", "prodigy"], 10),
        (["--schedule", "plateau", "--learning-rate", "3e-2", "--force"], 10),
    ],
)
def test_what_optimizer_and_schedule_know_is_kept_bit_for_bit(
    options, evaluations, tiny_base, sums, tmp_path, monkeypatch  # noqa: F811
):  # fmt: skip
    monkeypatch.setattr("trainer.watch.EVALUATIONS", evaluations)
    held_out = ["--validation", "0.4", "--batch-size", "8"]
    asked = ["run", str(sums), "--base", str(tiny_base), *TEN_STEPS, *held_out, *options]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    with monkeypatch.context() as patch:
        stop_after(7, patch)
        assert main([*asked, "-o", str(stopped)]) == 143
    assert main(["resume", str(stopped)]) == 0
    assert main([*asked, "-o", str(whole)]) == 0
    adapter = "adapter/adapter_model.safetensors"
    assert (stopped / adapter).read_bytes() == (whole / adapter).read_bytes()
    one, other = (
        [(line["loss"], line["learning_rate"]) for line in lines_of(folder / "metrics.jsonl")]
        for folder in (stopped, whole)
    )
    assert one == other


def test_each_line_has_its_loss_of_each_epoch(stopped):
    main(["resume", str(stopped)])
    losses = lines_of(stopped / "train_losses.jsonl")
    assert len(losses) == 24
    for line in losses:
        assert {len(line["steps"]), len(line["losses"])} == {5}
        assert line["place"].startswith("sums.jsonl line ")
    assert sorted(step for line in losses for step in line["steps"]) == sorted([*range(1, 11)] * 12)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(stopped, capsys):
    (newest,) = (stopped / "checkpoints").glob("step-000005")
    os.truncate(newest / "optimizer.safetensors", 1000)
    assert main(["resume", str(stopped)]) == 0
    said = capsys.readouterr().err
    assert "The checkpoint of step 5 is not whole: optimizer.safetensors is not as it was saved." in said
    assert "Going on after step 4." in said
    assert len(lines_of(stopped / "metrics.jsonl")) == 10


def test_behind_a_checkpoint_that_is_gone_on_from_there_is_none(stopped, monkeypatch):
    """One behind it that could be read again later was gone on from then, over metrics that had been taken away."""
    from trainer import run

    os.truncate(stopped / "checkpoints" / "step-000005" / "weights.safetensors", 1000)
    monkeypatch.setattr(run, "finish", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert main(["resume", str(stopped)]) == 130
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["step-000004"]
    assert len(lines_of(stopped / "metrics.jsonl")) == 4


def test_where_no_checkpoint_is_whole_the_run_begins_again_and_says_so(stopped, monkeypatch, capsys):
    from trainer import run

    for file in (stopped / "checkpoints").glob("*/files.json"):
        file.unlink()
    monkeypatch.setattr(run, "finish", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert main(["resume", str(stopped)]) == 130
    said = capsys.readouterr().err
    assert "The checkpoint of step 5 is not whole: files.json is missing." in said
    assert "No checkpoint is whole: beginning at the first step." in said
    assert lines_of(stopped / "metrics.jsonl") == []


def test_what_a_checkpoint_has_seen_is_written_before_it(tiny_base, sums, tmp_path, monkeypatch):  # noqa: F811
    """A run killed right behind a checkpoint used to lack the losses of the lines since the one before."""
    from trainer import checkpoints

    save = checkpoints.save

    def killed(run, step, *rest):
        save(run, step, *rest)
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", killed)
        assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 130
    assert main(["resume", str(folder)]) == 0
    assert sorted(step for line in lines_of(folder / "train_losses.jsonl") for step in line["steps"]) == sorted(
        [*range(1, 11)] * 12
    )


def test_changed_data_is_refused(tiny_base, sums, tmp_path, monkeypatch, capsys):  # noqa: F811
    data, folder = tmp_path / "pairs.jsonl", tmp_path / "run"
    data.write_text(sums.read_text())
    with monkeypatch.context() as patch:
        stop_after(2, patch, signal.SIGINT)
        assert main(["run", str(data), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 130
    assert capsys.readouterr().err.endswith(f"Stopped. Go on with: python -m trainer resume {folder}\n")
    data.write_text(sums.read_text().replace("It is 5.", "It is 6."))
    assert main(["resume", str(folder)]) == 1
    assert f"Error: {data} was changed since {folder} began" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("batch_size", 8, "took 16 lines a step, and run.json says 8"), ("seed", 2, "are no longer those it began with")],
)
def test_other_batches_are_refused(option, value, words, stopped, capsys):
    record = json.loads((stopped / "run.json").read_text())
    record["config"]["resolved"][option] = value
    (stopped / "run.json").write_text(json.dumps(record))
    assert main(["resume", str(stopped)]) == 1
    assert words in capsys.readouterr().err


def test_a_base_with_other_weights_is_refused(stopped, capsys):
    """Only its configuration used to be looked at, which a base that was trained on has unchanged."""
    record = json.loads((stopped / "run.json").read_text())
    record["base"]["weights_sha256"] = "0" * 64
    (stopped / "run.json").write_text(json.dumps(record))
    assert main(["resume", str(stopped)]) == 1
    assert "is no longer the one that" in capsys.readouterr().err


def test_a_run_that_is_done_or_at_work_or_none_is_refused(stopped, tmp_path, capsys):
    from trainer.record import alone

    with alone(stopped):
        assert main(["resume", str(stopped)]) == 1
    assert "is at work in another process" in capsys.readouterr().err
    assert main(["resume", str(tmp_path)]) == 1
    assert f"{tmp_path} is no run: it holds no run.json" in capsys.readouterr().err
    assert main(["resume", str(stopped)]) == 0
    assert main(["resume", str(stopped)]) == 1
    assert f"Error: {stopped} is done" in capsys.readouterr().err


def test_the_second_signal_stops_at_once(tiny_base, sums, tmp_path, monkeypatch):  # noqa: F811
    from trainer.training import StepTrainer

    def impatient(self, model, lines):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(StepTrainer, "work_through", impatient)
    folder = tmp_path / "run"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 130
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"
    assert not (folder / "checkpoints").exists()


def test_a_run_that_was_stopped_while_it_was_measured_goes_on(tiny_base, sums, tmp_path, monkeypatch, capsys):  # noqa: F811
    """TRL used to look for the first of the steps that are left, and there was none."""
    from trainer import run

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run, "measure", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 143
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"
    adapter = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    assert main(["resume", str(folder)]) == 0
    assert "Going on after step 10." in capsys.readouterr().err
    assert (folder / "adapter" / "adapter_model.safetensors").read_bytes() == adapter


def test_a_signal_that_comes_after_the_last_step_stops_too(tiny_base, sums, tmp_path, monkeypatch, capsys):  # noqa: F811
    """It used to be answered with "Stopping", and the run went on to its end."""
    from trainer.watch import Watch

    save = Watch.save

    def interrupted(self, step):
        save(self, step)
        if step == 10:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Watch, "save", interrupted)
    folder = tmp_path / "run"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 143
    assert f"Stopped. Go on with: python -m trainer resume {folder}" in capsys.readouterr().err


def test_a_signal_that_comes_while_the_end_is_written_down_does_not_keep_it_from_that(
    tiny_base, sums, tmp_path, monkeypatch  # noqa: F811
):  # fmt: skip
    """The launcher ends a process whose neighbour was killed as it says so itself: run.json was left at "running"."""
    from trainer import run
    from trainer.record import Record

    def neighbour_is_gone(*_):
        raise UserError("Another process of the run has ended")

    def interrupted(self):
        if self.facts["state"] == "failed":
            os.kill(os.getpid(), signal.SIGTERM)
        write(self)

    write = Record.write
    monkeypatch.setattr(Record, "write", interrupted)
    monkeypatch.setattr(run, "finish", neighbour_is_gone)
    folder = tmp_path / "run"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 1
    assert json.loads((folder / "run.json").read_text())["error"] == "Another process of the run has ended"


def test_a_disk_that_fills_behind_the_last_checkpoint_is_said_and_the_run_goes_on(
    tiny_base, sums, tmp_path, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    from trainer import run

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run, "save_result", fails)
        assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 1
    said = capsys.readouterr().err
    assert f"Error: The disk of {folder}/ is full. Make room, then go on with: python -m trainer resume" in said
    assert main(["resume", str(folder)]) == 0


def test_what_a_killed_process_had_half_written_is_gone_when_the_run_goes_on(stopped):
    for name in (".run.json-k2j4", ".train_losses.jsonl-x8", "progress/.samples-000001.jsonl-q1"):
        (stopped / name).parent.mkdir(exist_ok=True)
        (stopped / name).write_text("{")
    assert main(["resume", str(stopped)]) == 0
    assert [path for path in stopped.rglob(".*") if path.is_file()] == []


@pytest.mark.parametrize("content", ['{"state": "stop', '{"state": "stopped"}', "[]"])
def test_a_record_that_is_not_whole_is_refused(content, stopped, capsys):
    (stopped / "run.json").write_text(content)
    assert main(["resume", str(stopped)]) == 1
    assert f"Error: {stopped / 'run.json'} is not what this version writes" in capsys.readouterr().err


def test_a_run_is_not_taken_to_be_at_work_by_who_looks_whether_it_is(stopped):
    """A page that asked in the moment that a run went on used to have it refused."""
    import fcntl

    from trainer.record import alone

    looking = os.open(stopped, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.1, os.close, [looking]).start()
    with alone(stopped):
        pass


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_ends_the_run_with_the_weights_of_the_step_before(
    what, tiny_base, sums, tmp_path, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    import torch
    from safetensors.torch import load_file

    from trainer.training import StepTrainer

    compute_loss, seen = StepTrainer.compute_loss, {}

    def fails(self, model, *args, **kwargs):
        loss, losses = compute_loss(self, model, *args, **kwargs)
        if self.state.global_step == 3:
            seen.update((name, w.detach().clone()) for name, w in model.named_parameters() if w.requires_grad)
            if what == "loss":
                return loss * torch.nan, losses
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss, losses

    monkeypatch.setattr(StepTrainer, "compute_loss", fails)
    folder = tmp_path / "run"
    options = ["--learning-rate", "3e-3", *TEN_STEPS]
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *options]) == 1
    said = capsys.readouterr().err
    assert f"Error: The {what} of step 4 is nan, so nothing can be learned any more. The weights of step 3" in said
    assert "Try a third of the learning rate: --learning-rate 0.001, and look at the lines of the step: sums" in said
    kept = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert len(kept) == len(seen)
    for name, weight in seen.items():
        assert torch.equal(kept[name.replace(".default", "")], weight)
    record = json.loads((folder / "run.json").read_text())
    assert (record["state"], "of step 4 is nan" in record["error"]) == ("failed", True)


@pytest.mark.parametrize("step", [1, 4])
def test_weights_that_the_validation_finds_ruined_are_not_kept(
    step, tiny_base, sums, tmp_path, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    from safetensors.torch import load_file

    from trainer.training import StepTrainer

    heights = iter([*[1.0] * (step - 1), float("nan")])
    monkeypatch.setattr(StepTrainer, "validate", lambda *_: (next(heights), {}))
    folder = tmp_path / "run"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *TEN_STEPS]) == 1
    assert f"Error: The validation loss of step {step} is nan" in capsys.readouterr().err
    assert (folder / "adapter").exists() == (step > 1)
    if step > 1:
        good = load_file(folder / "checkpoints" / "step-000003" / "weights.safetensors")
        kept = load_file(folder / "adapter" / "adapter_model.safetensors")
        assert all((kept[name.replace(".default", "")] == weight).all() for name, weight in good.items())


@pytest.fixture(scope="module")
def many_sums(tmp_path_factory):
    """Sixty questions, so that twenty-four can be held out to watch."""
    file = tmp_path_factory.mktemp("data") / "many.jsonl"
    lines = [(q, a) for q, a in SUMS] + [(q.replace("plus", "and"), a) for q, a in SUMS]
    file.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in lines))
    return file


def test_training_ends_early_and_the_best_adapter_is_the_result(many_sums, tiny_base, tmp_path, monkeypatch, capsys):  # noqa: F811
    from safetensors.torch import load_file

    from trainer import training

    heights = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])
    measure = training.line_losses

    def given(*args):
        height = next(heights)
        return [type(each)(height, each.tokens) for each in measure(*args)]

    monkeypatch.setattr(training, "line_losses", given)
    folder = tmp_path / "run"
    options = ["--validation", "0.4", "--patience", "3", "--keep-checkpoints", *TEN_STEPS]
    assert main(["run", str(many_sums), "--base", str(tiny_base), "-o", str(folder), *options]) == 0
    said = capsys.readouterr().err
    assert "Stopped early: no better validation loss than that of step 2 in 3 evaluations." in said
    assert "Kept: step 2, with the lowest validation loss, 1.000." in said
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "step-000002",
        "step-000004",
        "step-000005",
    ]
    best = load_file(folder / "checkpoints" / "step-000002" / "weights.safetensors")
    result = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert all((result[name.replace(".default", "")] == weight).all() for name, weight in best.items())


def test_a_best_checkpoint_that_is_damaged_does_not_keep_the_run_from_its_end(
    many_sums, tiny_base, tmp_path, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    """The run used to end there, each time that it was gone on with."""
    from trainer.watch import Watch

    restore_best = Watch.restore_best

    def damaged(self):
        (self.record.folder / "checkpoints" / f"step-{self.best_step:06d}" / "weights.safetensors").write_bytes(b"")
        restore_best(self)

    monkeypatch.setattr(Watch, "restore_best", damaged)
    folder = tmp_path / "run"
    options = ["--validation", "0.4", *TEN_STEPS]
    assert main(["run", str(many_sums), "--base", str(tiny_base), "-o", str(folder), *options]) == 0
    assert "weights.safetensors is not as it was saved. It was the best; the weights of the last" in (
        capsys.readouterr().err
    )
