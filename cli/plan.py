"""`braid plan SCENARIO`: searches for the settings with which a cluster does most; the winner as a config for training.

braid plan examples/sim/one_machine.toml --gpus 8 --max-staleness 2
braid plan my.toml --gpus 64 --goal tokens/s --search split eta --output winner.toml
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from buffers.errors import UsageError
from cli import configuration, simulating
from cli.progress_bar import ProgressBar
from sim.costs.model import model as find_model
from sim.outcome import WHY
from sim.scenario import Scenario
from sim.search import GOALS, PARTS, Findings, Found, search, size, space

NAME = "plan"
HELP = "search for the split, layout and schedule with which a cluster trains fastest"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("scenario", help="a TOML file, as for braid simulate")
    parser.add_argument("--gpus", type=int, help="accelerators (default: the scenario's)")
    parser.add_argument("--goal", default=GOALS[0], choices=GOALS, help=f"what to make the most of ({GOALS[0]})")
    parser.add_argument("--max-staleness", type=int, default=4, metavar="N", help="eta may be at most this (4)")
    parser.add_argument(
        "--search", nargs="+", default=list(PARTS), choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)} (all)"
    )
    parser.add_argument("--trials", type=int, default=48, metavar="N", help="simulations at most (48)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="change a key")
    parser.add_argument("--output", default="plan.toml", help="where the winner goes, for braid train (plan.toml)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Search and print; Ctrl-C prints what was found until then. The exit status."""
    for name in ("trials", "jobs"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} = {getattr(args, name)}: must be at least 1")
    if args.max_staleness < 0:
        raise UsageError(f"--max-staleness = {args.max_staleness}: must be 0 (synchronous) or more")
    if not Path(args.output).parent.is_dir():
        raise UsageError(f"--output = {args.output}: no such folder; name a file in one that exists")
    one = scenario(Path(args.scenario), args.settings, args.gpus)
    room = space(one, args.max_staleness, args.search)
    findings, status = Findings(), 0
    searching = search(one, room, args.goal, (args.trials, args.jobs))
    try:
        with Bar() as bar:
            for findings in searching:
                bar.show(findings, args.goal)
    except KeyboardInterrupt:
        status = 130
    finally:
        searching.close()
    if not findings.best and not status:
        raise UsageError(f"{nothing(args.scenario, findings)}; set other keys, or give --search more parts")
    if findings.best:
        Path(args.output).write_text(winner(one, findings.best[0]), encoding="utf-8")
    if args.json:
        print(json.dumps(as_json(findings, size(room), args)))
    else:
        print("\n".join(lines(findings, size(room), args.goal)))
        if findings.best:
            print(f"winner         {args.output}, for braid train")
    return status


def scenario(path: Path, settings: list[str], gpus: int | None) -> Scenario:
    """The scenario on so many accelerators; its split, if it no longer fits, becomes all in turns."""
    if gpus is None:
        return simulating.load(path, settings)
    if gpus < 1:
        raise UsageError(f"--gpus = {gpus}: must be at least 1")
    given = configuration.read_table(path)
    split = given.get("generator_gpus", 0)
    fitting = [] if isinstance(split, int) and split < gpus else ["generator_gpus=0", "generator_tp=1"]
    return simulating.load(path, [f"gpus={gpus}", *fitting, *settings])


def nothing(name: str, findings: Findings) -> str:
    """Why there is no plan, in one line."""
    said, count = next(iter(findings.infeasible.most_common(1)), ("no setting came to its end", 0))
    return f"{name}: none of {findings.seen} settings can be built; most often ({count} of them): {said}"


def lines(findings: Findings, choices: int, goal: str) -> list[str]:
    """The findings for a person."""
    how = "all of them" if findings.exhaustive else "drawn by Optuna's TPE sampler, seed 0"
    shown = [
        f"space          {choices:,} settings; {findings.seen:,} looked at ({how})",
        f"simulated      {findings.simulated:,}; {findings.bounded:,} not, for they cannot reach the best",
    ]
    for said, count in findings.infeasible.most_common():
        shown.append(f"infeasible     {count:,}: {said}")
    for place, found in enumerate(findings.best, 1):
        choice, outcome = found.choice, found.outcome
        split = f"{choice.generator_gpus} generate" if choice.generator_gpus else "all in turns"
        shown += [
            f"{place}. {outcome.tokens_per_s:,.0f} tokens/s, {outcome.step_s:.1f} s a step, "
            f"mean age {outcome.staleness['age_mean']:.2f}",
            f"   {split}, TP {choice.generator_tp}; training TP {choice.tensor} PP {choice.pipeline}; segments of "
            f"{choice.segment_tokens:,}, eta {choice.eta}, oversample {choice.oversample:g}, {choice.slots} slots",
            f"   {outcome.bottleneck}: {WHY[outcome.bottleneck]}",
        ]
    return shown


