"""Bytes that no actor of this house wrote: whatever they are, the host that gets them goes on.

A host with one actor that takes everything is given random bytes, random MessagePack and damaged messages. After each,
the actor lives; what the codec does not know is counted, and what it knows was written to be understood.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgpack
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.kernel.backend import Envelope
from actors.kernel.codec import Codec
from actors.kernel.context import ActorSpec
from actors.live.control import CONTROL_KINDS, SpawnHere, StopHere
from actors.live.directory import Directory
from actors.live.host import Host, HostConfig
from actors.live.loop import Loop
from actors.messages import KINDS, Append, Dispatch, Settled
from buffers.errors import WireError
from buffers.segment import Segment, token_arrays
from tests.addresses import free_tcp_address

FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck))  # how many: the profile's word
CODEC = Codec((*KINDS, *CONTROL_KINDS))


class Taker:
    """Takes everything, and answers what wants an answer."""

    taken = 0

    def __init__(self, spec, shop, emit):
        pass

    def receive(self, message, context):
        Taker.taken += 1
        if context.ticket is not None:
            context.send(context.ticket, Settled(1, 1, 1, False))


def make_host(folder: Path, address: str = "") -> Host:
    directory = Directory(str(folder), {"here": address} if address else {}, {"taker": "here", "friend": "there"})
    kinds = tuple(f"{kind.__module__}:{kind.__qualname__}" for kind in KINDS)
    host = Host(Loop(), HostConfig("here", directory, kinds, str(folder), str(folder / "here.events"), key="secret"))
    host.start(ActorSpec("taker", f"{__name__}:Taker", process="here"), 1)
    return host


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    host = make_host(tmp_path_factory.mktemp("fuzz"))
    yield host
    host.close(0.0)
    host.loop.close()


def turn(host):
    host.loop.run(until=lambda: True)


def check(host, data):
    refused, lost = host.refused, host.lost
    host.intake(memoryview(data))
    turn(host)
    turn(host)
    assert list(host.lives) == ["taker"], "a message ended an actor"
    if is_stranger(data):
        assert host.refused == refused + 1
    else:
        assert (host.refused, host.lost) != (refused, lost) or CODEC.decode(data).to == "taker"


def is_stranger(data):
    try:
        CODEC.decode(data)
    except WireError:
        return True
    return False


GOOD = [
    Envelope("taker", "friend", 1, 0, 0, 0, Settled(1, 2, 3, False)),
    Envelope("taker", "friend", 1, 5, 0, 9, Dispatch(1, ())),
    Envelope("taker", "friend", 1, -5, 1, 9, Settled(1, 2, 3, True)),
    Envelope(
        "taker", "friend", 1, 6, 0, 0,
        Append(1, 1, Segment(0, token_arrays([1, 2], [-1.0, -2.0]), ((1, 2),), ((1, 2),), "cut")),
    ),
    Envelope("@here", "@launcher", 1, 0, 0, 0, StopHere("wrong", "taker")),
    Envelope("@here", "@launcher", 1, 0, 0, 0, SpawnHere("wrong", ActorSpec("taker", "os:abort"), 9)),
]  # fmt: skip
SOUND = st.sampled_from([CODEC.encode(envelope) for envelope in GOOD])
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=20,
)


@st.composite
def damaged(draw):
    """A sound message with some bytes changed, cut out, doubled or put in."""
    data = bytearray(draw(SOUND))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        verb = draw(st.sampled_from(["change", "cut", "put", "end", "double"]))
        if verb == "change" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif verb == "cut":
            del data[at : at + draw(st.integers(1, 4))]
        elif verb == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif verb == "end":
            del data[at:]
        elif verb == "double":
            data[at:at] = data[at : at + 8]
    return bytes(data)


@FUZZ
@given(data=st.binary(max_size=300))
def test_random_bytes_never_crash_a_host(host, data):
    check(host, data)


@FUZZ
@given(data=OBJECTS.map(msgpack.packb) | st.lists(OBJECTS, min_size=7, max_size=9).map(msgpack.packb))
def test_random_messagepack_never_crashes_a_host(host, data):
    check(host, data)


@FUZZ
@given(data=damaged())
def test_damaged_messages_never_crash_a_host(host, data):
    check(host, data)


@FUZZ
@given(fields=st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 4), to=st.sampled_from(["taker", "@here", "?"]))
def test_wild_numbers_in_an_envelope_never_crash_a_host(host, fields, to):
    incarnation, serial, to_incarnation, cause = fields
    envelope = Envelope(to, "friend", incarnation, serial, to_incarnation, cause, Settled(1, 2, 3, False))
    check(host, CODEC.encode(envelope))


def test_control_messages_without_the_key_of_the_run_are_strangers(host):
    for envelope in GOOD[4:]:
        refused = host.refused
        host.intake(memoryview(CODEC.encode(envelope)))
        turn(host)
        assert host.refused == refused + 1
        assert list(host.lives) == ["taker"]


def pump(host, condition):
    host.loop.run(3.0, condition)
    assert condition()


def test_garbage_on_a_real_socket_is_counted_and_the_next_message_is_taken(tmp_path):
    host = make_host(tmp_path)
    context = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.setsockopt(zmq.LINGER, 0)
    try:
        stranger.connect(host.directory.address("here"))
        garbage = [b"", b"\xc1", bytes(range(1, 200)), b"\x98" * 1000, CODEC.encode(GOOD[0])[:-1]]
        for data in garbage:
            stranger.send(data)
        stranger.send_multipart([b"", CODEC.encode(GOOD[0])])
        stranger.send_multipart([b"x"] * 5000)
        before = Taker.taken
        stranger.send(CODEC.encode(GOOD[0]))
        pump(host, lambda: Taker.taken == before + 1)
        assert host.refused == len(garbage) + 2
    finally:
        stranger.close()
        context.term()
        host.close(0.0)
        host.loop.close()


def test_what_is_not_even_the_transport_s_protocol_is_survived(tmp_path):
    address = free_tcp_address("127.0.0.1")
    host = make_host(tmp_path, address)
    context = zmq.Context()
    friend = context.socket(zmq.DEALER)
    friend.setsockopt(zmq.LINGER, 0)
    try:
        port = int(address.rsplit(":", 1)[1])
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\x00" * 10, os.urandom(4096)):
            with socket.create_connection(("127.0.0.1", port)) as visitor:
                visitor.sendall(data)
        friend.connect(address)
        before = Taker.taken
        friend.send(CODEC.encode(GOOD[0]))
        pump(host, lambda: Taker.taken == before + 1)
    finally:
        friend.close()
        context.term()
        host.close(0.0)
        host.loop.close()
