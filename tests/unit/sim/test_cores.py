"""A host's cores under processor sharing."""

import pytest

from sim.doubles.device import Cores, Share
from tests.kernel_clock import KernelClock


@pytest.fixture
def clock():
    return KernelClock()


def begin(cores, clock, work, ends, name):
    """An activity of so much work that notes when it ends."""
    share = Share(cores, clock)
    share.busy(True)

    def done(_):
        ends[name] = clock.now()
        share.busy(False)

    share.call_at(share.now() + work, done, None)
    return share


def test_as_many_activities_as_cores_do_not_slow_each_other(clock):
    cores, ends = Cores(2), {}
    begin(cores, clock, 100, ends, "a")
    begin(cores, clock, 250, ends, "b")
    clock.kernel.run()
    assert ends == {"a": 100, "b": 250}


def test_more_activities_than_cores_share_them_equally(clock):
    """Three on two cores run at 2/3 until the first ends at 150; the others then have 200 left, at full speed."""
    cores, ends = Cores(2), {}
    for name, work in (("a", 100), ("b", 300), ("c", 300)):
        begin(cores, clock, work, ends, name)
    clock.kernel.run()
    assert ends == {"a": 150, "b": 350, "c": 350}


def test_who_comes_later_slows_down_who_is_there(clock):
    cores, ends = Cores(1), {}
    begin(cores, clock, 100, ends, "a")
    clock.kernel.call_at(50, 0, lambda _: begin(cores, clock, 100, ends, "b"))
    clock.kernel.run()
    assert ends == {"a": 150, "b": 200}


def test_who_leaves_gives_its_core_back_and_is_not_called(clock):
    cores, ends = Cores(1), {}
    begin(cores, clock, 100, ends, "a")
    gone = begin(cores, clock, 100, ends, "b")
    clock.kernel.call_at(40, 0, lambda _: gone.close())
    clock.kernel.run()
    assert ends == {"a": 120}
    assert cores.active == 0


def test_a_cancelled_call_is_not_made_and_the_next_one_is(clock):
    cores, ends = Cores(1), {}
    share = begin(cores, clock, 100, ends, "a")
    share.cancel(share.call_at(share.now() + 50, lambda _: ends.setdefault("never", 1), None))
    clock.kernel.run()
    assert ends == {"a": 100}
