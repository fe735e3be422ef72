"""`braid explore`: break the cast on purpose. Drawn plans in virtual time, every invariant checked after every event.

braid explore --seeds 5000                             all cores; a violation is shrunk, saved and told (status 1)
braid explore --seeds 5000 --mode anything             faults may stay and the supervisor may die; safety only
braid explore --seeds 5000 --mode still                nothing breaks, so nothing may need healing
braid explore --long                                   300,000 plans, resumable: the same command goes on
braid explore --live --seeds 20                        real processes, SIGKILL, SIGSTOP, and a proxy between sockets
braid explore --replay 415 --trace out.json            one seed again, and its trace for Perfetto
braid explore --replay explored/415.json               a plan that was saved
braid explore --replay explored/415.json --save NAME   keep it among the regressions, which run for ever

What is drawn: `sim/drawn.py`; what is checked: `sim/invariants.py` and `sim/acknowledged.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from actors.timeline import write_timeline
from buffers.errors import UsageError
from cli.exploration_progress import Progress
from cli.explore_live import explore_live
from sim.drawn import draw
from sim.explore import LEGAL, Finding, Tally, describe, fails_like, median, replay, sweep
from sim.plan import Plan, from_json, to_json
from sim.shrink import shrink

NAME = "explore"
HELP = "run the cast under drawn faults, check every invariant, shrink what fails"

LONG = 300_000
LONG_STATE = "explore-long.json"
REGRESSIONS = Path(__file__).resolve().parents[1] / "tests" / "simulation" / "regressions"
SAVE_EVERY_S = 5.0


class State(msgspec.Struct):
    """An exploration that can be gone on with."""

    first: int
    seeds: int
    mode: str
    profile: str
    tally: Tally


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--seeds", type=int, help="how many plans (default: 1000; live: 20)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first plan")
    parser.add_argument(
        "--mode", choices=("repairable", "anything", "still"), default="repairable", help="which faults"
    )
    parser.add_argument("--profile", choices=("small", "standard"), default="standard", help="how large a plan is")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--long", action="store_true", help=f"{LONG:,} plans, kept in {LONG_STATE}")
    parser.add_argument("--resume", metavar="FILE", help="keep the state in a file, or go on from it")
    parser.add_argument("--shrink-s", type=float, default=60.0, metavar="S", help="time to shrink each kind of failure")
    parser.add_argument("--out", default="explored", metavar="DIR", help="folder of the plans that failed")
    parser.add_argument("--save", metavar="NAME", help="keep the (first) failing or replayed plan as a regression")
    parser.add_argument("--live", action="store_true", help="real processes with stand-in ports")
    parser.add_argument("--replay", metavar="SEED|PLAN.json", help="run one plan again")
    parser.add_argument("--trace", metavar="OUT.json", help="with --replay: write its Chrome trace")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Explore or replay; the exit status."""
    if args.live:
        return explore_live(args)
    if args.save is not None and not REGRESSIONS.is_dir():
        raise UsageError(f"--save {args.save}: there is no {REGRESSIONS}; run from a source tree")
    if args.replay is not None:
        return replay_one(args)
    if args.trace is not None:
        raise UsageError(f"--trace {args.trace} writes the trace of one plan; name it with --replay SEED")
    if args.jobs < 1:
        raise UsageError(f"--jobs = {args.jobs}; at least 1")
    path = Path(args.resume) if args.resume else Path(LONG_STATE) if args.long else None
    state = open_state(args, path)
    finished, wall_s = run(state, args.jobs, path)
    failures = shrink_all(state.tally.findings, args, finished)
    result = report(state, failures, wall_s)
    print(json.dumps(result) if args.json else told(result), flush=True)
    return 130 if not finished else 1 if failures else 0


def open_state(args: argparse.Namespace, path: Path | None) -> State:
    """A new exploration, or the one that the file holds."""
    seeds = args.seeds if args.seeds is not None else LONG if args.long else 1000
    if seeds < 1 or args.first < 0:
        raise UsageError(f"--seeds = {seeds}, --first = {args.first}; at least 1 seed from 0 on")
    asked = State(args.first, seeds, args.mode, args.profile, Tally())
    if path is None or not path.exists():
        return asked
    try:
        held = msgspec.json.decode(path.read_bytes(), type=State)
    except (msgspec.MsgspecError, OSError) as error:
        raise UsageError(f"{path} is no exploration: {error}; name another file or remove it") from error
    for name in ("first", "mode", "profile"):
        if getattr(held, name) != getattr(asked, name):
            raise UsageError(
                f"{path} explores with {name} = {getattr(held, name)}, not {getattr(asked, name)}; use the same"
                f" arguments, or another file"
            )
    held.seeds = seeds
    return held


def run(state: State, jobs: int, path: Path | None) -> tuple[bool, float]:
    """Run what is left of an exploration into its tally; whether it came to its end, and the seconds it took."""
    tally = state.tally
    left = range(state.first + tally.plans, state.first + state.seeds)
    begun = saved = time.monotonic()
    finished = False
    try:
        with Progress(state.seeds, tally.plans) as progress, closing(chunks(left, state, jobs)) as results:
            for result in results:
                tally.merge(result)
                progress.show(tally)
                if path is not None and time.monotonic() - saved > SAVE_EVERY_S:
                    save_state(state, path)
                    saved = time.monotonic()
        finished = True
    except KeyboardInterrupt:
        pass  # what was found is kept and told
    if path is not None:
        save_state(state, path)
    return finished, time.monotonic() - begun


