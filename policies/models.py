"""Models: the tiny Qwen3 of the CPU examples, and any causal language model in a Hugging Face folder.

A checkpoint is a folder with `config.json`, `model.safetensors` and the tokenizer's files; nothing is pickled.
The tiny model has 115,136 parameters: two layers of width 64, four heads of 32 (two for keys and values), feed-forward
160, 64 characters, tied embeddings, rotary base 1e5. Narrower heads or a smaller base copy far operands badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from buffers.errors import UsageError
from policies.tokens import VOCABULARY, Codec, load_tokenizer

Tensor = torch.Tensor
transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class TinyConfig:
    """Shape of a tiny Qwen3."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_width: int = 32
    feed_forward: int = 160
    rope_base: float = 1e5
    vocabulary: int = VOCABULARY
    init_std: float = 0.05
    max_positions: int = 1024


def tiny_model(config: TinyConfig, seed: int) -> nn.Module:
    """A fresh float32 model on the CPU, its weights a function of (config, seed)."""
    settings = Qwen3Config(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_width,
        max_position_embeddings=config.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
        initializer_range=config.init_std,
        tie_word_embeddings=True,
        use_cache=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(settings)
    return cast(nn.Module, model.float().eval())


def use_threads(count: int) -> None:
    """Let torch use so many threads in this process; more than one is ruinous where processes share cores."""
    torch.set_num_threads(count)


def load_model(folder: str | Path, dtype: str = "float32") -> nn.Module:
    """A causal language model from a folder; `UsageError` if it is not one."""
    try:
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=getattr(torch, dtype))
    except (OSError, ValueError) as problem:
        reason = str(problem).splitlines()[0]
        raise UsageError(f"no model in {str(folder)!r} ({reason}); give a Hugging Face model folder") from problem
    return cast(nn.Module, model)


def save_model(model: nn.Module, codec: Codec, folder: str | Path) -> None:
    """Write weights (safetensors), config and tokenizer into `folder`."""
    model.save_pretrained(str(folder))  # type: ignore[operator]
    codec.save_pretrained(str(folder))


def load_checkpoint(folder: str | Path) -> tuple[nn.Module, Codec]:
    """The model and the tokenizer of a folder."""
    return load_model(folder), load_tokenizer(folder)


def logps_of_tokens(model: nn.Module, ids_BT: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the tokens that stand in right-padded rows, and the entropies of their distributions.

    `ids_BT` int64 [B, T]; column t of both results [B, T] (float32) is of token t given the ones before it, at
    `temperature`; column 0 is 0. Padding on the right needs no mask: attention is causal.
    """
    logits = model(input_ids=ids_BT[:, :-1], use_cache=False).logits.float() / temperature
    logp_BTV = torch.log_softmax(logits, dim=-1)
    logp_BT = logp_BTV.gather(-1, ids_BT[:, 1:, None]).squeeze(-1)
    with torch.no_grad():
        entropy_BT = -(logp_BTV.exp() * logp_BTV).sum(-1)
    pad = (1, 0)
    return nn.functional.pad(logp_BT, pad), nn.functional.pad(entropy_BT, pad)
