"""Lives: timers, tasks, spawn, stop, crash, restart, pause, slow joiners, killed readers, random streams."""

import pytest

from actors.kernel.streams import stream
from tests.conformance.world import fields, probe, times


def test_timers_fire_in_order_and_not_after_cancel(world):
    world.start([probe("t", "timers")])
    decisions = world.run(5, times("fired", 3))
    decisions = world.run(0.1)
    assert fields(decisions, "fired") == [(100, "t"), (200, "t"), (300, "t")]
    assert fields(decisions, "too early") == []


def test_a_foreign_awaitable_is_refused_and_the_actor_goes_on(world):
    world.start([probe("f", "foreign")])
    decisions = world.run(2, times("went on", 1))
    assert fields(decisions, "refused") == [("nap",), ("sleep",), ("yield",)]
    assert len(fields(decisions, "went on")) == 1


def test_a_spawned_actor_lives_until_it_is_stopped(world):
    child = {"name": "c", "builder": "tests.conformance.probes:echo", "config": {}}
    world.start([probe("p", "parent", child=child)])
    decisions = world.run(4, times("silent", 1))
    assert fields(decisions, "started", "c") == [(1,)]
    assert fields(decisions, "met") == [()]
    assert fields(decisions, "silent") == [()]
    assert fields(decisions, "still there") == []


def test_an_actor_that_stops_itself_ends_after_the_message_being_received(world):
    world.start([probe("q", "quitter", to="c"), probe("c", "collector"), probe("s", "sender", to=["q", "c"], count=30)])
    decisions = world.run(1.5, lambda found: len(fields(found, "got", "c")) == 34)
    assert [n for n, _ in fields(decisions, "got", "q")] == [1, 2, 3]
    assert fields(decisions, "went on") == []
    assert [n for n, who in fields(decisions, "got", "c") if who == "q"] == [1, 2, 3]


def test_a_crashed_actor_is_silent_until_its_next_incarnation(world):
    world.start([probe("e", "echo"), probe("a", "asker", to=["e"], count=10_000, timeout_s=0.1, patient=True)])
    world.run(2, times("answered", 5))
    world.crash("e")
    before = world.run(0.5, times("timed out", 2))
    assert len(fields(before, "timed out")) >= 2
    world.restart("e")
    decisions = world.run(3, times("answered", len(fields(before, "answered")) + 5))
    assert fields(decisions, "started", "e") == [(1,), (2,)]
    answered = [n for n, _, _ in fields(decisions, "answered")]
    assert answered == list(range(1, len(answered) + 1))
    assert len(answered) > len(fields(before, "answered"))


def test_nothing_of_a_life_runs_after_its_crash(world):
    world.start([probe("c", "collector"), probe("b", "beater", to="c")])
    world.run(2, times("got", 5))
    world.crash("b")
    world.run(0.1)
    silent = len(fields(world.run(0), "got"))
    assert len(fields(world.run(0.2), "got")) == silent
    world.restart("b")
    decisions = world.run(3, times("got", silent + 5))
    beats = [n for n, _ in fields(decisions, "got")]
    assert beats == [1] * silent + [2] * (len(beats) - silent)
    assert 2 in beats


def test_a_supervisor_hears_of_a_kill_and_starts_the_next_incarnation(world):
    asker = probe("a", "asker", to=["e"], count=10_000, timeout_s=0.1, patient=True)
    world.start([probe("o", "overseer", revives="echo"), probe("e", "echo"), asker], supervisor="o")
    world.run(3, times("answered", 5))
    world.crash("e")
    dead = world.run(3, times("died", 1))
    decisions = world.run(3, times("answered", len(fields(dead, "answered")) + 5))
    assert fields(decisions, "died") == [("e", 1)]
    assert fields(decisions, "started") == [(1,), (2,)]
    assert len(fields(decisions, "answered")) >= len(fields(dead, "answered")) + 5


@pytest.mark.parametrize("where", ["builder", "receive", "task"])
def test_an_actor_that_raises_dies_and_its_supervisor_hears_why(world, where):
    world.start([probe("o", "overseer"), probe("f", "faller", where=where), probe("c", "collector")], supervisor="o")
    decisions = world.run(3, times("reason", 1))
    assert fields(decisions, "died") == [("f", 1)]
    assert f"in {where}" in fields(decisions, "reason")[0][0]


