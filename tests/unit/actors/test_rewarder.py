"""The rewarder's end: it leaves as soon as it holds nothing, whatever took the last of it away."""

from actors.messages import DropJobs, Notes, Score, Stopped, StopRun
from actors.rewarder import Rewarder
from actors.roster import Beat, Pace, Roster
from rewards.reward import Scored
from tests.unit.actors.scene import Scene


def test_a_stopping_rewarder_leaves_with_the_last_job_that_it_is_to_drop():
    scene = Scene(Rewarder(Roster(), Pace(), None))
    scene.receive(Score(1, 5, 2, 7, 16), sender="controller")
    scene.receive(StopRun("enough"), sender="supervisor")
    assert scene.sent(Stopped) == []
    scene.receive(DropJobs(1, (5,)), sender="controller")
    assert scene.sent(Stopped) == [Stopped()]
    assert ("stopped", "actor") in scene.decisions


def test_a_rewarder_that_goes_on_stays_when_all_its_jobs_are_dropped():
    scene = Scene(Rewarder(Roster(), Pace(), None))
    scene.receive(Score(1, 5, 2, 7, 16), sender="controller")
    scene.receive(DropJobs(1, (5,)), sender="controller")
    assert scene.sent(Stopped) == []


def test_a_reward_that_raises_or_is_killed_is_counted():
    scene = Scene(Rewarder(Roster(recorder="recorder"), Pace(), None))
    for trajectory, flag in ((5, {}), (6, {"raised": 1.0}), (7, {"killed": 1.0})):
        scene.receive(Score(1, trajectory, 2, 7, 16), sender="controller")
        scene.receive(Scored(trajectory, 2, {"outcome": 0.0} | flag, 0.1))
    scene.receive(Beat())
    rows = [row for notes in scene.sent(Notes) for row in notes.rows]
    assert [value for name, _, value in rows if name == "reward_failed"] == [1.0, 1.0]
