"""Each loss that was measured on naive socket patterns, and the promise that rules it out."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from actors.kernel.asks import Window
from actors.kernel.backend import Envelope
from actors.kernel.codec import Codec
from actors.kernel.context import ActorSpec
from actors.live.links import (
    OUTBOX_BYTES,
    OUTBOX_MESSAGES,
    PACKET_BYTES,
    PACKET_MESSAGES,
    READ_HIGH_WATER,
    SEND_HIGH_WATER,
    Links,
    unpack,
)
from actors.live.loop import Loop
from buffers.errors import UsageError
from tests.addresses import free_tcp_address
from tests.conformance.live_world import LiveWorldUnderTest
from tests.conformance.world import fields, probe, times
from tests.end_to_end.live_probes import KINDS, Blob

LIMIT = 1 << 20


class Reader:
    def __init__(self):
        self.bodies = []
        self.refusals = []

    def intake(self, data):
        self.bodies.append(bytes(data))

    def refuse(self, reason):
        self.refusals.append(reason)


class Ground:
    """Processes' sockets in one process, on one loop."""

    def __init__(self, folder):
        self.loop = Loop()
        self.folder = folder
        self.open = []

    def address(self, name):
        return f"ipc://{self.folder}/{name}"

    def process(self, name, limit=LIMIT):
        reader = Reader()
        links = Links(self.loop, self.address(name), limit, reader)
        self.open.append(links)
        return links, reader

    def end(self, links, linger_s=0.0):
        self.open.remove(links)
        links.close(linger_s)

    def until(self, condition, seconds=5.0):
        self.loop.run(seconds, condition)
        return condition()


@pytest.fixture
def ground(tmp_path):
    ground = Ground(tmp_path)
    yield ground
    for links in list(ground.open):
        ground.end(links)
    ground.loop.close()


def numbered(count, size=8):
    return [n.to_bytes(8, "big") + b"\0" * (size - 8) for n in range(count)]


def test_a_slow_joiner_gets_everything_that_was_sent_before_it_was_there(ground):
    a, _ = ground.process("a")
    link = a.to("b", ground.address("b"))
    for body in numbered(2000):
        link.send(body)
    ground.loop.run(0.1)
    _, reader = ground.process("b")
    assert ground.until(lambda: len(reader.bodies) == 2000)
    assert reader.bodies == numbered(2000)
    assert (link.dropped, link.waiting) == (0, 0)


def test_nothing_vanishes_that_is_sent_to_a_peer_that_never_comes(ground):
    a, _ = ground.process("a")
    link = a.to("nobody", ground.address("nobody"))
    for body in numbered(50_000):
        link.send(body)
    ground.loop.run(0.01)
    assert (link.sent, link.waiting, link.dropped) == (0, OUTBOX_MESSAGES, 50_000 - OUTBOX_MESSAGES)


