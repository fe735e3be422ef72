"""Who gets in over TCP: the processes of a run and whom it admits; strangers are refused, counted, told no secret."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import msgspec
import pytest
import zmq

import cli.main
from actors.live.keys import Keys, connect_with, make_keys, read_keys, write_keys
from actors.live.launch import LaunchConfig, Launcher
from actors.live.links import Links
from actors.live.loop import Loop
from buffers.errors import UsageError
from tests.conformance.live_world import LiveWorldUnderTest
from tests.conformance.world import fields, probe, times
from tests.end_to_end.live_probes import KINDS
from tests.end_to_end.test_live_links import Reader

ROOT = Path(__file__).resolve().parents[2]


class Door:
    """An inbox with keys, and visitors to it."""

    def __init__(self, keys):
        self.keys = keys
        self.loop = Loop()
        self.reader = Reader()
        self.links = Links(self.loop, "tcp://127.0.0.1:*", 1 << 20, self.reader, keys)
        self.context = zmq.Context()

    def visit(self, keys=None, server=None):
        """Say hello with these keys (None: without CURVE) to a server that is believed to have `server`'s."""
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 60_000)
        if keys is not None:
            connect_with(socket, Keys((server or self.keys).public, keys.secret))
            socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
        socket.connect(self.links.inbox.address)
        socket.send(b"hello")
        self.loop.run(3.0, lambda: self.reader.bodies or self.reader.refusals)
        self.loop.run(0.05)
        socket.close()

    def close(self):
        self.context.destroy(0)
        self.links.close(0.0)
        self.loop.close()


@pytest.fixture
def friend():
    return make_keys()


@pytest.fixture
def door(friend):
    one = Door(make_keys((friend.public,)))
    yield one
    one.close()


def test_the_run_itself_and_whom_it_admits_get_in(door, friend):
    door.visit(door.keys)
    door.visit(friend)
    assert door.reader.bodies == [b"hello", b"hello"]
    assert door.reader.refusals == []


@pytest.mark.parametrize("kind", ["no keys", "unknown keys", "another server's keys"])
def test_a_stranger_is_refused_and_counted(door, friend, kind):
    stranger = make_keys()
    if kind == "no keys":
        door.visit()
    else:
        door.visit(stranger, stranger if kind == "another server's keys" else None)
    assert door.reader.bodies == []
    assert len(door.reader.refusals) == 1
    expected = "a key that is not admitted" if kind == "unknown keys" else "no handshake with the keys of this run"
    assert expected in door.reader.refusals[0]
    door.reader.refusals.clear()
    door.visit(friend)
    assert door.reader.bodies == [b"hello"]


def test_a_stranger_at_a_running_world_is_counted_in_its_event_log_and_the_secret_is_nowhere():
    world = LiveWorldUnderTest(tcp_host="127.0.0.1")
    try:
        world.start([probe("c", "collector"), probe("s", "sender", to=["c"], count=20)])
        world.run(5, times("got", 20))
        world.inject(b"hello", "c")  # a client without keys
        world.run(5, lambda _: world.strangers() > 0)
        assert world.strangers() > 0
        assert [n for n, _ in fields(world.decisions, "got")] == list(range(1, 21))
        secret = world.launcher._keys.secret.encode()
        written = [path for path in Path(world._folder.name).rglob("*") if path.is_file()]
        assert len(written) > 5
        assert [path for path in written if secret in path.read_bytes()] == []
    finally:
        world.close()


def test_by_default_nothing_listens_on_the_network():
    before = listening(os.getpid())
    world = LiveWorldUnderTest()
    try:
        world.start([probe("c", "collector"), probe("s", "sender", to=["c"], count=5)])
        world.run(5, times("got", 5))
        pids = [os.getpid(), *(child.popen.pid for child in world.launcher.children.values())]
        assert len(pids) == 3
        assert [pid for pid in pids if listening(pid) - before] == []
    finally:
        world.close()


def listening(pid):
    """Inodes of TCP sockets that a process listens at."""
    rows = [row.split() for kind in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()]
    waiting = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    return {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()} & waiting


def test_braid_keys_writes_a_file_for_its_user_alone_and_never_prints_the_secret(tmp_path, capsys):
    path = tmp_path / "deep" / "run.keys"
    friend = make_keys()
    assert cli.main.main(["keys", str(path), "--admit", friend.public]) == 0
    keys = read_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.known == {keys.public, friend.public}
    said = capsys.readouterr()
    assert keys.public in said.out
    assert keys.secret not in said.out + said.err + repr(keys) + str(LaunchConfig("x", keys=keys))
    assert cli.main.main(["keys", str(path)]) == 2
    assert "exists; name another file" in capsys.readouterr().err
    assert read_keys(path) == keys


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path, _: path.chmod(0o640), "can be read by others"),
        (lambda path, _: path.write_text("nonsense"), "is no key file"),
        (lambda path, _: path.unlink(), "make one with braid keys"),
        (lambda path, keys: write(path, Keys(make_keys().public, keys.secret)), "are no pair"),
        (lambda path, keys: write(path, Keys(keys.public, keys.secret, ("short",))), "40 characters"),
    ],
)
def test_a_key_file_that_is_open_to_others_or_damaged_is_refused_without_showing_it(tmp_path, damage, complaint):
    path, keys = tmp_path / "run.keys", make_keys()
    write_keys(path, keys)
    damage(path, keys)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_keys(path)
    assert keys.secret not in str(caught.value)


def write(path, keys):
    path.write_bytes(msgspec.json.encode(keys))


def test_a_second_launcher_in_the_same_folder_is_refused(tmp_path):
    with (
        Launcher(LaunchConfig(str(tmp_path)), KINDS),
        pytest.raises(UsageError, match="in use by another driver; stop it"),
    ):
        Launcher(LaunchConfig(str(tmp_path)), KINDS)
    Launcher(LaunchConfig(str(tmp_path)), KINDS).close()


PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}


def unsafe(source):
    """Lines that could run code from bytes: pickle and its kin, torch's and numpy's loaders that fall back to it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0]}
        else:
            names = set()
        if names & PICKLES:
            found.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            said = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            owner = getattr(node.func.value, "id", "")
            if (owner, node.func.attr) == ("torch", "load") and said.get("weights_only") is not True:
                found.append(node.lineno)
            if said.get("allow_pickle") or node.func.attr in ("recv_pyobj", "send_pyobj"):
                found.append(node.lineno)
    return found


def test_nothing_of_the_house_unpickles():
    rooms = ("actors", "buffers", "cli", "policies", "rewards", "sim")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    assert {str(path): lines for path in files if (lines := unsafe(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "socket.recv_pyobj()",
    ],
)
def test_a_planted_pickle_is_found(source):
    assert unsafe(source)
