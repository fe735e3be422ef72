"""The loop of a process: order, fairness, threads, signals."""

import os
import signal
import threading
import time

import pytest

from actors.live.loop import COMPACT_ABOVE, Loop

MS = 1_000_000


class Owner:
    def __init__(self):
        self.over = False
        self.errors = []

    def failed(self, error):
        self.errors.append(error)
        self.over = True


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.close()


def test_timers_fire_in_the_order_of_their_time_and_never_early(loop):
    fired = []
    begun = loop.now()
    for delay in (30, 10, 20, 10):
        loop.call_later(delay * MS, lambda delay: fired.append((delay, loop.now() - begun)), delay)
    loop.run(2, lambda: len(fired) == 4)
    assert [delay for delay, _ in fired] == [10, 10, 20, 30]
    assert all(at >= delay * MS for delay, at in fired)


def test_cancelled_timers_do_not_fire_and_do_not_pile_up(loop):
    fired = []
    for _ in range(20):
        timers = [loop.call_later(60_000 * MS, fired.append) for _ in range(COMPACT_ABOVE)]
        for timer in timers:
            loop.cancel(timer)
            loop.cancel(timer)
    assert len(loop._heap) <= 2 * COMPACT_ABOVE
    loop.call_later(1 * MS, fired.append, "kept")
    loop.run(1, lambda: bool(fired))
    assert fired == ["kept"]


def test_cancelling_many_timers_from_within_a_timer_loses_none_of_the_others(loop):
    fired = []
    doomed = [loop.call_later(200 * MS, fired.append, "doomed") for _ in range(3 * COMPACT_ABOVE)]

    def cancel_all(_):
        for timer in doomed:
            loop.cancel(timer)

    loop.call_later(1 * MS, cancel_all)
    for n in range(50):
        loop.call_later(200 * MS, fired.append, n)
    time.sleep(0.3)
    loop.run(2, lambda: len(fired) >= 50)
    assert fired == list(range(50))


def test_what_is_made_ready_in_a_turn_runs_in_the_next(loop):
    order = []

    def speak(n):
        order.append(n)
        if n < 3:
            loop.soon(speak, n + 1)
            order.append("returned")

    loop.soon(speak, 1)
    loop.run(1, lambda: 3 in order)
    assert order == [1, "returned", 2, "returned", 3]


def test_endless_local_chatter_starves_no_timer(loop):
    fired = []

    def chatter(_):
        loop.soon(chatter)

    loop.soon(chatter)
    loop.call_later(5 * MS, fired.append, 1)
    loop.run(2, lambda: bool(fired))
    assert fired == [1]


def test_a_thread_wakes_a_waiting_loop(loop):
    heard = []
    threading.Timer(0.05, lambda: loop.post(heard.append, threading.get_ident())).start()
    begun = time.monotonic()
    loop.run(5, lambda: bool(heard))
    assert heard
    assert 0.03 < time.monotonic() - begun < 2


def test_posts_of_a_thread_keep_their_order(loop):
    heard = []
    thread = threading.Thread(target=lambda: [loop.post(heard.append, n) for n in range(5000)])
    thread.start()
    loop.run(5, lambda: len(heard) == 5000)
    thread.join()
    assert heard == list(range(5000))


def test_an_exception_is_told_to_its_owner_and_nothing_of_it_is_called_any_more(loop):
    owner = Owner()
    heard = []
    loop.soon(lambda _: 1 / 0, None, owner)
    loop.soon(heard.append, "never", owner)
    loop.call_later(1 * MS, heard.append, "never", owner)
    loop.call_later(5 * MS, heard.append, "other")
    loop.run(1, lambda: bool(heard))
    assert heard == ["other"]
    assert [type(error) for error in owner.errors] == [ZeroDivisionError]


def test_an_exception_without_an_owner_ends_the_loop(loop):
    loop.soon(lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loop.run(1)


def test_a_signal_is_an_ordinary_call_and_wakes_the_loop():
    loop = Loop()
    heard = []
    before = signal.getsignal(signal.SIGUSR2)
    loop.take_signals(heard.append, signal.SIGUSR2)
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR2)).start()
    loop.run(5, lambda: bool(heard))
    loop.close()
    assert heard == [signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR2) == before


def test_an_idle_loop_costs_no_time(loop):
    before = time.process_time()
    loop.run(0.5)
    assert time.process_time() - before < 0.1
