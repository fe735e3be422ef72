"""The generator's holds: what arrives out of order submits a job once, and stale caches are never continued."""

from actors.generator import Generator, Prefix
from actors.kernel.context import Answer
from actors.messages import (
    Append,
    Assignment,
    Declined,
    Dispatch,
    DropJobs,
    FetchPrompt,
    LearnerState,
    PromptRecord,
    Stopped,
    StopRun,
)
from actors.roster import Pace, Roster
from actors.schedules.schedule import ScheduleConfig
from buffers.answers import Appended, Refused
from buffers.segment import Ghost, Segment
from policies.engine import Installed, Job, JobFailed, Sampling, SegmentDone
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


def generator(install="in_flight"):
    """A generator that has installed version 0, and its engine."""
    engine = Engine()
    config = ScheduleConfig(batch=16, group=2, install=install)
    scene = Scene(Generator(Roster(), Pace(), config, Sampling(), engine))
    publish(scene, 0)
    scene.receive(Installed(0, 0.0))
    return scene, engine


def publish(scene, version):
    scene.receive(LearnerState(version, "here", -1, "", False), sender="learner")


def dispatch(trajectory=1, attempt=1, length=0, prompt=7, min_version=0):
    return Dispatch(1, (Assignment(trajectory, attempt, prompt, length, min_version, 16),))


def left(scene):
    return scene.sent(Stopped) == [Stopped()] and ("stopped", "actor") in scene.decisions


def prompt_arrives(scene, prompt=7):
    scene.receive(Answer("replay", FetchPrompt(prompt), PromptRecord(prompt, Ghost(4, 0), "")))


def segment_done(scene, attempt, start=0, length=16, trajectory=1):
    segment = Segment(start, Ghost(length, 5), ((0, length),), ((1, length),), "cut")
    scene.receive(SegmentDone(trajectory, attempt, segment))
    return Append(trajectory, attempt, segment)


def cut_here(scene, trajectory):
    """The first segment of a trajectory is made here and stored."""
    scene.receive(dispatch(trajectory), sender="controller")
    request = segment_done(scene, 1, trajectory=trajectory)
    scene.receive(Answer("replay", request, Appended(trajectory, 2, 16, 0, "cut")))


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


def test_jobs_do_not_wait_for_ever_newer_versions():
    scene, engine = generator()
    scene.receive(dispatch(1, min_version=1), sender="controller")
    scene.receive(dispatch(2, min_version=2), sender="controller")
    prompt_arrives(scene)
    publish(scene, 1)
    publish(scene, 2)
    scene.receive(Installed(1, 0.0))
    assert [job.trajectory for job in engine.jobs()] == [1], "its version is there"
    assert engine.told[-1] == ("install", 2)
    scene.receive(Installed(2, 0.0))
    assert [job.trajectory for job in engine.jobs()] == [1, 2]


def test_under_drain_nothing_begins_while_newer_weights_are_wanted():
    scene, engine = generator("drain")
    scene.receive(dispatch(1, min_version=1), sender="controller")
    prompt_arrives(scene)
    publish(scene, 1)
    publish(scene, 2)
    scene.receive(Installed(1, 0.0))
    assert (engine.jobs(), engine.told[-1]) == ([], ("install", 2))
    scene.receive(Installed(2, 0.0))
    assert [job.trajectory for job in engine.jobs()] == [1]


def test_what_a_stopping_generator_has_not_cached_is_not_begun_again():
    scene, _ = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    prompt_arrives(scene)
    scene.receive(StopRun("enough"), sender="supervisor")
    scene.receive(JobFailed(1, 1, "not cached"))
    assert scene.sent(Declined) == [Declined(1, 1, "stopping")]
    assert left(scene)


def test_a_stopping_generator_takes_no_newer_attempt():
    scene, engine = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    prompt_arrives(scene)
    scene.receive(dispatch(attempt=2), sender="controller")
    scene.receive(StopRun("enough"), sender="supervisor")
    segment_done(scene, 1, length=3)
    assert scene.sent(Declined) == [Declined(1, 2, "stopping")]
    assert len(engine.jobs()) == 1
    assert left(scene)


def test_a_stopping_generator_leaves_with_the_last_job_that_it_is_to_drop():
    scene, _ = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    prompt_arrives(scene)
    segment_done(scene, 1)
    scene.receive(StopRun("enough"), sender="supervisor")
    assert not left(scene)
    scene.receive(DropJobs(1, (1,)), sender="controller")
    assert left(scene)


def test_the_engine_forgets_what_it_was_told_to_drop_while_it_ran():
    scene, engine = generator()
    scene.receive(dispatch(attempt=1), sender="controller")
    prompt_arrives(scene)
    scene.receive(DropJobs(1, (1,)), sender="controller")
    assert engine.told[-1] == ("abort", 1)
    segment_done(scene, 1, length=3)
    assert engine.told[-1] == ("forget", 1)


def test_of_the_prefixes_made_here_the_latest_are_remembered(monkeypatch):
    monkeypatch.setattr("actors.generator.CACHED_KEPT", 2)
    scene, engine = generator()
    scene.receive(dispatch(9), sender="controller")
    prompt_arrives(scene)
    segment_done(scene, 1, trajectory=9)
    cut_here(scene, 1)
    scene.receive(dispatch(1, attempt=2, length=16), sender="controller")
    cut_here(scene, 2)
    request = segment_done(scene, 2, start=16)
    scene.receive(Answer("replay", request, Appended(1, 3, 32, 0, "cut")))
    cut_here(scene, 3)
    begun = len(engine.jobs())
    scene.receive(dispatch(1, attempt=3, length=32), sender="controller")
    scene.receive(dispatch(3, attempt=2, length=16), sender="controller")
    assert [(job.trajectory, job.prefix) for job in engine.jobs()[begun:]] == [(1, None), (3, None)]
    scene.receive(dispatch(2, attempt=2, length=16), sender="controller")
    assert len(engine.jobs()) == begun + 2, "its prefix must be fetched"
    scene.receive(Prefix(2, 2, Ghost(16, 0)))
    assert engine.jobs()[-1].prefix == Ghost(16, 0)


def test_a_newer_attempt_of_what_waits_finds_its_prefix_still_cached():
    scene, engine = generator()
    scene.receive(dispatch(9), sender="controller")
    prompt_arrives(scene)
    cut_here(scene, 1)
    scene.receive(dispatch(1, attempt=2, length=16, min_version=5), sender="controller")
    scene.receive(dispatch(1, attempt=3, length=16), sender="controller")
    assert [(job.attempt, job.prefix) for job in engine.jobs()[2:]] == [(3, None)]
