"""A cluster of three nodes on one machine, whose nodes die with what sits on them; runs go on and lose nothing."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
import ray

from actors.cast import settings_of
from actors.kernel.context import ActorSpec
from actors.live.cluster import Cluster
from actors.live.launch import LaunchConfig
from actors.live.placement import ClusterConfig, Needs, groups_of
from actors.live.ray_placement import RayConfig, RayPlaces
from buffers.errors import UsageError
from tests.end_to_end import test_live_cast_survives_kills as cast
from tests.end_to_end import training

VERSIONS = 20
SLOW = {"standins": {"slots": 4, "seed": 3, "token_s": 0.002, "step_s": 0.5}}
"""A run takes 20 s at least, for Ray takes some 10 to bring a seat up on another node of a busy machine."""
TESTS = Path(__file__).resolve().parents[1]


def places(nodes, folder, settings, mortal):
    """Seats for a run: the mortal roles on workers, all others at the head."""
    at = {role: Needs(0.1, resources={"worker" if role in mortal else "head": 0.1}) for role in ROLES}
    at["learner"] = msgspec.structs.replace(at["learner"], gpus=1.0, memory_gb=0.1)
    roster = settings_of(ActorSpec("", "", settings)).roster
    return RayPlaces(
        groups_of(roster, ClusterConfig(**at)), nodes.address, str(folder), RayConfig(20, 60.0, (str(TESTS),))
    )


ROLES = ("learner", "generator", "replay", "controller", "rewarder")


class Run(cast.Run):
    """A run whose processes sit on the nodes."""

    def __init__(self, folder, config, seats):
        self.folder = folder
        self.config = config
        self.seats = seats
        self.cluster = Cluster(config, cast.PORTS, LaunchConfig(folder=str(folder), seed=3, flush_s=0.0), seats)

    def until(self, condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            if self.cluster.run(0.05):
                break
        return condition()

    def close(self):
        self.cluster.close()
        assert cast.children_of_this_process() - self.before == set()

    before = frozenset()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("role", "victim"), [("generator", "g1"), ("replay", "replay"), ("learner", "learner")])
def test_a_node_dies_with_its_actors_and_the_run_goes_on(nodes, replace, tmp_path, role, victim):
    made, _ = nodes
    config = cast.settings(tmp_path, VERSIONS, **SLOW)
    seats = places(made, tmp_path, config, {role})
    Run.before = cast.children_of_this_process()
    run = Run(tmp_path, config, seats)
    try:
        assert run.until(lambda: len(run.decided("complete")) >= 6), "no progress"
        where = node_of(seats, victim)
        assert_placed(seats, tmp_path, role)
        source = ray.get(seats.seat(victim).source.remote())
        assert "py_modules" in source, "the node runs another copy of the house"
        done = len(run.decided("complete"))
        begun = time.monotonic()
        replace(where)
        assert run.until(lambda: ("spawn", (victim, 2)) in spawns(run)), "nobody was restarted"
        assert not run.decided("stop"), "the run was over before the node had died"
        assert run.until(lambda: lives_again(run, victim)), "it did not come back"
        assert run.until(lambda: len(run.decided("complete")) > done), "no progress after the death"
        print(f"\nnode of {victim} killed: back after {time.monotonic() - begun:.1f} s")
        assert node_of(seats, victim) != where
        assert run.until(lambda: run.cluster.outcome == "finished" and run.cluster.run(0))
        secret = run.cluster.launcher._keys.secret.encode()
    finally:
        run.close()
    cast.assert_nothing_is_lost_or_trained_twice(tmp_path, config, VERSIONS)
    cast.assert_versions_name_one_set_of_weights(tmp_path)
    assert_told_to_nobody(secret, tmp_path, Path("/tmp/ray/session_latest/logs").resolve())


def assert_placed(seats, folder, mortal):
    """The trunk at the head, but for who may die; one generator a node; the card for the learner alone."""
    assert {node_of(seats, name) for name in ("controller", "r0")} == {node_of(seats, "controller")}
    if mortal == "generator":
        assert node_of(seats, "g0") != node_of(seats, "g1")
    cards = {}
    for name, pid in training.processes_of(folder).items():
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        cards[name] = next((word for word in words if word.startswith(b"CUDA_VISIBLE_DEVICES=")), b"")
    assert cards["learner"] == b"CUDA_VISIBLE_DEVICES=0"
    assert cards["replay"] != cards["learner"]
    amounts = seats._bundle["learner"][2]
    assert (amounts["GPU"], amounts["memory"]) == (1.0, 0.1 * 2**30)


def node_of(seats, process):
    return ray.get(seats.seat(process).place.remote("", ""))[0]


def spawns(run):
    return [(one.kind, tuple(one.fields)) for one in run.decided("spawn")]


def lives_again(run, name):
    return any(one.actor == name and one.incarnation > 1 for one in cast.decisions(run.folder))


def assert_told_to_nobody(secret, *folders):
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 20
    assert [path for path in files if secret in path.read_bytes()] == []


def test_too_few_resources_and_a_second_driver_end_in_one_line(nodes, tmp_path):
    made, _ = nodes
    config = cast.settings(tmp_path, 1)
    roster = settings_of(ActorSpec("", "", config)).roster
    greedy = groups_of(roster, ClusterConfig(learner=Needs(gpus=8)))
    with pytest.raises(UsageError, match=r"too few resources: learner needs CPU 0\.1, GPU 8 of one node"):
        RayPlaces(greedy, made.address, str(tmp_path))
    assert not ray.is_initialized()
