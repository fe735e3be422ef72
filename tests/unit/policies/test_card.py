"""Turns on one card: one at a time, everybody in turn, and nothing held by the dead."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from policies.card import TOKEN, Card, FileLocks, Held, Share, card_of

ROOT = Path(__file__).resolve().parents[3]


class Time:
    """A clock that a test moves."""

    def __init__(self):
        self.ns = 0

    def __call__(self):
        self.ns += 10_000_000
        return self.ns


@pytest.fixture
def hand(tmp_path):
    hands = []

    def make(name, now=None):
        hands.append(Card(name, FileLocks(tmp_path), now or Time()))
        return hands[-1]

    yield make
    for one in hands:
        one.close()


def test_one_party_has_the_card_at_a_time(hand):
    one, other = hand("one"), hand("other")
    assert one.attempt()
    assert one.attempt(), "it is ours until it is given"
    assert not other.attempt()
    one.give()
    assert other.attempt()
    assert not one.attempt()


def test_a_turn_says_when_it_was_asked_for_when_it_began_and_behind_whom(hand):
    time = Time()
    one, other = hand("one", time), hand("other", time)
    one.attempt()
    assert not other.attempt()
    first = one.give()
    assert other.attempt()
    second = other.give()
    assert first.behind == ""
    assert second.behind == "one"
    assert first.asked_ns < first.since_ns < second.asked_ns < first.until_ns < second.since_ns < second.until_ns
    assert one.give() is None, "no turn, nothing to tell"


def test_whoever_gives_the_card_lets_those_who_waited_go_first(hand):
    one, other = hand("one"), hand("other")
    one.attempt()
    assert not other.attempt()
    assert one.wanted()
    one.give()
    assert not one.attempt(), "the card is free, and the other's"
    assert other.attempt()
    assert other.wanted(), "who could not take it at once still wants it"


def test_who_asks_at_the_very_moment_of_a_giving_goes_first(hand):
    at = [1000]
    one, other = hand("a", lambda: at[0]), hand("b", lambda: at[0])
    one.attempt()
    at[0] = 2000
    assert not other.attempt()
    one.give()
    assert not one.attempt(), "whoever had it last asks later, whatever the clock says"
    assert other.attempt()


def test_three_who_always_want_it_have_it_in_the_order_of_their_wishes(hand):
    time = Time()
    hands = [hand(name, time) for name in ("a", "b", "c")]
    turns = []
    for _ in range(300):
        had = next(index for index in (2, 0, 1, 0, 1) if hands[index].attempt())  # two try more often than the third
        turns.append(had)
        for one in hands:
            one.attempt()
        hands[had].give()
        hands[had].attempt()
    assert sorted(turns[:3]) == [0, 1, 2]
    assert turns == turns[:3] * 100


def test_an_engine_that_others_wait_for_keeps_the_card_for_a_turn(hand, tmp_path):
    time = Time()
    one, other = Card("one", FileLocks(tmp_path), time, turn_s=0.2), hand("other", time)
    assert one.attempt()
    assert not other.attempt()
    waited = 0
    while not one.wanted():
        waited += 1
    assert waited == pytest.approx(20, abs=3), "200 ms by a clock that goes on by 10 ms at each look"
    one.close()


def test_a_wish_that_is_given_up_stops_nobody(hand):
    one, other = hand("one"), hand("other")
    one.attempt()
    assert not other.attempt()
    assert other.give() is None
    assert not one.wanted()
    one.give()
    assert one.attempt()


def test_who_waits_can_be_told_to_do_something_else(hand):
    one, other = hand("one"), hand("other")
    one.attempt()
    asked = []
    assert other.take(lambda: asked.append(1) or len(asked) == 3) is False
    assert one.wanted(), "it is wanted until it is given up"


def test_a_party_that_closes_frees_the_card_and_its_wish(hand):
    one, other, third = hand("one"), hand("other"), hand("third")
    one.attempt()
    assert not other.attempt()
    other.close()
    assert not one.wanted()
    one.close()
    assert third.attempt()


def test_two_threads_that_work_in_turns_never_work_together_and_neither_starves(hand):
    began, ends, worked = threading.Barrier(2), time.monotonic() + 0.4, {"one": 0, "other": 0}
    inside, together = [], []

    def work(name):
        card = hand(name, time.monotonic_ns)
        began.wait()
        while time.monotonic() < ends:
            card.take(lambda: False)
            inside.append(name)
            together.extend(inside[1:])
            time.sleep(0.002)
            worked[name] += 1
            inside.remove(name)
            card.give()

    threads = [threading.Thread(target=work, args=(name,)) for name in worked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not together
    assert abs(worked["one"] - worked["other"]) <= 1, worked


HOLDER = """
import sys, time
from pathlib import Path
from policies.card import Card, FileLocks
card = Card("holder", FileLocks(Path(sys.argv[1])), time.monotonic_ns)
print(card.attempt(), flush=True)
time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path, hand):
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True)
    try:
        assert holder.stdout.readline() == "True\n"
        mine = hand("mine")
        assert not mine.attempt()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert mine.attempt()
        assert mine.give().behind == "holder"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_only_sharing_by_time_takes_turns(tmp_path):
    assert card_of(Share(), "one", Time()) is None
    assert card_of(Share("memory", memory=0.5), "one", Time()) is None
    card = card_of(Share("time", str(tmp_path / "card")), "one", Time())
    assert card.attempt()
    assert (tmp_path / "card" / TOKEN).read_text().strip() == "one"
    assert isinstance(card.give(), Held)
    card.close()
