"""Tokens per CPU second of the torch engine against transformers: mixed lengths, more requests than slots.

The model is the tiny one of the CPU example (Qwen3, width 64, 2 layers), with random weights. Each request has a length
of its own, 16 to 200 tokens; only those tokens count. `generate` takes the requests in batches as they come and runs
each batch to its longest; continuous batching (`ContinuousBatchingManager`) and the engine refill what ends. All three
sample at temperature 1 with one torch thread, and are timed in CPU seconds of the process, which other programs on the
machine disturb least. The case "equal" gives every request 96 tokens and as many requests as
slots: nothing to refill.

What bounds the engine (torch profiler, operators' own time): at 16 slots the number of operators, about 450 a step with
their views; at 128 the two products of attention, 45 %, which read the keys and values. Rows in the order of their
lengths, in groups that attend together, gave 10 % at 64 slots and 19 % at 128; prefilling for a sixteenth of the slots
at a time 7 % at 64. Looking for repetition costs the engine about 4 %, and is on.
"""

from __future__ import annotations

import logging
import queue
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig, Qwen3Config

from buffers.segment import ids_of, token_arrays
from policies.engine import EngineEvent, Job, Sampling, SegmentDone
from policies.engines.torch_engine import TorchEngine, TorchEngineConfig

BATCHES = (16, 64, 128)
REQUESTS_PER_SLOT = 5
RUNS = 3
Requests = list[tuple[list[int], int]]
"""(prompt, tokens to generate)."""


def run() -> Iterator[dict[str, object]]:
    """One line per batch, kind of lengths and peer."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_tiny()).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        for slots in BATCHES:
            for kind in ("mixed", "equal"):
                yield from _compare(model, folder, slots, kind)


def _compare(model: torch.nn.Module, folder: str, slots: int, kind: str) -> Iterator[dict[str, object]]:
    requests = _requests(slots, kind)
    contestants: dict[str, Callable[[], float]] = {
        "ours": lambda: _engine(folder, requests, slots),
        "generate": lambda: _generate(model, requests, slots),
        "continuous batching": lambda: _continuous(model, requests, slots),
    }
    tokens = sum(length for _, length in requests)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(RUNS):
        for name, contest in contestants.items():
            if name == "continuous batching" and turn > 1:  # slow, and it varies little: two runs will do
                continue
            rates[name].append(tokens / contest())
    ours = statistics.median(rates.pop("ours"))
    for name, theirs in rates.items():
        rate = statistics.median(theirs)
        yield {
            "case": f"engine {kind} lengths, batch {slots}",
            "ours": round(ours),
            "peer": f"transformers {transformers.__version__} {name}",
            "theirs": round(rate),
            "ratio": round(ours / rate, 2),
            "unit": "tokens per CPU second",
            "runs": len(theirs),
        }


def _tiny() -> Qwen3Config:
    return Qwen3Config(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
        tie_word_embeddings=True,
        initializer_range=0.05,
    )


def _requests(slots: int, kind: str) -> Requests:
    rng = np.random.default_rng(slots)
    count = slots * REQUESTS_PER_SLOT if kind == "mixed" else slots
    lengths = np.clip(rng.lognormal(4.1, 0.6, count), 16, 200).astype(int) if kind == "mixed" else np.full(count, 96)
    return [(rng.integers(1, 64, rng.integers(10, 40)).tolist(), int(length)) for length in lengths]


def _engine(folder: str, requests: Requests, slots: int) -> float:
    """CPU seconds from the first submit to the last segment; starting the engine is not counted, as for the peers."""
    events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
    config = TorchEngineConfig(model=folder, slots=slots, cached_rows=0, context_tokens=256)
    engine = TorchEngine(config, events.put)
    try:
        events.get(timeout=60)
        began = time.process_time()
        for name, (prompt, length) in enumerate(requests):
            payload = token_arrays(prompt, np.zeros(len(prompt), np.float32))
            engine.submit(Job(name, 0, payload, None, 0, length, length, Sampling()))
        left, counted = len(requests), 0
        while left:
            event = events.get(timeout=60)
            if isinstance(event, SegmentDone):
                left, counted = left - 1, counted + len(ids_of(event.segment.payload))
        took = time.process_time() - began
    finally:
        engine.close()
    # A loop that was stopped early would make the engine look faster than it is.
    return took * sum(length for _, length in requests) / counted


def _generate(model: torch.nn.Module, requests: Requests, slots: int) -> float:
    began = time.process_time()
    for first in range(0, len(requests), slots):
        batch = requests[first : first + slots]
        widest = max(len(prompt) for prompt, _ in batch)
        ids = torch.tensor([[0] * (widest - len(prompt)) + prompt for prompt, _ in batch])
        mask = torch.tensor([[0] * (widest - len(prompt)) + [1] * len(prompt) for prompt, _ in batch])
        settings = GenerationConfig(
            do_sample=True,
            top_k=0,
            max_new_tokens=max(length for _, length in batch),
            pad_token_id=0,
            eos_token_id=None,
        )
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, generation_config=settings)  # type: ignore[operator]
    return time.process_time() - began


def _continuous(model: torch.nn.Module, requests: Requests, slots: int) -> float:
    settings = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=200, pad_token_id=0, eos_token_id=-1)
    limits = ContinuousBatchingConfig(
        page_size=32, num_blocks=16 * slots, max_batch_tokens=max(256, 2 * slots), max_requests_per_batch=slots
    )
    manager = model.init_continuous_batching(settings, continuous_batching_config=limits)  # type: ignore[operator]
    manager.start()
    try:
        began = time.process_time()
        for prompt, length in requests:
            manager.add_request(prompt, max_new_tokens=length)
        left = len(requests)
        while left:
            result = manager.get_result(timeout=60)
            if result is None:
                raise RuntimeError("continuous batching stopped")
            left -= result.is_finished()
        return time.process_time() - began
    finally:
        manager.stop(block=True)
