"""PNG plots of simulated runs."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from buffers.errors import UsageError
from sim.outcome import Outcome
from sim.scenario import Simulation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(columns: int) -> tuple[Figure, list[Axes]]:
    """A row of axes, without a screen."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib; install it, or leave --out away") from None
    drawn = Figure(figsize=(5 * columns, 3.6), layout="constrained")
    return drawn, list(drawn.subplots(1, columns, squeeze=False)[0])


def plot_run(simulation: Simulation, found: Outcome, folder: Path) -> list[Path]:
    """Where time goes, buffer levels over time, and response lengths."""
    drawn, (shares, levels, lengths) = figure(3)
    names = list(found.idle_why)
    left = [1 - found.idle_share[name] for name in names]
    shares.barh(names, left, label="at work", color="tab:green")
    for reason in sorted({reason for why in found.idle_why.values() for reason in why}):
        parts = [found.idle_why[name].get(reason, 0.0) for name in names]
        shares.barh(names, parts, left=left, label=reason)
        left = [done + part for done, part in zip(left, parts, strict=True)]
    shares.set_xlabel("share of time")
    shares.legend(fontsize=7)
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for at_ns, _, name, value in simulation.world.notes:
        if name in ("live", "eligible", "leased"):
            series[name].append((at_ns / 1e9, value))
    for name, points in series.items():
        levels.step([at for at, _ in points], [value for _, value in points], where="post", label=name)
    levels.set_xlabel("s")
    levels.set_ylabel("trajectories")
    levels.legend(fontsize=7)
    lengths.hist(simulation.tally.lengths, bins=60)
    lengths.set_xlabel("response tokens")
    path = folder / "run.png"
    drawn.savefig(path, dpi=110)
    return [path]
