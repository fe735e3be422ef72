"""Drawn plans: the whole cast under faults, every invariant checked after every event.

A failure prints the seed, the faults and the command that runs the plan again; `--save NAME` with that command keeps it
in `regressions/`, whose plans run for ever. More plans at once: `braid explore`.
"""

import os

import pytest

from actors.kernel.streams import stream
from cli.explore import REGRESSIONS
from sim.drawn import draw
from sim.explore import describe, sweep
from sim.plan import build, from_json, run_plan, run_world
from tests.conftest import LONG

TIMES = 20 if LONG else 1


def run_all(count, mode, profile="small"):
    """Plans 0, 1 ... on all cores."""
    found = []
    plans = 0
    for tally in sweep(range(count * TIMES), mode, profile, os.cpu_count() or 1):
        found += tally.findings
        plans += tally.plans
    for one in found:
        again = f"braid explore --replay {one.seed} --mode {mode} --profile {profile}"
        print(f"{describe(one.plan)}\n{one.words}\nagain: {again}\n")
    assert [one.seed for one in found] == []
    assert plans == count * TIMES


def test_a_run_finishes_and_keeps_every_invariant_when_its_faults_end():
    run_all(900, "repairable")


def test_safety_holds_when_faults_stay_and_the_supervisor_dies():
    run_all(320, "anything")


def test_a_cast_of_twelve_is_stopped_and_resumed_and_finishes():
    run_all(180, "repairable", "standard")


@pytest.mark.parametrize("profile", ["small", "standard"])
def test_where_nothing_breaks_nothing_is_healed(profile):
    run_all(100, "still", profile)


@pytest.mark.parametrize("mode", ["repairable", "still"])
def test_runs_that_may_end_for_want_of_signal_end_under_faults_too(mode):
    ends = set()
    for seed in range(16 * TIMES):
        plan = draw(seed, mode)
        some = stream(seed, "signal")
        plan.config["buffer"].update(no_signal="evict", max_gen_batches=some.choice([1, 1, 2]))
        plan.config["standins"]["flat_every"] = some.choice([1, 2, 2, 3, 5])
        world, watch = build(plan)
        outcome = run_world(plan, world, watch)
        assert not outcome.violation, f"seed {seed}: {describe(plan)}\n{outcome.violation}"
        ends |= {one.fields[0] for one in world.decisions if one.kind == "stop"}
    assert ends == {"finished", "finished: no signal left"}


@pytest.mark.parametrize("seed", range(5))
def test_a_run_is_looked_at(seed):
    assert run_plan(draw(seed)).checks > 10


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.json")), ids=lambda path: path.stem)
def test_a_plan_that_failed_once_passes_for_ever(path):
    plan = from_json(path.read_bytes())
    outcome = run_plan(plan)
    again = f"braid explore --replay {path}"
    assert not outcome.violation, f"{describe(plan)}\n{outcome.violation}\nagain: {again}"
