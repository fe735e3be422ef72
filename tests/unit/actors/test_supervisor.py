"""The supervisor's patience with who was heard or has only just been started, and when it ends the run."""

import pytest

from actors.kernel.context import ActorSpec, Started
from actors.kernel.operations import ns
from actors.kernel.supervision import RestartPolicy
from actors.messages import Alive, Evaluated, LearnerState
from actors.roster import Pace, Roster
from actors.supervisor import Supervisor, is_finished
from tests.unit.actors.scene import Scene

GENERATOR = "generator-0"


def started(evaluator="", **pace):
    spec = ActorSpec(GENERATOR, "tests:nobody", {})
    scene = Scene(Supervisor(Roster(evaluator=evaluator), Pace(**pace), (spec,), RestartPolicy()))
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


def told(version, finished=True, used_up=""):
    return LearnerState(version, "ring", version, "file", finished, used_up)


FINAL = Evaluated(3, {}, True)


@pytest.mark.parametrize("words", [(told(3), FINAL), (FINAL, told(3))])
def test_the_run_ends_when_its_last_version_is_known_and_evaluated_in_whichever_order(words):
    scene = started("evaluator")
    scene.receive(told(3, finished=False), "learner")
    scene.receive(Evaluated(3, {}, False), "evaluator")
    for word in words:
        assert scene.actor.outcome == ""
        scene.receive(word)
    assert scene.actor.outcome == "finished"


def test_an_evaluation_that_is_not_the_final_one_does_not_end_the_run():
    scene = started("evaluator")
    scene.receive(told(3), "learner")
    scene.receive(Evaluated(3, {}, False), "evaluator")
    scene.receive(Evaluated(2, {}, True), "evaluator")
    assert scene.actor.outcome == ""


@pytest.mark.parametrize(
    ("used_up", "outcome"), [("", "finished"), ("prompts", "finished"), ("signal", "finished: no signal left")]
)
def test_the_outcome_says_when_no_signal_was_left(used_up, outcome):
    scene = started()
    scene.receive(told(3, used_up=used_up), "learner")
    assert scene.actor.outcome == outcome
    assert is_finished(outcome)
    assert not is_finished("generator-0 died 3 times")
