"""The options of a run: where they come from, and what is said about wrong ones."""

import resource
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from trainer import UserError
from trainer.__main__ import main
from trainer.cli import make_parser
from trainer.config import RunConfig, fill_in, make_config


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    file = tmp_path / "trainer.toml"
    file.write_text("epochs = 5\nrank = 8\n", "utf-8")
    config = make_config({"epochs": "2"}, file)
    assert (config.epochs, config.rank, config.dropout) == (2.0, 8, 0.0)


def test_trainer_toml_of_the_current_folder_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("trainer.toml").write_text("learning_rate = 1e-4\n", "utf-8")
    assert make_config({}).learning_rate == 1e-4


def test_all_wrong_options_are_reported_at_once(tmp_path):
    file = tmp_path / "trainer.toml"
    file.write_text("learning_rat = 1e-4\nquantisation = 'nf3'\nseed = true\n", "utf-8")
    with pytest.raises(UserError) as caught:
        make_config({"epochs": "three", "dropout": "1.5", "batch_size": "2.5"}, file)
    assert str(caught.value).splitlines() == [
        "6 options cannot be used.",
        f"  learning_rat in {file} is not an option. All are listed by: python -m trainer run --help",
        f"  quantisation in {file} is 'nf3', but must be nf4 or int8 or none.",
        f"  seed in {file} is True, but must be a whole number, from 0 to 4294967295.",
        "  --epochs is 'three', but must be a number, more than 0.",
        "  --dropout is '1.5', but must be a number, from 0 to below 1.",
        "  --batch-size is '2.5', but must be a whole number, 1 or more.",
    ]


def test_weights_that_are_trained_themselves_are_kept_in_full():
    assert make_config({"adapter": "none"}).quantisation == "none"
    with pytest.raises(UserError, match="--quantisation is 'nf4', but --adapter none trains the weights themselves"):
        make_config({"adapter": "none", "quantisation": "nf4"})


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
def test_a_learning_rate_is_a_number_above_zero(value):
    with pytest.raises(UserError, match="--learning-rate is .* must be a number, more than 0"):
        make_config({"learning_rate": value})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("batch_size = inf", "batch_size in .* is inf, but must be a whole number, 1 or more"),
        (f"learning_rate = {'9' * 400}", "must be a number, more than 0"),
        ("seed = 4294967296", "must be a whole number, from 0 to 4294967295"),
    ],
)
def test_a_number_that_is_too_large_is_refused(said, words, tmp_path):
    """The first two ended in a traceback; such a seed did so when the model was there."""
    file = tmp_path / "trainer.toml"
    file.write_text(said, "utf-8")
    with pytest.raises(UserError, match=words):
        make_config({}, file)


def test_a_file_that_is_not_toml_is_named(tmp_path):
    file = tmp_path / "trainer.toml"
    file.write_text("epochs: 3\n", "utf-8")
    with pytest.raises(UserError, match="trainer.toml is not TOML"):
        make_config({}, file)


def test_what_is_left_open_is_found_from_the_base_and_the_data():
    sizes = {"max_tokens": 512, "longest_answer": 100, "threads": 2}
    large = fill_in(RunConfig(), weights=8_000_000_000, hidden_size=4096, **sizes)
    small = fill_in(RunConfig(epochs=2), weights=2_000_000, hidden_size=192, **sizes)
    assert (large.learning_rate, large.epochs, large.rank) == (2.9e-4, 3.0, 16)
    assert large.max_new_tokens == 160
    assert small.learning_rate > large.learning_rate
    assert (small.epochs, small.alpha) == (2, 2 * small.rank)


def test_help_names_every_option_within_half_a_second_and_without_torch():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "trainer", "run", "--help"], capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of a processor: on the clock it also waits for whatever else this machine is doing.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert all(f"--{each.name.replace('_', '-')}" in done.stdout for each in fields(RunConfig)[1:])
    assert " torch" not in done.stderr


def test_an_unknown_command_is_one_line_and_exit_code_1():
    done = subprocess.run([sys.executable, "-m", "trainer", "fly"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: No such command: fly. See: python -m trainer --help\n"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["rum"], "No such command: rum. Did you mean run? See: python -m trainer --help"),
        (
            ["run", "--lerning-rate=3"],
            "No such option: --lerning-rate=3. Did you mean --learning-rate? See: python -m trainer run --help",
        ),
        (["chat", "runs/wren", "now"], "Unrecognized arguments: now. See: python -m trainer chat --help"),
        (
            ["serve", "x", "--port", "0"],
            "Argument --port: must be a whole number from 1 to 65535, and is '0'. See: python -m trainer serve --help",
        ),
    ],
)
def test_a_slip_of_the_keys_is_told_with_what_was_meant(typed, sentence, capsys):
    assert main(typed) == 1
    assert capsys.readouterr().err == f"Error: {sentence}\n"


def test_an_option_that_is_on_or_off_is_a_flag_and_a_truth_value_of_the_file(tmp_path):
    file = tmp_path / "trainer.toml"
    file.write_text("unverified = true\n", "utf-8")
    assert make_config({}, file).unverified is True and make_config({}).unverified is False
    assert make_parser().parse_args(["run", "--unverified"]).unverified is True
    file.write_text("unverified = 'yes'\n", "utf-8")
    with pytest.raises(UserError, match="unverified in .* is 'yes', but must be true or false"):
        make_config({}, file)
