"""The kernel: order, cancel, digest."""

import pytest

from buffers.errors import ContractError
from sim.kernel import NOBODY, Kernel


def recorder(kernel):
    seen = []
    return seen, lambda what: seen.append((kernel.now, what))


def test_events_run_in_order_of_time_and_then_of_their_calls():
    kernel = Kernel()
    seen, call = recorder(kernel)
    for at, what in ((30, "c"), (10, "a"), (20, "x"), (20, "y"), (20, "z")):
        kernel.call_at(at, kernel.code("n"), call, what)
    assert kernel.run() is False
    assert seen == [(10, "a"), (20, "x"), (20, "y"), (20, "z"), (30, "c")]


def test_a_run_ends_at_its_time_and_the_clock_says_so():
    kernel = Kernel()
    seen, call = recorder(kernel)
    for at in (10, 20, 21):
        kernel.call_at(at, kernel.code("n"), call, at)
    kernel.run(20)
    assert (seen, kernel.now, len(kernel)) == ([(10, 10), (20, 20)], 20, 1)
    kernel.run(50)
    assert (len(seen), kernel.now) == (3, 50)


def test_a_run_to_the_past_does_not_turn_the_clock_back():
    kernel = Kernel()
    kernel.run(50)
    kernel.run(20)
    assert kernel.now == 50


def test_the_past_is_refused():
    kernel = Kernel()
    kernel.run(100)
    with pytest.raises(ContractError, match="late: asked for a call at 99 ns, but it is 100 ns"):
        kernel.call_at(99, kernel.code("late"), print)


def test_a_cancelled_event_does_not_run_and_cancelling_again_or_too_late_is_ignored():
    kernel = Kernel()
    seen, call = recorder(kernel)
    first, second, third = (kernel.call_at(at, kernel.code("n"), call, at) for at in (1, 2, 3))
    kernel.cancel(second)
    kernel.cancel(second)
    assert len(kernel) == 2
    kernel.run(1)
    kernel.cancel(first)
    assert len(kernel) == 1
    kernel.run()
    assert seen == [(1, 1), (3, 3)]
    kernel.cancel(third)
    assert len(kernel) == 0


def test_many_cancelled_events_are_swept_and_the_living_keep_their_order():
    kernel = Kernel()
    seen, call = recorder(kernel)
    events = [kernel.call_at(1000 - n, kernel.code("n"), call, n) for n in range(1000)]
    for n, event in enumerate(events):
        if n % 10:
            kernel.cancel(event)
    assert len(kernel) == 100
    assert len(kernel._heap) <= 200
    kernel.run()
    assert [what for _, what in seen] == list(range(990, -1, -10))


def test_a_sweep_during_a_run_loses_nothing():
    kernel = Kernel()
    seen, call = recorder(kernel)
    timeouts = [kernel.call_at(500, kernel.code("n"), call, "never") for _ in range(300)]
    kernel.call_at(600, kernel.code("n"), call, "last")
    kernel.call_at(1, kernel.code("n"), lambda _: [kernel.cancel(timeout) for timeout in timeouts])
    kernel.run()
    assert seen == [(600, "last")]
    assert len(kernel._heap) == 0


def test_what_is_set_aside_waits_and_comes_back_in_order_and_not_before_now():
    kernel = Kernel()
    seen, call = recorder(kernel)
    frozen, free = kernel.code("frozen"), kernel.code("free")
    events = [kernel.call_at(at, frozen, call, f"frozen {at}") for at in (10, 20, 40, 30)]
    kernel.call_at(15, free, call, "free 15")
    kernel.cancel(events[1])
    aside = kernel.set_aside(frozen)
    kernel.run(25)
    kernel.cancel(events[3])
    kernel.put_back(aside)
    kernel.run()
    assert seen == [(15, "free 15"), (25, "frozen 10"), (40, "frozen 40")]
    assert len(kernel) == 0


def test_an_exception_leaves_the_kernel_ready_to_go_on_and_says_who_ran():
    kernel = Kernel()
    seen, call = recorder(kernel)
    kernel.call_at(1, kernel.code("bad"), lambda _: 1 / 0)
    kernel.call_at(2, kernel.code("good"), call, "good")
    with pytest.raises(ZeroDivisionError):
        kernel.run()
    assert (kernel.names[kernel.running], kernel.now) == ("bad", 1)
    kernel.run()
    assert (seen, kernel.running) == ([(2, "good")], NOBODY)


def test_the_hook_runs_after_each_event_and_can_end_the_run():
    kernel = Kernel()
    seen, call = recorder(kernel)
    for at in (1, 2, 3):
        kernel.call_at(at, kernel.code("n"), call, at)
    assert kernel.run(after=lambda: len(seen) == 2) is True
    assert (kernel.now, len(kernel)) == (2, 1)


def history(*events, cancelled=()):
    kernel = Kernel()
    for at, name in events:
        kernel.call_at(at, kernel.code(name), id)
    for at, name in cancelled:
        kernel.cancel(kernel.call_at(at, kernel.code(name), id))
    kernel.run()
    return kernel.digest


def test_equal_histories_have_equal_digests_and_others_do_not():
    plain = history((1, "a"), (2, "b"))
    assert plain == history((1, "a"), (2, "b"))
    assert plain == history((1, "a"), (2, "b"), cancelled=[(1, "a")])
    others = [
        history((1, "a"), (3, "b")),
        history((1, "a"), (2, "c")),
        history((2, "b"), (1, "a")),
        history((1, "a"), (2, "a")),
        history((1, "a")),
    ]
    assert len({plain, *others}) == 6


def test_the_digest_is_the_same_on_every_machine():
    assert history((1, "a"), (2, "b"), (1 << 61, "controller->replay")) == 1819121930145504677
