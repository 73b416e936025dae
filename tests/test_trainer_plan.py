"""What is said before a run, by the shipped command line: each fault, each oddity and each cost by its name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trainer_bases import CHATML, chatml, gemma, gpt2

from trainer import rates
from trainer.__main__ import main
from trainer.architecture import read_architecture
from trainer.machine import Machine
from trainer.memory import estimate

GIB, MIB = 2**30, 2**20
HERE = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
SUMS = [(f"What is {a} plus {b}?", f"It is {a + b}.") for a in range(6) for b in range(5)]
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A machine of 8 GiB, and a folder to plan in."""
    monkeypatch.setenv("CURATOR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    machine = Machine("cpu", "CPU, 2 threads", 8 * GIB, 8 * GIB, "bfloat16", 240e9)
    monkeypatch.setattr("trainer.plan.find_machine", lambda threads: machine)
    return tmp_path


@pytest.fixture
def base(tmp_path):
    return chatml(tmp_path / "base")


def write(path, pairs):
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs), "utf-8")
    return path


def planned(capsys, *arguments):
    """Return the exit code of a plan, what it says as JSON, and its findings by name."""
    code = main(["plan", *map(str, arguments), "--json"])
    said = json.loads(capsys.readouterr().out)
    return code, said, {finding["name"]: finding for finding in said["findings"]}


def test_a_plan_says_lines_tokens_memory_time_and_that_it_fits(place, base, capsys):
    assert main(["plan", str(write(place / "sums.jsonl", SUMS)), "--base", str(base)]) == 0
    said = capsys.readouterr().out
    assert "sums.jsonl: 24 to train, 3 to validate, 3 to test" in said
    assert "the base's own chat template; the end token <|im_end|> is trained in 100% of the lines" in said
    assert "Verdict   fits this machine" in said
    assert "Warning" not in said and "Stop" not in said


def test_a_plan_in_json_has_the_numbers_a_script_wants(place, base, capsys):
    code, said, findings = planned(capsys, write(place / "sums.jsonl", SUMS), "--base", base)
    assert (code, said["runs"], findings) == (0, True, {})
    assert said["lines"] == {"train": 24, "validation": 3, "test": 3}
    assert said["end_token"] == {"text": "<|im_end|>", "trained_in": 30, "of": 30}
    parts = said["predicted"]["memory"]
    step = parts["activations"] + parts["logits"]
    kept = parts["weights"] + parts["adapters"] + parts["fixed"]
    assert parts["total"] == pytest.approx(kept + max(step, parts["answering"]), abs=5)
    assert said["predicted"]["steps"] == 24 and said["config"]["epochs"] == 12


