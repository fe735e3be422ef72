"""The controller's book: what a late or doubtful word of a worker may change, and what only replay can say."""

import pytest

from actors.controller import Controller
from actors.kernel.context import Answer
from actors.kernel.operations import ns
from actors.messages import (
    Declined,
    Dispatch,
    GeneratorState,
    Reassign,
    Released,
    RewarderState,
    Score,
    Settled,
    TakeSnapshot,
)
from actors.roster import Pace, Roster
from actors.schedules.schedule import Schedule, ScheduleConfig
from buffers.answers import Ledger, MemberView, Reassigned, Snapshot
from tests.unit.actors.scene import Scene

NOTHING = Ledger(0, 0, 0, 0, 0, 0, 0, 0, 0)


def member(trajectory=1, attempt=1, length=0, state="running"):
    return MemberView(trajectory, 1, 0, 7, 4, attempt, length, 0 if length else -1, state)


def controller_with(*members):
    """A controller whose snapshot held these; generators and a rewarder have said that they hold nothing."""
    scene = Scene(Controller(Roster(supervisor=""), Pace(), Schedule(ScheduleConfig(batch=16, group=2)), 1))
    scene.receive(Answer("replay", TakeSnapshot(1), Snapshot(1, 0, members, NOTHING)))
    scene.receive(GeneratorState(0, 0, 4, ()), sender="g0")
    scene.receive(RewarderState(0, ()), sender="r0")
    scene.fire("Settle")
    return scene


def lost(scene, sender, state):
    """The worker's heartbeats no longer name what it holds."""
    for _ in range(2):
        scene.now += ns(Pace().heartbeat_s)
        scene.receive(state, sender=sender)


def test_what_a_worker_lacks_twice_within_one_period_is_still_on_its_way():
    """It tells its state at an installation too; a dispatch may be under way between that and the heartbeat."""
    scene = controller_with(member(attempt=3, length=8))
    scene.receive(Answer("replay", Reassign(1, 1, 3), Reassigned(member(attempt=4, length=8))))
    scene.now += ns(Pace().heartbeat_s)
    for _ in range(2):
        scene.receive(GeneratorState(1, 0, 4, ()), sender="g0")
        scene.now += 1_000_000
    assert scene.asked(Reassign) == [Reassign(1, 1, 3)]


def test_what_nobody_holds_after_a_snapshot_is_reassigned_and_dispatched():
    scene = controller_with(member(attempt=3, length=8))
    assert scene.asked(Reassign) == [Reassign(1, 1, 3)]
    scene.receive(Answer("replay", Reassign(1, 1, 3), Reassigned(member(attempt=4, length=8))))
    (sent,) = scene.sent(Dispatch)
    assert (sent.assignments[0].attempt, sent.assignments[0].length) == (4, 8)


@pytest.mark.parametrize("word", [Settled(1, 4, 0, False), Settled(1, 4, 5, False)])
def test_a_worker_cannot_settle_what_is_being_asked_about(word):
    scene = controller_with(member(attempt=3, length=8))
    scene.receive(Answer("replay", Reassign(1, 1, 3), Reassigned(member(attempt=4, length=8))))
    lost(scene, "g0", GeneratorState(1, 0, 4, ()))
    assert scene.asked(Reassign)[-1] == Reassign(1, 1, 4)
    scene.receive(word, sender="g0")
    scene.receive(Answer("replay", Reassign(1, 1, 4), Reassigned(member(attempt=5, length=8))))
    assert scene.sent(Score) == []
    assert scene.sent(Dispatch)[-1].assignments[0].attempt == 5


def test_what_is_being_asked_about_is_not_left_with_a_worker_that_still_names_it():
    scene = controller_with(member(attempt=3, length=8))
    scene.receive(Answer("replay", Reassign(1, 1, 3), Reassigned(member(attempt=4, length=8))))
    lost(scene, "g0", GeneratorState(1, 0, 4, ()))
    scene.receive(GeneratorState(1, 0, 4, ((1, 4),)), sender="g0")
    scene.receive(Answer("replay", Reassign(1, 1, 4), Reassigned(member(attempt=5, length=8))))
    assert scene.sent(Dispatch)[-1].assignments[0].attempt == 5


def test_a_refused_score_is_asked_about_and_not_forgotten():
    scene = controller_with(member(attempt=3, length=8, state="ended"))
    scene.receive(Answer("replay", Reassign(1, 1, 3), Reassigned(member(attempt=4, length=8, state="ended"))))
    assert scene.sent(Score)[-1].attempt == 4
    scene.receive(Declined(1, 4, "stale attempt"), sender="r0")
    assert scene.asked(Reassign)[-1] == Reassign(1, 1, 4)


def test_an_ended_trajectory_goes_to_a_rewarder_once():
    scene = controller_with(member(attempt=3, length=8))
    scene.receive(Answer("replay", Reassign(1, 1, 3), Reassigned(member(attempt=4, length=8))))
    for _ in range(2):
        scene.receive(Released(1, 5, 12, 0, "ended"), sender="g0")
    assert [one.attempt for one in scene.sent(Score)] == [5]
