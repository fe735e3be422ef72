"""The rewarder's end: it leaves as soon as it holds nothing, whatever took the last of it away."""

from actors.messages import DropJobs, Score, Stopped, StopRun
from actors.rewarder import Rewarder
from actors.roster import Pace, Roster
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
