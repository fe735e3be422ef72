"""Sockets of one process: one inbox, and one link to each process that it talks to.

    cell -> encode -> Link (DEALER, one for a peer) ===> Inbox (ROUTER, one for a process) -> decode -> cell

Everything from process A to process B (sends, asks, replies) goes over A's link to B, so it stays in order; nothing is
ever sent on a ROUTER, so nothing can be dropped because a peer is not there. A DEALER with IMMEDIATE accepts a message
only for a peer that is connected; until then messages wait in the link's outbox, bounded in count and bytes, and what
exceeds it is counted, never lost in silence. What a dead peer had not read is lost: whoever needs to know asks.

What one turn of the loop sends to a peer travels as one packet: a single envelope as it is, several behind the byte
0xC1 (which begins no MessagePack object), each after its length. That saves the price of the transport for small
messages and costs no time, since a packet leaves before the loop waits. A large envelope leaves at once and alone.

High-water marks count packets: they bound control traffic, and the byte windows of asks bound what bulk can lie in
queues. An envelope is encoded when it is sent, so a buffer in it may be overwritten at once. A packet has exactly one
body frame; of longer ones every frame is read and dropped, one by one, and the packet is counted.

On one machine the sockets lie in a folder of their user. Over TCP every connection is encrypted and authenticated by
the run's CURVE keys; strangers are refused at the handshake and counted (`doorman`). A process may listen at a port
that the system chooses: a link is then made before its peer's address is known, and `reach` gives it one.
Left out: a bound on the frames of one packet that the transport collects before it hands them over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from struct import Struct
from time import monotonic
from typing import Any, Protocol

import zmq

from actors.live.doorman import Doorman
from actors.live.keys import Keys, connect_with, serve_with
from actors.live.loop import Loop
from buffers.errors import UsageError, WireError

SEND_HIGH_WATER = 1000
"""Packets queued in a link's socket."""
READ_HIGH_WATER = 4096
"""Packets queued in an inbox from each connection. Deeper than a link's, because the transport forgets what is still
in the system's buffers when a peer leaves while its reader is full: an orderly end loses nothing up to this."""
OUTBOX_MESSAGES = 4096
OUTBOX_BYTES = 64 << 20
"""What waits for a peer that is not connected, or that reads too slowly."""
PACKET_BYTES = 1 << 16
PACKET_MESSAGES = 32
"""A packet of this size leaves at once."""
BATCH = 64
BATCH_BYTES = 1 << 20
"""What is read in a row before timers and other sockets have their turn, and replies leave."""
EVENTS = int(zmq.EVENTS)
READABLE = int(zmq.POLLIN)
SEVERAL = b"\xc1"
SEVERAL_BYTE = 0xC1
ORDERLY_LINGER_S = 0.5
"""How long an orderly end waits for what was sent; a crash does not wait."""


_LENGTH = Struct("<I")


class Reader(Protocol):
    """Who reads an inbox."""

    def intake(self, data: memoryview) -> None:
        """Take the body of a message; the view is valid for this call."""

    def refuse(self, reason: str) -> None:
        """Count what is no message."""


