"""`braid simulate`: the whole cast in virtual time, with stand-in ports or, for a scenario, with cost models.

A file that names a `model` is a scenario (`sim/scenario.py`, `cli/simulating.py`): what a cluster would do. Any other
file, or none, is a run of stand-ins:

The same actors, messages and codec as in a live run; engines, trainer and rewards are stand-ins whose times the config
names (`[standins]`, see `actors/standins.py`). Prints what the run came to; the same seed gives the same digest.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from actors.cast import BufferSettings, RunSettings
from actors.evaluator import EvaluatorConfig
from actors.roster import Pace, Roster
from actors.schedules.schedule import ScheduleConfig
from actors.standins import Script
from actors.supervisor import is_finished
from buffers.errors import UsageError
from cli import configuration, simulating
from cli.simulated_folder import write_run
from cli.simulating import is_scenario
from sim.cluster import cluster, finished
from sim.determinism import first_divergence
from sim.network import Link
from sim.world import VirtualWorld, WorldConfig

NAME = "simulate"
HELP = "run the whole cast in virtual time: what a cluster would do, or stand-in ports"
PATIENCE_S = 1e6
"""Virtual seconds after which a run that does not end is given up."""


@dataclass(frozen=True)
class SimConfig:
    """What is simulated."""

    seed: int = 0
    """Of everything that is drawn."""
    generators: int = 2
    """Generator processes."""
    rewarders: int = 1
    """Rewarder processes."""
    prompts: int = 64
    """Size of the prompt set."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    rule: str = "actors.schedules.schedule:Schedule"
    """The class that schedules (`module:name`)."""
    buffer: BufferSettings = field(default_factory=BufferSettings)
    pace: Pace = field(default_factory=Pace)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    standins: Script = field(default_factory=Script)
    link: Link = field(default_factory=Link)

    def __post_init__(self) -> None:
        """Refuse an empty cluster."""
        if self.generators < 1 or self.rewarders < 1 or self.prompts < 1:
            raise UsageError(
                f"generators = {self.generators}, rewarders = {self.rewarders}, prompts = {self.prompts}: "
                "at least 1 each is needed"
            )

    def settings(self) -> dict[str, Any]:
        """The settings that every actor gets."""
        roster = Roster(
            generators=tuple(f"generator-{number}" for number in range(self.generators)),
            rewarders=tuple(f"rewarder-{number}" for number in range(self.rewarders)),
            recorder="recorder",
            supervisor="supervisor",
        )
        shared = RunSettings(
            seed=self.seed,
            roster=roster,
            pace=self.pace,
            schedule=self.schedule,
            rule=self.rule,
            buffer=self.buffer,
            evaluator=self.evaluator,
        )
        sections = {"standins": self.standins, "prompts": {"count": self.prompts}}
        return {**msgspec.to_builtins(shared), **msgspec.to_builtins(sections)}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("config", nargs="?", help="a TOML file (default: all defaults)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="change a key")
    parser.add_argument("--seed", type=int, help="seed of everything")
    parser.add_argument("--no-codec", action="store_true", help="hand messages over as they are (same digest)")
    parser.add_argument("--check-determinism", action="store_true", help="run twice; name the first diverging event")
    parser.add_argument("--run-dir", metavar="DIR", help="write config, numbers and events there, as a live run does")
    parser.add_argument("--like", metavar="RUN_DIR", help="predict a live run and compare (see braid calibrate)")
    parser.add_argument("--costs", default="", help="with --like: a cost file (default: RUN_DIR/costs.json)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", help="folder for a scenario's trace (Chrome format) and plots")


def main(args: argparse.Namespace) -> int:
    """Simulate and print; the exit status."""
    if args.like:
        from cli.likeness import like

        return like(Path(args.like), args.costs, args.json, args.run_dir)
    settings = list(args.settings) + ([f"seed={args.seed}"] if args.seed is not None else [])
    path = Path(args.config) if args.config else None
    table = configuration.read_table(path) if path else {}
    if path and {"task", "trainer"} & table.keys():
        raise UsageError(
            f"{path} configures a training run; name a scenario, e.g. examples/sim/dense_64.toml, or a run that was "
            "made from it: braid simulate --like RUN_DIR"
        )
    if path and is_scenario(table):
        if args.run_dir:
            raise UsageError(f"--run-dir {args.run_dir}: {path} is a scenario; name a folder for its trace with --out")
        return simulating.main(path, settings, args)
    config = configuration.load(SimConfig, path, settings)
    if args.check_determinism:
        return check(config, not args.no_codec)
    begun = time.perf_counter()
    world = build(config, not args.no_codec)
    ended = world.run(PATIENCE_S, finished)
    result = report(world, ended, time.perf_counter() - begun)
    if args.run_dir:
        write_run(world, configuration.dump(config), config.settings(), Path(args.run_dir))
    if args.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:>12}  {value}")
    return 0 if is_finished(result["outcome"]) else 1


def build(config: SimConfig, codec: bool) -> VirtualWorld:
    """The world of a config, about to start."""
    physics = WorldConfig(link=config.link, codec=codec, supervisor="supervisor")
    return cluster(config.settings(), physics)


def check(config: SimConfig, codec: bool) -> int:
    """Run twice and compare every event."""
    divergence = first_divergence(lambda: build(config, codec), lambda world: world.run(PATIENCE_S, finished))
    print("deterministic" if divergence is None else f"the runs diverge: {divergence}")
    return 0 if divergence is None else 1


def report(world: VirtualWorld, ended: bool, wall_s: float) -> dict[str, Any]:
    """What a run came to."""
    kinds = Counter(decision.kind for decision in world.decisions)
    reasons = [str(decision.fields[0]) for decision in world.decisions if decision.kind == "stop"]
    stored = [decision for decision in world.decisions if decision.kind == "store"]
    tokens = sum(int(decision.fields[3]) for decision in stored)
    seconds = world.now / 1e9
    versions = kinds["publish"] - 1
    return {
        "outcome": reasons[-1] if ended and reasons else "not finished",
        "simulated_s": round(seconds, 6),
        "wall_s": round(wall_s, 3),
        "versions": versions,
        "step_s": round(seconds / versions, 6) if versions > 0 else None,
        "tokens_per_s": round(tokens / seconds, 1) if seconds else 0.0,
        "segments": len(stored),
        "events": world.kernel.ordered,
        "digest": world.digest,
    }
