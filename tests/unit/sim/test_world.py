"""What the virtual world adds to the contract of all worlds: faults, ports, deaths, bounded inboxes, hooks, digest."""

import pytest

from actors.kernel.context import ActorSpec
from actors.messages import ActorDied
from buffers.errors import ContractError, UsageError
from sim.network import Link
from sim.world import VirtualWorld, WorldConfig
from tests.conformance import probes
from tests.conformance.world import fields, probe

HERE = "tests.unit.sim.test_world"


def world_of(*specs, seed=0, ports=None, **config):
    world = VirtualWorld([*probes.KINDS, ActorDied], seed, WorldConfig(**config), ports)
    world.start(specs)
    return world


def here(name, kind, ports=None, **config):
    return ActorSpec(name, f"{HERE}:{kind}", config, ports=ports or {})


class Owner:
    """Holds a port."""

    def __init__(self, spec, shop, emit):
        self.port = shop.open("thing", spec, emit)

    def receive(self, message, context):
        context.decide(type(message).__name__, getattr(message, "n", 0))

    def close(self):
        self.port.close()


class Thing:
    """A port that emits in its constructor, then every 100 ms, and notes how it ends."""

    ends: list[str] = []  # noqa: RUF012

    def __init__(self, config, emit, clock):
        self.emit, self.clock, self.n = emit, clock, config.get("from", 0)
        self.lost = False
        self._beat(None)

    def _beat(self, _):
        self.emit(probes.Tick(self.n))
        self.n += 1
        self.timer = self.clock.call_later(100_000_000, self._beat, None)

    def crash(self):
        self.lost = True
        self.emit(probes.Tick(-1))
        Thing.ends.append("crash")

    def close(self):
        self.clock.cancel(self.timer)
        self.emit(probes.Tick(-2))
        assert self.clock.call_later(0, self.emit, probes.Tick(-3)) is None
        Thing.ends.append("close after crash" if self.lost else "close")


owner = Owner


def test_an_ask_takes_the_latency_of_both_links():
    world = world_of(
        probe("e", "echo"), probe("a", "asker", to=["e"], blind=True),
        link=Link(latency_ns=1_000), links={"e->a": Link(latency_ns=50_000)},
    )  # fmt: skip
    world.run(1)
    assert [found.at_ns for found in world.decisions if found.kind == "answered"] == [51_000]


def test_the_start_of_an_actor_takes_its_time_and_a_stop_before_it_cancels_it():
    world = world_of(probe("c", "collector"), probe("d", "collector"), spawn_ns=5_000)
    world.stop("d")
    world.run(1)
    assert [(found.actor, found.at_ns) for found in world.decisions] == [("c", 5_000)]
    assert world.alive == ["c"]


def test_the_inbox_of_a_paused_actor_is_bounded_and_the_overflow_is_counted():
    world = world_of(probe("c", "collector"), probe("s", "sender", to=["c"], count=100, blind=True), mailbox=10)
    world.run(0)
    world.pause("c")
    world.run(1)
    assert (len(world.place("c").inbox), world.place("c").overflow) == (10, 90)
    world.unpause("c")
    world.run(1)
    assert [n for n, _ in fields(world.decisions, "got")] == list(range(1, 11))


def test_a_death_takes_the_inbox_with_it():
    world = world_of(probe("c", "collector"), probe("s", "sender", to=["c"], count=400, burst=1, blind=True))
    world.run(0)
    world.pause("c")
    world.run(1)
    waiting = len(world.place("c").inbox)
    assert waiting > 100
    world.restart("c")
    world.run(2)
    assert [n for n, _ in fields(world.decisions, "got")] == list(range(waiting + 1, 401))


def test_a_slow_actor_takes_its_time_for_each_message_in_order():
    world = world_of(
        probe("c", "collector"), probe("s", "sender", to=["c"], count=5, burst=5, blind=True), link=Link(latency_ns=0)
    )
    world.run(0, until=lambda world: "c" in world.alive)
    world.slow("c", 1_000_000)
    world.run(1)
    got = [(found.at_ns, found.fields[0]) for found in world.decisions if found.kind == "got"]
    assert got == [(n * 1_000_000, n) for n in range(1, 6)]


