"""The generator's holds: what arrives out of order submits a job once, and stale caches are never continued."""

from actors.generator import Generator, Prefix
from actors.kernel.context import Answer
from actors.messages import Append, Assignment, Declined, Dispatch, FetchPrompt, LearnerState, PromptRecord
from actors.roster import Pace, Roster
from actors.schedules.schedule import ScheduleConfig
from buffers.answers import Refused
from buffers.segment import Ghost, Segment
from policies.engine import Installed, Job, Sampling, SegmentDone
from tests.unit.actors.scene import Scene


class Engine:
    """Notes what it is told."""

    slots = 4

    def __init__(self):
        self.told = []

    def submit(self, job):
        self.told.append(job)

    def abort(self, trajectory):
        self.told.append(("abort", trajectory))

    def install(self, version, source):
        self.told.append(("install", version))

    def forget(self, trajectory):
        self.told.append(("forget", trajectory))

    def jobs(self):
        return [one for one in self.told if isinstance(one, Job)]


def generator():
    """A generator that has installed version 0, and its engine."""
    engine = Engine()
    scene = Scene(Generator(Roster(supervisor=""), Pace(), ScheduleConfig(batch=16, group=2), Sampling(), engine))
    scene.receive(LearnerState(0, "here", -1, "", False), sender="learner")
    scene.receive(Installed(0, 0.0))
    return scene, engine


def dispatch(trajectory=1, attempt=1, length=0, prompt=7):
    return Dispatch(1, (Assignment(trajectory, attempt, prompt, length, 0, 16),))


def prompt_arrives(scene, prompt=7):
    scene.receive(Answer("replay", FetchPrompt(prompt), PromptRecord(prompt, Ghost(4, 0), "")))


def segment_done(scene, attempt, start=0, length=16):
    segment = Segment(start, Ghost(length, 5), ((0, length),), ((1, length),), "cut")
    scene.receive(SegmentDone(1, attempt, segment))
    return Append(1, attempt, segment)


def test_a_prompt_does_not_submit_what_waits_for_its_prefix():
    scene, engine = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    scene.receive(dispatch(attempt=2, length=16), sender="controller")
    prompt_arrives(scene)
    assert engine.jobs() == []
    scene.receive(Prefix(1, 2, Ghost(16, 0)))
    assert [(job.attempt, job.start) for job in engine.jobs()] == [(2, 16)]
    scene.receive(Prefix(1, 2, Ghost(16, 0)))
    assert len(engine.jobs()) == 1


def test_what_was_never_stored_is_not_continued_from_the_cache():
    scene, engine = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    prompt_arrives(scene)
    segment_done(scene, 1)
    scene.receive(dispatch(attempt=3, length=16), sender="controller")
    assert ("forget", 1) in engine.told
    assert len(engine.jobs()) == 1, "the other generator's tokens must be fetched first"
    scene.receive(Prefix(1, 3, Ghost(16, 0)))
    assert engine.jobs()[-1].prefix == Ghost(16, 0)


def test_a_refused_segment_is_declined_at_once():
    scene, engine = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    prompt_arrives(scene)
    request = segment_done(scene, 1)
    scene.receive(Answer("replay", request, Refused("stale attempt")))
    assert scene.sent(Declined) == [Declined(1, 1, "stale attempt")]
    assert ("forget", 1) in engine.told


def test_a_job_that_runs_is_aborted_before_its_newer_attempt_begins():
    scene, engine = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    prompt_arrives(scene)
    scene.receive(dispatch(attempt=2), sender="controller")
    assert engine.told[-1] == ("abort", 1)
    assert len(engine.jobs()) == 1
    segment_done(scene, 1, length=3)
    assert [job.attempt for job in engine.jobs()] == [1, 2]
    assert scene.asked(Append) == []