class Link:
    """The way to one process."""

    __slots__ = (
        "_bytes",
        "_held",
        "_loop",
        "_outbox",
        "_packet",
        "_packet_bytes",
        "_send",
        "_socket",
        "absent",
        "address",
        "dropped",
        "sent",
    )

    def __init__(
        self, context: zmq.Context[Any], loop: Loop, address: str, max_bytes: int, keys: Keys | None = None
    ) -> None:
        self._loop = loop
        self.address = ""
        """Where the peer listens; empty while nobody knows."""
        self._packet: list[bytes] = []
        self._packet_bytes = 0
        self._outbox: deque[tuple[bytes, int]] = deque()
        self._held = 0
        self._bytes = 0
        self.absent = False
        """The peer is known to be dead: what is sent to it is lost, as in every world."""
        self.dropped = 0
        """Messages that found the outbox full, or the peer dead."""
        self.sent = 0
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, SEND_HIGH_WATER)
        socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
        socket.setsockopt(zmq.RECONNECT_IVL, 5)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
        if keys is not None:
            connect_with(socket, keys)
        self._socket = socket
        self._send = socket.send
        if address:
            self.reach(address)

    def send(self, data: bytes | bytearray) -> None:
        """Send, or keep a copy for later; never waits."""
        if self.absent:
            self.dropped += 1
            return
        packet = self._packet
        if len(data) >= PACKET_BYTES:
            self.seal()
            self._go(data, 1)
            return
        if not packet:
            self._loop.before_wait(self.seal)
        packet.append(bytes(data))
        self._packet_bytes += len(data)
        if self._packet_bytes >= PACKET_BYTES or len(packet) >= PACKET_MESSAGES:
            self.seal()

    def reach(self, address: str) -> None:
        """Go over to an address; what the old one's reader had not read is lost."""
        if address == self.address:
            return
        self.leave()
        _suit(self._socket, address)
        self._socket.connect(address)
        self.address = address

    def leave(self) -> None:
        """Let go of an address at which the peer will not be found again."""
        if self.address:
            self._socket.disconnect(self.address)
            self.address = ""

    @property
    def waiting(self) -> int:
        """Messages in the outbox and in the packet of this turn."""
        return self._held + len(self._packet)

    def gone(self) -> None:
        """The peer has died: what waits for it, and what is sent from now on, is lost."""
        self.absent = True
        self.dropped += self._held + len(self._packet)
        self._packet.clear()
        self._outbox.clear()
        self._packet_bytes = self._held = self._bytes = 0
        self._loop.unwatch(self._socket)

    def coming(self) -> None:
        """The peer is being started: messages wait for it again."""
        self.absent = False

    def close(self, linger_s: float) -> None:
        """Close; what was accepted has `linger_s` to leave."""
        self._loop.unwatch(self._socket)
        self._socket.close(round(linger_s * 1000))

    def flush(self) -> bool:
        """Send what waits, as far as the socket takes it; False, for a `Loop`."""
        outbox = self._outbox
        try:
            while outbox:
                self._send(outbox[0][0], zmq.NOBLOCK)
                data, count = outbox.popleft()
                self._bytes -= len(data)
                self._held -= count
                self.sent += count
        except zmq.Again:
            return False
        self._loop.unwatch(self._socket)
        return False

    def seal(self) -> None:
        """Let the packet go that this turn has filled."""
        packet = self._packet
        count = len(packet)
        if not count:
            return
        data = packet[0] if count == 1 else pack(packet)
        packet.clear()
        self._packet_bytes = 0
        self._go(data, count)

    def _go(self, data: bytes | bytearray, count: int) -> None:
        if self._outbox:
            self._hold(bytes(data), count)
            return
        try:
            self._send(data, zmq.NOBLOCK)
        except zmq.Again:
            self._hold(bytes(data), count)
        else:
            self.sent += count

    def _hold(self, data: bytes, count: int) -> None:
        full = self._held + count > OUTBOX_MESSAGES or self._bytes + len(data) > OUTBOX_BYTES
        if full and self._outbox:
            self.dropped += count
            return
        if not self._outbox:
            self._loop.watch(self._socket, self.flush)
        self._outbox.append((data, count))
        self._held += count
        self._bytes += len(data)


def pack(envelopes: Sequence[bytes]) -> bytes:
    """Several envelopes as one packet."""
    parts = [SEVERAL]
    for envelope in envelopes:
        parts.append(_LENGTH.pack(len(envelope)))
        parts.append(envelope)
    return b"".join(parts)


def unpack(packet: memoryview) -> Iterator[memoryview]:
    """The envelopes of a packet of several; `WireError` where the lengths do not fit."""
    at, size = 1, len(packet)
    if size == 1:
        raise WireError("from an unknown sender: a packet of nothing")
    while at < size:
        begin = at + 4
        if begin > size:
            raise WireError("from an unknown sender: a packet that ends within a length")
        at = begin + _LENGTH.unpack_from(packet, begin - 4)[0]
        if at > size:
            raise WireError(f"from an unknown sender: a packet of {size} bytes with an envelope up to byte {at}")
        yield packet[begin:at]


