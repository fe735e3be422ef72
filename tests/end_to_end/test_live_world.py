"""The live world's own promises: what dies, how it is noticed, and that nothing is left running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from actors.kernel.context import ActorSpec
from actors.live.launch import LaunchConfig, Launcher
from actors.live.places import REP_MOVSB
from buffers.errors import ContractError
from tests.conformance.live_world import LiveWorldUnderTest
from tests.conformance.world import fields, probe, times
from tests.end_to_end.live_probes import KINDS, Poke

ROOT = Path(__file__).resolve().parents[2]


def spec(name, kind, process="", ports=None, **config):
    return ActorSpec(name, f"tests.end_to_end.live_probes:{kind}", config, process=process, ports=ports or {})


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def world():
    under_test = LiveWorldUnderTest()
    pids = []
    try:
        yield under_test
        if under_test.launcher is not None:
            pids = [child.popen.pid for child in under_test.launcher.children.values()]
    finally:
        under_test.close()
    assert [pid for pid in pids if is_running(pid)] == []


def start(world, specs, supervisor=""):
    world.start(specs, codec_kinds=KINDS, supervisor=supervisor)


def pid_of(world, name):
    return world.launcher.children[name].popen.pid


def test_an_exception_ends_one_life_and_leaves_the_others_of_its_process(world, tmp_path):
    specs = [
        spec("watcher", "Watcher", process="launcher"),
        spec("fragile", "Fragile", process="pair", folder=str(tmp_path)),
        spec("solid", "Fragile", process="pair", folder=str(tmp_path)),
        spec("p", "Poker", to="fragile", numbers=[1, 13]),
        spec("q", "Poker", to="solid", numbers=[1, 2, 3], timeout_s=2.0),
    ]
    start(world, specs, "watcher")
    decisions = world.run(5, lambda found: times("died", 1)(found) and (3,) in fields(found, "back", "q"))
    assert [died[:3] for died in fields(decisions, "died")] == [("fragile", 1, "ValueError: thirteen is too many")]
    assert fields(decisions, "back", "q") == [(1,), (2,), (3,)]
    assert (tmp_path / "closed-fragile").exists()
    assert not (tmp_path / "closed-solid").exists()
    assert set(world.launcher.living()) == {"watcher", "solid", "p", "q"}


def test_an_exception_in_the_only_actor_ends_its_process_with_a_status_and_a_reason(world, tmp_path):
    specs = [
        spec("watcher", "Watcher", process="launcher"),
        spec("fragile", "Fragile", folder=str(tmp_path)),
        spec("p", "Poker", to="fragile", numbers=[13]),
    ]
    start(world, specs, "watcher")
    child = world.launcher.children["fragile"]
    decisions = world.run(5, times("died", 1))
    world.launcher.run(5, lambda: child.popen.returncode is not None)
    assert child.popen.returncode == 1
    assert fields(decisions, "died")[0][:2] == ("fragile", 1)
    assert "thirteen is too many" in str(fields(decisions, "died")[0][2])
    assert "Traceback" in world.logs()
    world.run(0.2)
    assert len(fields(world.run(0.1), "died")) == 1


def test_a_builder_that_raises_is_a_death_too(world):
    start(world, [spec("watcher", "Watcher", process="launcher"), spec("nobody", "NoSuchBuilder")], "watcher")
    decisions = world.run(5, times("died", 1))
    assert "NoSuchBuilder" in str(fields(decisions, "died")[0][2])


@pytest.mark.parametrize("home", ["launcher", "elsewhere"])
def test_the_supervisor_hears_of_a_killed_process_within_milliseconds(world, tmp_path, home):
    specs = [spec("watcher", "Watcher", process=home), spec("f", "Fragile", folder=str(tmp_path))]
    start(world, specs, "watcher")
    world.run(5, times("started", 1))
    if home == "elsewhere":
        world.run(0.5)  # the supervisor's own process comes up
    before = world.launcher.loop.now() // 1000
    world.crash("f")
    decisions = world.run(5, times("died", 1))
    name, incarnation, reason, at_us = fields(decisions, "died")[0]
    assert (name, incarnation, reason) == ("f", 1, "killed by signal 9")
    assert int(at_us) - before < 250_000  # on a busy machine; a few milliseconds on an idle one


def test_a_stopped_process_is_killed_when_it_does_not_stop_in_time(world, tmp_path):
    specs = [spec("watcher", "Watcher", process="launcher"), spec("f", "Fragile", folder=str(tmp_path))]
    start(world, specs, "watcher")
    world.run(5, times("started", 1))
    pid = pid_of(world, "f")
    world.pause("f")
    world.launcher.stop("f")
    decisions = world.run(5, times("died", 1))
    assert [died[:3] for died in fields(decisions, "died")] == [("f", 1, "killed by signal 9")]
    assert not is_running(pid)


def test_spawning_over_a_stopped_process_replaces_it_at_once(world, tmp_path):
    start(world, [spec("f", "Fragile", folder=str(tmp_path))])
    world.run(5, times("started", 1))
    pid = pid_of(world, "f")
    world.pause("f")
    world.restart("f")
    decisions = world.run(5, times("started", 2))
    assert fields(decisions, "started") == [(1,), (2,)]
    assert not is_running(pid)


def test_an_orderly_stop_closes_ports_and_ends_the_process_with_status_zero(world, tmp_path):
    specs = [spec("watcher", "Watcher", process="launcher"), spec("f", "Fragile", folder=str(tmp_path))]
    start(world, specs, "watcher")
    world.run(5, times("started", 1))
    child = world.launcher.children["f"]
    world.launcher.stop("f")
    decisions = world.run(5, times("died", 1))
    assert fields(decisions, "died")[0][:3] == ("f", 1, "left")
    assert (tmp_path / "closed-f").exists()
    world.launcher.run(5, lambda: child.popen.returncode is not None)
    assert child.popen.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_process_orderly(world, tmp_path, number):
    start(world, [spec("f", "Fragile", folder=str(tmp_path))])
    world.run(5, times("started", 1))
    child = world.launcher.children["f"]
    child.signal(number)
    world.launcher.run(5, lambda: child.popen.returncode is not None)
    assert child.popen.returncode == 0
    assert (tmp_path / "closed-f").exists()


def test_a_process_that_ends_takes_what_it_left_in_its_group_along(world):
    start(world, [spec("parent", "Parent")])
    pid = fields(world.run(5, times("left", 1)), "left")[0][0]
    assert is_running(pid)
    world.crash("parent")
    world.launcher.run(5, lambda: not world.launcher.children)
    assert wait_for(lambda: not is_running(pid))


def test_actors_that_share_a_process_talk_without_a_socket(world, tmp_path):
    specs = [
        spec("f", "Fragile", process="launcher", folder=str(tmp_path)),
        spec("p", "Poker", process="launcher", to="f", numbers=list(range(20, 40))),
    ]
    start(world, specs)
    decisions = world.run(5, times("back", 20))
    assert fields(decisions, "back") == [(n,) for n in range(20, 40)]
    assert world.launcher.children == {}
    assert world.launcher.host.links.known("launcher") is None


@pytest.mark.parametrize("home", ["launcher", "elsewhere"])
def test_the_launcher_can_tell_an_actor_something(world, tmp_path, home):
    start(world, [spec("f", "Fragile", process=home, folder=str(tmp_path))])
    world.launcher.tell("f", Poke(5))
    assert fields(world.run(5, times("poked", 1)), "poked") == [(5, "@launcher")]


def test_events_from_threads_reach_their_actor_one_at_a_time_and_none_is_lost(world):
    start(world, [spec("t", "Threaded", ports={"choir": "tests.end_to_end.live_probes:Choir"})])
    decisions = world.run(5, times("heard", 1))
    assert fields(decisions, "heard") == [(2000,)]
    assert fields(decisions, "nested") == []


def test_what_a_port_put_on_its_disk_survives_a_kill(world):
    start(world, [spec("s", "Saver")])
    world.run(5, times("lives", 1))
    world.crash("s")
    world.restart("s")
    decisions = world.run(5, times("lives", 2))
    assert fields(decisions, "lives") == [("1", 1), ("12", 1)]


def test_the_same_actors_talk_over_tcp():
    world = LiveWorldUnderTest(tcp_host="127.0.0.1")
    try:
        world.start([probe("c", "collector"), probe("s", "sender", to=["c"], count=50)])
        assert [n for n, _ in fields(world.run(5, times("got", 50)), "got")] == list(range(1, 51))
        assert world.launcher.host.directory.address("c").startswith("tcp://127.0.0.1:")
        world.crash("c")
        world.restart("c")
        assert len(fields(world.run(5, times("started", 2)), "started")) == 2
    finally:
        world.close()


LAUNCHER = """
import sys, signal
from pathlib import Path
from actors.kernel.context import ActorSpec
from actors.live.launch import LaunchConfig, Launcher
from actors.live.places import REP_MOVSB
from tests.end_to_end.live_probes import KINDS
folder = sys.argv[1]
specs = [ActorSpec(n, "tests.end_to_end.live_probes:Fragile", {"folder": folder}) for n in ("a", "b")]
with Launcher(LaunchConfig(folder), KINDS) as launcher:
    launcher.loop.take_signals(lambda number: launcher.loop.stop(), signal.SIGINT, signal.SIGTERM)
    launcher.start(specs)
    pids = [child.popen.pid for child in launcher.children.values()]
    Path(folder, "pids.new").write_text(" ".join(map(str, [*pids, launcher._sockets])))
    Path(folder, "pids.new").rename(Path(folder, "pids"))
    launcher.run()