def test_an_actor_that_is_slow_no_more_still_takes_its_inbox_in_order():
    world = world_of(probe("c", "collector"), probe("s", "sender", to=["c"], count=50, burst=5, blind=True))
    world.run(0)
    world.slow("c", 3_000_000)
    world.run(0.02)
    world.slow("c", 0)
    world.run(1)
    assert [n for n, _ in fields(world.decisions, "got")] == list(range(1, 51))


def test_messages_to_nobody_are_lost_and_counted():
    world = world_of(probe("s", "sender", to=["nobody"], count=9, blind=True))
    world.run(1)
    assert world.lost == 9


@pytest.mark.parametrize("where", ["builder", "receive", "task"])
def test_an_actors_exception_ends_the_run_by_default(where):
    with pytest.raises(ValueError, match=f"in {where}"):
        world_of(probe("f", "faller", where=where)).run(1)


@pytest.mark.parametrize("where", ["builder", "receive", "task"])
def test_an_actors_exception_can_be_its_death_that_the_supervisor_hears_of(where):
    world = world_of(
        probe("w", "overseer"),
        probe("f", "faller", where=where),
        probe("c", "collector"),
        errors="death",
        supervisor="w",
    )
    world.run(1)
    assert fields(world.decisions, "died") == [("f", 1)]
    assert fields(world.decisions, "reason") == [(f"ValueError: in {where}",)]
    assert world.alive == ["w", "c"]


def test_a_broken_invariant_is_nobodys_death():
    world = world_of(probe("c", "collector"), errors="death")
    world.after_event = lambda world: 1 / 0
    with pytest.raises(ZeroDivisionError):
        world.run(1)


def test_the_invariant_hook_runs_after_every_event():
    world = world_of(probe("e", "echo"), probe("a", "asker", to=["e"], count=3))
    times = []
    world.after_event = lambda world: times.append(world.now)
    world.run(1, until=lambda world: len(fields(world.decisions, "answered")) == 3)
    assert len(times) == 10  # two starts, four asks, four replies
    assert times == sorted(times)


def test_a_supervisor_restarts_what_was_killed():
    world = world_of(probe("w", "overseer", revives="echo"), probe("e", "echo"), supervisor="w")
    world.run(0.1)
    world.crash("e")
    world.run(0.1)
    assert fields(world.decisions, "died") == [("e", 1)]
    assert fields(world.decisions, "started", "e") == [(1,), (2,)]


def test_killing_the_dead_does_nothing():
    world = world_of(probe("w", "overseer"), probe("e", "echo"), supervisor="w")
    world.run(0.1)
    world.crash("e")
    world.crash("e")
    world.run(0.1)
    assert len(fields(world.decisions, "died")) == 1


def test_an_incarnation_that_does_not_follow_is_refused():
    world = world_of(probe("e", "echo"))
    world.run(0.1)
    with pytest.raises(ContractError, match="e: incarnation 1 does not follow 1"):
        world.spawn(probe("e", "echo"), 1)


def test_an_unknown_actor_is_named_with_those_known():
    world = world_of(probe("e", "echo"), probe("s", "sender", to=["nobody"], blind=True))
    world.run(0.1)
    for verb in (world.crash, world.restart, world.pause, world.unpause):
        with pytest.raises(ContractError, match="no actor 'nobody' was ever started here; known are e, s"):
            verb("nobody")


def test_a_crash_reaches_the_ports_and_silences_them():
    Thing.ends.clear()
    world = world_of(here("o", "owner", {"thing": f"{HERE}:Thing"}))
    world.run(0.25)
    assert fields(world.decisions, "Started") == [(0,)]
    assert fields(world.decisions, "Tick") == [(0,), (1,), (2,)]
    world.crash("o")
    world.run(1)
    assert Thing.ends == ["crash", "close after crash"]
    assert fields(world.decisions, "Tick") == [(0,), (1,), (2,)]


