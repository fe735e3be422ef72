"""`braid explore --live`: real processes with stand-in ports under SIGKILL, SIGSTOP and a proxy that loses and delays.

What is drawn and what is checked: `sim/live.py`. Runs mostly wait, so some are under way at once; each is told as it
ends, and Ctrl-C keeps what was found.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import sys
import time
from typing import Any

import msgspec

from buffers.errors import UsageError
from sim.live import LiveOutcome, draw_live, run_live

SEEDS = 20


def explore_live(args: argparse.Namespace) -> int:
    """Run live plans; the exit status."""
    seeds = args.seeds if args.seeds is not None else SEEDS
    if seeds < 1 or args.first < 0 or args.jobs < 1:
        raise UsageError(f"--seeds = {seeds}, --first = {args.first}, --jobs = {args.jobs}; at least 1 seed from 0 on")
    begun = time.monotonic()
    outcomes: list[LiveOutcome] = []
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the process that keeps the tally
    try:
        pool = multiprocessing.get_context("spawn").Pool(args.jobs)
    finally:
        signal.signal(signal.SIGINT, before)
    finished = False
    try:
        with pool:
            for outcome in pool.imap(run_seed, range(args.first, args.first + seeds)):
                outcomes.append(outcome)
                left_s = (time.monotonic() - begun) / len(outcomes) * (seeds - len(outcomes))
                print(f"{len(outcomes)} of {seeds}  {line(outcome)}  {left_s:.0f} s left", file=sys.stderr, flush=True)
        finished = True
    except KeyboardInterrupt:
        pass  # what was found is kept and told
    result = report(outcomes, time.monotonic() - begun)
    print(json.dumps(result) if args.json else told(result), flush=True)
    return 130 if not finished else 1 if result["violations"] else 0


def run_seed(seed: int) -> LiveOutcome:
    """Draw and run one live plan, in a process of the pool."""
    return run_live(draw_live(seed))


def line(outcome: LiveOutcome) -> str:
    """How one run went."""
    return (
        f"seed {outcome.seed}: {outcome.deaths} restarts, {outcome.lost} messages lost, {outcome.delayed} delayed,"
        f" {outcome.answers} answers, {outcome.versions} versions in {outcome.wall_s:.1f} s"
        + (f": {outcome.violation}" if outcome.violation else "")
    )


def report(outcomes: list[LiveOutcome], wall_s: float) -> dict[str, Any]:
    """What the runs came to."""
    sums = {name: sum(getattr(one, name) for one in outcomes) for name in ("deaths", "lost", "delayed", "answers")}
    return {
        "plans": len(outcomes),
        "decisions": sum(one.decisions for one in outcomes),
        **sums,
        "violations": [
            {
                **msgspec.to_builtins(one),
                "acts": [str(act) for act in draw_live(one.seed).acts],
                "replay": f"braid explore --live --seeds 1 --first {one.seed}",
            }
            for one in outcomes
            if one.violation
        ],
        "wall_s": round(wall_s, 1),
    }


def told(result: dict[str, Any]) -> str:
    """The same for a person."""
    lines = []
    for one in result["violations"]:
        lines += [str(one["violation"]), *(f"  {act}" for act in one["acts"]), f"again: {one['replay']}", ""]
    restarts, lost, delayed = result["deaths"], result["lost"], result["delayed"]
    lines += [
        f"{result['plans']} live runs in {result['wall_s']:.0f} s: {restarts} restarts, {lost} messages lost,",
        f"{delayed} delayed; {result['answers']:,} answers of replay compared with its store",
    ]
    lines.append(f"{len(result['violations'])} violations" if result["violations"] else "every invariant held")
    return "\n".join(lines)
