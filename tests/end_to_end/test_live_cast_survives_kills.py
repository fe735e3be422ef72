"""The whole cast as processes: kill -9 of each in one run, a stop by the person, a second start; nothing is lost."""

import os
import time
from collections import defaultdict
from pathlib import Path

import pytest

from actors.cast import STANDINS, buffer_config, settings_of
from actors.eventlog import read_events
from actors.kernel.backend import Decision
from actors.kernel.context import ActorSpec
from actors.live.cluster import Cluster
from actors.live.disk import Disk
from actors.live.launch import LaunchConfig
from buffers.buffer import Buffer
from buffers.lmdb_store import LmdbConfig, LmdbStore
from sim.line_trainer import line_of

VICTIMS = ("g0", "r0", "learner", "replay", "controller")
GROUP, BATCH = 4, 16
PORTS = {**STANDINS, "trainer": "sim.line_trainer:LineTrainer"}
STOP_S = 5.0
"""A person's stop takes no longer."""


def settings(folder, versions, **more):
    return {
        "seed": 3,
        "roster": {
            "generators": ["g0", "g1"],
            "rewarders": ["r0"],
            "recorder": "recorder",
            "supervisor": "supervisor",
        },
        "pace": {"heartbeat_s": 0.2, "ask_timeout_s": 1.0, "lease_s": 5.0, "stop_s": 2.0},
        "restarts": {"backoff_s": 0.1, "budget": 20},
        "schedule": {
            "batch": BATCH,
            "group": GROUP,
            "updates_per_version": 2,
            "eta": 1,
            "segment_tokens": 16,
            "max_response_tokens": 80,
            "versions": versions,
            "checkpoint_every": 3,
            "backlog": 4,
        },
        "standins": {"slots": 4, "seed": 3, "token_s": 0.002, "step_s": 0.05},
        "store": {"path": str(folder / "store")},
        **more,
    }


