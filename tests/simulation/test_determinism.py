"""Same seed, same digest: across processes, hash seeds, and with or without the codec."""

import os
import subprocess
import sys

import pytest

from actors.kernel.operations import NS
from sim.determinism import first_divergence
from sim.faults import draw_plan
from sim.network import Link
from sim.world import VirtualWorld, WorldConfig
from tests.conformance import probes
from tests.conformance.world import probe

SECONDS = 5


def scenario(seed, codec=True):
    """Every kind of traffic under a drawn plan."""
    config = WorldConfig(link=Link(50_000, jitter_ns=400_000, bytes_per_s=10_000_000), codec=codec)
    world = VirtualWorld(probes.KINDS, seed, config)
    world.start(
        [
            probe("c", "collector"),
            probe("s", "sender", to=["c"], count=2000),
            probe("b", "beater", to="c"),
            probe("e", "echo", hold_s=0.003),
            probe("a", "asker", to=["e"], count=400, timeout_s=0.2, patient=True, bulk=3000),
            probe("x", "asker", to=["e", "a"], count=50, at_once=True, timeout_s=0.2, patient=True),
            probe("d", "drawer", between=seed),
        ]
    )
    draw_plan(seed, ["c", "s", "b", "e", "a", "x"], SECONDS * NS, 10).apply(world)
    return world


def run(seed, codec=True):
    world = scenario(seed, codec)
    world.run(SECONDS)
    return world.digest


@pytest.mark.parametrize("seed", range(5))
def test_the_codec_changes_nothing_but_the_cost(seed):
    assert run(seed, codec=True) == run(seed, codec=False)


def test_seeds_differ():
    assert len({run(seed) for seed in range(8)}) == 8


@pytest.mark.parametrize("seed", range(3))
def test_two_runs_do_not_diverge(seed):
    assert first_divergence(lambda: scenario(seed), lambda world: world.run(SECONDS)) is None


def elsewhere(program, hash_seed):
    """What a program prints in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split()


def test_another_process_with_another_hash_seed_has_the_same_digest():
    program = "from tests.simulation.test_determinism import run; print(*[run(seed) for seed in range(4)])"
    assert elsewhere(program, 1) == elsewhere(program, 4242) == [run(seed) for seed in range(4)]


def test_iterating_a_set_into_messages_shows_across_hash_seeds():
    program = (
        "from tests.simulation.test_determinism import scenario\n"
        "from tests.conformance.world import probe\n"
        "world = scenario(0)\n"
        "world.start([probe('sloppy', 'sender', to=list({'c', 'e', 'a', 'x', 'd', 'b'}), count=1)])\n"
        "world.run(5)\nprint(world.digest)"
    )
    assert len({tuple(elsewhere(program, hash_seed)) for hash_seed in (1, 2, 3)}) > 1
