"""Attention of each line alone, and losses without copies: the numbers are those of PyTorch's own."""

import pytest
from trainer_fixtures import SUMS, make_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")


def looked(query, key, value, lengths):
    """Return what PyTorch's attention says of lines in one row, with a mask of the whole row."""
    import torch

    owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    mask = (owners[:, None] == owners) & torch.ones(len(owners), len(owners)).tril().bool()
    key, value = (each.repeat_interleave(query.shape[1] // key.shape[1], 1) for each in (key, value))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)


@pytest.mark.parametrize("lengths", [[5, 1, 9], [300, 70]])
def test_lines_of_a_row_are_read_and_learnt_from_as_by_pytorch_with_a_mask(lengths):
    import torch

    from trainer.attention import attend

    torch.manual_seed(0)
    found = []
    given = [torch.randn(1, heads, sum(lengths), 16) for heads in (6, 2, 2)]
    aim = torch.randn(1, sum(lengths), 6, 16)
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    for read in (lambda *qkv: attend(None, *qkv, None, position_ids=places)[0], lambda *qkv: looked(*qkv, lengths)):
        inputs = [each.clone().requires_grad_() for each in given]
        out = read(*inputs)
        (out * aim).sum().backward()
        found.append([out.detach(), *(each.grad for each in inputs)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


MODELS = {
    "llama": {},
    "mistral": {"sliding_window": 6},
    "qwen3": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 8},
    "gpt2": {},
}


@pytest.mark.parametrize("family", MODELS)
def test_the_loss_of_each_line_is_that_of_the_model_as_it_came(family):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from trainer import attention
    from trainer.dataset import Example, Renderer
    from trainer.evaluate import line_losses
    from trainer.model import Base, Device
    from trainer.training import keeps_lines_apart

    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
    sizes |= {"vocab_size": len(tokenizer), "intermediate_size": 96, "pad_token_id": 0, "bos_token_id": None}
    sizes |= {} if family == "gpt2" else {"num_key_value_heads": 2}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, **MODELS[family])).eval()
    lines = [
        Renderer(tokenizer).render(
            Example([{"role": "user", "content": q}, {"role": "assistant", "content": " ".join([a] * (1 + n % 3))}], "")
        )
        for n, (q, a) in enumerate(SUMS[:5])
    ]
    stock = []
    for line in lines:
        out = model(input_ids=torch.tensor([line.input_ids]), labels=torch.tensor([line.labels]))
        stock.append(out.loss.item())
    attention.use(model)
    device = Device("cpu", "CPU", torch.float32, "of a test")
    assert keeps_lines_apart(Base(model, tokenizer, device, {}))
    assert [each.loss for each in line_losses(model, lines, 0, device)] == pytest.approx(stock, rel=1e-4)


def test_losses_and_their_slopes_are_those_of_cross_entropy(monkeypatch):
    import torch

    from trainer import losses

    monkeypatch.setattr(losses, "AT_ONCE", 100)  # a few rows at a time
    torch.manual_seed(0)
    logits, targets, weights = torch.randn(11, 30) * 4, torch.randint(30, (11,)), torch.rand(11)
    found = []
    for compute in (losses.losses_of, lambda *of: torch.nn.functional.cross_entropy(*of, reduction="none")):
        given = logits.clone().requires_grad_()
        out = compute(given, targets)
        (out * weights).sum().backward()
        found.append((out.detach(), given.grad))
    torch.testing.assert_close(*found, atol=1e-6, rtol=1e-5)
