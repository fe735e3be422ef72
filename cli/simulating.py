"""A scenario simulated and shown: for `braid simulate`, `compare` and `plan`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.eventlog import Number, Record
from actors.supervisor import is_finished
from actors.timeline import write_timeline
from cli import configuration
from sim.determinism import first_divergence
from sim.outcome import PATIENCE_S, WHY, Outcome, run
from sim.scenario import Scenario, Simulation

SCENARIO_KEYS = {"model", "gpu", "gpus", "generator_gpus", "generator_tp", "engine", "layout", "weights", "lengths"}
"""Any of these makes a file a scenario."""


def is_scenario(table: Mapping[str, Any]) -> bool:
    """Whether a file describes a cluster rather than stand-ins."""
    return bool(SCENARIO_KEYS & table.keys())


def load(path: Path, settings: Sequence[str] = ()) -> Scenario:
    """A scenario of a file."""
    return configuration.load(Scenario, path, settings)


def main(path: Path, settings: Sequence[str], args: argparse.Namespace) -> int:
    """Simulate a scenario, write its pictures, print its figures; the exit status."""
    one = load(path, settings)
    codec = not args.no_codec
    if args.check_determinism:
        from sim.cluster import finished

        divergence = first_divergence(
            lambda: Simulation(one, codec=codec).world, lambda world: world.run(PATIENCE_S, finished)
        )
        print("deterministic" if divergence is None else f"the runs diverge: {divergence}")
        return 0 if divergence is None else 1
    simulation = Simulation(one, codec=codec, keep=args.out is not None)
    found = run(simulation, time.perf_counter)
    written = write(simulation, found, Path(args.out)) if args.out else []
    if args.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        print("\n".join(lines(found)))
        for file in written:
            print(f"wrote {file}")
    return 0 if is_finished(found.outcome) else 1


def lines(found: Outcome) -> list[str]:
    """The figures for a person."""
    shown = [
        f"step time      {found.step_s:.1f} s over {found.versions} versions ({found.outcome})",
        f"throughput     {found.tokens_per_s:,.0f} response tokens/s, {found.tokens_per_gpu_s:,.0f} per accelerator",
        f"bottleneck     {found.bottleneck}: {WHY[found.bottleneck]}",
    ]
    for who, share in found.idle_share.items():
        shown.append(f"idle           {who} {share:.1%}")
        for reason, part in sorted(found.idle_why[who].items(), key=lambda item: -item[1]):
            if part >= 0.001:
                shown.append(f"                 {part:6.1%}  {reason}: {WHY[reason]}")
    shown += [
        "training       " + words(found.training_s, "{:.1f} s"),
        "staleness      " + words(found.staleness, "{:.2f}"),
        "lengths        " + words(found.tail, "{:g}"),
        "buffer         " + words(found.buffer, "{:,.0f}"),
        f"generation     {found.batch:.1f} sequences at work on a busy generator, {found.preemptions} preemptions",
        "trajectories   " + words(found.ledger, "{:,}") + (f"; {found.deaths} deaths" if found.deaths else ""),
        f"spent          {found.gpu_hours:,.2f} GPU-hours" + (f", {found.cost:,.2f} in money" if found.cost else ""),
        f"simulated      {found.simulated_s:,.1f} s in {found.wall_s:.1f} s, {found.events:,} events, {found.digest}",
    ]
    return shown


def words(values: Mapping[str, float], form: str) -> str:
    """Names and numbers on one line."""
    return ", ".join(f"{name} {form.format(value)}" for name, value in values.items())


def write(simulation: Simulation, found: Outcome, folder: Path) -> list[Path]:
    """The trace and the plots of a run whose records were kept."""
    from cli.simulation_plots import plot_run

    folder.mkdir(parents=True, exist_ok=True)
    world = simulation.world
    records: list[Record] = [*world.decisions, *(Number(*note) for note in world.notes)]
    records.sort(key=lambda record: record.at_ns)
    trace = folder / "trace.json"
    write_timeline(records, trace)
    return [trace, *plot_run(simulation, found, folder)]
