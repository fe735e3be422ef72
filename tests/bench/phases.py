"""Plots accuracy and response length over the versions of one run, or of two phases one after the other, as a PNG.

    python -m tests.bench.phases RUN [RUN_WITH_LENGTH_REWARD] OUT.png          needs matplotlib

Lines: mean outcome and length of what was trained, over ten updates. Points: held-out sampled accuracy, where its
result came in (a few versions after the one that was examined).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from actors.sinks.metrics_file import read_metrics

SMOOTH = 10
Series = dict[str, list[tuple[float, float]]]


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
