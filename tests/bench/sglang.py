"""Tokens per second through the SGLang engine against plain batched `/generate` calls of the same requests.

One real server (`BRAID_SGLANG_PYTHON`, or what `make sglang-cpu` makes) on the tiny model of the CPU example,
with random weights. The peer sends each batch as one call and asks for log-probabilities as the engine does; the engine
sends every request by itself, as jobs come, over one connection each, or puts those that begin together into one call
(`sglang.together_s`). All run in turns on the same server; prompts are new in every turn, so that none finds the
other's prefixes cached.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from buffers.segment import token_arrays
from policies.engine import EngineEvent, EngineFailed, Installed, Job, Sampling, SegmentDone
from policies.engines.sglang.config import SGLangConfig
from policies.engines.sglang.engine import SGLangEngine
from policies.engines.sglang.server import Managed
from policies.models import TinyConfig, save_model, tiny_model
from policies.tokens import character_tokenizer
from tests.bench.alternate import alternate, row

PYTHON = os.environ.get("BRAID_SGLANG_PYTHON", ".venv-sglang/bin/python")
CASES = ((8, 128), (32, 128), (32, 512))
"""(requests at once, tokens of each)."""
RUNS = 4
TOGETHER_S = 0.004
Events = queue.SimpleQueue[EngineEvent]


def run() -> Iterator[dict[str, object]]:
    """One line per case."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(tiny_model(TinyConfig(), 0), character_tokenizer(), folder)
        events: Events = queue.SimpleQueue()
        shared = {"model": folder, "context_tokens": 1000, "repetition": False}
        config = SGLangConfig(python=str(Path(PYTHON).absolute()), log=f"{folder}/server.log", **shared)
        engines = [SGLangEngine(config, events.put)]
        try:
            wait(events, Installed)
            assert isinstance(engines[0].server, Managed)
            assert engines[0].server.client is not None
            url = engines[0].server.client.url
            engines.append(SGLangEngine(SGLangConfig(url=url, together_s=TOGETHER_S, **shared), events.put))
            wait(events, Installed)
            for engine, kind in zip(engines, ("", ", calls put together"), strict=True):
                for batch, tokens in CASES:
                    draws = (prompts(batch, seed) for seed in itertools.count())
                    ours, theirs = alternate(
                        lambda: through_port(engine, events, next(draws), tokens),  # noqa: B023
                        lambda: plain(url, next(draws), tokens),  # noqa: B023
                        RUNS,
                    )
                    yield dict(
                        row(
                            f"sglang engine, {batch} requests of {tokens} tokens{kind}",
                            round(ours),
                            "batched /generate",
                            round(theirs),
                            "tokens per second",
                            RUNS,
                            "more",
                        )
                    )
        finally:
            for engine in reversed(engines):
                engine.close()


def prompts(batch: int, seed: int) -> list[list[int]]:
    """Random prompts of 24 ids."""
    return np.random.default_rng((batch, seed)).integers(3, 60, (batch, 24)).tolist()


def through_port(engine: SGLangEngine, events: Events, asked: list[list[int]], tokens: int) -> float:
    """Tokens per second from the first submit to the last segment."""
    began = time.perf_counter()
    for number, prompt in enumerate(asked):
        payload = token_arrays(prompt, np.zeros(len(prompt), np.float32))
        engine.submit(Job(number, 1, payload, None, 0, tokens, tokens, Sampling()))
    count = sum(wait(events, SegmentDone).segment.length for _ in asked)
    return count / (time.perf_counter() - began)


def plain(url: str, asked: list[list[int]], tokens: int) -> float:
    """The same by one call of the server."""
    settings = {"max_new_tokens": tokens, "temperature": 1.0, "ignore_eos": True}
    body = json.dumps({"input_ids": asked, "sampling_params": settings, "return_logprob": True}).encode()
    request = urllib.request.Request(f"{url}/generate", body, {"Content-Type": "application/json"})
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=300) as reply:
        answers = json.load(reply)
    return sum(len(answer["output_ids"]) for answer in answers) / (time.perf_counter() - began)


def wait(events: Events, kind: type) -> EngineEvent:
    """The next event of a kind."""
    while True:
        event = events.get(timeout=300)
        if isinstance(event, EngineFailed):
            raise RuntimeError(event.reason)
        if isinstance(event, kind):
            return event
