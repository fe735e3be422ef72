"""A model's weights in the form that the lean step multiplies with, made from a transformers state dict.

Made once per installed version:
- query, key and value projections are one matrix, gate and up projections are one; both are stored transposed;
- the gain of the norm before a matrix is folded into the matrix, and 1 / sqrt(head_dim) into the queries (into their
  norm's gain where queries are normalized);
- within each head of queries and keys, dimensions i and i + head_dim / 2, which the rotation turns together, become
  neighbours, so that rotating is one complex product. Scores do not change, as both are reordered alike.

Axes: D hidden, H query heads, K key-value heads, F feed-forward, V vocabulary, d head_dim; Q = (H + 2 K) d.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from buffers.errors import UsageError
from policies.engines.lean.shape import Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """One decoder layer."""

    qkv_DQ: Tensor
    qkv_bias_Q: Tensor | None
    qk_gain_Hd: Tensor | None
    """Gains of the norms of queries and keys [H + K, d]; None without such norms."""
    out_ED: Tensor
    """Attention output [H d, D]."""
    gate_up_DF: Tensor
    """Gate and up projections side by side [D, 2 F]."""
    down_FD: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole model."""

    embedding_VD: Tensor
    layers: tuple[Layer, ...]
    norm_D: Tensor
    head_VD: Tensor
    """The embedding itself where the two are tied."""


def fuse(shape: Shape, state: Mapping[str, Tensor], device: torch.device) -> Weights:
    """Lean weights from a state dict under transformers' names; `UsageError` if a tensor is missing or misshapen."""
    take = _Taker(state, device)
    embedding = take("model.embed_tokens.weight", shape.vocabulary, shape.hidden)
    tied = "lm_head.weight" not in state
    return Weights(
        embedding_VD=embedding,
        layers=tuple(_fuse_layer(shape, take, index) for index in range(shape.layers)),
        norm_D=take("model.norm.weight", shape.hidden),
        head_VD=embedding if tied else take("lm_head.weight", shape.vocabulary, shape.hidden),
    )


class _Taker:
    """Takes float32 tensors of stated shapes out of a state dict."""

    def __init__(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self._state = state
        self._device = device

    def __call__(self, name: str, *sizes: int) -> Tensor:
        tensor = self._state.get(name)
        if tensor is None:
            raise UsageError(f"the weights have no tensor {name!r}; they belong to another model")
        if tuple(tensor.shape) != sizes:
            raise UsageError(f"tensor {name!r} has shape {tuple(tensor.shape)}, the model's config says {sizes}")
        # A copy, always: the source may be memory that its writer uses again.
        return tensor.detach().to(self._device, torch.float32, copy=True)


def _fuse_layer(shape: Shape, take: _Taker, index: int) -> Layer:
    head_dim, q_size, kv_size = shape.head_dim, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention, mlp = f"model.layers.{index}.self_attn", f"model.layers.{index}.mlp"
    scale = head_dim**-0.5
    q = _neighbours(take(f"{attention}.q_proj.weight", q_size, shape.hidden), head_dim)
    k = _neighbours(take(f"{attention}.k_proj.weight", kv_size, shape.hidden), head_dim)
    v = take(f"{attention}.v_proj.weight", kv_size, shape.hidden)
    bias = gain = None
    if shape.qk_norm:
        q_gain = _neighbours(take(f"{attention}.q_norm.weight", head_dim), head_dim) * scale
        k_gain = _neighbours(take(f"{attention}.k_norm.weight", head_dim), head_dim)
        gain = torch.cat([q_gain.expand(shape.heads, -1), k_gain.expand(shape.kv_heads, -1)])
    else:
        q = q * scale
    if shape.qkv_bias:
        q_bias = _neighbours(take(f"{attention}.q_proj.bias", q_size), head_dim) * scale
        k_bias = _neighbours(take(f"{attention}.k_proj.bias", kv_size), head_dim)
        bias = torch.cat([q_bias, k_bias, take(f"{attention}.v_proj.bias", kv_size)])
    gate = take(f"{mlp}.gate_proj.weight", shape.feed_forward, shape.hidden)
    up = take(f"{mlp}.up_proj.weight", shape.feed_forward, shape.hidden)
    before_attention = take(f"model.layers.{index}.input_layernorm.weight", shape.hidden)
    before_mlp = take(f"model.layers.{index}.post_attention_layernorm.weight", shape.hidden)
    return Layer(
        qkv_DQ=_transposed(torch.cat([q, k, v]) * before_attention),
        qkv_bias_Q=bias,
        qk_gain_Hd=gain,
        out_ED=_transposed(take(f"{attention}.o_proj.weight", shape.hidden, q_size)),
        gate_up_DF=_transposed(torch.cat([gate, up]) * before_mlp),
        down_FD=_transposed(take(f"{mlp}.down_proj.weight", shape.hidden, shape.feed_forward)),
    )


def _neighbours(weight: Tensor, head_dim: int) -> Tensor:
    """Reorder each head's outputs (axis 0) from (0 .. d/2 - 1, d/2 .. d - 1) to (0, d/2, 1, d/2 + 1, ...)."""
    heads = weight.reshape(-1, 2, head_dim // 2, *weight.shape[1:])
    return heads.transpose(1, 2).reshape(weight.shape)


def _transposed(weight: Tensor) -> Tensor:
    return weight.t().contiguous()
