"""Talking with a trained model, and serving it: what is asked, what is forgotten, and how the server is started."""

import io
import json
import sys

import pytest
from test_trainer_release import QUICK, run  # noqa: F401
from trainer_fixtures import sums, tiny_base  # noqa: F401

from trainer.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def said(monkeypatch):
    """Take down what the model is asked, and let it answer by the number of the turn."""
    from trainer.chat import Chat

    asked = []

    def answer(self, ids):
        asked.append(self.renderer.tokenizer.decode(ids))
        return f"answer {len(asked)}"

    monkeypatch.setattr(Chat, "answer", answer)
    return asked


def talk(monkeypatch, folder, text, *options):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return main(["chat", str(folder), *options])


def test_a_piped_question_gets_the_answer_that_the_run_has_kept(run, monkeypatch, capsys):  # noqa: F811
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    sample = next(line for line in samples if line["model"] == "tuned")
    question = sample["messages"][-1]["content"]
    assert talk(monkeypatch, run, f"{question}\n", "--max-new-tokens", "4") == 0
    assert capsys.readouterr().out.strip() == sample["text"]


def test_a_turn_is_asked_with_those_before_it_until_reset(run, said, monkeypatch):  # noqa: F811
    assert talk(monkeypatch, run, "One?\nTwo?\n/reset\nThree?\n/quit\nFour?\n", "--system", "Be brief.") == 0
    system = "<|im_start|>system\nBe brief.<|im_end|>\n"
    one = "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
    two = "answer 1<|im_end|>\n<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n"
    assert said == [system + one, system + one + two, system + one.replace("One", "Three")]


def test_the_oldest_turns_are_forgotten_where_the_base_cannot_read_all(run, said, monkeypatch):  # noqa: F811
    assert talk(monkeypatch, run, "One?\nTwo?\nThree?\nFour?\n", "--max-new-tokens", "64") == 0
    assert "One?" in said[0] and "One?" not in said[-1] and "Four?" in said[-1]


def test_a_question_too_long_leaves_the_conversation_as_it_was(run, said, monkeypatch):  # noqa: F811
    assert talk(monkeypatch, run, "One?\n" + "why " * 200 + "\nTwo?\n", "--max-new-tokens", "4") == 0
    assert "One?" in said[-1] and "Two?" in said[-1]


def test_a_question_longer_than_the_base_reads_is_told_and_the_chat_goes_on(run, said, monkeypatch, capsys):  # noqa: F811
    assert talk(monkeypatch, run, "why " * 200 + "\n/what\nTwo?\n") == 0
    err = capsys.readouterr().err
    assert "before an answer. Ask shorter." in err and "/what is no command." in err
    assert len(said) == 1 and "why" not in said[0]


def test_serving_says_in_one_sentence_what_is_missing_and_how_vllm_does_it(run, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr("trainer.serve.PACKAGES", ("json", "no_such_server"))
    assert main(["serve", str(run)]) == 1
    err = capsys.readouterr().err
    assert f"--enable-lora --max-lora-rank 64 --lora-modules kestrel={run}/adapter" in err
    assert err.endswith(
        "Error: Serving needs no_such_server. Install what it needs: pip install 'qa-curator[serving]'\n"
    )


def test_what_is_served_of_a_run_is_its_base_adapter_and_end_token_on_loopback(run, monkeypatch, capsys):  # noqa: F811
    seen = {}

    class Server:
        def __init__(self, command):
            from transformers import AutoModelForCausalLM

            place = command[command.index("serve") + 1]
            model = AutoModelForCausalLM.from_pretrained(place)
            seen.update(
                command=command, adapters=list(model.peft_config), end=model.generation_config.eos_token_id, place=place
            )

        def wait(self, seconds=None):
            return 0

        terminate = kill = wait

    monkeypatch.setattr("trainer.serve.PACKAGES", ())
    monkeypatch.setattr("trainer.serve.subprocess.Popen", Server)
    assert main(["serve", str(run), "--port", "8123"]) == 0
    assert (seen["adapters"], seen["end"]) == (["default"], [2])
    assert seen["command"][-6:] == ["--quantization", "bnb-4bit", "--host", "127.0.0.1", "--port", "8123"]