def test_a_plan_imports_neither_torch_nor_transformers(place, base):
    write(place / "sums.jsonl", SUMS)
    program = (
        "import sys; from trainer.__main__ import main\n"
        f"assert main(['plan', 'sums.jsonl', '--base', {str(base)!r}]) == 0\n"
        "print(*{'torch', 'transformers', 'numpy', 'datasets'} & sys.modules.keys(), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=HERE)
    assert ran.stderr == "\n"


def test_who_reads_only_the_head_of_a_plan_sees_no_traceback(place, base):
    write(place / "sums.jsonl", SUMS)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "plan", "sums.jsonl", "--base", str(base)],
        env=HERE,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_every_fault_of_the_data_is_counted_and_ten_are_shown(place, base, capsys):
    file = write(place / "sums.jsonl", SUMS)
    file.write_text(file.read_text() + '{"question": "Who?", "answer": ""}\n' * 12)
    with file.open("ab") as opened:
        opened.write(b'{"question": "Wo?", "answer": "K\xf6ln"}\n')
    code, said, findings = planned(capsys, file, "--base", base)
    assert (code, said["runs"]) == (1, False)
    assert len(findings["fault"]["lines"]) == 13
    assert findings["fault"]["lines"][0] == "sums.jsonl line 31 has no text in message 2, of the assistant."
    assert findings["fault"]["lines"][-1].startswith("sums.jsonl line 43 is not UTF-8 text: byte 33")
    assert main(["plan", str(file), "--base", str(base)]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("sums.jsonl line ") == 10 and "and 3 more lines; all are listed by --json" in shown.out
    assert shown.err.startswith("Error: 13 lines cannot be read. Mend them, or")


def test_a_base_without_a_template_is_given_a_plain_one_and_says_so(place, capsys):
    code, said, findings = planned(capsys, write(place / "sums.jsonl", SUMS), "--base", gpt2(place / "gpt2"))
    assert code == 0 and said["template"] == "a plain one (### Question, ### Answer), since the base has none"
    assert "plain one" in findings["no-template"]["words"]
    assert said["end_token"]["trained_in"] == 30


def test_a_pad_token_that_is_the_end_token_is_a_note_since_the_end_is_trained_all_the_same(place, capsys):
    base = chatml(place / "base", pad_token="<|im_end|>")
    code, said, findings = planned(capsys, write(place / "sums.jsonl", SUMS), "--base", base)
    assert findings["pad-is-end"]["level"] == "note" and said["end_token"]["trained_in"] == 30


DROPPING = CHATML.replace("{{ '<|im_start|>' + m", "{% if m['role'] != 'system' %}{{ '<|im_start|>' + m").replace(
    "}}{% endfor %}", "}}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    "make", [lambda folder: chatml(folder, chat_template=DROPPING), gemma], ids=["drops", "refuses"]
)
def test_a_template_without_system_role_is_a_finding(make, place, capsys):
    file = place / "one.jsonl"
    file.write_text(
        "".join(
            json.dumps({"system": "Count.", "question": question, "answer": answer}) + "\n" for question, answer in SUMS
        )
    )
    _, _, findings = planned(capsys, file, "--base", make(place / "base"))
    assert "system messages open the first question" in findings["no-system-role"]["words"]


def test_a_tokenizer_larger_than_the_embedding_is_refused(place, capsys):
    base = chatml(place / "base", sizes={"vocab_size": 64})
    assert main(["plan", str(write(place / "sums.jsonl", SUMS)), "--base", str(base)]) == 1
    assert "but the model only 64. They do not belong together" in capsys.readouterr().err


def test_an_answer_longer_than_the_context_is_named_and_left_out_whole(place, base, capsys):
    file = write(place / "sums.jsonl", [*SUMS, ("Count.", "one two " * 300)])
    code, said, findings = planned(capsys, file, "--base", base)
    assert code == 0 and sum(said["lines"].values()) == 30
    assert "of 1 the answer alone is longer than the 256 tokens of the base" in findings["too-long"]["words"]
    assert findings["too-long"]["lines"][0].startswith("sums.jsonl line 31 has ")


def test_a_line_a_hundred_times_the_median_is_named(place, capsys):
    base = chatml(place / "base", sizes={"max_position_embeddings": 8192})
    file = write(place / "sums.jsonl", [*SUMS, ("Count.", "four plus two " * 1200)])
    _, _, findings = planned(capsys, file, "--base", base, "--max-tokens", 8192)
    assert findings["outlier"]["lines"][0].startswith("sums.jsonl line 31 has ")


def test_a_data_set_of_one_line_is_refused_and_with_nothing_held_out_warned_of(place, base, capsys):
    file = write(place / "one.jsonl", SUMS[:1])
    code, _, findings = planned(capsys, file, "--base", base)
    assert code == 1 and findings["too-few"]["level"] == "stop"
    code, _, findings = planned(capsys, file, "--base", base, "--validation", 0, "--test", 0)
    assert code == 0
    assert findings["few-lines"]["words"].startswith("There is only 1 line to train on")


def test_a_line_with_a_control_token_is_named_and_left_out(place, base, capsys):
    file = write(place / "sums.jsonl", [*SUMS, ("Hi<|im_end|>", "Hello.")])
    _, said, findings = planned(capsys, file, "--base", base)
    assert findings["control-token"]["lines"] == ["sums.jsonl line 31 holds <|im_end|>, a control token of the base"]
    assert said["left_out"] == findings["control-token"]["lines"]  # the page Train counts them


def test_an_export_changed_since_is_a_stop(place, base, capsys):
    folder = place / "export"
    folder.mkdir()
    write(folder / "train.jsonl", SUMS)
    manifest = {"files": {"train.jsonl": {"sha256": "0" * 64, "split": "train"}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, _, findings = planned(capsys, folder, "--base", base)
    assert code == 1 and "is not the file that was exported" in findings["changed-export"]["words"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "holds no config.json, so there is no base in it"),
        ("{", "config.json is not JSON"),
        ('{"model_type": "llama"}', "does not say how wide and deep the base is"),
        (json.dumps(SIZES | {"num_attention_heads": 0}), "does not say how wide and deep the base is"),
        (json.dumps(SIZES | {"max_position_embeddings": "many"}), "does not say how wide and deep the base is"),
        (json.dumps(SIZES), "holds no tokenizer, such as tokenizer.json"),
    ],
)
def test_a_folder_that_is_no_base_is_refused(content, words, place, capsys):
    folder = place / "nothing"
    folder.mkdir()
    if content:
        (folder / "config.json").write_text(content)
    assert main(["plan", str(write(place / "sums.jsonl", SUMS)), "--base", str(folder)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run.json", "adapter_config.json"])
def test_an_adapter_is_told_from_a_base(name, place, capsys):
    folder = place / "adapter"
    folder.mkdir()
    (folder / name).write_text("{}")
    assert main(["plan", str(write(place / "sums.jsonl", SUMS)), "--base", str(folder)]) == 1
    assert "Merge it first: python -m trainer merge RUN" in capsys.readouterr().err


def test_weights_that_were_cut_off_are_refused_though_their_header_is_whole(place, base, capsys):
    header = json.dumps({"w": {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}).encode()
    (base / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(100))
    assert main(["plan", str(write(place / "sums.jsonl", SUMS)), "--base", str(base)]) == 1
    assert f"model.safetensors is not whole: it has {108 + len(header)} bytes, not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (b"{% for m in messages %}{{ m['content'] }", "is no template: unexpected '}', line 1"),
        (b"{{ company.upper() }}", "cannot write a question and its answer: 'company' is undefined. Choose"),
        (b"Hello.", "drops questions or answers"),
        (b"\xff", "chat_template.jinja is not UTF-8 text"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(template, words, place, base, capsys):
    (base / "chat_template.jinja").write_bytes(template)
    assert main(["plan", str(write(place / "sums.jsonl", SUMS)), "--base", str(base)]) == 1
    assert words in capsys.readouterr().err


def test_an_empty_answer_is_a_fault_with_its_line_and_stops_plan_and_run(place, base, capsys):
    file = write(place / "sums.jsonl", [*SUMS, ("Who?", ""), ("When?", " \n")])
    code, _, findings = planned(capsys, file, "--base", base)
    assert code == 1
    assert findings["fault"]["lines"] == [
        "sums.jsonl line 31 has no text in message 2, of the assistant.",
        "sums.jsonl line 32 has no text in message 2, of the assistant.",
    ]
    assert main(["run", str(file), "--base", str(base), "-o", "out"]) == 1
    assert "sums.jsonl line 31 has no text in message 2, of the assistant." in capsys.readouterr().err
    assert not Path("out").exists()


def test_lines_that_the_template_refuses_are_a_warning_and_left_out(place, base, capsys):
    (base / "chat_template.jinja").write_text(
        "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('Users begin.') }}{% endif %}" + CHATML
    )
    turns = [("assistant", "Hello!"), ("user", "Hi. Two plus two?"), ("assistant", "Four.")]
    file = write(place / "sums.jsonl", SUMS)
    with file.open("a") as opened:
        opened.write(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    code, _, findings = planned(capsys, file, "--base", base)
    assert code == 0
    assert findings["refused"]["lines"] == ["sums.jsonl line 31 is refused by the template: Users begin"]


def test_judged_answers_that_are_all_bad_are_warned_of(place, base, capsys):
    lines = [{"prompt": question, "completion": answer, "label": False} for question, answer in SUMS]
    (place / "judged.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, _, findings = planned(capsys, "judged.jsonl", "--base", base, "--method", "kto")
    assert findings["one-sided"]["words"].startswith("All answers to train on are bad")


def test_a_plan_says_at_once_that_it_reads_in_a_pipe_too(place, base):
    write(place / "sums.jsonl", SUMS)
    words = ["plan", "sums.jsonl", "--base", str(base)]
    command = [sys.executable, "-m", "trainer", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=HERE, text=True) as planning:
        lines = planning.stdout.read().splitlines()
    assert lines[0] == "Reading and tokenising the lines ..." and lines[1].startswith("Data ")


def test_pickled_weights_are_refused(place, base, capsys):
    (base / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert main(["plan", str(write(place / "sums.jsonl", SUMS)), "--base", str(base)]) == 1
    assert "are pickled (pytorch_model.bin), which could run any code when read" in capsys.readouterr().err


def test_what_does_not_fit_is_a_stop_that_names_the_least_change_that_helps(place, capsys):
    # 7.2 thousand million weights: 13.5 GiB in bfloat16, 3.9 in nf4
    sizes = dict(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        vocab_size=32000,
        tie_word_embeddings=False,
    )
    base = chatml(place / "large", sizes=sizes)
    code, said, findings = planned(
        capsys, write(place / "sums.jsonl", SUMS), "--base", base, "--quantisation", "none", "--rank", 16
    )
    assert code == 1 and findings["memory"]["level"] == "stop"
    assert "With --quantisation nf4 it takes " in findings["memory"]["words"]
    assert said["base"]["weights"] == pytest.approx(7.24e9, rel=0.01)


def test_a_change_that_would_leave_lines_out_says_how_many(place, monkeypatch, capsys):
    """Of 53 lines 3 were left by it, and nothing said so."""
    machine = Machine("cpu", "CPU, 2 threads", 950 * MIB, 950 * MIB, "bfloat16", 240e9)
    monkeypatch.setattr("trainer.plan.find_machine", lambda threads: machine)
    sizes = {"hidden_size": 512, "num_attention_heads": 8, "max_position_embeddings": 8192, "num_hidden_layers": 24}
    base = chatml(place / "wide", sizes=sizes | {"intermediate_size": 2048})
    file = write(place / "sums.jsonl", SUMS + [(f"Count to {n}.", "four plus two " * 800) for n in range(5)])
    code, _, findings = planned(capsys, file, "--base", base)
    assert code == 1
    assert "With --max-tokens 1024 it takes " in findings["memory"]["words"]
    assert findings["memory"]["words"].endswith(" and leaves out 5 of the 35 lines.")


@pytest.mark.parametrize(("rate", "level"), [("5e-3", "high"), ("1e-5", "low")])
def test_the_rates_that_ruined_runs_are_told_of(rate, level, place, capsys):
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 50257}
    sizes |= {"num_key_value_heads": 12, "intermediate_size": 3072}
    base = chatml(place / "base", sizes=sizes)
    _, said, findings = planned(
        capsys, write(place / "sums.jsonl", SUMS), "--base", base, "--learning-rate", rate, "--quantisation", "none"
    )
    assert said["prior_learning_rate"] == 0.0011
    assert findings["learning-rate"]["level"] == {"high": "stop", "low": "warning"}[level]
    assert rates.judge(float(rate), 0.0011).level == level


def test_the_usual_rates_are_the_published_ones():
    assert rates.prior(4096, 7_200_000_000) == 2.9e-4
    assert rates.prior(192, 2_000_000) == 4.7e-3
    assert rates.judge(2e-4, 2.9e-4).level == "fits"


MISTRAL = dict(
    model_type="mistral",
    hidden_size=4096,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    intermediate_size=14336,
    vocab_size=32000,
    tie_word_embeddings=False,
    max_position_embeddings=32768,
)


@pytest.mark.parametrize(("quantisation", "lines", "measured"), [("none", 4, 24.3), ("nf4", 4, 14.8), ("nf4", 8, 25.0)])
def test_memory_is_within_five_percent_of_public_measurements(quantisation, lines, measured, place):
    """Mistral 7B with adapters, checkpointed, 4,096 tokens a line on an A100 (fms-acceleration's a100_80gb.csv)."""
    (place / "config.json").write_text(json.dumps(MISTRAL))
    needed = estimate(
        read_architecture(place),
        quantisation=quantisation,
        rank=16,
        tokens=4096 * lines,
        trained_tokens=4096 * lines,
        dtype="bfloat16",
        checkpointed=True,
        device="cuda",
    )
    # What torch counts; those adapters were on attention alone, and took next to nothing. Their loss made a copy of all
    # logits in float32, and a gradient of it, where ours has the gradient alone.
    allocated = needed.total - needed.fixed - needed.adapters + 6 * MISTRAL["vocab_size"] * 4096 * lines
    assert allocated / GIB == pytest.approx(measured, rel=0.05)


def test_weights_are_counted_from_the_headers_where_they_are_there(place, base):
    header = {"model.embed_tokens.weight": [403, 64], "model.layers.0.mlp.up_proj.weight": [128, 64]}
    header |= {"model.layers.0.norm.weight": [64]}
    said = json.dumps(
        {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in header.items()}
    )
    (base / "model.safetensors").write_bytes(len(said).to_bytes(8, "little") + said.encode())
    sizes = read_architecture(base)
    assert (sizes.weights, sizes.linear_weights, sizes.counted_from) == (403 * 64 + 128 * 64 + 64, 128 * 64, "headers")
    assert sizes.adapter_weights(4) == 4 * (128 + 64)


def test_a_line_is_shown_token_by_token_with_what_is_read_and_what_is_trained(place, base, capsys):
    write(place / "sums.jsonl", SUMS)
    assert main(["plan", "sums.jsonl", "--base", str(base), "--show", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    of = {
        state: "".join(token["text"] for token in said["tokens"] if token["state"] == state)
        for state in ("read", "trained", "end")
    }
    assert of == {
        "read": "<|im_start|>user\nWhat is 0 plus 2?<|im_end|>\n<|im_start|>assistant\n",
        "trained": "It is 2.",
        "end": "<|im_end|>",
    }


def test_a_line_shown_without_colour_has_marks_and_no_terminal_command(place, base, capsys):
    write(place / "odd.jsonl", [("Who\x1b[31m?", "K\u00f6ln \U0001f4da\u202e."), *SUMS])
    assert main(["plan", "odd.jsonl", "--base", str(base), "--show", "odd.jsonl:1"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\u202e" not in said and "<U+001B>" in said
    assert said.rstrip().endswith("\u27e6END <|im_end|>\u27e7")


def test_a_shown_line_past_the_limit_says_that_it_is_left_out(place, base, capsys):
    write(place / "sums.jsonl", SUMS)
    assert main(["plan", "sums.jsonl", "--base", str(base), "--show", "1", "--max-tokens", "8"]) == 0
    assert "are past the longest line allowed, 8: the line is left out whole" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place_asked", "words"),
    [
        ("99", "has no line 99"),
        ("x", "names no line"),
        ("other.jsonl:1", "names no line"),
        ("31", "line 31 is not JSON"),
    ],
)
def test_a_line_that_cannot_be_shown_is_said(place_asked, words, place, base, capsys):
    file = write(place / "sums.jsonl", SUMS)
    file.write_text(file.read_text() + "{\n")
    assert main(["plan", str(file), "--base", str(base), "--show", place_asked]) == 1
    assert words in capsys.readouterr().err


def test_a_line_on_standard_input_is_shown_without_any_data(place, base):
    line = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    ran = subprocess.run(
        [sys.executable, "-m", "trainer", "plan", "--show", "-", "--json", "--base", str(base)],
        input=json.dumps(line),
        capture_output=True,
        text=True,
        check=True,
        env=HERE,
    )
    assert json.loads(ran.stdout)["counts"]["end"] == 1


def test_a_name_in_the_hugging_face_cache_is_planned_without_network(place, base):
    """Only the small files need to be there."""
    cached = place / "hub" / "hub" / "models--nobody--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots").mkdir()
    base.rename(cached / "snapshots" / ("0" * 40))
    write(place / "sums.jsonl", SUMS)
    ran = subprocess.run(
        [sys.executable, "-m", "trainer", "plan", "sums.jsonl", "--base", "nobody/tiny"],
        capture_output=True,
        text=True,
        env=HERE | {"HF_HOME": str(place / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    assert "Base      nobody/tiny: " in ran.stdout, ran.stderr
