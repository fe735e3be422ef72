"""The evaluator goes on to another version where one cannot be read, and dies where its engine does."""

import pytest

from actors.evaluator import MOST_DIFFICULTIES, Evaluator, EvaluatorConfig, Ports, Problem, by_difficulty
from actors.messages import Evaluated, LearnerState
from actors.roster import Beat, Pace, Roster
from buffers.segment import Ghost, Segment
from policies.engine import EngineFailed, Installed, InstallFailed, SegmentDone
from rewards.reward import Scored
from tests.unit.actors.scene import Scene


class Engine:
    """Notes what it is told to install, and the jobs that it is given."""

    def __init__(self):
        self.installs = []
        self.jobs = []

    def install(self, version, source):
        self.installs.append((version, source))
        self.jobs.clear()

    def submit(self, job):
        self.jobs.append(job)

    def forget(self, trajectory):
        pass


class Reward:
    """Scores nothing by itself."""

    def score(self, job):
        pass


def evaluator(**config):
    engine = Engine()
    problems = (Problem(Ghost(3, 1), "7"),)
    roster = Roster(supervisor="supervisor")
    return Scene(Evaluator(roster, Pace(), EvaluatorConfig(**config), problems, Ports(engine, Reward()))), engine


def answer_all(scene, engine):
    """The version is installed, and each of its problems answered and scored."""
    version = engine.installs[-1][0]
    scene.receive(Installed(version, 0.0))
    for job in list(engine.jobs):
        segment = Segment(0, Ghost(2, 1), ((version, 2),), ((1, 2),), "stop")
        scene.receive(SegmentDone(job.trajectory, version, segment))
        scene.receive(Scored(job.trajectory, version, {"outcome": 1.0}, 0.0))


def reports(scene):
    """(version, whether it has pass8, final) of each word to the supervisor."""
    return [(one.version, "pass8" in one.results, one.final) for one in scene.sent(Evaluated)]


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


def test_the_last_version_is_evaluated_with_all_samples_also_where_it_was_evaluated_before():
    scene, engine = evaluator(every=2)
    told_of(scene, 0)
    answer_all(scene, engine)
    told_of(scene, 2)
    answer_all(scene, engine)
    assert reports(scene) == [(0, True, False), (2, False, False)]
    told_of(scene, 2)
    assert len(engine.installs) == 2
    told_of(scene, 2, finished=True)
    assert engine.installs[2:] == [(2, "file:v2")]
    scene.receive(Beat())
    assert reports(scene)[-1] == (2, False, False)
    answer_all(scene, engine)
    assert reports(scene)[-1] == (2, True, True)
    told_of(scene, 2, finished=True)
    assert len(engine.installs) == 3


def test_a_version_that_was_evaluated_with_all_samples_before_the_run_ended_is_called_final():
    scene, engine = evaluator()
    told_of(scene, 0)
    answer_all(scene, engine)
    told_of(scene, 0, finished=True)
    assert reports(scene) == [(0, True, False), (0, True, True)]
    assert len(engine.installs) == 1


def test_a_version_with_which_the_run_ends_while_it_is_evaluated_is_called_final():
    scene, engine = evaluator()
    told_of(scene, 0)
    told_of(scene, 0, finished=True)
    answer_all(scene, engine)
    assert reports(scene) == [(0, True, True)]


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
