"""`braid train --cluster ray`: what cannot work ends in one line and exit status 2, before anything is started."""

from __future__ import annotations

import json
import socket
import threading

import pytest

import cli.main
from actors.live import ray_placement
from actors.live.launch import own
from actors.live.placement import ClusterConfig, Needs, groups_of, shortage
from actors.roster import Roster
from buffers.errors import UsageError

ROSTER = Roster(generators=("g0", "g1"), rewarders=("r0",), evaluator="e")


@pytest.fixture
def folder(tmp_path):
    """As good as prepared."""
    (tmp_path / "run.json").write_text(json.dumps({"seed": 1}))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--cluster", "ray", "--address", "127.0.0.1:9"], "no Ray answers there"),
        (["--cluster", "ray", "--address", "ray://head"], "give HOST:PORT of the cluster's head, or auto"),
        (["--address", "127.0.0.1:9"], "add --cluster ray"),
        (["--keys", "/nowhere/run.keys"], "make one with braid keys"),
    ],
)
def test_what_cannot_work_ends_in_one_line(folder, words, complaint, capsys):
    assert cli.main.main(["train", "--resume", str(folder), *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [(None, "no Ray answers there (timed out)"), (b"HTTP/1.1 400 no\r\n\r\n", "what answers there is no Ray")],
)
def test_an_address_where_something_else_listens_is_refused(folder, answer, complaint, capsys, monkeypatch):
    monkeypatch.setattr(ray_placement, "PROBE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=serve_once, args=(door, answer), daemon=True).start()
        address = f"127.0.0.1:{door.getsockname()[1]}"
        assert cli.main.main(["train", "--resume", str(folder), "--cluster", "ray", "--address", address]) == 2
    error = capsys.readouterr().err
    assert f"--address {address}: {complaint}" in error
    assert error.count("\n") == 1


def test_an_address_is_tried_before_a_model_is_warmed_up(tmp_path, capsys):
    words = ["train", "--cluster", "ray", "--address", "127.0.0.1:9", "--run-dir", str(tmp_path / "run")]
    assert cli.main.main(words) == 2
    assert "no Ray answers there" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def serve_once(door, answer):
    guest, _ = door.accept()
    with guest:
        if answer is None:
            while guest.recv(99):
                pass
        else:
            guest.sendall(answer)
            guest.recv(99)


def test_a_second_driver_on_the_same_run_is_refused(folder, capsys):
    with own(folder):
        assert cli.main.main(["train", "--resume", str(folder), "--cluster", "ray"]) == 2
    assert "is in use by another driver" in capsys.readouterr().err
    assert not (folder / "starts").exists(), "the refused start was counted"


def test_the_learner_s_group_is_packed_and_the_generators_are_spread():
    trunk, generators = groups_of(ROSTER, ClusterConfig(learner=Needs(1.0, 2.0, 4.0)))
    assert (trunk.strategy, list(trunk.members)) == ("PACK", ["learner", "replay", "controller", "r0", "e"])
    assert trunk.members["learner"] == {"CPU": 1.0, "GPU": 2.0, "memory": 4.0 * 2**30}
    assert (generators.strategy, list(generators.members)) == ("SPREAD", ["g0", "g1"])


@pytest.mark.parametrize(
    ("nodes", "lack"),
    [
        (({"CPU": 4.0},), ""),
        (({"CPU": 2.0}, {"CPU": 2.0}), ""),
        (({"CPU": 0.5},) * 9, "learner needs CPU 1 of one node"),
        (({"CPU": 2.0},), "the run needs CPU 3.4, the cluster has CPU 2"),
    ],
)
def test_what_a_cluster_lacks_is_said_in_numbers(nodes, lack):
    assert shortage(groups_of(ROSTER, ClusterConfig()), nodes).startswith(lack)
    assert bool(lack) == bool(shortage(groups_of(ROSTER, ClusterConfig()), nodes))


def test_needs_of_nothing_are_refused():
    with pytest.raises(UsageError, match="and one above"):
        Needs(cpus=0)
