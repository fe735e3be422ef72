"""The CPU example with and without partial rollouts: the same seeds beside each other.

Without them a response is one segment, and whatever it costs to finish it is waited for (`schedule.partial = false`).
`ours` is the run with segments, `theirs` the one without: sampled held-out accuracy, and seconds of reinforcement for
the same number of versions; both runs of a pair are made one after the other, since their seconds are compared (a kept
run of `learning` may come from a busier hour). What `learning` says of each run stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench import learning
from tests.bench.runs import RUNS, train

PEER = "without partial rollouts"
PAIR = 1
"""Turn of these runs: they are not those of `learning`."""


def run() -> Iterator[dict[str, Any]]:
    for seed in learning.SEEDS:
        cache = {"model.cache": str(RUNS / "cache")}
        both = train(seed, cache, turn=PAIR), train(seed, {**cache, "schedule.partial": False}, turn=PAIR)
        cut, whole = (learning.line(seed, one) for one in both)
        yield {
            "case": f"seed {seed}, sampled accuracy",
            "ours": cut["ours"],
            "peer": PEER,
            "theirs": whole["ours"],
            "ratio": cut["ours"] / max(whole["ours"], 1e-9),
            "unit": "held-out accuracy, sampled at temperature 1",
            "runs": 1,
            "with": cut,
            "without": whole,
        }
        seconds = [one.training_s for one in both]
        yield {
            "case": f"seed {seed}, time of {len(both[0].values('version')) - 1} versions",
            "ours": round(seconds[0], 1),
            "peer": PEER,
            "theirs": round(seconds[1], 1),
            "ratio": seconds[1] / seconds[0],
            "unit": "s",
            "runs": 1,
        }
