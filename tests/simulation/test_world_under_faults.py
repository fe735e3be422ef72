"""Seeds swept with drawn faults: order holds, what was acknowledged survives, and work goes on after the last fault."""

import pytest

from actors.kernel.asks import Window
from actors.kernel.operations import NS
from sim.faults import draw_plan
from sim.network import Link
from sim.world import VirtualWorld, WorldConfig
from tests.conformance import probes
from tests.conformance.world import fields, probe

HORIZON_S = 4
ACTORS = ["c", "s", "k", "a"]


def harried_world(seed, path):
    """Numbers on one link, asks to a keeper on another, and a plan drawn from the seed."""
    config = WorldConfig(link=Link(100_000, jitter_ns=500_000), window=Window(count=2))
    world = VirtualWorld(probes.KINDS, seed, config)
    world.start(
        [
            probe("c", "collector"),
            probe("s", "sender", to=["c"], count=3000),
            probe("k", "keeper", {"disk": "tests.conformance.probes:Disk"}, path=str(path)),
            probe("a", "asker", to=["k"], count=300, at_once=True, timeout_s=0.1, patient=True),
        ]
    )
    plan = draw_plan(seed, ACTORS, HORIZON_S * NS, 1 + seed % 9)
    plan.apply(world)
    return world, f"seed {seed}\n{plan}"


@pytest.mark.parametrize("seed", range(40))
def test_the_contract_holds_under_drawn_faults(seed, tmp_path):
    world, story = harried_world(seed, tmp_path / "numbers")
    world.run(HORIZON_S)
    for _ in range(100):
        if answered_in_newest_life(world) == set(range(1, 301)):
            break
        world.run(1)
    assert answered_in_newest_life(world) == set(range(1, 301)), f"no progress after the faults: {story}"
    numbers = [n for n, who in fields(world.decisions, "got") if who == "s"]
    assert numbers == sorted(numbers), f"out of order: {story}"
    assert len(numbers) > 3, story
    with open(tmp_path / "numbers") as file:
        durable = set(map(int, file))
    assert {n for n, _, _ in fields(world.decisions, "answered")} <= durable, f"acknowledged and lost: {story}"


def answered_in_newest_life(world):
    newest = world.place("a").incarnation
    return {found.fields[0] for found in world.decisions if found.kind == "answered" and found.incarnation == newest}
