"""A run's result as others get it: merged into its base, asked with the token ids of the training, or refused."""

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from trainer_bases import FAMILIES
from trainer_fixtures import make_tokenizer, sums, tiny_base  # noqa: F401

from trainer import UserError
from trainer.__main__ import main
from trainer.dataset import Example, Renderer, read_examples
from trainer.finished import open_run

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = ["--epochs", "4", "--samples", "2", "--max-new-tokens", "4", "--progress-prompts", "0"]


@pytest.fixture(scope="module")
def run(tiny_base, sums, tmp_path_factory):  # noqa: F811
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "kestrel"
    assert main(["run", str(sums), "--base", str(tiny_base), "-o", str(folder), *QUICK]) == 0
    return folder


@pytest.fixture(scope="module")
def merged(run):
    folder = run.parent / "merged"
    assert main(["merge", str(run), "-o", str(folder), "--dtype", "fp32"]) == 0
    return folder


@pytest.fixture
def copy(run, tmp_path):
    """A run that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def change_tensors(file, change):
    from safetensors.torch import load_file, save_file

    save_file({name: new for name, old in load_file(file).items() if (new := change(name, old)) is not None}, file)


def test_the_merged_model_alone_has_the_losses_of_base_and_adapter(merged, run, tiny_base, sums):  # noqa: F811
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    line = Renderer(AutoTokenizer.from_pretrained(merged)).render(read_examples(sums)[0])
    inputs = {"input_ids": torch.tensor([line.input_ids]), "labels": torch.tensor([line.labels])}
    alone = AutoModelForCausalLM.from_pretrained(merged)
    both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), run / "adapter")
    assert alone(**inputs).loss.item() == pytest.approx(both(**inputs).loss.item(), rel=1e-4)
    assert json.loads((merged / "merge.json").read_text())["compared"]["kl"] < 1e-5


def test_a_merged_folder_holds_no_pickle_and_nothing_is_left_beside_it(merged):
    assert [file.name for file in merged.iterdir() if file.suffix in {".bin", ".pt", ".pth", ".pkl"}] == []
    assert (merged / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in merged.parent.glob(".*")] == []


def test_a_run_that_trained_all_weights_is_kept_in_half_the_bytes(tiny_base, sums, tmp_path):  # noqa: F811
    options = ["--adapter", "none", "--learning-rate", "1e-3", "-o", str(tmp_path / "run"), *QUICK]
    assert main(["run", str(sums), "--base", str(tiny_base), *options]) == 0
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 0
    sizes = [(tmp_path / path / "model.safetensors").stat().st_size for path in ("run/model", "out")]
    assert sizes[1] < 0.55 * sizes[0]


def test_an_adapter_of_another_base_is_refused_by_its_weights(run, tiny_base, tmp_path, capsys):  # noqa: F811
    other = Path(shutil.copytree(tiny_base, tmp_path / "other"))
    change_tensors(other / "model.safetensors", lambda name, old: old + 0.01)
    assert main(["merge", str(run), "-o", str(tmp_path / "out"), "--base", str(other)]) == 1
    assert capsys.readouterr().err == (
        f"Error: The adapter of {run} is of another base: {other} is not the one it was trained on, since its weights "
        "are others. Put that one back, or tell merge where it is with: --base\n"
    )


def test_a_base_that_was_only_moved_is_taken(run, tiny_base, tmp_path):  # noqa: F811
    moved = shutil.copytree(tiny_base, tmp_path / "moved")
    assert main(["merge", str(run), "-o", str(tmp_path / "out"), "--base", str(moved)]) == 0


def test_a_base_with_pickled_weights_only_is_refused_by_name(run, tiny_base, tmp_path, capsys):  # noqa: F811
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    assert main(["merge", str(run), "-o", str(tmp_path / "out"), "--base", str(base)]) == 1
    assert f"The weights in {base} are pickled (pytorch_model.bin)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda name, old: None if "layers.0.mlp" in name else old, "does not fit"),
        (lambda name, old: old[:, :32].contiguous() if "q_proj.lora_A" in name else old, "does not fit"),
        (lambda name, old: old * 0 if "lora_B" in name else old, "changes no weight, so there is nothing to merge"),
        (lambda name, old: old * float("nan") if "lora_B" in name else old, "cannot be merged"),
    ],
    ids=["parts are missing", "another shape", "never trained", "no number"],
)
def test_an_adapter_that_is_not_whole_is_refused(change, sentence, copy, tmp_path, capsys):
    change_tensors(copy / "adapter" / "adapter_model.safetensors", change)
    assert main(["merge", str(copy), "-o", str(tmp_path / "out")]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_merge_that_loses_what_was_learnt_is_refused_with_both_numbers(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("peft.tuners.lora.Linear.get_delta_weight", lambda self, name: 0.5 * (
        self.lora_B[name].weight @ self.lora_A[name].weight) * self.scaling[name])  # fmt: skip
    assert main(["merge", str(run), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "The merged model is not the one that was trained." in said and "(0.01 allowed)" in said
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_no_half_folder(run, tmp_path, capsys, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainer.release.merge.write_json", full)
    assert main(["merge", str(run), "-o", str(tmp_path / "out")]) == 1
    assert f"the disk of {tmp_path}/ is full. Make room and try again." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_written(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    assert main(["merge", str(run), "-o", str(tmp_path / "out")]) == 1
    assert "Make room, or choose another disk with -o." in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_not_written_over(merged, run, capsys):
    assert main(["merge", str(run), "-o", str(merged)]) == 1
    assert f"{merged} exists already." in capsys.readouterr().err


def test_a_run_without_a_result_says_how_to_get_one(copy, capsys):
    shutil.rmtree(copy / "adapter")
    assert main(["merge", str(copy), "-o", str(copy.parent / "out")]) == 1
    assert f"Let it come to its end with: python -m trainer resume {copy}" in capsys.readouterr().err


def test_twenty_prompts_have_the_token_ids_of_the_training(merged):
    report = json.loads((merged / "conformance.json").read_text())
    assert (report["holds"], report["prompts"]) == (True, 20)
    assert report["equal"] == {"saved tokenizer": 20, "served prompt": 20}


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("chat_template.jinja", "assistant\n", "assistant\n ", "20 prompts have the token ids"),
        ("chat_template.jinja", "{% for", "{{ eos_token }}{% for", "token 1 is 2, and was trained as 1."),
        ("chat_template.jinja", "{% for", "{% if", "it is refused"),
        ("generation_config.json", "2", "1", "generation_config.json does not name the end token"),
    ],
    ids=["a space", "a start token", "no template", "another end"],
)
def test_a_template_that_was_changed_after_the_merge_is_found(file, old, new, sentence, merged, run, tmp_path, capsys):
    folder = Path(shutil.copytree(merged, tmp_path / "changed"))
    text = (folder / file).read_text()
    assert main(["merge", str(run), "-o", str(folder), "--check"]) == 0
    (folder / file).write_text(text.replace(old, new))
    assert main(["merge", str(run), "-o", str(folder), "--check"]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("family", FAMILIES)
def test_system_messages_reach_the_model_as_trained_whatever_the_family_of_the_tokenizer(family, tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    from trainer.release import conformance, merge, modelfile

    monkeypatch.setenv("CURATOR_HOME", str(tmp_path / "home"))
    renderer = Renderer(AutoTokenizer.from_pretrained(FAMILIES[family](tmp_path / "base")))
    merge.save_tokenizer(renderer, tmp_path / "out")
    if family != "unigram":
        (tmp_path / "out" / "Modelfile").write_text(modelfile.of(".", renderer, []), "utf-8")
    (tmp_path / "out" / "generation_config.json").write_text(json.dumps({"eos_token_id": [renderer.end_token]}))
    report = conformance.check(renderer, tmp_path / "out", [])
    assert report.holds and list(report.equal)[:2] == ["saved tokenizer", "served prompt"]
    assert set(report.equal.values()) == {20} and ("Modelfile" in report.equal) == (family != "unigram")


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How long?"},
    {"role": "assistant", "content": "Three weeks."},
    {"role": "user", "content": 'And "then"?'},
]


def test_a_modelfile_asks_with_the_text_of_the_training(tmp_path):
    from trainer.release import modelfile

    renderer = Renderer(make_tokenizer())
    file = tmp_path / "Modelfile"
    file.write_text(modelfile.of("./sums.gguf", renderer, [Example(CHAT, "line 1")]), "utf-8")
    asked = renderer.tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert modelfile.read(file).frame.render(CHAT) == asked
    assert file.read_text("utf-8").startswith("FROM ./sums.gguf\nTEMPLATE ")
    assert file.read_text("utf-8").endswith('PARAMETER stop "<|im_end|>"\nSYSTEM """Be brief."""\n')


def test_line_ends_of_the_chat_are_quoted_in_the_modelfile():
    # Go 1.27 renders such templates as the frame does, on 20 chats of each of six families of tokenizers.
    from trainer.release import modelfile

    frame = modelfile.find_frame(Renderer(make_tokenizer()))
    assert modelfile.template_of(frame).splitlines()[1] == (
        r'{{- if eq .Role "system" }}{{ "<|im_start|>system\n" }}{{ .Content }}{{ "<|im_end|>\n<|im_start|>user\n" }}'
    )


def test_a_start_token_that_the_tokenizer_adds_is_not_in_the_modelfile(tmp_path):
    from transformers import AutoTokenizer

    from trainer.release import modelfile

    renderer = Renderer(AutoTokenizer.from_pretrained(FAMILIES["unigram"](tmp_path / "base")))
    assert modelfile.find_frame(renderer).first == "<s>[INST] "
    assert '{{ if eq $i 0 }}{{ "[INST] " }}{{ end }}' in modelfile.of(".", renderer, [])


def test_a_modelfile_that_can_only_ask_otherwise_is_refused(tmp_path):
    # This tokenizer puts a space before a text, but not after a start token that is written out.
    from transformers import AutoTokenizer

    from trainer.release import conformance, merge, modelfile

    renderer = Renderer(AutoTokenizer.from_pretrained(FAMILIES["unigram"](tmp_path / "base")))
    merge.save_tokenizer(renderer, tmp_path / "out")
    (tmp_path / "out" / "Modelfile").write_text(modelfile.of(".", renderer, []), "utf-8")
    (tmp_path / "out" / "generation_config.json").write_text(json.dumps({"eos_token_id": [renderer.end_token]}))
    with pytest.raises(UserError, match="Only the Modelfile is amiss: leave --ollama out"):
        conformance.demand(conformance.check(renderer, tmp_path / "out", []))


def test_a_template_that_writes_each_turn_otherwise_has_no_modelfile():
    from trainer.release import modelfile

    counting = "{% for m in messages %}{{ loop.index }}{{ m['content'] }}<|im_end|>{% endfor %}"
    with pytest.raises(UserError, match="is not made of the same pieces for each turn"):
        modelfile.find_frame(Renderer(make_tokenizer(chat_template=counting)))


CONVERTER = """#!/usr/bin/env python3
import pathlib, sys
model, _, output, _, kind = sys.argv[1:]
assert pathlib.Path(model, "model.safetensors").is_file() and kind in ("bf16", "f32")
pathlib.Path(output).write_bytes({content})
"""


def converter(folder, content="b'GGUF' + bytes(20)"):
    """Stands in for llama.cpp's converter."""
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(CONVERTER.replace("{content}", content))
    (folder / "convert_hf_to_gguf.py").chmod(0o755)
    return folder


