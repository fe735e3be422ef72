"""A language model's shape: from the short list here, or from any Hugging Face config.json."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import msgspec

from buffers.errors import UsageError


class Model(msgspec.Struct, frozen=True):
    """What costs are computed from."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Of the dense MLP, or of each expert."""
    vocabulary: int
    experts: int = 0
    """Routed experts; 0: dense."""
    active_experts: int = 0
    shared_experts: int = 0
    tied: bool = False
    """The head shares the embedding's weights."""

    @property
    def attention_weights(self) -> int:
        """Parameters of one layer's attention."""
        return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)

    @property
    def mlp_weights(self) -> int:
        """Parameters of one dense MLP, or of one expert."""
        return 3 * self.hidden * self.intermediate

    @property
    def active(self) -> int:
        """Parameters that one token passes, without the embedding."""
        experts = self.active_experts + self.shared_experts if self.experts else 1
        return self.layers * (self.attention_weights + experts * self.mlp_weights) + self.hidden * self.vocabulary

    @property
    def total(self) -> int:
        """All parameters."""
        experts = self.experts + self.shared_experts if self.experts else 1
        head = self.hidden * self.vocabulary * (1 if self.tied else 2)
        return self.layers * (self.attention_weights + experts * self.mlp_weights) + head

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token in bf16."""
        return 4 * self.layers * self.kv_heads * self.head_dim


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256),
        Model("llama-3.1-70b", 80, 8192, 64, 8, 128, 28672, 128256),
        Model("qwen2.5-1.5b", 28, 1536, 12, 2, 128, 8960, 151936, tied=True),
        Model("qwen2.5-7b", 28, 3584, 28, 4, 128, 18944, 152064),
        Model("qwen2.5-32b", 64, 5120, 40, 8, 128, 27648, 152064),
        Model("qwen3-0.6b", 28, 1024, 16, 8, 128, 3072, 151936, tied=True),
        Model("qwen3-8b", 36, 4096, 32, 8, 128, 12288, 151936),
        Model("qwen3-32b", 64, 5120, 64, 8, 128, 25600, 151936),
        Model("qwen3-30b-a3b", 48, 2048, 32, 4, 128, 768, 151936, 128, 8),
        Model("moonlight", 27, 2048, 16, 2, 144, 1408, 163840, 64, 6, 2),
        Model("qwen3-235b-a22b", 94, 4096, 64, 4, 128, 1536, 151936, 128, 8),
    )
}
"""From the models' published config.json files; Moonlight's latent attention holds 576 numbers a token and layer, as
two heads of 144 do."""


def model(name: str) -> Model:
    """The model of a name, or of a path to a config.json or its folder."""
    if name in MODELS:
        return MODELS[name]
    path = Path(name)
    if path.suffix == ".json" or path.is_dir():
        return read_config(path / "config.json" if path.is_dir() else path)
    near = difflib.get_close_matches(name.lower(), MODELS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(MODELS)}"
    raise UsageError(f"model = {name!r}: no such model; {hint}; or name a Hugging Face config.json")


def read_config(path: Path) -> Model:
    """The shape in a Hugging Face config.json."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        raw = raw.get("text_config", raw)
        heads = int(raw["num_attention_heads"])
        experts = int(raw.get("num_experts") or raw.get("n_routed_experts") or raw.get("num_local_experts") or 0)
        width = raw.get("moe_intermediate_size") if experts else None
        return Model(
            name=path.parent.name or path.stem,
            layers=int(raw["num_hidden_layers"]),
            hidden=int(raw["hidden_size"]),
            heads=heads,
            kv_heads=int(raw.get("num_key_value_heads") or heads),
            head_dim=int(raw.get("head_dim") or int(raw["hidden_size"]) // heads),
            intermediate=int(width or raw["intermediate_size"]),
            vocabulary=int(raw["vocab_size"]),
            experts=experts,
            active_experts=int(raw.get("num_experts_per_tok") or 0),
            shared_experts=int(raw.get("n_shared_experts") or 0),
            tied=bool(raw.get("tie_word_embeddings", False)),
        )
    except FileNotFoundError:
        raise UsageError(f"model = {str(path)!r}: no such file; name a model of the list or a config.json") from None
    except KeyError as error:
        raise UsageError(f"{path}: key {error.args[0]} is missing; take the model's own config.json") from None
    except (OSError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise UsageError(f"{path}: not a Hugging Face config.json ({error}); take the model's own") from None
