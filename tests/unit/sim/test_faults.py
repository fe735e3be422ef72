"""Verbs as data."""

import msgspec
import pytest

from actors.kernel.operations import NS
from actors.messages import ActorDied
from buffers.errors import ContractError
from sim.faults import DRAWN_VERBS, Act, FaultPlan, draw_plan
from sim.world import VirtualWorld, WorldConfig
from tests.conformance import probes
from tests.conformance.world import fields, probe

ACTORS = ("a", "b", "c")


def asking(*acts, seconds=3.0, **config):
    """A patient asker and an echo under a plan; when each answer came, in tenths of a second."""
    world = VirtualWorld(probes.KINDS, seed=2)
    asker = probe("a", "asker", to=["e"], count=100_000, timeout_s=0.05, patient=True)
    world.start([probe("e", "echo", hold_s=0.001), asker])
    FaultPlan(acts).apply(world)
    world.run(seconds)
    answered = [found.at_ns * 10 // NS for found in world.decisions if found.kind == "answered"]
    return world, {tenth: answered.count(tenth) for tenth in range(int(seconds * 10))}


def silent(tenths):
    return [tenth for tenth, count in tenths.items() if count == 0]


@pytest.mark.parametrize(
    "act",
    [
        Act(NS, "drop", "e", for_ns=NS),
        Act(NS, "drop", "a->e", for_ns=NS),
        Act(NS, "delay", "e->a", span_ns=NS // 10, for_ns=NS),
        Act(NS, "partition", "e", for_ns=NS),
        Act(NS, "crash", "e", for_ns=NS),
        Act(NS, "pause", "e", for_ns=NS),
        Act(NS, "slow", "e", span_ns=NS // 10, for_ns=NS),
    ],
    ids=lambda act: f"{act.verb} {act.target}",
)
def test_a_fault_silences_the_echo_for_its_time_and_no_longer(act):
    _, tenths = asking(act)
    assert silent(tenths) == list(range(10, 20)) or silent(tenths) == list(range(11, 20))


def test_a_fault_without_an_end_stays_until_it_is_healed():
    for verb, target in (("drop", "a->e"), ("pause", "e"), ("partition", "e")):
        _, tenths = asking(Act(NS, verb, target), Act(2 * NS, "heal", target))
        assert silent(tenths)[-9:] == list(range(11, 20)), verb
        _, tenths = asking(Act(NS, verb, target), Act(2 * NS, "heal", "*"))
        assert silent(tenths)[-9:] == list(range(11, 20)), verb
        _, tenths = asking(Act(NS, verb, target))
        assert silent(tenths)[-19:] == list(range(11, 30)), verb


def test_a_crash_without_an_end_waits_for_a_restart():
    world, tenths = asking(Act(NS, "crash", "e"), Act(2 * NS, "restart", "e"))
    assert silent(tenths) == list(range(10, 20))
    assert fields(world.decisions, "started") == [(1,), (2,)]


def test_the_end_of_a_crash_does_not_restart_the_living():
    world, _ = asking(Act(NS, "crash", "e", for_ns=NS), Act(NS * 3 // 2, "restart", "e"))
    assert fields(world.decisions, "started") == [(1,), (2,)]


def test_the_end_of_a_crash_leaves_the_restart_to_a_supervisor():
    for supervisor, starts in (("", [(1,), (2,)]), ("a", [(1,)])):
        world = VirtualWorld([*probes.KINDS, ActorDied], config=WorldConfig(supervisor=supervisor))
        world.start([probe("e", "echo"), probe("a", "drawer", between=0)])
        FaultPlan((Act(NS, "crash", "e", for_ns=NS),)).apply(world)
        world.run(3)
        assert fields(world.decisions, "started") == starts


def test_duplicates_and_reordering_are_harmless_to_asks():
    world, tenths = asking(Act(0, "duplicate", "*", share=0.5), Act(0, "reorder", "*", span_ns=NS // 100))
    assert silent(tenths) == []
    answered = [n for n, _, _ in fields(world.decisions, "answered")]
    assert answered == list(range(1, len(answered) + 1))
    assert len(fields(world.decisions, "asked")) > len(answered) * 1.3


def test_a_plan_names_the_actor_that_does_not_exist():
    with pytest.raises(ContractError, match="no actor 'z' was ever started"):
        asking(Act(0, "crash", "z"))


def test_drawn_plans_follow_their_seed_and_end_before_the_horizon():
    plans = [draw_plan(seed, ACTORS, 10 * NS, 12) for seed in range(50)]
    assert plans == [draw_plan(seed, ACTORS, 10 * NS, 12) for seed in range(50)]
    assert len({str(plan) for plan in plans}) == 50
    acts = [act for plan in plans for act in plan.acts]
    assert {act.verb for act in acts} == set(DRAWN_VERBS)
    assert all(act.for_ns > 0 and act.at_ns + act.for_ns <= 10 * NS for act in acts)
    assert all(plan.acts == tuple(sorted(plan.acts, key=lambda act: act.at_ns)) for plan in plans)


def test_a_longer_plan_holds_the_acts_of_a_shorter_one():
    assert set(draw_plan(7, ACTORS, NS, 5).acts) < set(draw_plan(7, ACTORS, NS, 9).acts)


def test_only_the_verbs_asked_for_are_drawn():
    assert {act.verb for act in draw_plan(1, ACTORS, NS, 30, ["crash", "pause"]).acts} == {"crash", "pause"}


def test_a_plan_is_data():
    plan = draw_plan(3, ACTORS, NS, 8)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=FaultPlan) == plan


def test_a_plan_reads_as_one_line_an_act():
    plan = FaultPlan((Act(NS // 2, "drop", "a->e", share=0.25, for_ns=NS), Act(NS, "crash", "e")))
    assert str(plan) == "0.5 s: drop a->e, share 0.25, for 1 s\n1 s: crash e"
    assert str(FaultPlan()) == "no faults"
