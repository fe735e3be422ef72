"""Models: the tiny Qwen3 of the CPU examples, and any causal language model in a Hugging Face folder.

A checkpoint is a folder with `config.json`, `model.safetensors` and the tokenizer's files; nothing is pickled.
The tiny model has 115,136 parameters: two layers of width 64, four heads of 32 (two for keys and values), feed-forward
160, 64 characters, tied embeddings, rotary base 1e5. Narrower heads or a smaller base copy far operands badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from buffers.errors import UsageError
from policies.tokens import VOCABULARY, Codec, load_tokenizer

Tensor = torch.Tensor
WIDE_VOCABULARY = 4096
"""From this many words on, logits are made and given up again for `PIECE_TOKENS` tokens at a time."""
PIECE_TOKENS = 1024
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
    """A causal language model from a folder; `UsageError` if it is not one.

    Weights come out of safetensors only, never out of a pickle, and nothing is looked up on the network.
    """
    if not Path(folder).is_dir():
        raise UsageError(f"no model in {str(folder)!r} (no such folder); give a Hugging Face model folder")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=getattr(torch, dtype), use_safetensors=True, local_files_only=True
        )
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


def logps_of_tokens(
    model: nn.Module,
    ids_BT: Tensor,
    temperature: float,
    precision: str = "float32",
    positions_BT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the tokens that stand in right-padded rows, and the entropies of their distributions.

    `ids_BT` int64 [B, T]; column t of both results [B, T] (float32) is of token t given the ones before it, at
    `temperature`; column 0 is 0. Padding on the right needs no mask: attention is causal. `precision` "bfloat16" does
    the products of matrices in it; weights, gradients and the softmax stay float32. With a wide vocabulary the full
    [B T, V] logits never exist: each piece's are computed once more for its gradient. `positions_BT` int64 [B, T] rise
    along a row; by default they are 0, 1, 2 ...
    """
    parts, given = cast(Any, model), {"input_ids": ids_BT[:, :-1], "use_cache": False}
    if positions_BT is not None:  # without a mask, transformers takes a skip for the begin of another packed row
        given |= {"position_ids": positions_BT[:, :-1], "attention_mask": torch.ones_like(ids_BT[:, :-1])}
    with torch.autocast(ids_BT.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if parts.config.vocab_size < WIDE_VOCABULARY:
            logits = parts(**given).logits
            logp_BT, entropy_BT = _chosen(logits, ids_BT[:, 1:], temperature)
        else:
            hidden_NH = parts.model(**given).last_hidden_state.flatten(0, 1)
            ids_N = ids_BT[:, 1:].flatten()

            def piece(some_PH: Tensor, some_P: Tensor) -> tuple[Tensor, Tensor]:
                return _chosen(parts.lm_head(some_PH), some_P, temperature)

            cuts = [slice(start, start + PIECE_TOKENS) for start in range(0, len(ids_N), PIECE_TOKENS)]
            found = [checkpoint(piece, hidden_NH[cut], ids_N[cut], use_reentrant=False) for cut in cuts]
            shape = (len(ids_BT), -1)
            logp_BT, entropy_BT = (torch.cat(list(column)).view(shape) for column in zip(*found, strict=True))
    pad = (1, 0)
    return nn.functional.pad(logp_BT, pad), nn.functional.pad(entropy_BT, pad)


def _chosen(logits: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of `ids` [...] under `logits` [..., V], and entropies without gradient, both float32."""
    logp_V = torch.log_softmax(logits.float() / temperature, dim=-1)
    with torch.no_grad():
        entropy = -(logp_V.exp() * logp_V).sum(-1)
    return logp_V.gather(-1, ids[..., None]).squeeze(-1), entropy
