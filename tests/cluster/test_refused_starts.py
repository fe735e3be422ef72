"""Starts that a cluster cannot serve end in one line and exit status 2, and leave nothing behind on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.live.launch import own
from actors.live.placement import ClusterConfig, Needs, groups_of
from actors.live.ray_placement import RayPlaces
from actors.roster import Roster
from tests.end_to_end import training

ROSTER = {"generators": ["g0"], "rewarders": ["r0"]}
ROLES = ("learner", "generator", "replay", "controller", "rewarder")


@pytest.fixture
def folder(tmp_path):
    """As good as prepared."""
    return prepared(tmp_path / "run")


def prepared(folder, needs=None, **cluster):
    folder.mkdir(exist_ok=True)
    needs = needs or {"resources": {"head": 0.1}}
    settings = {"seed": 1, "roster": ROSTER, "cluster": {**dict.fromkeys(ROLES, needs), **cluster}}
    (folder / "run.json").write_text(json.dumps(settings))
    return folder


def words(made, folder):
    return training.command("train", "--resume", str(folder), "--cluster", "ray", "--address", made.address)


def refused(made, folder):
    """What a start says that is refused."""
    done = subprocess.run(words(made, folder), env=training.environment(), capture_output=True, text=True, timeout=120)
    return told(done, folder)


def told(done, folder):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert training.processes_of(folder) == {}
    return done.stderr


def assert_nothing_is_held(made):
    """Seats and what was reserved for them are gone, a moment after their driver."""
    ray.init(made.address, log_to_driver=False, logging_level="ERROR")
    try:
        until = time.monotonic() + 20
        while ray.available_resources() != ray.cluster_resources() or seats():
            assert time.monotonic() < until, (ray.available_resources(), ray.cluster_resources(), seats())
            time.sleep(0.2)
        groups = placement_group_table()
        assert {group["state"] for group in groups.values()} <= {"REMOVED"}
    finally:
        ray.shutdown()


def seats():
    return [one.pid for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [""])[0] == "ray::Seat"]


def test_needs_that_no_node_can_serve_are_said_in_numbers(nodes, folder):
    made, _ = nodes
    prepared(folder, learner={"gpus": 8})
    assert "too few resources: learner needs CPU 0.1, GPU 8 of one node, and no node has that" in refused(made, folder)
    assert_nothing_is_held(made)


def test_resources_that_another_job_holds_are_waited_for_and_then_named(nodes, folder):
    made, _ = nodes
    prepared(folder, patience_s=2.0)
    ray.init(made.address, log_to_driver=False, logging_level="ERROR")
    try:
        held = placement_group([{"head": 9}])
        assert held.wait(20)
        complaint = refused(made, folder)
        remove_placement_group(held)
    finally:
        ray.shutdown()
    assert "too few resources: no place for the trunk within 2 s (free: " in complaint
    assert "wait until others have ended, or lower the [cluster] needs" in complaint
    assert_nothing_is_held(made)


def test_a_second_driver_of_a_run_is_refused_on_any_machine(nodes, folder):
    made, workers = nodes
    at = {role: Needs(0.1, resources={"head": 0.1}) for role in ROLES}
    roster = Roster(generators=("g0",), rewarders=("r0",))
    first = RayPlaces(groups_of(roster, ClusterConfig(**at)), made.address, str(folder))
    try:
        with own(folder):
            assert "is in use by another driver; stop it" in on_node(workers[0], made, folder)
        # a disk whose locks other machines do not see: the cluster itself knows who has the run
        assert "is in use by another driver of this cluster" in on_node(workers[0], made, folder)
        seat = first.seat("g0").place.remote(str(folder), first._mark)
        assert ray.get(seat)[1], "the refused driver has taken the folder over"
    finally:
        first.close()
    assert_nothing_is_held(made)


def on_node(node, made, folder):
    """What a driver is told that is started on another node."""
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    run = ray.remote(subprocess.run).options(num_cpus=0, scheduling_strategy=there)
    settings = {"env": training.environment(), "capture_output": True, "text": True, "timeout": 120}
    return told(ray.get(run.remote(words(made, folder), **settings)), folder)


@pytest.fixture
def blind_node(nodes, folder):
    """A node that has another disk where the run's folder is, with an older copy of it."""
    made, _ = nodes
    room = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*room, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no mount namespace to a user, so no node can have another disk")
    start = f"mount -t tmpfs none {folder} && touch {folder}/cluster && exec {sys.executable} -m ray.scripts.scripts "
    start += f"start --address={made.address} --num-cpus=2 --resources='{{\"blind\": 9}}' --block --disable-usage-stats"
    process = subprocess.Popen([*room, "sh", "-c", start], start_new_session=True, stdout=subprocess.DEVNULL)
    ray.init(made.address, log_to_driver=False, logging_level="ERROR")
    try:
        until = time.monotonic() + 60
        while not any("blind" in node["Resources"] for node in ray.nodes()):
            assert process.poll() is None, "the node did not start"
            assert time.monotonic() < until, "the node did not join"
            time.sleep(0.2)
    finally:
        ray.shutdown()
    yield
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_node_that_does_not_see_the_run_s_folder_is_named(nodes, blind_node, folder):
    made, _ = nodes
    prepared(folder, generator={"resources": {"blind": 0.1}})
    complaint = refused(made, folder)
    assert f"of g0 does not see the run folder {Path(folder).resolve()}; put --run-dir on a disk" in complaint
