"""Markdown tables of benchmarks' lines: `make bench NAME=learning > lines; python -m tests.bench.tables lines`.

Lines of `learning` become the table of the README, those of `beyond` one by number of terms; those of any other
benchmark a table of their common columns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
TERMS = (3, 5, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22, 24)
"""Columns of the table of `beyond`; seven terms are the longest with traces."""


def learning(lines: Sequence[Line]) -> list[list[str]]:
    """Heading and rows: before -> after, lengths, what mixes, what the command cost."""
    rows = [["run", "sampled", "greedy", "pass@8", "tokens", "2+ segments", "mixed versions", "RL s", "whole s", "GiB"]]
    for line in lines:
        pairs = [(line["theirs"], line["ours"]), line["greedy"], line["pass8"]]
        rows.append(
            [
                line["case"],
                *(f"{before:.3f} -> {after:.3f}" for before, after in pairs),
                "{:.0f} -> {:.0f}".format(*line["tokens"]),
                f"{line['multi_segment_share']:.2f}",
                f"{line['mixed_version_share']:.2f}",
                f"{line['training_s']:.0f}",
                f"{line['wall_s']:.0f}",
                f"{line['peak_gib']:.2f}",
            ]
        )
    return rows


def beyond(lines: Sequence[Line]) -> list[list[str]]:
    """Heading and rows: greedy accuracy of each model by number of terms; true traces of the longest; the seconds."""
    rows = [["run", *map(str, TERMS), f"true traces, {lines[-1]['case'].partition(', ')[2]}", "CPU s"]]
    for seed in dict.fromkeys(line["case"].partition(",")[0] for line in lines):
        line = [one for one in lines if one["case"].startswith(f"{seed},")][-1]
        for name, shares in line["greedy"].items():
            cpu_s = "" if name == "before" else str(line["training_cpu_s"])
            greedy = [f"{shares[str(terms)]:.2f}" for terms in TERMS]
            rows.append([f"{seed}, {name}", *greedy, f"{line['true_traces'][name]:.2f}", cpu_s])
    return rows


def plain(lines: Sequence[Line]) -> list[list[str]]:
    """The columns that every benchmark has."""
    rows = [["case", "ours", "peer", "theirs", "ratio", "unit"]]
    for line in lines:
        ours, theirs, ratio = (f"{line[name]:.3g}" for name in ("ours", "theirs", "ratio"))
        rows.append([line["case"], ours, line["peer"], theirs, ratio, line["unit"]])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its heading."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    read = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines() if line.startswith("{")]
    kind = learning if "pass8" in read[0] else beyond if "true_traces" in read[0] else plain
    print(markdown(kind(read)))
