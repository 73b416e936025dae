"""Learning from preferences: DPO and KTO as TRL has them, and as a run of ours, from rows to a run's folder."""

import json

import pytest
from trainer_fixtures import SUMS, tiny_base  # noqa: F401

from curator import reviews, runs
from trainer.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore")

SHORT = [
    "--epochs",
    "6",
    "--samples",
    "2",
    "--max-new-tokens",
    "4",
    "--progress-prompts",
    "0",
    "--quantisation",
    "none",
]


def lines_of(file):
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def turn(role, text):
    return [{"role": role, "content": text}]


def wrong(answer):
    return answer.replace("It is", "I guess")


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Sums with a good and a bad answer each, as flask export --preferences writes them."""
    return write(
        tmp_path_factory.mktemp("data") / "preferences.jsonl",
        (
            {"prompt": turn("user", q), "chosen": turn("assistant", a), "rejected": turn("assistant", wrong(a))}
            for q, a in SUMS
        ),
    )


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Each second sum with its bad answer alone, as flask export --ratings kto writes them."""
    return write(
        tmp_path_factory.mktemp("data") / "judgements.jsonl",
        (
            {
                "prompt": turn("user", question),
                "completion": turn("assistant", wrong(answer) if number % 2 else answer),
                "label": number % 2 == 0,
            }
            for number, (question, answer) in enumerate(SUMS)
        ),
    )


