"""Does the CPU example learn, on every seed? Held-out accuracy before and after, on five seeds chosen beforehand.

`ours` is the sampled accuracy after reinforcement, `theirs` the same model's before it; the other figures of each run
stand beside them. Seeds 201 to 205 were fixed before any of them was run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench.runs import train

SEEDS = (201, 202, 203, 204, 205)


def run() -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        result = train(seed, {})
        before, after = result.summary["accuracy_before"], result.summary["accuracy_after"]
        yield {
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
            "training_s": round(result.training_s, 1),
            "multi_segment_share": result.summary["multi_segment_share"],
            "mixed_version_share": result.summary["mixed_version_share"],
            "staleness": result.summary["staleness"],
            "idle_share": result.summary["idle_share"],
        }