def test_gguf_and_modelfile_lie_in_the_folder_and_name_each_other(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(converter(tmp_path / "llama.cpp")), prepend=":")
    assert main(["merge", str(run), "-o", str(tmp_path / "sums"), "--gguf", "--ollama"]) == 0
    assert (tmp_path / "sums" / "sums.gguf").read_bytes()[:4] == b"GGUF"
    assert (tmp_path / "sums" / "Modelfile").read_text().startswith("FROM ./sums.gguf\n")
    assert "20 of 20 prompts have the token ids of the training in the Modelfile." in capsys.readouterr().out


def test_a_modelfile_that_was_edited_is_found(run, tmp_path, capsys):
    folder = tmp_path / "sums"
    assert main(["merge", str(run), "-o", str(folder), "--ollama"]) == 0
    file = folder / "Modelfile"
    written = file.read_text()
    file.write_text(written.replace("assistant\\n", "assistant"))
    assert main(["merge", str(run), "-o", str(folder), "--check"]) == 1
    assert "0 of 20 prompts have the token ids of the training in the Modelfile." in capsys.readouterr().err
    file.write_text(written.replace(".Role", ".role"))
    assert main(["merge", str(run), "-o", str(folder), "--check"]) == 1
    assert "was written by somebody else" in capsys.readouterr().err


