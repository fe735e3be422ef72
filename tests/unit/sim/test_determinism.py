"""Two runs of one build, compared step by step."""

import itertools

from sim.determinism import Divergence, Step, Trace, first_divergence
from sim.world import VirtualWorld
from tests.conformance import probes
from tests.conformance.world import probe


def build(delay_s=0.3):
    world = VirtualWorld(probes.KINDS)
    world.start([probe("e", "echo", hold_s=delay_s), probe("a", "asker", to=["e"], count=3)])
    return world


def drive(world):
    world.run(2)


def test_a_deterministic_build_does_not_diverge():
    assert first_divergence(build, drive) is None


def test_the_first_event_at_another_time_is_named():
    delays = itertools.chain([0.3], itertools.repeat(0.4))
    found = first_divergence(lambda: build(next(delays)), drive)
    assert found is not None
    assert (found.first.name, found.first.kind) == ("e", "Cell.take(Tick)")
    assert found.second.at_ns >= found.first.at_ns
    assert str(found).splitlines()[1].strip() == str(found.first)


def test_a_decision_that_differs_without_changing_any_event_is_named():
    starts = itertools.count(1)

    def build():
        world = VirtualWorld(probes.KINDS, seed=next(starts))
        world.start([probe("d", "drawer", between=0)])
        return world

    found = first_divergence(build, drive)
    assert found is not None
    assert (found.first.sequence, found.first.name) == (0, "d")
    assert found.first.kind.startswith("decides drew ")
    assert found.first.kind != found.second.kind


def test_a_run_that_ends_early_diverges_where_it_ended():
    seconds = iter([2, 0.35])
    found = first_divergence(build, lambda world: world.run(next(seconds)))
    assert found is not None
    assert found.second is None
    assert "the run had ended" in str(found)


def test_a_ring_keeps_the_last_steps():
    world = build()
    ring, everything = Trace(world, 4), None
    drive(world)
    world = build()
    everything = Trace(world)
    drive(world)
    assert list(ring.steps) == list(everything.steps)[-4:]


def test_a_step_reads_as_a_line():
    assert str(Step(1_500_000_000, 7, "a->b", "Place.arrive(bytes)")) == "1.500000000 s #7 a->b Place.arrive(bytes)"
    assert str(Divergence(3, None, None)).startswith("step 3 differs:")