class Run:
    """One start of a run, and what it leaves behind."""

    def __init__(self, folder, config):
        self.folder = folder
        self.config = config
        self.pids = set()
        self.cluster = Cluster(config, PORTS, LaunchConfig(folder=str(folder), seed=3, flush_s=0.0))

    def until(self, condition, seconds=60.0):
        """Run until the condition holds or the run is over; whether the condition holds."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self.pids |= {child.popen.pid for child in self.cluster.launcher.children.values()}
            if self.cluster.run(0.05):
                return condition()
        return condition()

    def decided(self, kind, actor=None):
        return [one for one in decisions(self.folder) if one.kind == kind and actor in (None, one.actor)]

    def exposes_what_no_checkpoint_holds(self):
        """A learner that dies now goes back, and must not call other weights by the number that it has exposed."""
        newest = [max(one.fields[0] for one in self.decided(kind)) for kind in ("publish", "checkpoint")]
        return newest[0] > newest[1]

    def close(self):
        self.cluster.close()
        assert self.pids
        assert [pid for pid in self.pids if is_running(pid)] == []
        assert children_of_this_process() & self.pids == set()


def decisions(folder):
    return [one for one in read_events([folder / "events"]) if isinstance(one, Decision)]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of_this_process():
    return {
        int(pid)
        for task in Path(f"/proc/{os.getpid()}/task").iterdir()
        for pid in (task / "children").read_text().split()
    }


def buffer_of(folder, config):
    """The buffer that a run left in its store, checked."""
    rule = buffer_config(settings_of(ActorSpec("replay", "", config)))
    store = LmdbStore(LmdbConfig(str(folder / "store")), lambda event: None)
    try:
        buffer = Buffer.recover(rule, store.rows())
    finally:
        store.close()
    buffer.check()
    return buffer


def assert_nothing_is_lost_or_trained_twice(folder, config, versions):
    ledger = buffer_of(folder, config).ledger()
    assert ledger.opened == ledger.trained + ledger.evicted + ledger.failed + ledger.in_flight
    line = line_of(Disk(folder / "disk" / "learner"))
    assert len(set(line)) == len(line) == versions * BATCH // GROUP
    assert {use for _, use in line} == {1}
    assert ledger.trained == len(line) * GROUP
    assert ledger.failed == 0


def assert_versions_name_one_set_of_weights(folder):
    names = defaultdict(set)
    for one in decisions(folder):
        if one.kind == "publish":
            version, weights = one.fields
            names[version].add(weights)
    assert len(names) > 2
    assert {version: weights for version, weights in names.items() if len(weights) > 1} == {}


def test_every_actor_may_be_killed_and_nothing_is_lost(tmp_path):
    versions = 16
    config = settings(tmp_path, versions)
    run = Run(tmp_path, config)
    try:
        for number, victim in enumerate(VICTIMS):
            done = len(run.decided("complete")) + 2
            assert run.until(lambda done=done: len(run.decided("complete")) >= done), "no progress"
            if victim == "learner":
                assert run.until(run.exposes_what_no_checkpoint_holds)
            assert not run.decided("stop"), "the run was over before everybody had been killed"
            os.kill(run.cluster.launcher.children[victim].popen.pid, 9)
            back = [("spawn", (victim, 2))]
            assert run.until(lambda back=back: back[0] in [(o.kind, tuple(o.fields)) for o in run.decided("spawn")])
            assert len(run.decided("died")) == number + 1
        assert run.until(lambda: run.cluster.outcome == "finished" and run.cluster.run(0))
    finally:
        run.close()
    died = [one.fields[0] for one in run.decided("died") if one.at_ns < run.decided("stop")[0].at_ns]
    assert tuple(died) == VICTIMS
    assert run.decided("kill") == []
    assert_nothing_is_lost_or_trained_twice(tmp_path, config, versions)
    assert_versions_name_one_set_of_weights(tmp_path)


def test_a_run_ends_by_itself_when_no_signal_is_left(tmp_path):
    config = settings(tmp_path, 1000, buffer={"no_signal": "evict", "max_gen_batches": 3})
    config["standins"]["solve_share"] = 1.0
    run = Run(tmp_path, config)
    try:
        assert run.until(lambda: run.cluster.run(0))
        assert run.cluster.outcome == "finished: no signal left"
    finally:
        run.close()
    assert run.decided("kill") == []
    ledger = buffer_of(tmp_path, config).ledger()
    assert set(ledger.reasons) == {"evicted: no signal"}
    assert ledger.evicted >= 3 * BATCH // 2


@pytest.mark.parametrize("every", [1, 2])
def test_a_stopped_run_goes_on_from_exactly_there(tmp_path, every):
    versions = 10
    config = settings(tmp_path, versions)
    config["schedule"]["checkpoint_every"] = every
    first = Run(tmp_path, config)
    try:
        assert first.until(lambda: len(first.decided("complete")) >= 7)
        asked = time.monotonic()
        first.cluster.ask_to_stop("stopped by the person")
        assert first.until(lambda: first.cluster.run(0), STOP_S)
        took_s = time.monotonic() - asked
        assert first.cluster.outcome == "stopped by the person"
    finally:
        first.close()
    assert took_s < STOP_S
    assert first.decided("kill") == []
    left, line = buffer_of(tmp_path, config), line_of(Disk(tmp_path / "disk" / "learner"))
    before = decisions(tmp_path)

    again = {**config, "starts": 1}
    second = Run(tmp_path, again)
    try:
        assert second.until(lambda: second.cluster.run(0))
        assert second.cluster.outcome == "finished"
    finally:
        second.close()
    after = [one for one in decisions(tmp_path) if one.incarnation > 1_000_000]
    assert set(before) <= set(decisions(tmp_path)), "the event log of the first start is gone"
    assert max(one.at_ns for one in before) < min(one.at_ns for one in after), "the clock began anew"
    assert_goes_on(left, after)
    assert line_of(Disk(tmp_path / "disk" / "learner"))[: len(line)] == line
    assert_nothing_is_lost_or_trained_twice(tmp_path, again, versions)
    assert_versions_name_one_set_of_weights(tmp_path)


def assert_goes_on(left, after):
    """The decisions of a second start follow from the buffer that the first one left."""
    ledger = left.ledger()
    snapshot = next(one for one in after if one.kind == "snapshot")
    unfinished = ledger.in_flight - ledger.by_state["scored"] - ledger.eligible - ledger.leased - ledger.applied
    assert tuple(snapshot.fields) == (left.epoch + 1, unfinished)
    opened = [trajectory for one in after if one.kind == "admit" for trajectory in one.fields[1:]]
    assert min(opened) == ledger.opened + 1
    lengths = {}
    for one in after:
        if one.kind == "store":
            trajectory, attempt, start, length, _ = one.fields
            view = left.view(trajectory)
            known = view.length if view else 0
            assert start == lengths.get(trajectory, known)
            assert view is None or attempt >= view.attempt + (view.state == "running")
            lengths[trajectory] = start + length
    assert min(lengths) <= ledger.opened, "nothing of the first start was resumed"
