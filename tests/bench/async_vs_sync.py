"""The same config asynchronous and at eta = 0: trained tokens a second, and the time to 80 % of the final accuracy.

`ours` is the asynchronous schedule of the CPU example, `theirs` the same with `schedule.eta = 0`; both end after the
same number of versions. The time to 80 % is read off the mean reward of the leases, smoothed over ten.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from tests.bench.runs import Run, train

ROUNDS = 2
SEED = 211
KEYS = {"evaluator.every": 1000, "evaluator.samples": 1}


def run() -> Iterator[dict[str, Any]]:
    ours: list[Run] = []
    theirs: list[Run] = []
    for turn in range(ROUNDS):
        ours.append(train(SEED, KEYS, turn=turn))
        theirs.append(train(SEED, {**KEYS, "schedule.eta": 0}, turn=turn))
    yield line("trained tokens", [rate(one) for one in ours], [rate(one) for one in theirs], "tokens/s", False)
    yield line("time to 80 %", [reached(one) for one in ours], [reached(one) for one in theirs], "s", True)
    for name in ours[0].summary["idle_share"]:
        idle = [[one.summary["idle_share"][name] for one in runs] for runs in (ours, theirs)]
        yield line(f"idle share of {name}", idle[0], idle[1], "share", True)


def line(case: str, ours: list[float], theirs: list[float], unit: str, less_is_better: bool) -> dict[str, Any]:
    a, b = median(ours), median(theirs)
    ratio = b / max(a, 1e-9) if less_is_better else a / max(b, 1e-9)
    return {"case": case, "ours": a, "peer": "eta = 0", "theirs": b, "ratio": ratio, "unit": unit, "runs": ROUNDS}


def rate(one: Run) -> float:
    """Trained tokens a second."""
    return sum(one.values("trained_tokens")) / one.training_s


def reached(one: Run) -> float:
    """Seconds until the smoothed reward first came to 80 % of its final value."""
    rewards = [(row.t, row.value) for row in one.rows if row.name == "outcome" and row.actor == "learner"]
    smooth = [sum(value for _, value in rewards[max(0, i - 9) : i + 1]) / min(10, i + 1) for i in range(len(rewards))]
    goal = 0.8 * smooth[-1]
    return next(t for (t, _), value in zip(rewards, smooth, strict=True) if value >= goal) - rewards[0][0]
