"""Both phases: the CPU example, then `examples/cpu_shorter.toml`, whose length reward shortens what was learned.

    python -m tests.bench phases                           on the seeds of `learning`: accuracy and length after each
    python -m tests.bench.phases RUN [RUN_WITH_LENGTH_REWARD] OUT.png         plots them over the versions of runs

`theirs` is the model that the first phase leaves, `ours` the same after the second, both on the same held-out problems
(sampled at temperature 1). The goal: no more than .02 of accuracy lost.

Lines: mean outcome and length of what was trained, over ten updates. Points: held-out sampled accuracy, where its
result came in (a few versions after the one that was examined).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from actors.sinks.metrics_file import read_metrics
from tests.bench.learning import SEEDS
from tests.bench.runs import RUNS, train

SHORTER = "examples/cpu_shorter.toml"
SMOOTH = 10
Series = dict[str, list[tuple[float, float]]]


def run() -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        first = train(seed, {"model.cache": str(RUNS / "cache")})
        second = train(seed, {"model.path": str(first.model)}, SHORTER)
        summary = second.summary
        for kind in ("sampled", "greedy"):
            before, after = summary["accuracy_before"][kind], summary["accuracy_after"][kind]
            yield line(f"seed {seed}, {kind} accuracy", after, before, after / before, "held-out accuracy")
        before, after = summary["response_tokens_before"], summary["response_tokens_after"]
        yield line(f"seed {seed}, tokens of a response", after, before, before / after, "tokens")


def line(case: str, ours: float, theirs: float, ratio: float, unit: str) -> dict[str, Any]:
    peer = "before the length reward"
    return {"case": case, "ours": ours, "peer": peer, "theirs": theirs, "ratio": ratio, "unit": unit, "runs": 1}


def series(folder: Path) -> Series:
    """(version, value) pairs of a run: `outcome` and `response_tokens` of its updates, `eval_sampled` of its exams."""
    found: Series = {"outcome": [], "response_tokens": [], "eval_sampled": []}
    version = 0.0
    for row in read_metrics(folder):
        if row.name == "version":
            version = row.value
        elif row.name in found and row.actor in ("learner", "evaluator"):
            found[row.name].append((version, row.value))
    return found


def plot(folders: list[Path], target: Path) -> None:
    """Draw all runs on one axis of versions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, accuracy = pyplot.subplots(figsize=(8, 4), layout="constrained")
    length, start = accuracy.twinx(), 0.0
    for folder in folders:
        found = series(folder)
        for axis, name, color in ((accuracy, "outcome", "C0"), (length, "response_tokens", "C1")):
            versions, values = np.array(found[name]).T
            kernel = np.ones(min(SMOOTH, len(values)))
            smooth = np.convolve(values, kernel, "valid") / len(kernel)
            axis.plot(start + versions[len(kernel) - 1 :], smooth, color)
        exams = np.array(found["eval_sampled"]).reshape(-1, 2)
        accuracy.plot(start + exams[:, 0], exams[:, 1], "C0o")
        start += max(version for version, _ in found["outcome"])
        accuracy.axvline(start, color="0.8")
    accuracy.set(xlabel="version", ylim=(0, 1))
    accuracy.set_ylabel("right answers (points: held out)", color="C0")
    length.set_ylabel("tokens of a response", color="C1")
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    *runs, out = map(Path, sys.argv[1:])
    plot(runs, out)
