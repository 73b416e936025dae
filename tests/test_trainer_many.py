"""A run in two processes: what one process would have found, and one end for both."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trainer_fixtures import SUMS, sums, tiny_base  # noqa: F401

from trainer.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")

HERE = Path(__file__).parent
SIX_STEPS = (
    "--epochs 3 --quantisation none --precision fp32 --samples 2 --max-new-tokens 4 --progress-prompts 1".split()
)
FSDP = "--use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP".split()


def launch(folder, commands, options, timeout=240):
    """Let two processes of accelerate work through commands; return what each command ended with in each, and said."""
    file = folder / "commands.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in commands), "utf-8")
    typed = [sys.executable, "-m", "accelerate.commands.launch", *options, "--num_processes", "2"]
    typed += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK")}
    environment |= {"PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*typed, HERE / "many_processes.py", file], env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr[-4000:]
    codes = [json.loads((folder / f"results-{rank}.json").read_text()) for rank in range(2)]
    return list(zip(*codes, strict=True)), done.stderr


def stop_in_step_five(argv, monkeypatch):
    """Begin a run in this process alone, and end it by a signal in its fifth step."""
    from trainer.training import StepTrainer

    work_through = StepTrainer.work_through

    def interrupted(self, model, lines):
        if self.state.global_step == 4:
            os.kill(os.getpid(), 15)
        return work_through(self, model, lines)

    with monkeypatch.context() as patch:
        patch.setattr(StepTrainer, "work_through", interrupted)
        assert main(argv) == 143


@pytest.fixture(scope="module")
def preferences(tmp_path_factory):
    """Sums with a good and a bad answer each, and sums with one of them and which it is."""
    folder = tmp_path_factory.mktemp("data")
    said = [[{"role": "assistant", "content": text} for text in (a, a.replace("It is", "I guess"))] for _, a in SUMS]
    asked = [[{"role": "user", "content": question}] for question, _ in SUMS]
    dpo = [{"prompt": q, "chosen": [a], "rejected": [b]} for q, (a, b) in zip(asked, said, strict=True)]
    kto = [
        {"prompt": q, "completion": [pair[place % 2]], "label": place % 2 == 0}
        for place, (q, pair) in enumerate(zip(asked, said, strict=True))
    ]
    for name, rows in (("dpo", dpo), ("kto", kto)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


@pytest.fixture(scope="module")
def asked(tiny_base, sums, preferences):  # noqa: F811
    """What is typed for each run, but for its folder."""
    sft = ["run", str(sums), "--base", str(tiny_base), *SIX_STEPS]
    return {
        "plain": sft,
        "one-line-steps": [*sft, "--batch-size", "1", "--epochs", "0.2"],
        "all-weights": [*sft, "--adapter", "none"],
        **{
            method: ["run", str(preferences / f"{method}.jsonl"), *sft[2:], "--method", method]
            for method in ("dpo", "kto")
        },
    }


@pytest.fixture(scope="module")
def runs(asked, tmp_path_factory):
    """The runs of one process, by name, and one that was stopped."""
    folder = tmp_path_factory.mktemp("one")
    for name, argv in asked.items():
        assert main([*argv, "-o", str(folder / name)]) == 0
    with pytest.MonkeyPatch.context() as patch:
        stop_in_step_five([*asked["plain"], "-o", str(folder / "stopped")], patch)
    return folder


@pytest.fixture(scope="module")
def together(asked, runs, tmp_path_factory):
    """The same runs by DDP in two processes, and some that go wrong in the second process."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(runs / "stopped", folder / "resumed")
    commands = [
        {"argv": [*argv, "-o", str(folder / name)], "fault": None}
        for name, argv in asked.items()
        if name != "all-weights"
    ]
    commands.append({"argv": ["resume", str(folder / "resumed")], "fault": None})
    for fault in ("memory", "signal", "nan", "refuses"):
        commands.append({"argv": [*asked["plain"], "-o", str(folder / fault)], "fault": fault})
    codes, said = launch(folder, commands, ["--multi_gpu"])
    return folder, dict(zip([Path(each["argv"][-1]).name for each in commands], codes, strict=True)), said


@pytest.fixture(scope="module")
def sharded(asked, runs, tmp_path_factory):
    """The same runs by FSDP, the weights in pieces over two processes."""
    folder = tmp_path_factory.mktemp("sharded")
    shutil.copytree(runs / "stopped", folder / "resumed")
    commands = [{"argv": [*asked[name], "-o", str(folder / name)], "fault": None} for name in ("plain", "all-weights")]
    commands.append({"argv": ["resume", str(folder / "resumed")], "fault": None})
    commands.append({"argv": [*asked["all-weights"], "-o", str(folder / "signal")], "fault": "signal"})
    commands.append({"argv": [*asked["plain"], "--quantisation", "nf4", "-o", str(folder / "nf4")], "fault": None})
    codes, said = launch(folder, commands, FSDP)
    return folder, dict(zip([Path(each["argv"][-1]).name for each in commands], codes, strict=True)), said


def lines_of(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def assert_same(one, other, tolerance=1e-4):
    """Compare what two runs learnt, step by step and line by line, added up in another order."""
    from safetensors.torch import load_file

    same = ("loss", "eval_loss", "grad_norm", "learning_rate", "rewards/margins", "eval_rewards/margins", "baseline")
    steps = [
        [{name: line[name] for name in same if name in line} for line in lines_of(folder / "metrics.jsonl")]
        for folder in (one, other)
    ]
    assert len(steps[0]) == len(steps[1])
    for ours, theirs in zip(*steps, strict=True):
        assert ours == pytest.approx(theirs, rel=tolerance, abs=tolerance)
    for ours, theirs in zip(*(lines_of(folder / "train_losses.jsonl") for folder in (one, other)), strict=True):
        assert ours["steps"] == theirs["steps"]
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=1e-3)
    (file,) = (path.relative_to(one) for path in one.glob("*/*model.safetensors"))
    weights, others = load_file(one / file), load_file(other / file)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert (weight - others[name]).norm() <= tolerance * weight.norm()