def test_a_port_that_cancels_nothing_is_not_called_after_a_crash():
    opened = []

    class Careless(Thing):
        def close(self):
            opened.append(self)

    world = world_of(here("o", "owner", {"thing": "the.real:Thing"}), ports={"the.real:Thing": Careless})
    world.run(0.25)
    world.crash("o")
    world.run(1)
    assert [port.n for port in opened] == [3]
    assert len(world.kernel) == 0


def test_an_orderly_stop_closes_the_ports():
    Thing.ends.clear()
    world = world_of(here("o", "owner", {"thing": f"{HERE}:Thing"}))
    world.run(0.05)
    world.stop("o")
    world.run(1)
    assert Thing.ends == ["close"]
    assert fields(world.decisions, "Tick") == [(0,)]


def test_a_port_is_replaced_by_name_or_by_a_callable():
    def later(config, emit, clock):
        return Thing({"from": 70}, emit, clock)

    for maker in (later, f"{HERE}:Thing"):
        world = world_of(here("o", "owner", {"thing": "the.real:Thing"}), ports={"the.real:Thing": maker})
        world.run(0.15)
        first = 70 if maker is later else 0
        assert fields(world.decisions, "Tick") == [(first,), (first + 1,)]
    with pytest.raises(UsageError, match=r"there is no module 'the'"):
        world_of(here("o", "owner", {"thing": "the.real:Thing"})).run(0.1)


def test_a_port_that_the_spec_lacks_is_named():
    with pytest.raises(ContractError, match=r"o: no port 'thing' in its spec \(there: other\)"):
        world_of(here("o", "owner", {"other": "a:b"})).run(0.1)


def test_a_paused_ports_clock_stands_still():
    world = world_of(here("o", "owner", {"thing": f"{HERE}:Thing"}))
    world.run(0.25)
    world.pause("o")
    world.run(1)
    assert len(fields(world.decisions, "Tick")) == 3
    world.unpause("o")
    world.run(0.09)
    assert fields(world.decisions, "Tick") == [(0,), (1,), (2,), (3,)]


def test_the_dead_are_not_paused_and_a_restart_ends_a_pause():
    world = world_of(probe("c", "collector"), probe("b", "beater", to="c"))
    world.run(0.1)
    world.pause("b")
    world.crash("b")
    world.pause("b")
    world.restart("b")
    world.run(0.1)
    assert (2, "b") in fields(world.decisions, "got")


def test_a_task_is_closed_when_its_actor_dies():
    world = world_of(probe("c", "collector"), probe("b", "beater", to="c"))
    world.run(0.5)
    tasks = list(world.cell("b")._tasks)
    world.crash("b")
    assert [task.cr_frame for task in tasks] == [None]


def test_an_answered_ask_leaves_no_timeout_behind():
    world = world_of(probe("e", "echo"), probe("a", "asker", to=["e"], count=500, timeout_s=1e6))
    world.run(1)
    assert len(fields(world.decisions, "answered")) == 500
    assert len(world.kernel) == 0


def test_notes_carry_time_and_actor():
    class Noter:
        def receive(self, message, context):
            context.note("depth", 2.5)

    world = VirtualWorld(probes.KINDS)
    world.spawn(ActorSpec("n", "tests.unit.sim.test_world:noting", {}), 1)
    noting.actor = Noter()
    world.run(0.1)
    assert world.notes == [(0, "n", "depth", 2.5)]


def noting(spec, shop, emit):
    return noting.actor


def test_the_digest_covers_decisions_as_well_as_events():
    def digest(seed):
        world = world_of(probe("d", "drawer", between=0), seed=seed)
        world.run(1)
        return world.digest

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)
    assert digest(1)[:16] == digest(2)[:16]