@pytest.fixture(scope="module")
def dpo(tiny_base, compared, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("runs") / "dpo"
    assert main(["run", str(compared), "--method", "dpo", "--base", str(tiny_base), "-o", str(folder), *SHORT]) == 0
    return folder


def test_chosen_answers_get_likelier_than_rejected_ones(dpo):
    metrics = lines_of(dpo / "metrics.jsonl")
    # A new adapter changes nothing, so the first step knows no difference: log 2.
    assert metrics[0]["loss"] == pytest.approx(0.693147, abs=1e-3)
    assert metrics[0]["rewards/margins"] == pytest.approx(0, abs=1e-2)
    assert metrics[-1]["loss"] < 0.6
    assert metrics[-1]["rewards/margins"] > 0.2
    assert metrics[-1]["rewards/accuracies"] > 0.8
    assert metrics[-1]["rewards/chosen"] > metrics[-1]["rewards/rejected"]


def test_answers_that_are_held_out_are_told_apart_too(dpo):
    watched = [line for line in lines_of(dpo / "metrics.jsonl") if "eval_loss" in line]
    assert watched[-1]["eval_loss"] < watched[0]["eval_loss"]
    assert watched[-1]["eval_rewards/accuracies"] > 0.6
    test = json.loads((dpo / "evaluation.json").read_text())["test"]
    assert test["tuned"]["preferred"] >= test["base"]["preferred"]


def test_the_answers_to_be_like_are_measured_and_asked_for(dpo):
    assert {line["reference"].split()[0] for line in lines_of(dpo / "samples.jsonl")} == {"It"}
    assert len(lines_of(dpo / "losses.jsonl")) == len(SUMS)


def test_a_run_on_preferences_is_measured_again_on_its_rows_and_on_pairs(dpo, tmp_path, capsys):
    # Its own rows were refused, with the advice to train on them.
    before = json.loads((dpo / "evaluation.json").read_text())["test"]["tuned"]
    assert main(["evaluate", str(dpo), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["test"]["tuned"]
    assert again["preferred"] == before["preferred"] and again["perplexity"] == pytest.approx(before["perplexity"])
    pairs = write(tmp_path / "pairs.jsonl", ({"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(9)))
    assert main(["evaluate", str(dpo), "--data", str(pairs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 9


def test_good_answers_get_likelier_and_bad_ones_less(tiny_base, judged, tmp_path):  # noqa: F811
    folder = tmp_path / "kto"
    assert main(["run", str(judged), "--method", "kto", "--base", str(tiny_base), "-o", str(folder), *SHORT]) == 0
    metrics = lines_of(folder / "metrics.jsonl")
    assert metrics[0]["loss"] == pytest.approx(0.5, abs=0.2)  # of each side a half, where both are in the step
    assert metrics[-1]["rewards/margins"] > 0.2
    assert len(lines_of(folder / "losses.jsonl")) == len(SUMS) // 2  # nobody wants to answer as badly


def test_a_run_that_goes_on_has_the_numbers_of_one_never_stopped(dpo, tiny_base, compared, tmp_path):  # noqa: F811
    import signal

    from trainer import Stopped
    from trainer.watch import Watch

    folder = tmp_path / "halted"
    shown = Watch.show

    def stop_at_five(watch, line):
        if line["step"] == 5:
            watch.asked_to_stop = signal.SIGINT
        shown(watch, line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "show", stop_at_five)
        arguments = ["run", str(compared), "--method", "dpo", "--base", str(tiny_base), "-o", str(folder), *SHORT]
        assert main(arguments) == 128 + Stopped(signal.SIGINT).signal
    assert main(["resume", str(folder)]) == 0
    assert [line["loss"] for line in lines_of(folder / "metrics.jsonl")] == [
        line["loss"] for line in lines_of(dpo / "metrics.jsonl")
    ]


@pytest.mark.parametrize(
    ("method", "row", "words"),
    [
        ("dpo", {"prompt": "Why?", "chosen": "So."}, "has no rejected"),
        ("dpo", {"prompt": "Why?", "completion": "So.", "label": True}, "Such rows are for --method kto."),
        (
            "dpo",
            {"prompt": "Why?", "chosen": "So.", "rejected": "So."},
            "has the same answer as chosen and as rejected",
        ),
        ("kto", {"prompt": "Why?", "completion": "So.", "label": "good"}, 'has the label "good"'),
        ("kto", {"prompt": [], "completion": "So.", "label": True}, "has no text and no list of messages as prompt"),
        ("sft", {"prompt": "Why?", "chosen": "So.", "rejected": "No."}, "--method dpo"),
        ("sft", {"prompt": "Why?", "completion": "So.", "label": True}, "--method kto"),
    ],
)
def test_a_row_of_another_shape_is_named_with_its_line(method, row, words, tmp_path, capsys):
    good = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "completion": "So.", "label": True}
    file = write(tmp_path / "rows.jsonl", [good, row] if method != "sft" else [{"question": "a", "answer": "b"}, row])
    assert main(["run", str(file), "--method", method, "-o", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "rows.jsonl line 2" in error and words in error
    assert not (tmp_path / "run").exists()


def test_all_weights_have_no_base_to_be_measured_against(compared, capsys):
    assert main(["run", str(compared), "--method", "dpo", "--adapter", "none"]) == 1
    assert "--method dpo compares what is learnt with the base below the adapter" in capsys.readouterr().err


def test_the_plan_says_what_will_be_learnt(tiny_base, compared, capsys):  # noqa: F811
    assert main(["plan", str(compared), "--method", "dpo", "--base", str(tiny_base), "--quantisation", "none"]) == 0
    said = capsys.readouterr().out
    assert "dpo with beta 0.1: chosen answers become likelier than rejected ones" in said


def test_the_losses_are_those_of_their_papers():
    import torch

    from trainer.preference import dpo_losses, kto_losses

    rewards = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    assert dpo_losses(rewards).tolist() == pytest.approx([0.126928, 0.693147], abs=1e-5)
    found = kto_losses(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), torch.tensor(0.5))
    assert found.tolist() == pytest.approx([1 - 0.622459, 1 - 0.377541], abs=1e-5)


def test_an_answer_of_nothing_is_one_to_learn_from(tiny_base):  # noqa: F811
    from transformers import AutoTokenizer

    from trainer.dataset import Renderer, read_line

    row = json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": ""})
    (line,), *left_out = Renderer(AutoTokenizer.from_pretrained(tiny_base)).render_all([read_line(row, "", "", "dpo")])
    assert left_out == [[], []] and line.rejected.answer_tokens == 1  # the end token


def test_ratings_are_learnt_from_and_the_run_comes_home(client, runner, session, tiny_base, tmp_path):  # noqa: F811
    """Rated in the app, exported, trained on, and brought back in."""
    prompts = [turn("user", question) for question, _ in SUMS[:8]]
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"id": "1", "name": "first", "state": "done", "base": "tiny"}))
    write(
        folder / "samples.jsonl",
        (
            {"fingerprint": str(n), "messages": prompt, "model": model, "text": f"{model} guesses {n}"}
            for n, prompt in enumerate(prompts)
            for model in ("base", "tuned")
        ),
    )
    for number, sample in enumerate(runs.import_run(session, folder).samples):
        reviews.rate(session, sample.id, 1 + 4 * (number % 2), "ada")
    rows = tmp_path / "preferences.jsonl"
    assert runner.invoke(args=["export", "--ratings", "dpo", "-o", str(rows)]).exit_code == 0
    out = tmp_path / "second"
    assert main(["run", str(rows), "--method", "dpo", "--base", str(tiny_base), "-o", str(out), *SHORT]) == 0
    assert runner.invoke(args=["import-run", str(out)]).exit_code == 0
    page = client.get("/runs/2").text
    assert "Rewards" in page and "Prefers the better answer" in page


@pytest.mark.parametrize(("method", "likelier"), [("dpo", False), ("kto", False), ("kto", True)])
def test_the_loss_of_a_step_is_that_of_trl(method, likelier, tiny_base, tmp_path):  # noqa: F811
    import datasets
    import torch
    import trl

    from trainer.config import FilledConfig, make_config
    from trainer.dataset import Renderer, read_line
    from trainer.model import add_adapter, load_base
    from trainer.preference import PreferenceTrainer

    asked = make_config({"base": str(tiny_base), "quantisation": "none", "precision": "fp32", "method": method})
    filled = {"epochs": 1.0, "learning_rate": 1e-4, "rank": 8, "alpha": 16, "max_tokens": 64, "max_new_tokens": 4}
    config = FilledConfig(**{**vars(asked), **filled, "threads": 1})
    base = load_base(config)
    rows = [
        {"prompt": q, "chosen": a, "rejected": wrong(a), "completion": a if n % 2 else wrong(a), "label": n % 2 == 1}
        for n, (q, a) in enumerate(SUMS[:4])
    ]
    lines, *_ = Renderer(base.tokenizer).render_all([read_line(json.dumps(row), "", "train", method) for row in rows])
    model = add_adapter(base.model, config)
    ours = PreferenceTrainer(base, model, lines, [[0, 1, 2, 3]], config, tmp_path, tokens_at_once=4096)
    ours.ask_base([answer for line in lines for answer in line.answers])
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    if likelier:  # than of the base are the answers to any prompt: only then KTO's baseline is above 0
        from trainer.losses import collate

        optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.03)
        for _ in range(8):
            (-ours.likelihoods(model, collate(lines, ours.pad, packed=False)).sum()).backward()
            optimizer.step()
            optimizer.zero_grad()
    total, _ = ours.work_through(model, [0, 1, 2, 3])
    assert (ours.baseline > 0.01) == likelier

    names = {"dpo": ("prompt", "chosen", "rejected"), "kto": ("prompt", "completion", "label")}[method]
    config_of, trainer_of = (getattr(trl, method.upper() + kind) for kind in ("Config", "Trainer"))
    arguments = config_of(str(tmp_path), use_cpu=True, bf16=False, report_to="none", beta=0.1)
    data = datasets.Dataset.from_list([{name: row[name] for name in names} for row in rows])
    theirs = trainer_of(model, args=arguments, train_dataset=data, processing_class=base.tokenizer)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B.ref" in name:
                weight.zero_()  # what TRL measures against is the base too

    def split(line, other=None):
        head = line.labels.count(-100)
        tail = (other or line).input_ids[(other or line).labels.count(-100) :]
        return line.input_ids[:head], tail

    if method == "dpo":
        batch = [
            {"prompt_ids": split(line)[0], "chosen_ids": split(line)[1], "rejected_ids": split(line.rejected)[1]}
            for line in lines
        ]
    else:
        batch = [
            {
                "prompt_ids": split(line)[0],
                "completion_ids": split(line)[1],
                "KL_completion_ids": split(line, other)[1],
                "label": line.example.good,
            }
            for line, other in zip(lines, [lines[-1], *lines[:-1]], strict=True)
        ]
    expected = theirs.compute_loss(theirs.model, theirs.data_collator(batch))
    assert abs(total.item() - {"dpo": 0.693147, "kto": 0.5}[method]) > 0.01  # of an adapter that changes nothing
    assert total.item() == pytest.approx(expected.item(), rel=1e-4)