sys.exit(130)
"""


@pytest.mark.parametrize(
    ("number", "status", "early"),
    [
        (signal.SIGINT, 130, False),
        (signal.SIGTERM, 130, False),
        (signal.SIGKILL, -9, False),
        (signal.SIGKILL, -9, True),
        (signal.SIGINT, 130, True),
    ],
)
def test_nothing_is_left_running_when_the_launcher_is_interrupted_or_killed(tmp_path, number, status, early):
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], cwd=ROOT)
    pids = []
    try:
        assert wait_for((tmp_path / "pids").exists)
        *numbers, sockets = (tmp_path / "pids").read_text().split()
        pids = [int(one) for one in numbers]
        if not early:
            assert wait_for(lambda: len(list(Path(sockets).iterdir())) == 3), "the processes did not come up"
        assert all(map(is_running, pids))
        launcher.send_signal(number)
        assert launcher.wait(10) == status
        assert wait_for(lambda: not any(map(is_running, pids)))
        if number != signal.SIGKILL:
            assert not Path(sockets).exists()
    finally:
        launcher.kill()
        launcher.wait()
        for pid in pids:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ("", f"{REP_MOVSB}={1 << 30}"),
        ("glibc.malloc.arena_max=4", f"glibc.malloc.arena_max=4:{REP_MOVSB}={1 << 30}"),
        (f"{REP_MOVSB}=4096", f"{REP_MOVSB}=4096"),
    ],
)
def test_processes_copy_by_vector_registers_unless_a_person_set_it_otherwise(
    world, tmp_path, monkeypatch, given, holds
):
    monkeypatch.setenv("GLIBC_TUNABLES", given)
    start(world, [spec("solid", "Fragile", folder=str(tmp_path))])
    environ = Path(f"/proc/{pid_of(world, 'solid')}/environ")
    expected = f":GLIBC_TUNABLES={holds}:".encode()  # the C library ends each setting with a zero as it reads them
    assert wait_for(lambda: expected in b":%s:" % environ.read_bytes().replace(b"\0", b":"))


def test_an_incarnation_that_does_not_follow_is_refused(world, tmp_path):
    start(world, [spec("f", "Fragile", process="launcher", folder=str(tmp_path))])
    with pytest.raises(ContractError, match="incarnation 1 does not follow 1"):
        world.launcher.spawn(world.launcher.specs["f"], 1)


def test_a_spawn_that_breaks_the_rules_is_the_asker_s_fault_and_not_the_launcher_s(world, tmp_path):
    specs = [
        spec("watcher", "Watcher", process="launcher"),
        spec("f", "Fragile", folder=str(tmp_path)),
        spec("s", "Spawner", folder=str(tmp_path)),
    ]
    start(world, specs, "watcher")
    world.run(5, lambda found: world.strangers() == 1)
    assert world.strangers() == 1
    assert set(world.launcher.living()) == {"watcher", "f", "s"}


def test_the_launcher_s_run_ends_with_the_last_actor_of_its_own_process(world, tmp_path):
    start(world, [spec("f", "Fragile", process="launcher", folder=str(tmp_path))])
    world.launcher.loop.call_later(20_000_000, lambda _: world.launcher.stop("f"))
    begun = time.monotonic()
    world.launcher.run(5)
    assert time.monotonic() - begun < 2
    assert (tmp_path / "closed-f").exists()


def test_sockets_lie_in_the_run_s_folder_unless_its_path_is_too_long(tmp_path):
    for folder, inside in ((Path(tempfile.mkdtemp(prefix="b-")), True), (tmp_path / ("x" * 80), False)):
        for _ in range(2):  # a second run finds the folder of one that was killed
            with Launcher(LaunchConfig(str(folder)), KINDS) as launcher:
                sockets = Path(launcher.host.links.inbox.address.removeprefix("ipc://")).parent
                assert (sockets.parent == folder) == inside
                assert sockets.stat().st_mode & 0o777 == 0o700
            assert not sockets.exists()
            if inside:
                sockets.mkdir()
        shutil.rmtree(folder)
