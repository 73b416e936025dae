"""Attention of packed rows, each line by itself: no mask of the whole row, no work between lines. Knows tensors alone.

A row of lines behind each other has a position 0 for each. What transformers does with it is one attention over all
of the row, with a mask that takes most of it away again: at 900 tokens of 8 lines almost half of a step on a CPU.
Here each line is read alone, on a CPU by matrix products that keep nothing but what they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "lines"
WIDE = 512  # bases below this width lose more by the calls than they gain: one of 192 trains 1.4 times slower
QUERIES_AT_ONCE = 256  # of a line: keys behind the last of them are left out, and scores stay in the cache


def use(model: Any) -> None:
    """Let a model read lines so, where it leaves attention to PyTorch; any other stays as it is."""
    if getattr(model.config, "_attn_implementation", None) == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, mask)
        model.set_attn_implementation(NAME)


def is_used(model: Any) -> bool:
    return getattr(model.config, "_attn_implementation", None) == NAME


def mask(
    q_length: int,
    kv_length: int,
    *,
    attention_mask: Any = None,
    config: Any = None,
    use_vmap: bool = False,
    **rest: Any,
) -> torch.Tensor | None:
    """Return the mask of a batch; None for whole rows without padding, of which `attend` knows it from positions."""
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    whole = q_length == kv_length and attention_mask is None and not use_vmap
    if whole and (window is None or window >= kv_length):
        return None
    return sdpa_mask(
        q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, config=config, use_vmap=use_vmap, **rest
    )


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, position_ids: Any = None, **options: Any
) -> tuple[torch.Tensor, None]:
    """Return what transformers' own attention would: the mean of the values that each token looks at, (1, tokens, …).

    Shapes are (rows, heads, tokens, size). Where a row holds one line, or is padded, this is PyTorch's.
    """
    lines = bounds(query, key, position_ids)
    if query.device.type == "cpu" and lines and is_plain(attention_mask, options):
        if torch.is_autocast_enabled("cpu"):
            query, key, value = (each.to(torch.get_autocast_dtype("cpu")) for each in (query, key, value))
        scale = options.get("scaling") or query.shape[-1] ** -0.5
        rows, heads, tokens, _ = query.shape
        flat = (each.transpose(0, 1).flatten(1, 2) for each in (query, key, value))
        with torch.autocast("cpu", enabled=False):
            return LineAttention.apply(*flat, scale, lines).view(rows, tokens, heads, -1), None
    if len(query) > 1 or len(lines) < 2:
        return sdpa_attention_forward(module, query, key, value, attention_mask, position_ids=position_ids, **options)
    found = []
    for start, end in lines:
        part = None if attention_mask is None else attention_mask[:, :, start:end, start:end]
        one = (each[:, :, start:end] for each in (query, key, value))
        found.append(sdpa_attention_forward(module, *one, part, **options)[0])
    return torch.cat(found, dim=1), None


def bounds(query: Any, key: Any, position_ids: Any) -> list[tuple[int, int]]:
    """Return where each line begins and ends, all rows behind each other; nothing where they look back further."""
    rows, _, tokens, _ = query.shape
    if key.shape[2] != tokens or position_ids is None or position_ids.shape[-1] != tokens:
        return []
    starts = (position_ids.expand(rows, -1).reshape(-1) == 0).nonzero().flatten().tolist()
    lines = list(pairwise([*starts, rows * tokens]))
    # In every row the first token is a line's first.
    return lines if set(range(0, rows * tokens, tokens)) <= set(starts) else []


def is_plain(attention_mask: Any, options: dict[str, Any]) -> bool:
    """Return whether attention is that of its paper: none of the things that only some bases add to it."""
    added = ("softcap", "s_aux", "position_bias", "cache")
    causal = options.get("is_causal") is not False
    return (
        attention_mask is None and causal and not options.get("dropout") and all(options.get(a) is None for a in added)
    )


class LineAttention(torch.autograd.Function):
    """Softmax attention of each line to itself, in matrix products over all heads that share their keys.

    PyTorch's own on a CPU takes 3 to 4 times as long for lines of a few hundred tokens. Scores are computed again on
    the way back, so that nothing is kept but what came in.
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, scale: float, lines: Sequence[tuple[int, int]]) -> Any:
        heads, tokens, size = query.shape
        out = query.new_empty(tokens, heads, value.shape[2])
        for rows, seen in blocks(lines):
            asked, keys, values = grouped(query, key, rows), key[:, seen], value[:, seen]
            weights = weigh(asked, keys, scale, rows, seen)
            out[rows] = ungrouped(torch.bmm(weights, values), heads).transpose(0, 1)
        ctx.save_for_backward(query, key, value)
        ctx.scale, ctx.lines = scale, lines
        return out

    @staticmethod
    def backward(ctx: Any, slope: Any) -> Any:
        query, key, value = ctx.saved_tensors
        heads = query.shape[0]
        slopes = [torch.empty_like(query, memory_format=torch.contiguous_format), *map(torch.zeros_like, (key, value))]
        slope = slope.transpose(0, 1)
        for rows, seen in blocks(ctx.lines):
            asked, keys, values = grouped(query, key, rows), key[:, seen], value[:, seen]
            weights = weigh(asked, keys, ctx.scale, rows, seen)
            above = grouped(slope, key, rows)
            slopes[2][:, seen] += torch.bmm(weights.transpose(1, 2), above)
            scores = torch.bmm(above, values.transpose(1, 2))
            scores = torch.ops.aten._softmax_backward_data(scores, weights, -1, weights.dtype).mul_(ctx.scale)
            slopes[0][:, rows] = ungrouped(torch.bmm(scores, keys), heads)
            slopes[1][:, seen] += torch.bmm(scores.transpose(1, 2), asked)
        return *slopes, None, None


def blocks(lines: Sequence[tuple[int, int]]) -> list[tuple[slice, slice]]:
    """Return the parts attention is worked through in: some tokens of a line, and those that they look back on."""
    return [
        (slice(first, min(first + QUERIES_AT_ONCE, end)), slice(start, min(first + QUERIES_AT_ONCE, end)))
        for start, end in lines
        for first in range(start, end, QUERIES_AT_ONCE)
    ]


def grouped(query: Any, key: Any, rows: slice) -> torch.Tensor:
    """Return some tokens of all heads, those of the heads that share their keys below each other."""
    part = query[:, rows]
    return part.reshape(key.shape[0], -1, part.shape[2])


def ungrouped(found: Any, heads: int) -> torch.Tensor:
    return found.view(heads, -1, found.shape[2])


def weigh(asked: Any, keys: Any, scale: float, rows: slice, seen: slice) -> torch.Tensor:
    """Return how much each token looks at each of those before it and at itself."""
    width = rows.stop - rows.start
    hidden = asked.new_full((width, keys.shape[1]), float("-inf")).triu(rows.start - seen.start + 1)
    hidden = hidden.repeat(asked.shape[1] // width, 1).expand(len(asked), -1, -1)
    return torch.baddbmm(hidden, asked, keys.transpose(1, 2), alpha=scale).softmax(-1)