def test_without_a_converter_one_sentence_says_where_to_get_it(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["merge", str(run), "-o", str(tmp_path / "out"), "--gguf"]) == 1
    assert "and name that folder with: --llama-cpp" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("sys.exit('BPE pre-tokenizer was not recognized')", "converter failed: BPE pre-tokenizer was not recognized"),
        ("b'<html>'", "sums.gguf is no GGUF file"),
    ],
    ids=["fails", "another file"],
)
def test_a_converter_that_fails_is_quoted_and_leaves_nothing(content, sentence, run, tmp_path, capsys):
    options = ["--gguf", "--llama-cpp", str(converter(tmp_path / "llama.cpp", content))]
    assert main(["merge", str(run), "-o", str(tmp_path / "sums"), *options]) == 1
    assert sentence in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["llama.cpp"]


def test_the_card_has_the_front_matter_of_the_hub_and_base_beside_tuned(merged, run):
    head, text = (merged / "README.md").read_text("utf-8").removeprefix("---\n").split("\n---\n", 1)
    front = yaml.safe_load(head)
    measured = json.loads((run / "evaluation.json").read_text())["test"]
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-generation")
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == measured["tuned"]["perplexity"]
    assert f"| perplexity | {measured['base']['perplexity']:.3f}" in text
    assert "24 to train, 3 to validation, 3 to test" in text and "Licence of the data: none was named" in text


