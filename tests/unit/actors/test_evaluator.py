"""The evaluator goes on to another version where one cannot be read, and dies where its engine does."""

import pytest

from actors.evaluator import MOST_DIFFICULTIES, Evaluator, EvaluatorConfig, Ports, Problem, by_difficulty
from actors.messages import LearnerState
from actors.roster import Pace, Roster
from buffers.segment import Ghost
from policies.engine import EngineFailed, InstallFailed
from tests.unit.actors.scene import Scene


class Engine:
    """Notes what it is told to install."""

    def __init__(self):
        self.installs = []

    def install(self, version, source):
        self.installs.append((version, source))


def evaluator():
    engine = Engine()
    problems = (Problem(Ghost(3, 1), "7"),)
    return Scene(Evaluator(Roster(), Pace(), EvaluatorConfig(), problems, Ports(engine, None))), engine


def told_of(scene, version, finished=False):
    scene.receive(LearnerState(version, "ring", version, f"file:v{version}", finished), "learner")


def test_a_version_that_is_gone_before_it_is_read_is_left_for_the_next():
    scene, engine = evaluator()
    told_of(scene, 6)
    told_of(scene, 14, finished=True)
    assert engine.installs == [(6, "file:v6")]
    scene.receive(InstallFailed(6, "there are no weights"))
    told_of(scene, 14, finished=True)
    assert engine.installs == [(6, "file:v6"), (14, "file:v14")]


def test_a_failed_engine_takes_the_evaluator_with_it():
    scene, _ = evaluator()
    told_of(scene, 6)
    with pytest.raises(RuntimeError, match="out of memory"):
        scene.receive(EngineFailed("out of memory"))


def test_accuracy_by_difficulty_counts_greedy_and_sampled_answers_apart():
    difficulties = [7.0, 3.0, 7.0]
    outcomes = {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0, 4: 0.0, 5: 0.0, 6: 1.0, 7: 1.0, 8: 1.0}
    assert list(by_difficulty(outcomes, difficulties, 3).items()) == [
        (3.0, {"n": 1.0, "greedy": 0.0, "sampled": 0.0}),
        (7.0, {"n": 2.0, "greedy": 1.0, "sampled": 0.75}),
    ]
    assert by_difficulty(outcomes, [3.0] * 3, 3) == {}
    many = range(MOST_DIFFICULTIES + 1)
    assert by_difficulty(dict.fromkeys(many, 1.0), list(many), 1) == {}
