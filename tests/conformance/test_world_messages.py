"""Delivery: order, nesting, windows, asks, fences, strangers."""

import pytest

from actors.kernel.asks import Window
from actors.kernel.backend import Envelope
from actors.kernel.codec import Codec
from tests.conformance import probes
from tests.conformance.world import fields, probe, times


def envelope(to, sender, incarnation, message, serial=0, to_incarnation=0):
    return Codec(probes.KINDS).encode(Envelope(to, sender, incarnation, serial, to_incarnation, 0, message))


def test_messages_of_a_link_arrive_in_order_once_each(world):
    world.start([probe("c", "collector"), *(probe(f"s{i}", "sender", to=["c"], count=200) for i in range(3))])
    decisions = world.run(5, times("got", 600))
    for sender in ("s0", "s1", "s2"):
        assert [n for n, who in fields(decisions, "got") if who == sender] == list(range(1, 201))
    assert fields(decisions, "a ticket without an ask") == []


def test_a_decision_names_the_message_that_caused_it(world):
    world.start([probe("c", "collector"), probe("s", "sender", to=["c"], count=5, burst=1)])
    decisions = world.run(5, times("got", 5))
    got = [found for found in decisions if found.kind == "got"]
    assert [(found.cause, found.cause_index) for found in got] == [("s", n) for n in range(1, 6)]
    assert [found.index for found in decisions if found.actor == "c"] == list(range(1, 7))


def test_receive_never_nests(world):
    world.start([probe("n", "nester", {"parrot": "tests.conformance.probes:Parrot"})])
    decisions = world.run(3, times("depth", 51))
    assert len(fields(decisions, "depth")) == 51  # Started, and 10 times: port twice, task, timer, itself
    assert {depth for depth, _, _ in fields(decisions, "depth")} == {1}
    assert {who for _, _, who in fields(decisions, "depth")} == {"n"}
    assert {kind for _, kind, _ in fields(decisions, "depth")} == {"Started", "Tick", "Met", "Asked", "Number"}


def test_a_window_bounds_the_asks_on_a_link_in_count_and_keeps_their_order(world):
    world.start(
        [probe("e", "echo", hold_s=0.02), probe("a", "asker", to=["e"], count=20, at_once=True)],
        window=Window(count=3),
    )
    decisions = world.run(3, times("answered", 20))
    assert max(count for count, _ in fields(decisions, "open")) == 3
    assert [n for n, _ in fields(decisions, "asked")] == list(range(1, 21))
    assert [n for n, _, _ in fields(decisions, "answered")] == list(range(1, 21))


def test_a_window_bounds_the_asks_on_a_link_in_bytes_of_request_and_reply(world):
    world.start(
        [
            probe("e", "echo", hold_s=0.02),
            probe("a", "asker", to=["e"], count=10, at_once=True, bulk=10_000, reply_bytes=5_000),
        ],
        window=Window(bytes=31_000),
    )
    decisions = world.run(3, times("answered", 10))
    assert max(count for count, _ in fields(decisions, "open")) == 2
    assert len(fields(decisions, "answered")) == 10


def test_a_light_ask_does_not_overtake_a_heavy_one_that_waits_for_its_window(world):
    asker = probe("a", "asker", to=["e"], count=3, at_once=True, bulks={"1": 6_000, "2": 6_000})
    world.start([probe("e", "echo", hold_s=0.02), asker], window=Window(bytes=10_000))
    assert fields(world.run(3, times("answered", 3)), "asked") == [(1, "a"), (2, "a"), (3, "a")]


def test_an_ask_heavier_than_the_window_goes_alone(world):
    world.start(
        [probe("e", "echo", hold_s=0.01), probe("a", "asker", to=["e"], count=4, at_once=True, bulk=50_000)],
        window=Window(bytes=1_000),
    )
    decisions = world.run(3, times("answered", 4))
    assert [count for count, _ in fields(decisions, "open")] == [1, 1, 1, 1]
    assert len(fields(decisions, "answered")) == 4


