"""Weights between machines: a version in chunks over TCP with CURVE, checked by its digest.

    learner's machine: ring --copied when first asked for--> ChunkServer <==asks, chunks==> fetch_chunks: generator's

    ["v", version]            --> [version, digest, table, bytes]      of the version, or of the newest if that is gone
    ["c", version, offset]    --> [version, offset] + one frame of at most CHUNK_BYTES; an empty one if it is gone

A reader asks for WINDOW chunks at a time. It takes a version whole or not at all: a server that falls silent, a version
that goes away and a wrong digest are `WeightsUnavailable`, after which its generator goes on with what it has and tries
again. The server keeps copies of the newest two versions that were asked for. Its socket has a thread and a doorman.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import zmq

from actors.live.directory import any_port
from actors.live.doorman import Doorman
from actors.live.keys import Keys, connect_with, serve_with
from policies.weights import RingCopy, RingPublisher, Tensor, WeightsUnavailable, copy_ring, digest_of

CHUNK_BYTES = 4 << 20
WINDOW = 4
COPIES = 2
SILENCE_MS = 10_000


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A request; `offset` is below 0 for the manifest."""

    version: int
    offset: int


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What a version consists of."""

    version: int
    digest: str
    table: bytes
    size: int


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Which bytes follow in the next frame."""

    version: int
    offset: int


class ChunkServer:
    """A `WeightsPublisher`: the ring of this machine, and the same for readers on others."""

    def __init__(self, ring: RingPublisher, host: str, keys: Keys) -> None:
        self._ring = ring
        self._copies: dict[int, tuple[RingCopy, str]] = {}
        self._context: zmq.Context[Any] = zmq.Context()
        self.refused = 0
        """Strangers so far."""
        self._doorman = Doorman(self._context, keys, self._refuse)
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, int(":" in host))
        self._socket.setsockopt(zmq.MAXMSGSIZE, 1 << 16)
        serve_with(self._socket, keys)
        self._failures = self._doorman.watch(self._socket)
        self._socket.bind(any_port(host))
        self.address = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="weights", daemon=True)
        self._thread.start()

    def publish(self, version: int, tensors: Mapping[str, Tensor]) -> str:
        """Let them be pulled from here; the address."""
        self._ring.publish(version, tensors)
        return f"{self.address}/{self._ring.name}"

    def close(self) -> None:
        """Stop serving and take the ring away; may be called twice."""
        self._closed.set()
        self._thread.join()
        self._ring.close()

    def _serve(self) -> None:
        poller = zmq.Poller()
        for source in (self._socket, self._doorman.requests, self._failures):
            poller.register(source, zmq.POLLIN)
        while not self._closed.is_set():
            ready = dict(poller.poll(50))
            if self._doorman.requests in ready:
                self._doorman.answer()
            if self._failures in ready:
                self._doorman.note()
            if self._socket in ready:
                self._answer()
        self._doorman.close()
        self._socket.close(0)
        self._context.term()

    def _answer(self) -> None:
        peer, *frames = self._socket.recv_multipart()
        try:
            ask = msgspec.msgpack.decode(frames[0], type=Ask)
            reply = self._manifest(ask.version) if ask.offset < 0 else self._chunk(ask)
        except (msgspec.DecodeError, IndexError):
            self.refused += 1
            return
        except WeightsUnavailable:
            return  # nothing is published yet: the reader's patience ends
        self._socket.send_multipart([peer, *reply])

    def _manifest(self, version: int) -> list[Any]:
        if version not in self._copies:
            copy = copy_ring(self._ring.name, version)
            version = copy.version
            if version not in self._copies:
                self._copies[version] = (copy, digest_of(copy.data))
            for old in list(self._copies)[:-COPIES]:
                del self._copies[old]
        copy, digest = self._copies[version]
        return [msgspec.msgpack.encode(Manifest(version, digest, copy.table, len(copy.data)))]

    def _chunk(self, ask: Ask) -> list[Any]:
        held = self._copies.get(ask.version)
        data = b"" if held is None else held[0].data[ask.offset : ask.offset + CHUNK_BYTES].data
        return [msgspec.msgpack.encode(Chunk(ask.version, ask.offset)), data]

    def _refuse(self, reason: str) -> None:
        self.refused += 1


def fetch_chunks(address: str, version: int, keys: Keys, silence_ms: int = SILENCE_MS) -> RingCopy:
    """A whole version from a server at `tcp://host:port`: the one asked for, or the newest.

    Raises `WeightsUnavailable` where it is silent, where the version goes away meanwhile, and for a wrong digest.
    """
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, int("[" in address))
        connect_with(socket, keys)
        socket.connect(address)

        def receive() -> list[bytes]:
            if not socket.poll(silence_ms):
                raise WeightsUnavailable(f"the weights at {address} are silent; is the learner running?")
            return socket.recv_multipart()

        socket.send(msgspec.msgpack.encode(Ask(version, -1)))
        manifest = msgspec.msgpack.decode(receive()[0], type=Manifest)
        data = np.empty(manifest.size, np.uint8)
        offsets = list(range(0, manifest.size, CHUNK_BYTES))
        for number in range(len(offsets) + WINDOW):
            if number < len(offsets):
                socket.send(msgspec.msgpack.encode(Ask(manifest.version, offsets[number])))
            if number >= WINDOW and number - WINDOW < len(offsets):
                head, body = receive()
                at = msgspec.msgpack.decode(head, type=Chunk).offset
                if len(body) != min(CHUNK_BYTES, manifest.size - at):
                    raise WeightsUnavailable(f"version {manifest.version} went away while it was fetched")
                data[at : at + len(body)] = np.frombuffer(body, np.uint8)
    if digest_of(data) != manifest.digest:
        raise WeightsUnavailable(f"version {manifest.version} from {address} does not have its digest")
    return RingCopy(manifest.version, manifest.table, data)
