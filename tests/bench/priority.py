"""Does priority do something? The CPU example with twice the groups that it trains, chosen by priority or uniformly.

At oversample 2 the law chooses every group of every lease, out of a pool of at least twice as many, and age evicts the
rest, so runs of one seed differ only in the rule: `spread_freshness`, which likes groups that are half solved and
fresh, against `uniform`. Seeds 221 to 225 were fixed before any of them was run. Three lines a seed, and the means
over all:

    learning     mean held-out sampled accuracy over the evaluations after the start (every 20 versions): how fast
    final        the last of them: how far
    signal       mean spread of outcomes in what was trained: whether the rule chose what it likes

`details` holds the share of slots that the law decided, tokens evicted by reason, and mean lengths of what ended, was
trained and was evicted, so that a rule that favours short responses shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from tests.bench.runs import Run, train

SEEDS = (221, 222, 223, 224, 225)
RULES = ("spread_freshness", "uniform")
SETTINGS: Mapping[str, object] = {
    "schedule.oversample": 2.0,
    "schedule.eta": 1,
    "buffer.leasing.pool": 2.0,
    "evaluator.every": 20,
    "evaluator.samples": 2,
}


def run() -> Iterator[dict[str, Any]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in SEEDS:
        ours, theirs = (train(seed, {**SETTINGS, "buffer.priority": rule}) for rule in RULES)
        for one in lines(seed, ours, theirs):
            found.setdefault(one["measure"], []).append((one["ours"], one["theirs"]))
            yield one
    for measure, pairs in found.items():
        yield line(
            f"{measure}, mean of {len(SEEDS)} seeds", measure, mean(a for a, _ in pairs), mean(b for _, b in pairs)
        )


def lines(seed: int, ours: Run, theirs: Run) -> Iterator[dict[str, Any]]:
    """The three lines of one seed."""
    details = {rule: details_of(one) for rule, one in zip(RULES, (ours, theirs), strict=True)}
    for measure, read in (("learning", learning), ("final", final), ("signal", signal)):
        yield {**line(f"{measure}, seed {seed}", measure, read(ours), read(theirs)), "details": details}


def line(case: str, measure: str, ours: float, theirs: float) -> dict[str, Any]:
    """One line; every measure is better when it is greater."""
    unit = "spread of outcomes" if measure == "signal" else "held-out accuracy, sampled at temperature 1"
    ratio = ours / max(theirs, 1e-9)
    row = {"case": case, "ours": ours, "peer": RULES[1], "theirs": theirs, "ratio": ratio, "unit": unit, "runs": 1}
    return {**row, "measure": measure}


def learning(one: Run) -> float:
    """Mean accuracy of the evaluations after the first."""
    return mean(one.values("eval_sampled")[1:])


def final(one: Run) -> float:
    """Accuracy of the last evaluation."""
    return one.values("eval_sampled")[-1]


def signal(one: Run) -> float:
    """Mean spread of outcomes over the updates."""
    return mean(one.values("spread"))


def details_of(one: Run) -> dict[str, Any]:
    """What the choice cost, and what it did to lengths."""
    return {
        "law_share": one.values("law_share")[-1],
        "closed_tokens": one.summary["closed_tokens"],
        "mean_tokens": one.summary["mean_tokens"],
        "training_s": round(one.training_s, 1),
    }
