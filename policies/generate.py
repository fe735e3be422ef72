"""Lockstep generation for gates and evaluation: one batch of prompts to its end, with a static cache.

Works on Qwen3 models on the CPU. Prompts are padded on the left, so every row writes the same cache column; rotary
positions are relative, so a shifted row computes the same numbers up to rounding. Finished rows are dropped from the
batch when a quarter of it is done. The engines of `policies/engines/` serve training; this leaves out queues, weight
updates and segments.

Legend: B rows, T columns of the cache, H heads, K key-value heads, D head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from policies.tokens import IntArray

Tensor = torch.Tensor


@dataclass(frozen=True)
class Generated:
    """One response: `ids` int32 [L] (with its stop token, if it came to it) and behaviour `logps` float32 [L]."""

    ids: IntArray
    logps: np.ndarray[tuple[int], np.dtype[np.float32]]


@dataclass(frozen=True)
class _Layer:
    """Weights of one layer, fused for few calls."""

    qkv: Tensor
    out: Tensor
    q_norm: Tensor
    k_norm: Tensor
    up: Tensor
    down: Tensor
    norm_in: Tensor
    norm_mlp: Tensor


def _layer(weights: Mapping[str, Tensor], index: int) -> _Layer:
    """Copies of one layer's weights."""

    def stack(*names: str) -> Tensor:
        return torch.cat([weights[f"model.layers.{index}.{name}.weight"].detach() for name in names])

    return _Layer(
        qkv=stack("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        out=stack("self_attn.o_proj"),
        q_norm=stack("self_attn.q_norm"),
        k_norm=stack("self_attn.k_norm"),
        up=stack("mlp.gate_proj", "mlp.up_proj"),
        down=stack("mlp.down_proj"),
        norm_in=stack("input_layernorm"),
        norm_mlp=stack("post_attention_layernorm"),
    )


class Lockstep:
    """A copy of a model's weights at one moment, ready to generate."""

    def __init__(self, model: nn.Module) -> None:
        settings, weights = cast(Any, model.config), model.state_dict()
        self.heads, self.kv_heads = int(settings.num_attention_heads), int(settings.num_key_value_heads)
        self.width, self.eps = int(settings.head_dim), float(settings.rms_norm_eps)
        self.base = float(settings.rope_parameters["rope_theta"])
        self.layers = [_layer(weights, index) for index in range(int(settings.num_hidden_layers))]
        self.embed = weights["model.embed_tokens.weight"].clone()
        self.norm = weights["model.norm.weight"].clone()
        self.head = self.embed if settings.tie_word_embeddings else weights["lm_head.weight"].clone()

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[IntArray], *, max_tokens: int, stop_id: int, temperature: float, rng: torch.Generator
    ) -> list[Generated]:
        """Continue each prompt by at most `max_tokens`, to `stop_id`; temperature 0 is greedy."""
        longest = max(len(prompt) for prompt in prompts)
        total = longest + max_tokens
        ids_BT = torch.zeros(len(prompts), longest, dtype=torch.int64)
        seen_BT = torch.zeros(len(prompts), total, dtype=torch.bool)
        seen_BT[:, longest:] = True
        for row, prompt in enumerate(prompts):
            ids_BT[row, longest - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            seen_BT[row, longest - len(prompt) : longest] = True
        cos_TD, sin_TD = self._rotary(total)
        shape = (len(self.layers), 2, len(prompts), self.kv_heads, total, self.width)
        cache = torch.empty(shape)
        logits_BV = self._forward(ids_BT, 0, cache, seen_BT, cos_TD, sin_TD)
        tokens_BL = torch.full((len(prompts), max_tokens), -1, dtype=torch.int64)
        logps_BL = torch.zeros(len(prompts), max_tokens)
        rows, live = torch.arange(len(prompts)), torch.ones(len(prompts), dtype=torch.bool)
        for step in range(max_tokens):
            token_B, logp_B = _draw(logits_BV, temperature, rng)
            tokens_BL[rows[live], step] = token_B[live]
            logps_BL[rows[live], step] = logp_B[live]
            live &= token_B != stop_id
            alive = int(live.sum())
            if alive == 0 or step + 1 == max_tokens:
                break
            if alive <= 0.75 * len(live):
                rows, token_B, seen_BT, cache = rows[live], token_B[live], seen_BT[live], cache[:, :, live]
                live = torch.ones(alive, dtype=torch.bool)
            logits_BV = self._forward(token_B[:, None], longest + step, cache, seen_BT, cos_TD, sin_TD)
        lengths = (tokens_BL >= 0).sum(1).tolist()
        ids, logps = tokens_BL.numpy().astype(np.int32), logps_BL.numpy()
        return [Generated(ids[row, :length], logps[row, :length]) for row, length in enumerate(lengths)]

    def _rotary(self, total: int) -> tuple[Tensor, Tensor]:
        frequency = self.base ** (-torch.arange(0, self.width, 2).float() / self.width)
        angle_TD = torch.outer(torch.arange(total).float(), frequency).repeat(1, 2)
        return angle_TD.cos(), angle_TD.sin()

    def _forward(
        self, ids_BS: Tensor, start: int, cache: Tensor, seen_BT: Tensor, cos_TD: Tensor, sin_TD: Tensor
    ) -> Tensor:
        """Write columns [start, start + S) of the cache; logits [B, V] of the last one."""
        rows, count = ids_BS.shape
        stop, share = start + count, self.heads // self.kv_heads
        cos, sin = cos_TD[start:stop, None], sin_TD[start:stop, None]
        mask = seen_BT[:, None, None, :stop]
        if count > 1:
            causal = torch.ones(count, stop, dtype=torch.bool).tril(start)
            mask = (mask & causal) | torch.eye(count, stop, dtype=torch.bool)
        hidden = self.embed[ids_BS]
        for index, layer in enumerate(self.layers):
            state = functional.linear(self._rms(hidden, layer.norm_in), layer.qkv)
            parts = state.view(rows, count, self.heads + 2 * self.kv_heads, self.width)
            query, key, value = torch.split(parts, [self.heads, self.kv_heads, self.kv_heads], dim=2)
            query = _rotate(self._rms(query, layer.q_norm), cos, sin)
            keys, values = cache[index]
            keys[:, :, start:stop] = _rotate(self._rms(key, layer.k_norm), cos, sin).transpose(1, 2)
            values[:, :, start:stop] = value.transpose(1, 2)
            if count == 1:  # the heads that share a key stand as its queries
                query = query.view(rows, self.kv_heads, share, self.width)
                mixed = functional.scaled_dot_product_attention(query, keys[:, :, :stop], values[:, :, :stop], mask)
                mixed = mixed.reshape(rows, 1, self.heads * self.width)
            else:
                wide_keys, wide_values = (tensor[:, :, :stop].repeat_interleave(share, 1) for tensor in (keys, values))
                mixed = functional.scaled_dot_product_attention(query.transpose(1, 2), wide_keys, wide_values, mask)
                mixed = mixed.transpose(1, 2).reshape(rows, count, self.heads * self.width)
            hidden = hidden + functional.linear(mixed, layer.out)
            gate, up = functional.linear(self._rms(hidden, layer.norm_mlp), layer.up).chunk(2, dim=-1)
            hidden = hidden + functional.linear(functional.silu(gate) * up, layer.down)
        return functional.linear(self._rms(hidden[:, -1], self.norm), self.head)

    def _rms(self, tensor: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(tensor, (tensor.shape[-1],), weight, self.eps)


def _rotate(tensor: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = tensor.chunk(2, dim=-1)
    return tensor * cos + torch.cat([-right, left], dim=-1) * sin


def _draw(logits_BV: Tensor, temperature: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """One token per row and its log-probability at the temperature (greedy: of the undivided logits)."""
    logp_BV = torch.log_softmax(logits_BV / (temperature or 1.0), dim=-1)
    if temperature == 0.0:
        token_B = logp_BV.argmax(-1)
    else:
        token_B = (logp_BV - torch.empty_like(logp_BV).exponential_(generator=rng).log()).argmax(-1)
    return token_B, logp_BV.gather(-1, token_B[:, None]).squeeze(-1)
