"""Recorded serving runs: who asked when for how many tokens, under which limits, and when the tokens came.

A run's folder holds `requests.jsonl` (arrival_time, input_toks, output_toks; queued_ts, first_token_ts, last_token_ts
in seconds of another clock) and `meta.json` (the engine's arguments, and its blocks if it recorded them). Arrivals,
lengths and limits are inputs of a replay; what the three last columns say is what it must predict.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buffers.errors import UsageError
from policies.batching import BatchingConfig

BLOCK_TOKENS = 16
"""vLLM's default."""
ROWS = 1 << 20
"""Prefixes are bounded by memory, not by their number."""


@dataclass(frozen=True)
class Request:
    """One request of a run; times in seconds since the first arrival."""

    arrival_s: float
    prompt: int
    """Tokens."""
    response: int
    """Tokens."""


@dataclass(frozen=True)
class Outcome:
    """Means over the requests of a run."""

    first_token_s: float
    """From arrival to the first token."""
    token_s: float
    """Time per output token behind the first."""
    latency_s: float
    """From arrival to the last token."""

    @classmethod
    def of(cls, requests: list[Request], first_s: list[float], last_s: list[float]) -> Outcome:
        """From the times of each request's first and last token, in seconds since the first arrival."""
        count = len(requests)
        times = list(zip(requests, first_s, last_s, strict=True))
        return cls(
            sum(first - one.arrival_s for one, first, _ in times) / count,
            sum((last - first) / max(1, one.response - 1) for one, first, last in times) / count,
            sum(last - one.arrival_s for one, _, last in times) / count,
        )


@dataclass(frozen=True)
class Recorded:
    """A recorded run."""

    name: str
    model: str
    requests: list[Request]
    limits: BatchingConfig
    tensor_parallel: int
    replicas: int
    """Engines that requests go to in turn."""
    measured: Outcome


def read_run(folder: Path, free_kv_tokens: int) -> Recorded:
    """Read a run; `free_kv_tokens` is the capacity where the run has not recorded its own."""
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_bytes())
        rows = [json.loads(line) for line in (folder / "requests.jsonl").read_text("utf-8").splitlines()]
        arguments = meta["engine_kwargs"]
        begin = min(row["arrival_time"] for row in rows)
        rows.sort(key=lambda row: row["arrival_time"])
        requests = [Request(row["arrival_time"] - begin, row["input_toks"], row["output_toks"]) for row in rows]
        zero = min(row["queued_ts"] for row in rows)
        first = [row["first_token_ts"] - zero for row in rows]
        last = [row["last_token_ts"] - zero for row in rows]
        cache = meta.get("kv_cache") or {}
        limits = BatchingConfig(
            slots=arguments["max_num_seqs"],
            rows=ROWS,
            kv_tokens=cache.get("num_kv_tokens") or free_kv_tokens,
            prefill_tokens=arguments["max_num_batched_tokens"],
            headroom=1,
            step_tokens=arguments["max_num_batched_tokens"],
            block_tokens=cache.get("block_size") or BLOCK_TOKENS,
            shrink=True,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} holds no recorded serving run: {type(error).__name__} {error}") from None
    return Recorded(
        folder.parent.parent.name + " " + folder.parent.name,
        meta["model"],
        requests,
        limits,
        arguments["tensor_parallel_size"],
        arguments["data_parallel_size"],
        Outcome.of(requests, first, last),
    )