@pytest.mark.parametrize("name", ["plain", "one-line-steps", "dpo", "kto"])
def test_two_processes_learn_what_one_does(name, together, runs):
    folder, codes, _ = together
    assert codes[name] == (0, 0)
    assert_same(folder / name, runs / name)
    assert len(lines_of(folder / name / "losses.jsonl")) == len(lines_of(runs / name / "losses.jsonl"))
    assert len(lines_of(folder / name / "samples.jsonl")) == 4


def test_a_run_of_one_process_goes_on_in_two(together, runs):
    folder, codes, _ = together
    assert codes["resumed"] == (0, 0)
    assert_same(folder / "resumed", runs / "plain")
    record = json.loads((folder / "resumed" / "run.json").read_text())
    assert (record["state"], record["processes"]) == ("done", 2)


def test_a_signal_to_the_second_process_stops_both_after_the_same_step_and_one_process_goes_on(together, runs):
    folder, codes, said = together
    assert codes["signal"] == (143, 143)
    assert len(lines_of(folder / "signal" / "metrics.jsonl")) == 3
    assert f"Stopped. Go on with: python -m trainer resume {folder / 'signal'}" in said
    assert main(["resume", str(folder / "signal")]) == 0
    assert_same(folder / "signal", runs / "plain")


def test_a_loss_of_the_second_process_that_is_no_number_ends_both_and_is_told_once(together):
    folder, codes, said = together
    assert codes["nan"] == (1, 1)
    assert said.count("Error: The loss of step 3 is nan") == 1
    assert (folder / "nan" / "adapter" / "adapter_model.safetensors").is_file()
    assert json.loads((folder / "nan" / "run.json").read_text())["state"] == "failed"


def test_where_one_process_runs_out_of_memory_both_take_smaller_parts(together, runs):
    folder, codes, _ = together
    assert codes["memory"] == (0, 0)
    assert_same(folder / "memory", runs / "plain")


def test_what_the_second_process_refuses_ends_both_and_is_told_once(together):
    folder, codes, said = together
    assert codes["refuses"] == (1, 1)
    assert said.count("Error: There is no such base here.") == 1
    assert not (folder / "refuses").exists()


@pytest.mark.parametrize("name", ["plain", "all-weights"])
def test_weights_in_pieces_learn_what_whole_ones_do(name, sharded, runs):
    folder, codes, _ = sharded
    assert codes[name] == (0, 0)
    assert_same(folder / name, runs / name)


def test_a_run_goes_on_from_whole_weights_to_pieces_and_back(sharded, runs):
    folder, codes, _ = sharded
    assert (codes["resumed"], codes["signal"]) == ((0, 0), (143, 143))
    assert_same(folder / "resumed", runs / "plain")
    assert main(["resume", str(folder / "signal")]) == 0
    assert_same(folder / "signal", runs / "all-weights")


def test_quantised_weights_are_not_laid_in_pieces(sharded):
    folder, codes, said = sharded
    assert codes["nf4"] == (1, 1)
    assert said.count("Error: FSDP lays weights in pieces over the processes, and those of --quantisation nf4") == 1


def test_two_workers_of_ray_learn_what_one_process_does(asked, runs, tmp_path, capfd):
    pytest.importorskip("ray.train")
    argv = [*asked["plain"], "-o", str(tmp_path / "run")]
    assert main([*argv, "--ray", "local", "--workers", "2"]) == 0
    assert_same(tmp_path / "run", runs / "plain")
    said = capfd.readouterr()
    assert said.err.count("Step 6 of 6") == 1  # the first worker's words, once
    assert f"The run is in {tmp_path / 'run'}/" in said.out
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_cluster_nobody_answers_for_is_refused(asked, capsys):
    assert main([*asked["plain"], "--ray", "127.0.0.1:9"]) == 1
    assert "Error: Nobody answers at 127.0.0.1:9" in capsys.readouterr().err
    assert main([*asked["plain"], "--workers", "2"]) == 1
    assert "--workers is for a Ray cluster" in capsys.readouterr().err


def test_of_two_gpus_one_is_taken_and_what_to_type_for_both_is_said(asked, tmp_path, monkeypatch, capsys):
    from trainer import machine

    monkeypatch.setattr(machine, "count_gpus", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setattr(sys, "argv", ["trainer", "run", "my pairs.jsonl"])
    (tmp_path / "full").touch()
    assert main(["run", "my pairs.jsonl", "-o", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "accelerate launch --multi_gpu --num_processes 2 -m trainer run 'my pairs.jsonl'\n" in said
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"


def test_commands_that_are_for_one_process_say_so(sums, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["find-lr", str(sums)]) == 1
    assert "Error: Only run and resume work in several processes." in capsys.readouterr().err


def test_what_cannot_be_laid_in_pieces_is_refused(monkeypatch):
    from trainer import UserError, ranks
    from trainer.config import RunConfig
    from trainer.preparing import check_sharding

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="--method dpo needs a whole base in each process"):
        check_sharding(RunConfig(method="dpo", quantisation="none"))
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(UserError, match="Add to accelerate launch: --fsdp_version 2"), ranks.joined():
        pass


def test_each_process_of_a_machine_has_its_gpu_and_its_share_of_the_cores(monkeypatch):
    from trainer import machine

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    alone = machine.find_cpu()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert machine.count_cores() == 2
    assert machine.find_cpu().free == pytest.approx(alone.free / 4, rel=0.3)  # others use memory meanwhile
