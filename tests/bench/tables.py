"""Markdown tables of benchmarks' lines: `make bench NAME=learning > lines; python -m tests.bench.tables lines`.

Lines of `learning` become the table of the README, those of `beyond` one by number of terms; those of a benchmark whose
cases meet several peers a table of ratios, those of any other a table of their common columns.
"""

from __future__ import annotations

import json
import statistics
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


def against(lines: Sequence[Line]) -> list[list[str]]:
    """Cases that meet several peers: ours (the median of its runs beside each), and the ratio to each peer."""
    peers = list(dict.fromkeys(line["peer"] for line in lines))
    rows = [["case", f"ours, {lines[0]['unit']}", *(f"ratio to {peer}" for peer in peers)]]
    for case in dict.fromkeys(line["case"] for line in lines):
        found = {line["peer"]: line for line in lines if line["case"] == case}
        ours = statistics.median(line["ours"] for line in found.values())
        ratios = [f"{found[peer]['ratio']:.1f}" if peer in found else "" for peer in peers]
        rows.append([case, f"{ours:,.0f}" if ours >= 100 else f"{ours:.3g}", *ratios])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its heading."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


if __name__ == "__main__":
    read = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines() if line.startswith("{")]
    several = len(read) > len({line["case"] for line in read}) and len({line["unit"] for line in read}) == 1
    other = against if several else plain
    kind = learning if "pass8" in read[0] else beyond if "true_traces" in read[0] else other
    print(markdown(kind(read)))