def as_json(findings: Findings, choices: int, args: argparse.Namespace) -> dict[str, Any]:
    """The findings for a program."""
    return {
        "goal": args.goal,
        "space": choices,
        "exhaustive": findings.exhaustive,
        "looked_at": findings.seen,
        "simulated": findings.simulated,
        "bounded": findings.bounded,
        "infeasible": dict(findings.infeasible.most_common()),
        "best": [
            {"settings": settings(found), "outcome": dataclasses.asdict(found.outcome)} for found in findings.best
        ],
        "winner": args.output if findings.best else None,
    }


def settings(found: Found) -> dict[str, Any]:
    """A choice by its keys."""
    return {name: getattr(found.choice, name) for name in found.choice.__struct_fields__}


SMALL = 3e9
"""Parameters up to which the embedded engine, one device and 32 bits a number, is the one to take."""


def winner(one: Scenario, found: Found) -> str:
    """The best choice as a config for `braid train`, with what a live run cannot take over as comments."""
    best = found.choice.applied(one)
    shape = find_model(one.model)
    longest = best.schedule.max_response_tokens + 2 * one.lengths.prompt
    served = best.generator_tp > 1 or shape.total > SMALL
    schedule = {name: getattr(best.schedule, name) for name in best.schedule.__struct_fields__}
    schedule |= {"versions": one.schedule.versions, "segment_tokens": found.choice.segment_tokens}
    table: dict[str, Any] = {
        "name": "plan",
        "seed": one.seed,
        "generators": best.generators,
        "rewarders": best.rewarders,
        "generates_with": "sglang" if served else "torch",
        "rule": best.rule,
        "schedule": schedule,
        "engine": {"slots": best.engine.slots, "context_tokens": longest, "device": "cuda"},
        "trainer": {"device": "cuda"},
        "cluster": {
            "generator": {"cpus": 1.0, "gpus": float(best.generator_tp)},
            "learner": {"cpus": 1.0, "gpus": 1.0},
        },
    }
    if Path(one.model).exists():
        table["model"] = {"path": str(Path(one.model).parent if Path(one.model).is_file() else Path(one.model))}
    if served:
        table["sglang"] = {
            "slots": best.engine.slots,
            "context_tokens": longest,
            "kv_tokens": 0,
            "device": "cuda",
            "dtype": "bfloat16",
            "arguments": ["--tp-size", str(best.generator_tp)] if best.generator_tp > 1 else [],
        }
    outcome = found.outcome
    said = [
        f"{one.model} on {one.gpus} x {one.gpu}: {outcome.tokens_per_s:,.0f} response tokens/s, {outcome.step_s:.1f} s "
        f"a step; {outcome.bottleneck} is the bottleneck.",
        f"Simulated beside it: the trainer on {one.gpus - best.generator_gpus} accelerators"
        f" (tensor {best.layout.tensor}, pipeline {best.layout.pipeline}); a live learner is one process, one device.",
    ]
    if not best.generator_gpus:
        said.append("Simulated with generation and training in turns on the same devices; live, each has its own.")
    if "model" not in table:
        said.append("Name the model's folder: --set model.path=FOLDER (without it a tiny model is trained).")
    return "".join(f"# {line}\n" for line in said) + "\n" + configuration.written(table)


class Bar(ProgressBar):
    """The progress of a search on the error stream."""

    def show(self, findings: Findings, goal: str) -> None:
        """Show how far a search is."""
        done = findings.seen if findings.exhaustive else findings.simulated
        best = f"best {abs(findings.best[0].value):,.1f} {goal}" if findings.best else "none yet"

        def line(seconds: float) -> str:
            left_s = (findings.planned - done) * seconds / max(1, done)
            return f"{done:,} of {findings.planned:,} settings  {best}  {left_s:.0f} s left"

        self.update(done, findings.planned, best, line)