def test_the_card_shows_no_line_of_the_data_and_no_folder_of_this_machine(merged, run, sums):  # noqa: F811
    card = (merged / "README.md").read_text("utf-8")
    assert [
        text for example in read_examples(sums) for text in (example.question, example.answer) if text in card
    ] == []
    assert str(run.parent) not in card and str(sums.parent) not in card


def test_the_card_names_version_and_licence_of_an_exported_data_set(copy, tmp_path):
    from trainer.release import card

    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "README.md").write_text("---\npretty_name: x\nlicense: CC-BY-4.0\n---\n\nlicense: none\n")
    facts = json.loads((copy / "run.json").read_text())
    manifest = {"dataset": "library", "version": 3, "fingerprint": "abc123"}
    facts["data"] |= {"path": str(tmp_path / "export"), "manifest": manifest}
    (copy / "run.json").write_text(json.dumps(facts))
    text = card.write(open_run(copy), "ada/library", "bf16")
    assert "library, version 3" in text and "`abc123`" in text and "Licence of the data: CC-BY-4.0\n" in text


def test_the_card_of_a_base_in_the_cache_of_the_hub_shows_no_path(copy):
    # Such a folder has a revision, and was taken for a name of the hub.
    from trainer.release import card

    facts = json.loads((copy / "run.json").read_text())
    facts["base"] |= {"name": "/home/ada/.cache/huggingface/hub/models--x--y/snapshots/0a1b", "revision": "0a1b"}
    (copy / "run.json").write_text(json.dumps(facts))
    assert "/home/ada" not in card.write(open_run(copy), "ada/library", "bf16")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("dpo", "chosen answers became likelier than rejected ones"),
        ("kto", "good answers became likelier and bad ones less"),
    ],
)
def test_the_card_says_how_preferences_were_learnt(method, words, copy):
    from trainer.release import card

    facts = json.loads((copy / "run.json").read_text())
    facts["config"]["resolved"]["method"] = method
    (copy / "run.json").write_text(json.dumps(facts))
    text = card.write(open_run(copy), "ada/library", "bf16")
    assert words in text and f"- {method}\n" in text and "Learnt are answers" not in text


