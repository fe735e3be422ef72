"""Does the CPU example learn, on every seed? Held-out accuracy before and after, on five seeds chosen beforehand.

`ours` is the sampled accuracy after reinforcement, `theirs` the same model's before it; the other figures of each run
stand beside them. Seeds 201 to 205 were fixed before any of them was run; whatever was tuned was tuned on others. Each
run warms its model up anew (`wall_s` is a first run's), in a cache that goes with the benchmark. The table of the
README is made of these lines by `python -m tests.bench.tables`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench.runs import RUNS, Run, train

SEEDS = (201, 202, 203, 204, 205)


def run() -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        yield line(seed, train(seed, {"model.cache": str(RUNS / "cache")}))


def line(seed: int, result: Run) -> dict[str, Any]:
    """Everything that the README says of a run."""
    before, after = result.summary["accuracy_before"], result.summary["accuracy_after"]
    return {
        "case": f"seed {seed}",
        "ours": after["sampled"],
        "peer": "the same model before reinforcement",
        "theirs": before["sampled"],
        "ratio": after["sampled"] / max(before["sampled"], 1e-9),
        "unit": "held-out accuracy, sampled at temperature 1",
        "runs": 1,
        "greedy": [before["greedy"], after["greedy"]],
        "pass8": [before["pass8"], after["pass8"]],
        "tokens": [result.summary["response_tokens_before"], result.summary["response_tokens_after"]],
        "wall_s": round(result.wall_s),
        "prepare_s": round(result.prepare_s),
        "training_s": round(result.training_s, 1),
        "peak_gib": round(result.peak_bytes / 2**30, 2),
        "segments_per_trajectory": result.summary["segments_per_trajectory"],
        "multi_segment_share": result.summary["multi_segment_share"],
        "mixed_version_share": result.summary["mixed_version_share"],
        "staleness": result.summary["staleness"],
        "idle_share": result.summary["idle_share"],
        "ledger": result.summary["ledger"],
        "tokens_generated": result.summary["tokens_generated"],
        "tokens_trained": result.summary["tokens_trained"],
    }
