"""Published step times: bounds on asynchronous rows from the measured phases of the synchronous row beside them.

    synchronous on n GPUs    generation + passes of the old policy + update, one after the other
    g + t of them            generation takes between 1 (tail alone) and n / g times as long (throughput alone),
                             the update n / t times; behaviour log-probabilities come from the engine
    step                     the longer of the two, since they overlap

What a row has measured is never an input to that row, and nothing is fitted; what cannot be said from a synchronous row
with phases is named with the reason. Costs from first principles are not used here.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path

from buffers.errors import UsageError

COLUMNS = ("source", "model", "gpu", "gpus", "schedule", "setup", "metric", "observed")
SPLIT = re.compile(r"(\d+) gen \+ (\d+) train")
PHASE = re.compile(r"(generation|update) ([\d.]+)")


@dataclass(frozen=True)
class Target:
    """One published row and what is said of it."""

    source: str
    model: str
    gpus: str
    schedule: str
    metric: str
    observed: float
    low: float | None = None
    high: float | None = None
    """Bounds on `observed`; None where nothing is said."""
    why: str = ""
    """What binds, or why nothing is said."""

    @property
    def holds(self) -> bool | None:
        """Whether the published value lies between the bounds, give or take the 15 % of the goal."""
        if self.low is None or self.high is None:
            return None
        return 0.85 * self.low <= self.observed <= 1.15 * self.high


def targets(path: Path) -> list[Target]:
    """Every row of a file of targets, with bounds where they follow."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        observed = [float(row["observed"]) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no file of targets ({error}); {', '.join(COLUMNS)} are needed") from None
    return [_bounded(row, value, rows) for row, value in zip(rows, observed, strict=True)]


def _bounded(row: dict[str, str], observed: float, rows: list[dict[str, str]]) -> Target:
    named = Target(row["source"], row["model"], row["gpus"], row["schedule"], row["metric"], observed)
    split = SPLIT.search(row["gpus"])
    if split is None:
        return replace(named, why="an absolute value: no row beside it to bound it by")
    beside = [one for one in rows if (one["source"], one["model"]) == (row["source"], row["model"])]
    base = next((one for one in beside if "colocated" in one["gpus"]), None)
    phases = {name: float(value) for name, value in PHASE.findall(base["setup"])} if base else {}
    if base is None or "generation" not in phases or "update" not in phases:
        return replace(named, why="no synchronous row with measured phases beside it")
    total = int(re.findall(r"\d+", base["gpus"])[0])
    generates, trains = (int(number) for number in split.groups())
    update = phases["update"] * total / trains
    low, high = phases["generation"], phases["generation"] * total / generates
    why = (
        "training-bound" if update >= high else "generation-bound" if update < low else "training- or generation-bound"
    )
    return replace(named, low=max(low, update), high=max(high, update), why=why)