@pytest.fixture
def hub(monkeypatch):
    """Stands in for the client of the hub, and notes what it is asked."""
    asked = []

    class Api:
        def create_repo(self, **options):
            asked.append(("create_repo", options))

        def upload_folder(self, *, folder_path, **options):
            asked.append(("upload_folder", options | {"files": {file.name for file in folder_path.iterdir()}}))
            return SimpleNamespace(commit_url="https://huggingface.co/ada/sums/commit/1")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    return asked


def test_a_push_makes_a_private_model_and_uploads_the_checked_folder(run, tmp_path, hub, capsys):
    assert main(["merge", str(run), "-o", str(tmp_path / "out"), "--push", "hub:ada/sums"]) == 0
    (made, uploaded) = hub
    assert made == ("create_repo", {"repo_id": "ada/sums", "private": True, "exist_ok": True})
    assert {"model.safetensors", "README.md", "conformance.json"} <= uploaded[1]["files"]
    assert "Published: https://huggingface.co/ada/sums/commit/1" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["ada/sums", "hub:sums", "hub:ada/su ms"])
def test_a_name_that_the_hub_does_not_take_is_refused_before_the_merge(target, run, tmp_path, hub):
    assert main(["merge", str(run), "-o", str(tmp_path / "out"), "--push", target]) == 1
    assert hub == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "needed"), [(["--public"], "--push"), (["--llama-cpp", "."], "--gguf")])
def test_an_option_that_would_do_nothing_is_refused(options, needed, run, tmp_path, capsys):
    assert main(["merge", str(run), "-o", str(tmp_path / "out"), *options]) == 1
    assert needed in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached_leaves_the_model_and_says_how_to_put_it_there(
    run, tmp_path, hub, capsys, monkeypatch
):
    def fail(self, **options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", fail)
    folder = tmp_path / "out"
    assert main(["merge", str(run), "-o", str(folder), "--push", "hub:ada/sums"]) == 1
    assert f"put it there with: hf upload ada/sums {folder}" in capsys.readouterr().err
    assert (folder / "model.safetensors").is_file()


def test_an_answered_prompt_may_hold_the_line_ends_of_unicode(copy):
    # Samples were split at U+2028 too, and a merge ended with a traceback.
    file = copy / "samples.jsonl"
    file.write_text(file.read_text("utf-8").replace("What is", "What\u2028is"), "utf-8")
    assert open_run(copy).held_out(1)[0].question.startswith("What\u2028is")


@pytest.mark.parametrize("command", ["chat", "sample", "evaluate"])
def test_a_run_whose_base_was_replaced_answers_nothing(command, copy, tiny_base, tmp_path, capsys):  # noqa: F811
    other = Path(shutil.copytree(tiny_base, tmp_path / "other"))
    change_tensors(other / "model.safetensors", lambda name, old: old + 0.01 if "norm" in name else old)
    facts = json.loads((copy / "run.json").read_text())
    facts["config"]["resolved"]["base"] = str(other)
    (copy / "run.json").write_text(json.dumps(facts))
    assert main([command, str(copy)]) == 1
    assert f"{other} is not the one it was trained on, since its weights are others." in capsys.readouterr().err


def test_a_record_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="run.json cannot be read"):
        open_run(tmp_path)
