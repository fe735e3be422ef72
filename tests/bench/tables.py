"""Markdown tables of benchmarks' lines: `make bench NAME=learning > lines; python -m tests.bench.tables lines`.

Lines of `learning` become the table of the README; those of any other benchmark a table of their common columns.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]


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
    print(markdown(learning(read) if "pass8" in read[0] else plain(read)))
