"""Devices that generation and training use in turns."""

import pytest

from sim.doubles.meter import Meter
from sim.doubles.sharing import Sharing
from tests.kernel_clock import KernelClock

SWITCH_NS = 1000


class Engine:
    """Counts what it is told."""

    def __init__(self):
        self.resumed = self.dropped = 0

    def resume(self):
        self.resumed += 1

    def drop_cache(self):
        self.dropped += 1


@pytest.fixture
def clock():
    return KernelClock()


def shared(waits):
    sharing, engine = Sharing(SWITCH_NS, waits, Meter()), Engine()
    sharing.join(engine)
    return sharing, engine


def take(sharing, clock, begun):
    sharing.take(clock, lambda _: begun.append(clock.now()), None)


def test_training_begins_one_switch_after_the_engines_rest_and_empties_their_caches(clock):
    sharing, engine = shared(waits=True)
    begun = []
    assert sharing.lets(engine)
    take(sharing, clock, begun)
    clock.kernel.run(500)
    assert not begun
    assert sharing.lets(engine), "a synchronous trainer lets the batch be completed"
    sharing.rests(engine, idle=True)
    clock.kernel.run()
    assert begun == [500 + SWITCH_NS]
    assert engine.dropped == 1


def test_a_trainer_that_does_not_wait_stops_the_engines_at_their_next_step(clock):
    sharing, engine = shared(waits=False)
    begun = []
    assert sharing.lets(engine)
    take(sharing, clock, begun)
    assert not sharing.lets(engine)
    sharing.rests(engine, idle=False)
    clock.kernel.run()
    assert begun == [SWITCH_NS]


def test_generation_goes_on_one_switch_after_the_trainer_gave_the_devices_back(clock):
    sharing, engine = shared(waits=False)
    begun = []
    take(sharing, clock, begun)
    clock.kernel.run()
    assert not sharing.lets(engine)
    clock.kernel.run(5000)
    sharing.give()
    clock.kernel.run(5000 + SWITCH_NS - 1)
    assert engine.resumed == 0
    clock.kernel.run()
    assert (engine.resumed, clock.now()) == (1, 5000 + SWITCH_NS)
    assert sharing.lets(engine)
    assert sharing.switches == 2


def test_a_trainer_that_has_the_devices_goes_on_without_a_switch(clock):
    sharing, _ = shared(waits=True)
    begun = []
    take(sharing, clock, begun)
    clock.kernel.run()
    sharing.give()
    take(sharing, clock, begun)
    assert begun == [SWITCH_NS, SWITCH_NS]


def test_engines_get_the_devices_back_from_a_trainer_that_died(clock):
    sharing, engine = shared(waits=False)
    take(sharing, clock, [])
    clock.kernel.run()
    assert not sharing.lets(engine)
    sharing.abandon()
    clock.kernel.run()
    assert engine.resumed == 1


def test_an_engine_that_died_at_work_does_not_keep_the_trainer_waiting(clock):
    sharing, engine = shared(waits=True)
    begun = []
    assert sharing.lets(engine)
    take(sharing, clock, begun)
    sharing.leave(engine)
    clock.kernel.run()
    assert begun == [SWITCH_NS]


def test_a_trainer_that_wants_the_devices_lets_engines_at_work_look_up(clock):
    sharing, engine = shared(waits=False)
    assert sharing.lets(engine)
    take(sharing, clock, [])
    assert engine.resumed == 1
    patient, other = shared(waits=True)
    assert patient.lets(other)
    take(patient, clock, [])
    assert other.resumed == 0


def test_engines_have_a_turn_before_they_stop_for_the_trainer(clock):
    sharing = Sharing(SWITCH_NS, False, Meter(), turn_ns=5000)
    engine = Engine()
    sharing.join(engine)
    assert sharing.lets(engine)
    begun = []
    clock.kernel.run(2000)
    take(sharing, clock, begun)
    assert sharing.lets(engine), "its turn is not over"
    clock.kernel.run(4999)
    assert (engine.resumed, sharing.lets(engine)) == (0, True)
    clock.kernel.run(5000)
    assert engine.resumed == 1
    assert not sharing.lets(engine)
    sharing.rests(engine, idle=False)
    clock.kernel.run()
    assert begun == [5000 + SWITCH_NS]


def test_caches_stay_where_the_memory_of_both_is_in_place(clock):
    sharing, engine = Sharing(SWITCH_NS, False, Meter(), drops=False), Engine()
    sharing.join(engine)
    take(sharing, clock, [])
    clock.kernel.run()
    assert engine.dropped == 0
