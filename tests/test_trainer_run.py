"""A real QLoRA run on the CPU: what it learns, what it leaves behind, and how it ends when it cannot go on."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from trainer_fixtures import SUMS, make_base, sums, tiny_base  # noqa: F401

from trainer import UserError
from trainer.__main__ import main
from trainer.dataset import Renderer, read_examples

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = ["--epochs", "2", "--samples", "2", "--max-new-tokens", "4"]


def lines_of(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def finished(tiny_base, sums, tmp_path_factory):  # noqa: F811
    """The folder of a run long enough to learn something."""
    folder = tmp_path_factory.mktemp("runs") / "kestrel"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), "--epochs", "12"]) == 0
    return folder


def test_a_run_learns_and_says_how_much(finished):
    losses = lines_of(finished / "losses.jsonl")
    trained = [line for line in losses if line["split"] == "train"]
    assert sum(line["tuned_loss"] for line in trained) < 0.5 * sum(line["base_loss"] for line in trained)
    test = json.loads((finished / "evaluation.json").read_text())["test"]
    assert test["tuned"]["perplexity"] < test["base"]["perplexity"]
    assert (
        set(test["base"])
        == set(test["tuned"])
        == {
            *("perplexity", "bits_per_byte", "rouge1", "rouge2", "rougeL", "bleu", "chrf", "token_f1"),
            *("exact_match", "repetition", "truncated", "echo", "empty", "templated"),
        }
    )


def test_the_record_keeps_what_was_foreseen_beside_what_it_took(finished):
    record = json.loads((finished / "run.json").read_text())
    foreseen, took = record["plan"]["predicted"], record["actual"]
    assert foreseen["steps"] == len(lines_of(finished / "metrics.jsonl"))
    assert 0.2 < foreseen["memory"]["total"] / took["peak_memory"] < 5
    assert foreseen["training_seconds"] > 0 and took["seconds"] > 0 and took["disk"] <= foreseen["disk"]


def test_each_measure_has_an_interval_and_so_has_the_change_on_the_same_lines(finished):
    evaluation = json.loads((finished / "evaluation.json").read_text())
    for name in ("base", "tuned"):
        for measure, value in evaluation["test"][name].items():
            low, high = evaluation["intervals"][name][measure]
            assert low <= value <= high or measure == "bleu"  # BLEU of so few lines leans to one side
    assert set(evaluation["intervals"]["change"]) == set(evaluation["test"]["base"])


def test_the_record_says_what_was_asked_what_was_done_and_with_what(finished, sums):  # noqa: F811
    record = json.loads((finished / "run.json").read_text())
    assert record["state"] == "done"
    assert record["config"]["asked"]["rank"] is None
    assert record["config"]["resolved"]["rank"] == 64
    assert record["data"]["path"] == str(sums)
    assert len(record["data"]["sha256"]["sums.jsonl"]) == 64
    assert record["lines"] == {"train": 24, "validation": 3, "test": 3}
    assert record["software"]["torch"]
    assert min(record["actual"][name] for name in ("seconds", "peak_memory", "disk")) > 0
    assert record["started"] <= record["ended"]


def test_each_step_is_noted_with_its_numbers(finished):
    metrics = lines_of(finished / "metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, 25))
    numbers = {"epoch", "loss", "learning_rate", "grad_norm", "tokens", "supervised_tokens", "tokens_per_second"}
    assert numbers | {"seconds_left", "peak_memory"} <= set(metrics[0])
    assert any("eval_loss" in line for line in metrics)
    assert metrics[-1]["loss"] < metrics[0]["loss"]


def test_the_same_prompts_are_answered_at_each_evaluation(finished):
    answered = [lines_of(file) for file in sorted((finished / "progress").iterdir())]
    assert len(answered) == sum("eval_loss" in line for line in lines_of(finished / "metrics.jsonl"))
    assert {tuple(line["fingerprint"] for line in lines) for lines in answered} == {
        tuple(line["fingerprint"] for line in answered[0])
    }


def test_base_and_tuned_answer_the_same_prompts(finished):
    samples = lines_of(finished / "samples.jsonl")
    assert [line["model"] for line in samples] == ["base", "tuned"] * 3
    for before, after in zip(samples[::2], samples[1::2], strict=True):
        assert before["fingerprint"] == after["fingerprint"]
        assert (before["messages"][-1]["content"], before["reference"]) in SUMS
    assert {line["finish"] for line in samples} <= {"stop", "length"}


def test_the_adapter_is_read_by_from_pretrained_and_has_the_losses_of_the_run(finished, sums):  # noqa: F811
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    renderer = Renderer(AutoTokenizer.from_pretrained(finished / "adapter"))
    model = AutoPeftModelForCausalLM.from_pretrained(finished / "adapter")
    example = read_examples(sums)[0]
    line = renderer.render(example)
    inputs = {"input_ids": torch.tensor([line.input_ids]), "labels": torch.tensor([line.labels])}
    (noted,) = [e for e in lines_of(finished / "losses.jsonl") if e["fingerprint"] == example.fingerprint]
    # The base is read in full precision here and was 4 bit in the run, so the losses are alike, not equal.
    assert model(**inputs).loss.item() == pytest.approx(noted["tuned_loss"], rel=0.3)
    assert noted["tuned_loss"] < 0.5 * noted["base_loss"]


def test_the_same_seed_gives_the_same_numbers(tiny_base, sums, tmp_path):  # noqa: F811
    for name in ("one", "two"):
        assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(tmp_path / name), *QUICK]) == 0
    for file in ("losses.jsonl", "samples.jsonl", "evaluation.json"):
        assert (tmp_path / "one" / file).read_text() == (tmp_path / "two" / file).read_text()


def test_watching_does_not_stop_the_gradient_of_a_4_bit_base(tiny_base, sums, tmp_path):  # noqa: F811
    # On a CPU with bfloat16 the first evaluation used to repack the weights, and training went on nearly blind.
    norms = {}
    for share in ("0", "0.1"):
        options = ["--validation", share, "-o", str(tmp_path / share), *QUICK]
        assert main(["run", str(sums), "--base", str(tiny_base), *options]) == 0
        norms[share] = lines_of(tmp_path / share / "metrics.jsonl")[-1]["grad_norm"]
    assert norms["0.1"] > 0.3 * norms["0"]


@pytest.mark.parametrize(
    "method",
    [
        ["--quantisation", "int8"],
        ["--quantisation", "none", "--precision", "fp32", "--schedule", "plateau", "--packing", "off"],
        ["--adapter", "dora"],
        ["--adapter", "rslora", "--schedule", "linear"],
        ["--optimizer", "prodigy"],
        ["--optimizer", "schedule-free"],
        ["--adapter", "none", "--learning-rate", "1e-3"],
    ],
    ids=" ".join,
)
def test_other_methods_learn_too(method, tiny_base, sums, tmp_path):  # noqa: F811
    folder = tmp_path / "run"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *QUICK, *method]) == 0
    losses = [line for line in lines_of(folder / "losses.jsonl") if line["split"] == "train"]
    enough = 1 if "prodigy" in method else 0.9  # four steps are too few for it to find its rate
    assert sum(line["tuned_loss"] for line in losses) < enough * sum(line["base_loss"] for line in losses)
    assert (folder / ("model" if "none" in method[1:2] and "--adapter" in method else "adapter")).is_dir()


def test_a_package_that_an_option_needs_is_asked_for_before_any_work(sums, tmp_path, capsys, monkeypatch):  # noqa: F811
    find = importlib.util.find_spec  # which libraries ask too
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *at: None if name == "prodigyopt" else find(name, *at))
    options = ["--optimizer", "prodigy", "-o", str(tmp_path / "run")]
    assert main(["run", str(sums), "--base", "nowhere", *options]) == 1
    assert capsys.readouterr().err == (
        "Error: --optimizer prodigy needs a package that is not installed: pip install prodigyopt\n"
    )


def test_dora_on_8_bit_weights_is_refused_on_a_cpu(tiny_base, sums, tmp_path, capsys):  # noqa: F811
    options = ["--adapter", "dora", "--quantisation", "int8", "-o", str(tmp_path / "run")]
    assert main(["run", str(sums), "--base", str(tiny_base), *options]) == 1
    assert "--adapter dora does not go with --quantisation int8 on a CPU" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_width_that_no_4_bit_block_divides_runs_too(sums, tmp_path):  # noqa: F811
    base = make_base(tmp_path / "narrow", hidden_size=40)
    assert main(["run", str(sums), "--base", str(base), "-o", str(tmp_path / "run"), *QUICK]) == 0


def test_nothing_held_out_trains_on_all_and_compares_nothing(tiny_base, sums, tmp_path):  # noqa: F811
    options = ["--validation", "0", "--test", "0", "-o", str(tmp_path / "run"), *QUICK]
    assert main(["run", str(sums), "--base", str(tiny_base), *options]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["lines"]["train"] == len(SUMS)


def test_an_output_folder_with_something_in_it_is_refused_before_any_work(sums, tmp_path, capsys):  # noqa: F811
    (tmp_path / "old.txt").touch()
    assert main(["run", str(sums), "--base", "nowhere", "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"Error: {tmp_path} exists already. Choose another folder with -o, or take this one away.\n"
    )


def test_a_vocabulary_larger_than_the_model_is_refused_and_leaves_no_folder(sums, tmp_path, capsys):  # noqa: F811
    base = make_base(tmp_path / "base", vocabulary=270)
    assert main(["run", str(sums), "--base", str(base), "-o", str(tmp_path / "run"), *QUICK]) == 1
    assert "They do not belong together" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_safetensors_are_refused(tiny_base, sums, tmp_path, capsys):  # noqa: F811
    base = tmp_path / "base"
    base.mkdir()
    for file in tiny_base.iterdir():
        (base / file.name.replace("model.safetensors", "pytorch_model.bin")).write_bytes(file.read_bytes())
    assert main(["run", str(sums), "--base", str(base), "-o", str(tmp_path / "run")]) == 1
    assert "are pickled (pytorch_model.bin), which could run any code" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("tokenizer.json", b'{"version": "1.0"}', "tokenizer of .* cannot be read: 'added_tokens'. Take the base anew"),
        ("chat_template.jinja", b"\xff", "The tokenizer of .* cannot be read: 'utf-8' codec"),
        ("model.safetensors", b"\x08\x00", "model.safetensors is not whole"),
    ],
)
def test_a_base_with_a_broken_file_is_refused(name, content, words, tiny_base, sums, tmp_path, capsys):  # noqa: F811
    """Each of them ended in a traceback of a library."""
    base = shutil.copytree(tiny_base, tmp_path / "base")
    (base / name).write_bytes(content)
    assert main(["run", str(sums), "--base", str(base), "-o", str(tmp_path / "run")]) == 1
    assert re.search(words, capsys.readouterr().err)


def test_a_base_that_is_nowhere_is_refused_within_seconds_and_in_one_line(sums, tmp_path):  # noqa: F811
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "run", str(sums), "--base", "nobody/nothing", "-o", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_ENDPOINT": "http://localhost:9", "HF_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert line.startswith("Error: The base nobody/nothing is neither a folder nor in the Hugging Face cache")
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 120  # most of it is importing, where the machine has other work too
    assert not (tmp_path / "run").exists()


def test_a_crash_leaves_its_error_in_the_record(tiny_base, sums, tmp_path, monkeypatch):  # noqa: F811
    from trainer import run

    def crash(*args):
        raise RuntimeError("out of paper")

    monkeypatch.setattr(run, "fit", crash)
    with pytest.raises(RuntimeError):
        main(["run", str(sums), "--base", str(tiny_base), "-o", str(tmp_path / "run")])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["state"], record["error"]) == ("failed", "RuntimeError: out of paper")


def test_ctrl_c_ends_the_run_as_stopped(tiny_base, sums, tmp_path):  # noqa: F811
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "run", str(sums), "--base", str(tiny_base), "-o", str(folder)]
        + ["--epochs", "5000"],
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background, this suite perhaps, is deaf to the signal, and so are its children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while not (folder / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.endswith(f"Stopped. Go on with: python -m trainer resume {folder}\n")
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"


def test_a_run_without_a_name_is_given_the_first_free_one(tmp_path, monkeypatch):
    from trainer.record import choose_folder

    monkeypatch.chdir(tmp_path)
    assert choose_folder(None) == Path("runs/kestrel")
    Path("runs/kestrel").mkdir(parents=True)
    assert choose_folder(None) == Path("runs/wren")


@pytest.mark.parametrize("output", ["runs/mine", None])
def test_of_two_runs_that_begin_at_once_none_writes_over_the_other(
    output, tiny_base, sums, tmp_path, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    """The second one's run.json used to take the place of the first one's, before it was refused."""
    from trainer import run

    prepare = run.prepare_all
    other = tmp_path / "runs" / ("mine" if output else "kestrel") / "run.json"

    def slow(*arguments):
        prepared = prepare(*arguments)
        other.parent.mkdir(parents=True)
        other.write_text("of another run")
        return prepared

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "prepare_all", slow)
    options = [*QUICK, "--epochs", "1", *(["-o", output] if output else [])]
    assert main(["run", str(sums), "--base", str(tiny_base), *options]) == (1 if output else 0)
    assert other.read_text() == "of another run"
    said = capsys.readouterr()
    assert "runs/mine exists already" in said.err if output else "The run is in runs/wren/" in said.out


def test_a_run_goes_into_the_folder_of_its_learning_rate_and_into_no_other_that_is_not_empty(tmp_path):
    from trainer.record import choose_folder

    (tmp_path / "lr.json").touch()
    assert choose_folder(str(tmp_path)) == tmp_path
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="exists already"):
        choose_folder(str(tmp_path))
