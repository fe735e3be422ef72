"""The supervisor's patience: with who was heard, and with who has only just been started."""

import pytest

from actors.kernel.context import ActorSpec, Started
from actors.kernel.operations import ns
from actors.kernel.supervision import RestartPolicy
from actors.messages import Alive
from actors.roster import Pace, Roster
from actors.supervisor import Supervisor
from tests.unit.actors.scene import Scene

GENERATOR = "generator-0"


def started(**pace):
    spec = ActorSpec(GENERATOR, "tests:nobody", {})
    scene = Scene(Supervisor(Roster(), Pace(**pace), (spec,), RestartPolicy()))
    scene.spawn = lambda spec, incarnation: None
    scene.receive(Started(1))
    return scene


def hung_at(scene, seconds):
    """Whether a beat at this time finds the generator hanging."""
    scene.now = ns(seconds)
    scene.fire("Beat")
    return ("hang", GENERATOR) in scene.decisions


@pytest.mark.parametrize(("hang_s", "start_s", "patience_s"), [(30.0, 120.0, 120.0), (30.0, 0.0, 30.0)])
def test_a_process_that_still_imports_is_not_taken_for_a_hanging_one(hang_s, start_s, patience_s):
    scene = started(hang_s=hang_s, start_s=start_s)
    assert not hung_at(scene, patience_s - 1)
    assert hung_at(scene, patience_s + 1)


def test_once_heard_an_actor_is_killed_after_its_silence():
    scene = started(hang_s=30.0, start_s=120.0)
    scene.now = ns(5.0)
    scene.receive(Alive(), GENERATOR)
    assert not hung_at(scene, 34.0)
    assert hung_at(scene, 36.0)
