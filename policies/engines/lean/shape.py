"""What the lean step has to know of an architecture: Qwen3, Qwen2 or Llama, read from a transformers config.

Whatever these three have in variants that the lean step does not compute (sliding windows, rotary frequencies that
change with the length, biases in odd places) is refused here, by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from buffers.errors import UsageError

ARCHITECTURES = ("qwen3", "qwen2", "llama")
_STATIC_ROTARY = ("linear", "yarn", "llama3")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes and variants of one model."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    norm_eps: float
    qk_norm: bool
    """Queries and keys are normalized per head (Qwen3)."""
    qkv_bias: bool
    """Query, key and value projections have biases (Qwen2)."""
    rotary: Tensor
    """Rotary frequencies float32 [head_dim / 2]."""
    rotary_scale: float
    """What rotated queries and keys are multiplied by (1 but for some long-context variants)."""
    positions: int
    """The longest context that the model is made for."""


def shape_of(config: Any) -> Shape:
    """The shape of a transformers config; `UsageError` if the lean step cannot compute this model."""
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise UsageError(f"model type {kind!r} is not one of {', '.join(ARCHITECTURES)}; use the SGLang engine for it")
    _refuse_variants(config)
    rotary, scale = _rotary(config)
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=_head_dim(config),
        feed_forward=config.intermediate_size,
        vocabulary=config.vocab_size,
        norm_eps=config.rms_norm_eps,
        qk_norm=kind == "qwen3",
        qkv_bias=kind == "qwen2",
        rotary=rotary,
        rotary_scale=scale,
        positions=config.max_position_embeddings,
    )


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _refuse_variants(config: Any) -> None:
    refused = {
        "use_sliding_window": getattr(config, "use_sliding_window", False),
        "attention_bias": getattr(config, "attention_bias", False),
        "mlp_bias": getattr(config, "mlp_bias", False),
        "hidden_act": config.hidden_act if config.hidden_act != "silu" else False,
    }
    for name, value in refused.items():
        if value:
            raise UsageError(
                f"the torch engine does not compute {name}={value!r}; use the SGLang engine for this model"
            )


def _rotary(config: Any) -> tuple[Tensor, float]:
    """Rotary frequencies and scale; only kinds whose frequencies do not depend on the length."""
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        half = torch.arange(0, _head_dim(config), 2, dtype=torch.float32) / _head_dim(config)
        return 1.0 / (config.rope_parameters["rope_theta"] ** half), 1.0
    if kind in _STATIC_ROTARY:
        frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config)
        return frequencies, float(scale)
    raise UsageError(f"rotary kind {kind!r} is not one of default, {', '.join(_STATIC_ROTARY)}")