def chunks(seeds: range, state: State, jobs: int) -> Generator[Tally, None, None]:
    """Run these seeds as the state says."""
    return sweep(seeds, state.mode, state.profile, jobs)  # type: ignore[arg-type]


def save_state(state: State, path: Path) -> None:
    """Write the file whole, or leave the old one."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(msgspec.json.encode(state))
    beside.replace(path)


# ---- failures -----------------------------------------------------------------------------------------------


class Failure(msgspec.Struct):
    """A violation with the plan that shows it best."""

    finding: Finding
    plan: Plan
    tried: int
    """Plans run to shrink it; 0: it is as it was drawn."""
    path: str
    """Where the plan was written; "": nowhere, its seed replays it."""


def shrink_all(findings: list[Finding], args: argparse.Namespace, finished: bool) -> list[Failure]:
    """Shrink and write one plan of each invariant that was violated; the others are told as they were drawn.

    After Ctrl-C nothing more is run.
    """
    failures: list[Failure] = []
    seen: set[int] = set()
    for finding in findings:
        if finding.invariant in seen or not finished:
            failures.append(Failure(finding, finding.plan, 0, ""))
            continue
        seen.add(finding.invariant)
        plan, tried = shrink(finding.plan, fails_like(finding.words), within(args.shrink_s))
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{finding.seed}-{finding.mode}-{finding.profile}.json"
        path.write_bytes(to_json(plan) + b"\n")
        failures.append(Failure(finding, plan, tried, str(path)))
    if args.save is not None and failures:
        keep(failures[0].plan, args.save)
    return failures


def within(seconds: float) -> Callable[[], bool]:
    """Whether so much time is not over yet."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


def keep(plan: Plan, name: str) -> Path:
    """Write a plan among the regressions."""
    path = REGRESSIONS / f"{name}.json"
    path.write_bytes(to_json(plan) + b"\n")
    return path


def again(failure: Failure) -> str:
    """The command that replays a failure and writes its trace."""
    finding = failure.finding
    seed = f"{finding.seed} --mode {finding.mode} --profile {finding.profile}"
    return f"braid explore --replay {failure.path or seed} --trace {finding.seed}-trace.json"


# ---- report -------------------------------------------------------------------------------------------------


def report(state: State, failures: list[Failure], wall_s: float) -> dict[str, Any]:
    """What an exploration came to."""
    tally = state.tally
    return {
        "plans": tally.plans,
        "events": tally.events,
        "violations": [
            {
                "seed": one.finding.seed,
                "mode": one.finding.mode,
                "profile": one.finding.profile,
                "invariant": one.finding.invariant,
                "words": one.finding.words,
                "drawn": describe(one.finding.plan),
                "shrunk": describe(one.plan) if one.tried else None,
                "tried": one.tried,
                "replay": again(one),
            }
            for one in failures
        ],
        "transitions_covered": tally.transitions,
        "transitions_missing": list(tally.never),
        "median_events": median(tally.sizes),
        "median_versions": median(tally.versions),
        "wall_s": round(wall_s, 3),
    }


def told(result: dict[str, Any]) -> str:
    """The same for a person."""
    lines = []
    for one in result["violations"]:
        lines += [str(one["words"]), f"drawn: {one['drawn']}"]
        lines += [f"shrunk ({one['tried']} plans tried): {one['shrunk']}"] if one["shrunk"] else []
        lines += [f"again: {one['replay']}", ""]
    covered, missing = result["transitions_covered"], result["transitions_missing"]
    lines.append(f"{len(covered)} of {len(LEGAL)} legal transitions of a trajectory occurred:")
    lines += [f"  {name:<20} {covered.get(name, 0):>12,}" for name in LEGAL]
    lines += [f"never: {', '.join(missing)}"] if missing else []
    lines.append(
        f"{result['plans']:,} plans, {result['events']:,} events in {result['wall_s']:.0f} s; median"
        f" {result['median_events']:,} events and {result['median_versions']} versions a plan"
    )
    lines.append(f"{len(result['violations'])} violations" if result["violations"] else "every invariant held")
    return "\n".join(lines)


# ---- one plan -----------------------------------------------------------------------------------------------


def replay_one(args: argparse.Namespace) -> int:
    """Run one plan, say what came of it, write its trace, keep it."""
    plan = read_plan(args)
    outcome, records = replay(plan)
    if args.trace is not None:
        write_timeline(records, Path(args.trace))
    if args.json:
        print(json.dumps({**msgspec.to_builtins(outcome), "trace": args.trace}))
    else:
        print(describe(plan))
        print(outcome.violation or "every invariant held")
        figures = replace(outcome, violation="")
        print("  ".join(f"{name}={value}" for name, value in msgspec.to_builtins(figures).items() if value != ""))
        if args.trace is not None:
            print(f"trace: {args.trace} (open it in https://ui.perfetto.dev or chrome://tracing)")
    if args.save is not None:
        keep(plan, args.save)
    return 1 if outcome.violation else 0


def read_plan(args: argparse.Namespace) -> Plan:
    """The plan of a seed or of a file."""
    if args.replay.isdigit():
        return draw(int(args.replay), args.mode, args.profile)
    path = Path(args.replay)
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--replay {args.replay}: neither a seed nor a file that can be read ({error})") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"--replay {args.replay}: not a saved plan: {error}") from error
