"""The lean step against transformers' own forward, on random models of the three architectures."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from policies.engines.lean.cache import Cache
from policies.engines.lean.shape import shape_of
from policies.engines.lean.step import DecodeBatch, FillBatch, decode, fill
from policies.engines.lean.weights import fuse

CPU = torch.device("cpu")
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 160,
    "vocab_size": 64,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
LLAMA3_ROTARY = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIGS = {
    "qwen3": Qwen3Config(**SIZES, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SIZES),
    "llama": LlamaConfig(**SIZES),
    "llama3 rotary": LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROTARY),
    "yarn": Qwen3Config(
        **SIZES,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    ),
    "no groups": Qwen3Config(**{**SIZES, "num_key_value_heads": 4, "head_dim": 16}),
}


def random_model(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:
            torch.nn.init.normal_(parameter, mean=0.8 if "norm" in name else 0.0, std=0.3)
    return model


def reference(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].float()


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_filled_then_decoded_logits_equal_transformers(name):
    config = CONFIGS[name]
    model = random_model(config)
    shape = shape_of(config)
    weights = fuse(shape, model.state_dict(), CPU)
    cache = Cache(shape, rows=5, longest=400, device=CPU)
    rng = np.random.default_rng(1)
    known = [int(length) for length in (1, 40, 290)]
    texts = [rng.integers(0, 64, length + 6).tolist() for length in known]
    cache.ensure(max(known) + 6)
    for start in range(0, max(known), 100):  # in chunks of at most 100, so that later ones read earlier ones
        rows = [row for row, length in enumerate(known) if length - 1 > start]
        counts = [min(100, known[row] - 1 - start) for row in rows]
        ids = [(texts[row][start : start + 100] + [0] * 100)[: max(counts)] for row in rows]
        ids = [line[:count] + [0] * (max(counts) - count) for line, count in zip(ids, counts, strict=True)]
        fill(
            shape,
            weights,
            cache,
            FillBatch(
                torch.tensor(ids),
                torch.tensor(rows),
                torch.full((len(rows),), start),
                torch.tensor(counts),
                start + max(counts),
            ),
        )
    expected = [reference(model, text) for text in texts]
    for ahead in range(6):
        positions = [length - 1 + ahead for length in known]
        batch = DecodeBatch(
            torch.tensor([text[position] for text, position in zip(texts, positions, strict=True)]),
            torch.tensor(positions),
            torch.arange(3),
            ((0, 2, positions[1] + 1), (2, 3, positions[2] + 8)),
        )
        logits = decode(shape, weights, cache, batch)
        for row, position in enumerate(positions):
            assert torch.allclose(logits[row], expected[row][position], atol=1e-4, rtol=1e-4), (row, position)
