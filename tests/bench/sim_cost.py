"""What simulating costs: microseconds of one core per segment, and per trajectory beyond its segments.

The real cast in virtual time with the real codec, stand-in ports and Ghost payloads, without the invariant checker. Two
runs of equal trajectories, one with a segment each and one with sixteen, give two equations:

seconds = trajectories * per_trajectory + segments * per_segment
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

from actors.standins import Script
from sim.cluster import cluster, finished
from tests.bench.alternate import Row, row

TOKENS = 256
RUNS = 5
TARGETS_US = {"segment": 75.0, "trajectory": 100.0}


def config(segment_tokens: int) -> dict[str, Any]:
    """Eight generators of 32 slots; every response has exactly TOKENS tokens."""
    return {
        "seed": 1,
        "roster": {
            "generators": [f"g{number}" for number in range(8)],
            "rewarders": ["r0", "r1"],
            "recorder": "recorder",
            "supervisor": "supervisor",
        },
        "schedule": {
            "batch": 256,
            "group": 8,
            "updates_per_version": 2,
            "eta": 1,
            "segment_tokens": segment_tokens,
            "max_response_tokens": TOKENS,
            "versions": 6,
            "backlog": 8,
        },
        "standins": {"slots": 32, "mean_tokens": 1 << 40, "token_s": 0.01, "score_s": 0.002},
        "prompts": {"count": 256},
    }


def measure(segment_tokens: int) -> tuple[float, int, int]:
    """(processor seconds, trajectories, segments) of one run; other people's load is not counted."""
    world = cluster(config(segment_tokens))
    begin = time.process_time()
    assert world.run(3600, finished), "the run did not finish"
    seconds = time.process_time() - begin
    stored = [one for one in world.decisions if one.kind == "store"]
    return seconds, sum(one.fields[4] != "cut" for one in stored), len(stored)


def run() -> Iterator[Row]:
    """Two lines: per segment and per trajectory; `theirs` is the target, so a ratio above 1 is below it."""
    assert Script().payload == "ghost"
    figures: dict[str, list[float]] = {"segment": [], "trajectory": []}
    for turn in range(RUNS + 1):
        few, many = measure(TOKENS), measure(TOKENS // 16)
        if not turn:
            continue
        share = few[1] / many[1]
        per_segment = (few[0] - share * many[0]) / (few[2] - share * many[2])
        figures["segment"].append(per_segment * 1e6)
        figures["trajectory"].append((few[0] - few[2] * per_segment) / few[1] * 1e6)
    for name, values in figures.items():
        ours = round(statistics.median(values), 1)
        yield row(f"one {name}", ours, "target", TARGETS_US[name], f"microseconds per {name}", RUNS, "less")