@pytest.mark.parametrize("at_once", [True, False])
def test_actors_that_ask_each_other_do_not_deadlock_with_windows_of_one(world, at_once):
    names = ["a", "b", "c"]
    others = {name: [other for other in names if other != name] for name in names}
    specs = [probe(name, "asker", to=others[name], count=20, at_once=at_once) for name in names]
    world.start(specs, window=Window(count=1, bytes=1))
    decisions = world.run(5, times("answered", 120))
    assert len(fields(decisions, "answered")) == 120
    assert fields(decisions, "timed out") == []


def test_an_ask_without_a_reply_times_out_and_gives_its_window_back(world):
    world.start(
        [probe("e", "echo", mute=2), probe("a", "asker", to=["e"], count=4, timeout_s=0.2)], window=Window(count=1)
    )
    decisions = world.run(3, times("answered", 2))
    assert fields(decisions, "timed out") == [(1, "e"), (2, "e")]
    assert fields(decisions, "answered") == [(3, 3, "e"), (4, 4, "e")]


def test_an_ask_that_never_got_into_its_window_times_out_too(world):
    world.start(
        [probe("e", "echo", mute=9), probe("a", "asker", to=["e"], count=3, at_once=True, timeout_s=0.2)],
        window=Window(count=1),
    )
    decisions = world.run(3, times("timed out", 3))
    assert [n for n, _ in fields(decisions, "timed out")] == [1, 2, 3]
    assert next(n for n, _ in fields(decisions, "asked")) == 1


def test_a_reply_after_the_timeout_is_ignored(world):
    world.start([probe("e", "echo", hold_s=0.3), probe("a", "asker", to=["e"], count=2, timeout_s=0.1)])
    decisions = world.run(1.0, times("timed out", 3))
    assert fields(decisions, "timed out") == [(1, "e"), (2, "e")]
    assert fields(decisions, "answered") == []
    assert fields(decisions, "a reply out of turn") == []


def test_waiting_for_several_asks_gives_their_replies_in_order(world):
    world.start([probe("w", "waiter", to=["e1", "e2", "nobody"]), probe("e1", "echo", hold_s=0.1), probe("e2", "echo")])
    assert fields(world.run(3, times("replies", 1)), "replies") == [(1, 2, 0)]


def test_an_older_incarnation_of_a_sender_changes_nothing(world):
    world.start([probe("c", "collector"), probe("e", "echo")])
    world.run(2, times("started", 2))
    for incarnation, n in ((1, 1), (2, 2), (1, 3), (2, 4), (3, 5), (2, 6)):
        world.inject(envelope("c", "z", incarnation, probes.Number(n)), "c")
    decisions = world.run(2, lambda found: (5, "z") in fields(found, "got"))
    decisions = world.run(0.1)
    assert [n for n, _ in fields(decisions, "got")] == [1, 2, 4, 5]


def test_a_reply_to_an_older_incarnation_answers_nothing(world):
    world.start([probe("e", "echo", hold_s=1.0), probe("a", "asker", to=["e"], own=True, timeout_s=5.0)])
    world.run(2, times("asked", 1))
    world.crash("a")
    world.restart("a")
    decisions = world.run(4, times("answered", 1))
    assert fields(decisions, "asked") == [(1, "a"), (2, "a")]
    assert fields(decisions, "answered") == [(2, 2, "e")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"hello",
        envelope("c", "z", 1, probes.Number(1))[:-1],
        envelope("c", "z", 1, probes.Number(1)) + b"\x00",
        envelope("d", "z", 1, probes.Number(1)),
        b"\x98\x63\xa1c\xa1z\x01\x00\x00\x00\x92\xa6number\x01",
        b"\x98\x01\xa1c\xa1z\x01\x00\x00\x00\x92\xa6nobody\x01",
    ],
    ids=["empty", "never used", "text", "short", "long", "for another", "wire version", "kind"],
)
def test_a_stranger_is_refused_and_counted(world, data):
    world.start([probe("c", "collector")])
    world.run(2, times("started", 1))
    world.inject(data, "c")
    world.inject(envelope("c", "z", 1, probes.Number(7)), "c")
    decisions = world.run(2, times("got", 1))
    assert fields(decisions, "got") == [(7, "z")]
    assert world.strangers() == 1
