"""What a model takes of a card's memory, to generate and to be trained.

    config.json --size_of--> Size --engine_need, trainer_need--> bytes, before anything is allocated

Everything is float32 (`torch_engine`, `update`). Estimates: parameters are exact for the architectures that the engine
knows; what an update saves for its gradient was counted by autograd's hooks (a test does again),

    floats per padded token = layers (6 D + 4 F + 2 (H + K) d) + 3 D      [+ V where logits are whole]
                              (+ layers 2 (H + K) (d + 1) where queries and keys are normalized)

and a wide vocabulary's logits exist for `PIECE_TOKENS` at a time. Left out: fragments of the allocator, and the few
tensors of a decode step.

Axes: D hidden, H heads, K key-value heads, d head_dim, F feed-forward, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig

from buffers.errors import UsageError
from policies.engines.lean.checkpoint import read_shape
from policies.engines.lean.shape import Shape
from policies.engines.torch_engine import TorchEngineConfig
from policies.models import PIECE_TOKENS, WIDE_VOCABULARY

FLOAT = 4
GIB = 1 << 30
LOGITS_COPIES = 3
"""Logits, their log-probabilities and the gradient exist together."""


@dataclass(frozen=True, slots=True)
class Size:
    """A model as far as memory goes."""

    shape: Shape
    parameters: int

    @property
    def weight_bytes(self) -> int:
        """One copy of the weights."""
        return FLOAT * self.parameters

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token."""
        return 2 * FLOAT * self.shape.layers * self.shape.kv_heads * self.shape.head_dim


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of one process."""

    resident: int
    """Held all the time."""
    working: int
    """Beside that while it works: while an update runs, or new weights go in."""
    cache: int = 0
    """Keys and values."""

    @property
    def most(self) -> int:
        """All together."""
        return self.resident + self.working + self.cache


def size_of(folder: str | Path) -> Size:
    """The size of the model in a folder; `UsageError` if the embedded engine cannot run it."""
    shape = read_shape(Path(folder))
    heads = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    layer = shape.hidden * (heads + shape.heads * shape.head_dim + 3 * shape.feed_forward + 2)
    layer += 2 * shape.head_dim * shape.qk_norm + heads * shape.qkv_bias
    tables = 1 if AutoConfig.from_pretrained(folder).tie_word_embeddings else 2
    words = shape.hidden * shape.vocabulary
    return Size(shape, shape.layers * layer + tables * words + shape.hidden)


def engine_need(size: Size, config: TorchEngineConfig) -> Need:
    """Of an engine when all its rows are as long as they may be; installing holds two copies of the weights."""
    rows = config.slots + config.cached_rows + 1
    return Need(size.weight_bytes, size.weight_bytes, rows * config.context_tokens * size.kv_bytes)


def trainer_need(size: Size, micro_tokens: int) -> Need:
    """Of a trainer: weights, reference and two moments; while it updates, gradients and what they are made from."""
    logits = FLOAT * LOGITS_COPIES * min(micro_tokens, PIECE_TOKENS) * size.shape.vocabulary
    saved = FLOAT * micro_tokens * saved_floats(size.shape)
    return Need(4 * size.weight_bytes, size.weight_bytes + saved + logits)


def saved_floats(shape: Shape) -> int:
    """Numbers that the forward pass keeps of one token for the backward pass."""
    heads = shape.heads + shape.kv_heads
    layer = 6 * shape.hidden + 4 * shape.feed_forward + 2 * heads * shape.head_dim
    layer += 2 * heads * (shape.head_dim + 1) * shape.qk_norm
    logits = shape.vocabulary if shape.vocabulary < WIDE_VOCABULARY else 0
    return shape.layers * layer + 3 * shape.hidden + logits


def fit_engine(size: Size, config: TorchEngineConfig, room_bytes: int, key: str) -> TorchEngineConfig:
    """The config with as many cached rows, then slots, as fit the room; `UsageError` naming `key` if not even one."""
    need = engine_need(size, config)
    row = config.context_tokens * size.kv_bytes
    rows = (room_bytes - need.resident - need.working) // row - 1
    if rows < 1:
        least = need.resident + need.working + 2 * row
        raise UsageError(
            f"{key} leaves its engine {room_bytes / GIB:.2f} GiB; weights (twice while new ones go in) and one context "
            f"of {config.context_tokens} tokens need {least / GIB:.2f}: raise it, or lower engine.context_tokens"
        )
    slots = min(config.slots, rows)
    return dataclasses.replace(config, slots=slots, cached_rows=min(config.cached_rows, rows - slots))
