"""The steps of a run: the same loss and gradient however a step is cut up, and the same as TRL's own."""

from dataclasses import replace
from pathlib import Path

import pytest
from trainer_fixtures import SUMS, make_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")

FAMILIES = {
    "llama": {"num_key_value_heads": 2, "intermediate_size": 128},
    "gpt2": {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "window_size": 16},
}


def make_model(family="llama"):
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    tokenizer = make_tokenizer()
    set_seed(0)
    names = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "max_position_embeddings": 512}
    if family == "gpt_neo":
        names = {"hidden_size": 64, "num_heads": 4, "max_position_embeddings": 512}
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), initializer_range=0.2, bos_token_id=None, **names, **FAMILIES[family]
    )
    return AutoModelForCausalLM.from_config(config), tokenizer


def make_lines(tokenizer):
    from trainer.dataset import Example, Renderer

    # Answers of one to three sentences, so that the lines differ in length and in what is learnt of them.
    examples = [
        Example(
            [{"role": "user", "content": question}, {"role": "assistant", "content": " ".join([answer] * (1 + n % 3))}],
            f"line {n}",
        )
        for n, (question, answer) in enumerate(SUMS[:8])
    ]
    return [Renderer(tokenizer).render(example) for example in examples]


def make_trainer(folder: Path, family="llama", **changes):
    import torch

    from trainer import attention
    from trainer.config import RunConfig, fill_in
    from trainer.model import Base, Device, add_adapter
    from trainer.training import StepTrainer

    model, tokenizer = make_model(family)
    base = Base(model.requires_grad_(False), tokenizer, Device("cpu", "CPU", torch.float32, "of a test"), {})
    sizes = {"weights": 1, "hidden_size": 64, "max_tokens": 64, "longest_answer": 8, "threads": 1}
    attention.use(model)
    config = fill_in(RunConfig(precision="fp32"), **sizes)
    lines = make_lines(tokenizer)
    torch.manual_seed(3)
    model = add_adapter(model, replace(config, rank=4))
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # they begin at zero, where half of the gradient is zero too
            torch.nn.init.normal_(weight, std=0.1)
    options = {"packed": True, "tokens_at_once": 4096} | changes
    return StepTrainer(base, model, lines, [list(range(8))], config, folder, **options)


def gradients(trainer):
    found = {name: w.grad.clone() for name, w in trainer.model.named_parameters() if w.grad is not None}
    trainer.model.zero_grad()
    return found


def work_through(trainer):
    """Return the loss of a step of eight lines, that of each line, and the gradients."""
    loss, parts = trainer.work_through(trainer.model, list(range(8)))
    by_line = dict(sorted((line, x) for part, found in parts for line, x in zip(part, found.tolist(), strict=True)))
    return loss.item(), by_line, gradients(trainer), len(parts)


def assert_same(one, other):
    """Compare two steps that were added up in another order, in single precision."""
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert one[1] == pytest.approx(other[1], rel=1e-5)
    for name, gradient in one[2].items():
        assert (gradient - other[2][name]).norm() < 1e-4 * gradient.norm()


@pytest.mark.parametrize("packed", [True, False])
def test_a_step_in_four_parts_is_the_step_in_one(packed, tmp_path):
    whole = work_through(make_trainer(tmp_path, packed=packed))
    in_parts = work_through(make_trainer(tmp_path, packed=packed, tokens_at_once=75))
    assert (whole[3], in_parts[3]) == (1, 4 if packed else 5)
    assert_same(whole, in_parts)


@pytest.mark.parametrize("family", FAMILIES)
def test_lines_packed_into_one_row_learn_as_if_each_were_alone(family, tmp_path):
    packed = work_through(make_trainer(tmp_path, family))
    alone = work_through(make_trainer(tmp_path, family, packed=False, tokens_at_once=1))
    assert (packed[3], alone[3]) == (1, 8)
    assert_same(packed, alone)


def test_loss_and_gradients_are_those_of_plain_trl(tmp_path):
    import datasets
    from trl import SFTConfig, SFTTrainer

    trainer = make_trainer(tmp_path)
    ours = work_through(trainer)
    rows = [{"input_ids": line.input_ids, "labels": line.labels} for line in trainer.lines]
    config = SFTConfig(
        str(tmp_path), use_cpu=True, bf16=False, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}
    )
    plain = SFTTrainer(
        trainer.model, config, train_dataset=datasets.Dataset.from_list(rows), processing_class=trainer.processing_class
    )
    loss = plain.compute_loss(plain.model, plain.data_collator(rows))
    loss.backward()
    assert_same(ours, (loss.item(), ours[1], gradients(plain)))


def test_the_losses_of_lines_weighted_by_their_tokens_are_the_loss_of_the_step(tmp_path):
    from trainer.losses import trained_tokens

    trainer = make_trainer(tmp_path)
    loss, by_line, _, _ = work_through(trainer)
    tokens = [trained_tokens(line) for line in trainer.lines]
    assert sum(by_line[n] * tokens[n] for n in range(8)) / sum(tokens) == pytest.approx(loss, rel=1e-6)


def test_a_step_that_needs_too_much_memory_is_done_again_in_smaller_parts(tmp_path, monkeypatch):
    import torch

    trainer = make_trainer(tmp_path)
    enough = work_through(trainer)
    compute = type(trainer).compute_loss

    def memory_of_eighty_tokens(self, model, inputs, *args, **kwargs):
        if inputs["input_ids"].numel() > 80:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(type(trainer), "compute_loss", memory_of_eighty_tokens)
    trainer.probe(trainer.model)
    assert trainer.tokens_at_once == 64
    assert_same(enough, work_through(trainer))
    trainer.tokens_at_once = 4096
    trainer.training_step(trainer.model, {"lines": list(range(8))})
    assert trainer.loss == pytest.approx(enough[0], rel=1e-5)


def test_a_line_that_fits_no_memory_is_named(tmp_path, monkeypatch):
    import torch

    from trainer import UserError

    trainer = make_trainer(tmp_path)

    def no_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(type(trainer), "compute_loss", no_memory)
    with pytest.raises(UserError, match=r"line \d, the longest line with \d+ tokens, does not fit into the memory of"):
        trainer.training_step(trainer.model, {"lines": list(range(8))})


def test_rows_are_no_longer_than_learnt_positions_go():
    import torch

    from trainer.model import Base, Device
    from trainer.training import longest_row

    def base(family):
        return Base(make_model(family)[0], make_tokenizer(), Device("cpu", "CPU", torch.float32, "of a test"), {})

    assert longest_row(base("gpt_neo")) == longest_row(base("gpt2")) == 512
    assert longest_row(base("llama")) > 10**6


def test_a_base_that_mixes_packed_lines_is_found_out(tmp_path, monkeypatch):
    import torch

    from trainer.model import Base, Device
    from trainer.training import keeps_lines_apart

    model, tokenizer = make_model()
    base = Base(model, tokenizer, Device("cpu", "CPU", torch.float32, "of a test"), {})
    assert keeps_lines_apart(base)
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda position_ids, **kwargs: forward(position_ids=None, attention_mask=None, **kwargs)
    )
    assert not keeps_lines_apart(base)