def test_a_supervisor_hears_of_an_actor_that_stopped_itself(world):
    quitter = probe("q", "quitter", to="c")
    sender = probe("s", "sender", to=["q"], count=5)
    world.start([probe("o", "overseer"), quitter, sender, probe("c", "collector")], supervisor="o")
    decisions = world.run(3, times("died", 1))
    assert fields(decisions, "died") == [("q", 1)]


def test_a_paused_actor_does_nothing_and_goes_on_where_it_was(world):
    world.start([probe("c", "collector"), probe("b", "beater", to="c"), probe("e", "echo")])
    world.run(2, times("got", 5))
    world.pause("b")
    world.run(0.1)
    paused = len(fields(world.run(0), "got"))
    assert len(fields(world.run(0.3), "got")) == paused
    world.unpause("b")
    assert len(fields(world.run(1, times("got", paused + 5)), "got")) >= paused + 5


def test_messages_to_a_paused_actor_wait_in_order(world):
    world.start([probe("c", "collector"), probe("s", "sender", to=["c"], count=100, burst=1)])
    world.run(2, times("got", 5))
    world.pause("c")
    world.run(2, times("sent", 100))
    assert len(fields(world.run(0.1), "got")) < 50
    world.unpause("c")
    decisions = world.run(2, times("got", 100))
    assert [n for n, _ in fields(decisions, "got")] == list(range(1, 101))


def test_a_slow_joiner_gets_each_message_at_most_once_and_every_ask_in_the_end(world):
    child = {"name": "late", "builder": "tests.conformance.probes:collector", "config": {}}
    world.start(
        [
            probe("p", "parent", child=child, after_s=0.5, stops=False),
            probe("s", "sender", to=["late"], count=100, burst=1, blind=True),
            probe("m", "sender", to=["late"], count=5),
        ]
    )
    decisions = world.run(3, lambda found: sum(who == "m" for _, who in fields(found, "got")) == 5)
    early = [n for n, who in fields(decisions, "got") if who == "s"]
    assert early == sorted(set(early))
    assert [n for n, who in fields(decisions, "got") if who == "m"] == [1, 2, 3, 4, 5]


def test_asks_to_an_actor_that_is_not_there_yet_time_out_and_are_retried(world):
    child = {"name": "late", "builder": "tests.conformance.probes:echo", "config": {}}
    world.start(
        [
            probe("p", "parent", child=child, after_s=0.5, stops=False),
            probe("a", "asker", to=["late"], timeout_s=0.1, patient=True, blind=True),
        ]
    )
    decisions = world.run(3, times("answered", 1))
    assert len(fields(decisions, "timed out")) >= 2
    assert fields(decisions, "answered") == [(1, 1, "late")]


def test_a_killed_reader_loses_nothing_that_it_acknowledged(world, tmp_path):
    keeper = probe("k", "keeper", {"disk": "tests.conformance.probes:Disk"}, path=str(tmp_path / "numbers"))
    askers = [probe(name, "asker", to=["k"], count=20, timeout_s=0.15, patient=True) for name in ("a", "b")]
    world.start([keeper, *askers])
    for kills, goal in enumerate((8, 20, 40), start=1):
        world.run(3, times("answered", goal))
        world.crash("k")
        answered = {n for n, _, _ in fields(world.run(0.05), "answered")}
        world.restart("k")
        held = fields(world.run(3, times("holds", kills + 1)), "holds")[kills]
        assert answered <= set(held)
    assert answered == set(range(1, 21))


def test_the_result_of_a_task_arrives_as_a_message_of_the_actor_itself(world):
    world.start([probe("n", "nester", {"parrot": "tests.conformance.probes:Parrot"})])
    results = [who for _, kind, who in fields(world.run(2, times("depth", 51)), "depth") if kind == "Met"]
    assert results == ["n"] * 10


def test_streams_are_one_per_purpose_actor_incarnation_and_seed(world):
    world.start([probe("d", "drawer", between=0), probe("x", "drawer", between=3)], seed=5)
    decisions = world.run(2, times("drew", 2))

    def expected(actor):
        drawn = stream(5, actor, 1, "a")
        return [tuple(drawn.getrandbits(40) for _ in range(4))]

    assert fields(decisions, "drew", "d") == expected("d")
    assert fields(decisions, "drew", "x") == expected("x")
    assert expected("d") != expected("x")
