"""`braid compare A.toml B.toml ...`: scenarios side by side, with the reason for each difference."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

from buffers.errors import UsageError
from cli import simulating
from sim.outcome import WHY, Outcome, run
from sim.scenario import Simulation

NAME = "compare"
HELP = "simulate scenarios and show them side by side, with the reason for each difference"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("scenarios", nargs="+", help="TOML files")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="in all")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Simulate each and print; Ctrl-C prints those that are done."""
    if len(args.scenarios) < 2:
        raise UsageError("braid compare: name at least two scenarios")
    loaded = {name: simulating.load(Path(name), args.settings) for name in args.scenarios}
    simulations = {name: Simulation(one) for name, one in loaded.items()}
    found: dict[str, Outcome] = {}
    status = 0
    try:
        for name, simulation in simulations.items():
            found[name] = run(simulation, time.perf_counter)
    except KeyboardInterrupt:
        status = 130
    if args.json:
        print(json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}))
    elif found:
        print("\n".join(table(found)))
    return status


def table(found: dict[str, Outcome]) -> list[str]:
    """A row for each scenario, and why each differs from the first."""
    width = max(len(name) for name in found)
    shown = [
        f"{'scenario':<{width}}  {'step s':>8}  {'tokens/s':>10}  {'per GPU':>8}  {'idle gen':>8}  {'idle train':>10}"
    ]
    first = next(iter(found.values()))
    for name, one in found.items():
        idle = one.idle_share
        shown.append(
            f"{name:<{width}}  {one.step_s:8.1f}  {one.tokens_per_s:10,.0f}  {one.tokens_per_gpu_s:8,.1f}  "
            f"{idle['generators']:8.1%}  {idle['trainer']:10.1%}"
        )
    for name, one in list(found.items())[1:]:
        shown.append(f"{name}: {difference(first, one)}")
    return shown


def difference(first: Outcome, other: Outcome) -> str:
    """The reason for the difference: where the shares of idle time moved most."""
    ratio = other.tokens_per_s / first.tokens_per_s if first.tokens_per_s else 0.0
    moved = []
    for who, why in other.idle_why.items():
        before = first.idle_why[who]
        for reason in sorted({*why, *before}):
            moved.append((why.get(reason, 0.0) - before.get(reason, 0.0), who, reason))
    change, who, reason = max(moved, key=lambda item: abs(item[0]), default=(0.0, "generators", "protocol"))
    return (
        f"{ratio:.2f} x the throughput of the first; the idle share of {who} for {reason} changed by {change:+.1%} "
        f"({WHY[reason].split(':')[0]}); its bottleneck is {other.bottleneck}, the first one's {first.bottleneck}"
    )