def test_an_outbox_is_bounded_in_bytes_too(ground):
    a, _ = ground.process("a")
    link = a.to("nobody", ground.address("nobody"))
    body = b"x" * (OUTBOX_BYTES // 4)
    for _ in range(10):
        link.send(body)
    assert (link.waiting, link.dropped) == (4, 6)


def test_a_peer_known_to_be_dead_is_sent_nothing_until_it_is_coming(ground):
    a, _ = ground.process("a")
    link = a.to("b", ground.address("b"))
    link.send(b"waits")
    link.gone()
    link.send(b"lost")
    assert (link.waiting, link.dropped) == (0, 2)
    link.coming()
    link.send(b"new")
    _, reader = ground.process("b")
    assert ground.until(lambda: reader.bodies)
    assert reader.bodies == [b"new"]


def test_a_peer_that_restarts_at_the_same_address_is_found_again(ground):
    a, _ = ground.process("a")
    link = a.to("b", ground.address("b"))
    for life in range(3):
        b, reader = ground.process("b")
        link.send(b"%d" % life)
        assert ground.until(lambda r=reader: r.bodies)
        assert reader.bodies == [b"%d" % life]
        ground.end(b)
        ground.loop.run(0.05)


def test_two_lives_of_a_sender_are_both_heard(ground):
    _, reader = ground.process("b")
    for life in range(3):
        a, _ = ground.process("a")
        a.to("b", ground.address("b")).send(b"%d" % life)
        assert ground.until(lambda n=life: len(reader.bodies) == n + 1)
        if life == 1:
            continue  # this one stays connected while its successor speaks
        ground.end(a)
    assert reader.bodies == [b"0", b"1", b"2"]


def test_what_was_sent_before_an_orderly_end_arrives(ground):
    _, reader = ground.process("b")
    a, _ = ground.process("a")
    link = a.to("b", ground.address("b"))
    for body in numbered(3000, 100):  # less than the reader's high-water mark: nobody reads while this thread closes
        link.send(body)
    ground.end(a, linger_s=2.0)
    assert ground.until(lambda: len(reader.bodies) == 3000)
    assert reader.bodies == numbered(3000, 100)


@pytest.mark.parametrize(("linger_s", "limit_s"), [(0.0, 0.3), (0.5, 1.2)])
def test_unsent_messages_never_block_an_end(ground, linger_s, limit_s):
    a, _ = ground.process("a")
    absent = a.to("nobody", ground.address("nobody"))
    stuck = zmq.Context()
    silent = stuck.socket(zmq.ROUTER)  # is connected to, but never reads
    silent.setsockopt(zmq.RCVHWM, 1)
    silent.bind(ground.address("silent"))
    deaf = a.to("silent", ground.address("silent"))
    for body in numbered(3000, 10_000):
        absent.send(body)
        deaf.send(body)
    ground.loop.run(0.1)
    assert deaf.sent
    begun = time.monotonic()
    ground.end(a, linger_s)
    assert time.monotonic() - begun < limit_s
    silent.close(0)
    stuck.term()


@pytest.mark.parametrize("size", [8, PACKET_BYTES // 16, LIMIT // 16])
@pytest.mark.parametrize("late", [False, True])
def test_a_buffer_may_be_overwritten_as_soon_as_it_was_sent(ground, size, late):
    """An envelope is encoded when it is sent, although its packet leaves at the end of the turn, or when there is a
    reader."""
    reader = None if late else ground.process("b")[1]
    a, _ = ground.process("a")
    link = a.to("b", ground.address("b"))
    codec = Codec(KINDS)
    values = np.zeros(size, dtype=np.int64)
    for n in range(1, 21):
        values[:] = n
        link.send(codec.encode_lent(Envelope("r", "s", 1, 0, 0, 0, Blob(n, memoryview(values).cast("B")))))
        values[:] = -1
    reader = reader or ground.process("b")[1]
    assert ground.until(lambda: len(reader.bodies) == 20)
    blobs = [codec.decode(body).message for body in reader.bodies]
    assert [np.unique(np.frombuffer(blob.data, dtype=np.int64)).tolist() for blob in blobs] == [
        [n] for n in range(1, 21)
    ]


def test_several_envelopes_of_a_turn_travel_as_one_packet_and_large_ones_alone(ground):
    _, reader = ground.process("b")
    a, _ = ground.process("a")
    link = a.to("b", ground.address("b"))
    link.send(b"hello")
    assert ground.until(lambda: reader.bodies)
    packets = []
    link._send = lambda data, flags: packets.append(data)
    bodies = [b"small", b"x" * PACKET_BYTES, b"", b"after", *numbered(2 * PACKET_MESSAGES)]
    for body in bodies:
        link.send(body)
    ground.loop.run(0.01)
    assert packets[:2] == bodies[:2]
    assert [len(list(unpack(memoryview(packet)))) for packet in packets[2:]] == [32, 32, 2]
    assert [bytes(body) for packet in packets[2:] for body in unpack(memoryview(packet))] == bodies[2:]


@pytest.mark.parametrize("data", [b"\xc1", b"\xc1\x01", b"\xc1\x05\0\0\0abc", b"\xc1\xff\xff\xff\xffabc"])
def test_packets_whose_lengths_do_not_fit_are_refused(ground, stranger, data):
    _, reader = ground.process("b")
    stranger.connect(ground.address("b"))
    stranger.send(data)
    stranger.send(b"sound")
    assert ground.until(lambda: reader.bodies)
    assert reader.bodies == [b"sound"]
    assert len(reader.refusals) == 1


@pytest.fixture
def stranger():
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    yield socket
    socket.close()
    context.term()


def test_endless_frames_are_counted_as_one_message_and_not_kept(ground, stranger):
    _, reader = ground.process("b")
    stranger.connect(ground.address("b"))
    for _ in range(100_000):
        stranger.send(b"", zmq.SNDMORE)
    stranger.send(b"")
    stranger.send(b"sound")
    assert ground.until(lambda: reader.bodies, 10)
    assert reader.bodies == [b"sound"]
    assert len(reader.refusals) == 1
    assert "100001 frames" in reader.refusals[0]


def test_a_message_over_the_limit_never_arrives_and_its_sender_is_cut_off(ground, stranger):
    _, reader = ground.process("b", limit=1000)
    a, _ = ground.process("a")
    stranger.connect(ground.address("b"))
    stranger.send(b"x" * 1001)
    link = a.to("b", ground.address("b"))
    link.send(b"y" * 1000)
    assert ground.until(lambda: reader.bodies)
    ground.loop.run(0.2)
    assert [len(body) for body in reader.bodies] == [1000]


def test_a_flood_on_one_socket_starves_neither_timers_nor_other_sockets(ground, stranger):
    _, flooded = ground.process("b")
    _, calm = ground.process("c")
    a, _ = ground.process("a")
    stranger.connect(ground.address("b"))
    for body in numbered(20_000):
        stranger.send(body)
    ground.loop.run(0.2)
    heard = []
    before = len(flooded.bodies)
    for body in numbered(20_000):
        stranger.send(body)
    ground.loop.call_later(0, heard.append, "timer")
    a.to("c", ground.address("c")).send(b"x")
    assert ground.until(lambda: heard and calm.bodies)
    assert len(flooded.bodies) - before < 20_000


def test_an_address_that_is_taken_ends_in_one_clear_line(ground):
    address = free_tcp_address("127.0.0.1")
    ground.open.append(Links(ground.loop, address, LIMIT, Reader()))
    with pytest.raises(UsageError, match=rf"cannot listen at {address}.*in use.*free the address"):
        Links(ground.loop, address, LIMIT, Reader())


def resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(("window_bytes", "grows"), [(1_000_000, False), (1 << 30, True)])
def test_high_water_marks_count_messages_so_the_windows_of_asks_bound_the_bytes(window_bytes, grows):
    """A reader that is stopped: what piles up for it is a window's worth, however much its asker has to say."""
    world = LiveWorldUnderTest()
    try:
        specs = [
            ActorSpec(name, f"tests.end_to_end.live_probes:{kind}", config)
            for name, kind, config in (("r", "BlobReader", {}), ("s", "BlobAsker", {"count": 600, "size": 100_000}))
        ]
        world.start(specs, window=Window(count=1000, bytes=window_bytes), codec_kinds=KINDS)
        world.run(5, times("ready", 1))
        pid = world.launcher.children["s"].popen.pid
        before = resident_bytes(pid)
        world.pause("r")
        world.run(5, times("asked", 1))
        world.run(0.3)
        assert (resident_bytes(pid) - before > 30_000_000) == grows
        world.unpause("r")
        decisions = world.run(5, times("answered", 1))
        assert fields(decisions, "answered") == [(600,)]
    finally:
        world.close()


def test_a_reader_that_is_killed_and_restarted_answers_everything_in_the_end():
    """Raw sockets lose what a killed reader had accepted; here every ask ends, and is asked again without an answer."""
    world = LiveWorldUnderTest()
    try:
        world.start(
            [
                probe("e", "echo", hold_s=0.01),
                probe("a", "asker", to=["e"], count=300, at_once=True, timeout_s=0.3, patient=True),
            ],
            window=Window(count=8),
        )
        for answered in (30, 90, 150):
            world.run(5, times("answered", answered))
            world.crash("e")
            world.run(0.05)
            world.restart("e")
        decisions = world.run(10, times("answered", 300))
        assert sorted(n for n, _, _ in fields(decisions, "answered")) == list(range(1, 301))
        assert fields(decisions, "timed out")
    finally:
        world.close()


def test_the_options_of_the_sockets_are_the_chosen_ones(ground):
    a, _ = ground.process("a")
    link = a.to("b", ground.address("b"))
    assert link._socket.getsockopt(zmq.LINGER) == 0
    assert link._socket.getsockopt(zmq.IMMEDIATE) == 1
    assert link._socket.getsockopt(zmq.SNDHWM) == SEND_HIGH_WATER
    assert a.inbox.socket.getsockopt(zmq.RCVHWM) == READ_HIGH_WATER
    assert a.inbox.socket.getsockopt(zmq.MAXMSGSIZE) == LIMIT
