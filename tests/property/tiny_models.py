"""Random models of 2 layers, one of each architecture that the lean step computes."""

from functools import cache

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

torch.set_num_threads(1)

VOCABULARY = 64
CONFIGS = {"qwen3": Qwen3Config, "qwen2": Qwen2Config, "llama": LlamaConfig}


@cache
def tiny_model(architecture: str, seed: int = 0) -> torch.nn.Module:
    """A model whose norms, biases and projections are all random, in eval mode."""
    torch.manual_seed(seed)
    config = CONFIGS[architecture](
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=architecture == "qwen3",
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:
            torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name else 0.0, std=0.2)
    return model
