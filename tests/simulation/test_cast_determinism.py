"""A plan has one digest: in two runs, in two processes with different hash seeds, saved and read again."""

import os
import subprocess
import sys

import pytest

from sim.cluster import finished
from sim.determinism import first_divergence
from sim.drawn import draw
from sim.plan import build, from_json, run_plan, to_json

SCRIPT = """
import sys
from sim.drawn import draw
from sim.plan import run_plan
print([run_plan(draw(int(s))).digest for s in sys.argv[1:]])
"""


@pytest.mark.parametrize("mode", ["repairable", "anything"])
def test_a_saved_plan_is_the_plan_that_was_drawn(mode):
    for seed in range(8):
        plan = draw(seed, mode)
        assert from_json(to_json(plan)) == plan == draw(seed, mode)
        assert run_plan(plan).digest == run_plan(from_json(to_json(plan))).digest


def test_different_seeds_have_different_digests():
    assert len({run_plan(draw(seed)).digest for seed in range(10)}) == 10


def test_processes_with_different_hash_seeds_agree():
    seeds = [str(seed) for seed in range(6)]
    printed = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *seeds],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("0", "4242")
    ]
    assert printed[0] == printed[1]


def test_a_run_that_differs_is_told_apart_at_its_first_different_step():
    plan = draw(5)
    assert first_divergence(lambda: build(plan)[0], lambda world: world.run(20, finished)) is None
    worlds = iter([build(plan)[0], build(draw(6))[0]])
    assert first_divergence(lambda: next(worlds), lambda world: world.run(20, finished)) is not None
