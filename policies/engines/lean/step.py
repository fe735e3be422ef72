"""The two things that a step computes: `decode`, one token further for many rows, and `fill`, known tokens' cache.

A row's cache always lacks its last known token. `decode` feeds that token, which completes the cache, and returns
logits for the next. `fill` feeds tokens before the last one and returns nothing: it needs no head, and of the last
layer it computes keys and values only.

Axes: B rows of the batch, n rows of a fill, T tokens of each, N tokens in all, S positions attended to, D hidden,
H query heads, K key-value heads, G = H / K query heads per key-value head, d head_dim, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.engines.lean.cache import Cache
from policies.engines.lean.shape import Shape
from policies.engines.lean.weights import Layer, Weights

Group = tuple[int, int, int]
"""(first row, row after the last, span): adjacent rows that attend to the first `span` positions."""


@dataclass(frozen=True, slots=True)
class DecodeBatch:
    """One token for each of the first B rows of the cache."""

    ids_B: Tensor
    positions_B: Tensor
    rows_B: Tensor
    """Where keys and values go: 0 .. B - 1, the spill row for rows that nobody runs in."""
    groups: tuple[Group, ...]
    """Together they cover 0 .. B."""


@dataclass(frozen=True, slots=True)
class FillBatch:
    """Up to T tokens for each of n rows; what is past a row's own count is padding."""

    ids_nT: Tensor
    rows_n: Tensor
    starts_n: Tensor
    """Position of each row's first token here: what lies before is in the cache already."""
    counts_n: Tensor
    span: int
    """At least the largest start + count."""


def decode(shape: Shape, weights: Weights, cache: Cache, batch: DecodeBatch) -> Tensor:
    """Logits float32 [B, V] for the tokens after those fed."""
    stream = weights.embedding_VD[batch.ids_B]
    turns = cache.rotations(batch.positions_B)
    places = cache.places(batch.rows_B, batch.positions_B)
    widest = cache.hidden(batch.positions_B, max(span for _, _, span in batch.groups))
    masks = [widest[lo:hi, :, :span] for lo, hi, span in batch.groups]
    for index, layer in enumerate(weights.layers):
        q, kv = _project(shape, layer, stream, turns)
        cache.write(index, places, kv)
        mixed = _attend_rows(shape, cache, index, q, batch.groups, masks)
        stream = _finish_layer(shape, layer, stream, mixed)
    return F.linear(F.rms_norm(stream, (shape.hidden,), weights.norm_D, shape.norm_eps), weights.head_VD)


def fill(shape: Shape, weights: Weights, cache: Cache, batch: FillBatch) -> None:
    """Put the keys and values of known tokens into the cache."""
    n, width = batch.ids_nT.shape
    steps = torch.arange(width, device=batch.ids_nT.device)
    kept = steps < batch.counts_n[:, None]
    positions_nT = torch.where(kept, batch.starts_n[:, None] + steps, 0)
    rows_nT = torch.where(kept, batch.rows_n[:, None], cache.spill_row)
    stream = weights.embedding_VD[batch.ids_nT.flatten()]
    turns = cache.rotations(positions_nT.flatten())
    places = cache.places(rows_nT.flatten(), positions_nT.flatten())
    visible = torch.arange(batch.span, device=steps.device) <= positions_nT[:, :, None]
    last = len(weights.layers) - 1
    for index, layer in enumerate(weights.layers):
        q, kv = _project(shape, layer, stream, turns)
        cache.write(index, places, kv)
        if index < last:
            mixed = _attend_chunks(shape, cache.gather(index, batch.rows_n, batch.span), q.view(n, width, -1), visible)
            stream = _finish_layer(shape, layer, stream, mixed)


def _project(shape: Shape, layer: Layer, stream_ND: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Rotated, scaled queries [N, H, d], and keys and values [N, 2 K, d]."""
    normed = F.rms_norm(stream_ND, (shape.hidden,), None, shape.norm_eps)
    if layer.qkv_bias_Q is None:
        qkv = torch.mm(normed, layer.qkv_DQ)
    else:
        qkv = torch.addmm(layer.qkv_bias_Q, normed, layer.qkv_DQ)
    qkv = qkv.view(-1, shape.heads + 2 * shape.kv_heads, shape.head_dim)
    turned = qk = qkv[:, : shape.heads + shape.kv_heads]
    if layer.qk_gain_Hd is not None:
        qk = F.rms_norm(qk, (shape.head_dim,), None, shape.norm_eps).mul_(layer.qk_gain_Hd)
    torch.mul(_complex(qk), turns, out=_complex(turned))
    return qkv[:, : shape.heads], qkv[:, shape.heads :]


def _complex(heads: Tensor) -> Tensor:
    """View float [N, h, d] as complex [N, h, d / 2]."""
    return torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2))


def _attend_rows(
    shape: Shape, cache: Cache, index: int, q_BHd: Tensor, groups: tuple[Group, ...], masks: list[Tensor]
) -> Tensor:
    """What each row's one token reads from its own row of the cache [B, H d], group by group."""
    k_heads = shape.kv_heads
    q = q_BHd.reshape(-1, shape.heads // k_heads, shape.head_dim)
    mixed = torch.empty_like(q)
    for (lo, hi, span), mask in zip(groups, masks, strict=True):
        keys, values = cache.prefix(index, lo, hi, span)
        scores = torch.bmm(q[lo * k_heads : hi * k_heads], keys.transpose(1, 2))
        scores.view(hi - lo, shape.heads, span).add_(mask)
        torch.bmm(torch.softmax(scores, -1), values, out=mixed[lo * k_heads : hi * k_heads])
    return mixed.view(-1, shape.heads * shape.head_dim)


def _attend_chunks(shape: Shape, held: tuple[Tensor, Tensor], q: Tensor, visible: Tensor) -> Tensor:
    """What T tokens of each of n rows read [n T, H d], from keys and values [n, K, S, d] and visibility [n, T, S]."""
    n, width, _ = q.shape
    grouped = q.view(n, width, shape.kv_heads, -1, shape.head_dim).permute(0, 2, 3, 1, 4).flatten(2, 3)
    mask = visible[:, None].repeat(1, 1, shape.heads // shape.kv_heads, 1)
    mixed = F.scaled_dot_product_attention(grouped, *held, attn_mask=mask, scale=1.0)
    mixed = mixed.view(n, shape.kv_heads, -1, width, shape.head_dim).permute(0, 3, 1, 2, 4)
    return mixed.reshape(n * width, shape.heads * shape.head_dim)


def _finish_layer(shape: Shape, layer: Layer, stream_ND: Tensor, mixed: Tensor) -> Tensor:
    """Add the attention's output and the feed-forward network to the stream."""
    stream = torch.addmm(stream_ND, mixed, layer.out_ED)
    normed = F.rms_norm(stream, (shape.hidden,), None, shape.norm_eps)
    gate, up = torch.mm(normed, layer.gate_up_DF).chunk(2, -1)
    return torch.addmm(stream, F.silu(gate).mul_(up), layer.down_FD)