class Inbox:
    """The one socket that a process reads."""

    def __init__(
        self, context: zmq.Context[Any], address: str, max_bytes: int, reader: Reader, keys: Keys | None = None
    ) -> None:
        self._reader = reader
        self.doorman = Doorman(context, keys, reader.refuse) if keys is not None else None
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, READ_HIGH_WATER)
        socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
        _suit(socket, address)
        if self.doorman is not None and keys is not None:
            serve_with(socket, keys)
            self.doorman.watch(socket)
        self.socket = socket
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(f"cannot listen at {address}: {error}; free the address or name another") from None
        self.address = str(socket.getsockopt_string(zmq.LAST_ENDPOINT))

    def drain(self) -> bool:
        """Read what is there, at most a batch; True: there is more."""
        recv, get = self.socket.recv, self.socket.get
        intake = self._reader.intake
        left = BATCH_BYTES
        try:
            for _ in range(BATCH):
                recv(zmq.NOBLOCK)  # the identity of the connection
                body = recv(zmq.NOBLOCK, False)
                if body.more:
                    self._skip()
                else:
                    view = body.buffer
                    left -= len(view)
                    if view and view[0] == SEVERAL_BYTE:
                        self._take_several(view)
                    else:
                        intake(view)
                if not get(EVENTS) & READABLE:  # cheaper than an exception
                    return False
                if left <= 0:
                    break
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Close at once."""
        if self.doorman is not None:
            self.doorman.close()
        self.socket.close(0)

    def _take_several(self, packet: memoryview) -> None:
        intake = self._reader.intake
        try:
            for envelope in unpack(packet):
                intake(envelope)
        except WireError as error:
            self._reader.refuse(str(error))

    def _skip(self) -> None:
        frames = 2
        while self.socket.recv(zmq.NOBLOCK, False).more:
            frames += 1
        self._reader.refuse(f"from an unknown sender: a packet of {frames} frames; a packet has one")


class Links:
    """All sockets of a process. With keys, every one of them speaks CURVE."""

    def __init__(self, loop: Loop, address: str, max_bytes: int, reader: Reader, keys: Keys | None = None) -> None:
        self._loop = loop
        self._keys = keys
        self._max_bytes = max_bytes
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._links: dict[str, Link] = {}
        try:
            self.inbox = Inbox(self._context, address, max_bytes, reader, keys)
        except UsageError:
            self._context.term()
            raise
        loop.watch(self.inbox.socket, self.inbox.drain)
        doorman = self.inbox.doorman
        if doorman is not None and doorman.failures is not None:
            loop.watch(doorman.requests, doorman.answer)
            loop.watch(doorman.failures, doorman.note)

    def to(self, process: str, address: str) -> Link:
        """The link to a process, made at first use."""
        link = self._links.get(process)
        if link is None:
            link = self._links[process] = Link(self._context, self._loop, address, self._max_bytes, self._keys)
        return link

    def known(self, process: str) -> Link | None:
        """The link to a process, if there is one."""
        return self._links.get(process)

    @property
    def dropped(self) -> int:
        """Messages that found an outbox full or a peer dead."""
        return sum(link.dropped for link in self._links.values())

    def close(self, linger_s: float) -> None:
        """Close everything; after `linger_s` at most, whatever has not left is lost."""
        end = monotonic() + linger_s
        self._loop.unwatch(self.inbox.socket)
        doorman = self.inbox.doorman
        if doorman is not None and doorman.failures is not None:
            self._loop.unwatch(doorman.requests)
            self._loop.unwatch(doorman.failures)
        self.inbox.close()
        waiting = [link for link in self._links.values() if link.waiting]
        while waiting and monotonic() < end:
            self._loop.run(0.005)
            waiting = [link for link in waiting if link.waiting]
        left = max(0.0, end - monotonic())
        for link in self._links.values():
            link.close(left)
        self._links.clear()
        self._context.term()


def _suit(socket: zmq.Socket[Any], address: str) -> None:
    """Between machines a peer that vanished is noticed by heartbeats of the transport; on one machine by its exit."""
    if address.startswith("tcp:"):
        socket.setsockopt(zmq.IPV6, int("[" in address))
        socket.setsockopt(zmq.HEARTBEAT_IVL, 10_000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
