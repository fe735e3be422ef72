"""Drawn plans: the whole cast under faults, every invariant checked after every event.

A failure prints the seed, the faults and the command that runs the plan again; `--save NAME` with that command keeps it
in `regressions/`, whose plans run for ever. More plans at once: `braid explore`.
"""

import pytest

from cli.explore import REGRESSIONS
from sim.explore import describe
from sim.plan import draw, from_json, run_plan
from tests.conftest import LONG

CHUNK = 20
REPAIRABLE = range(0, 20_000 if LONG else 1000, CHUNK)
ANYTHING = range(0, 8_000 if LONG else 320, CHUNK)
STANDARD = range(0, 8_000 if LONG else 180, CHUNK)


def run_all(seeds, mode, profile="small"):
    for seed in seeds:
        plan = draw(seed, mode, profile)
        outcome = run_plan(plan)
        again = f"braid explore --replay {seed} --mode {mode} --profile {profile}"
        assert not outcome.violation, f"{describe(plan)}\n{outcome.violation}\nagain: {again}"
        assert outcome.checks > 10, f"seed {seed}: nothing was looked at"


@pytest.mark.parametrize("first", REPAIRABLE)
def test_a_run_finishes_and_keeps_every_invariant_when_its_faults_end(first):
    run_all(range(first, first + CHUNK), "repairable")


@pytest.mark.parametrize("first", ANYTHING)
def test_safety_holds_when_faults_stay_and_the_supervisor_dies(first):
    run_all(range(first, first + CHUNK), "anything")


@pytest.mark.parametrize("first", STANDARD)
def test_a_cast_of_twelve_is_stopped_and_resumed_and_finishes(first):
    run_all(range(first, first + CHUNK), "repairable", "standard")


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.json")), ids=lambda path: path.stem)
def test_a_plan_that_failed_once_passes_for_ever(path):
    plan = from_json(path.read_bytes())
    outcome = run_plan(plan)
    again = f"braid explore --replay {path}"
    assert not outcome.violation, f"{describe(plan)}\n{outcome.violation}\nagain: {again}"
