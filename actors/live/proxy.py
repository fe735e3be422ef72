"""A proxy between the sockets of a live world: it delays and loses messages, and overhears them.

    link of A --> ROUTER, one for each process, in the folder `detour` --> [lost? late?] --> DEALER --> inbox of B

It runs in a thread of its own and is meant for breaking a world on purpose: a message that may be lost is one that an
actor sent (the launcher's orders to hosts always arrive); what is late holds up whatever follows on the same link, so
order is kept. Messages for a process that is not there wait here, as they would in a link.

Left out: TCP (whose addresses are given), and reordering across links, which processes do by themselves.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec
import zmq

from actors.live.directory import Directory
from actors.live.links import SEVERAL_BYTE, unpack

WAITING = 4096
"""Messages for an absent process; more are lost."""
LOOK_MS = 50
"""Between two looks at whether to end."""


class Harm(msgspec.Struct, frozen=True):
    """What befalls a share of the messages of a link."""

    link: str
    """ "*", "name" (either end) or "a->b"."""
    share: float
    delay_s: float
    """0: they are lost."""


class _Head(msgspec.Struct, array_like=True):
    """The beginning of an encoded envelope."""

    wire: int
    to: str
    sender: str


class _Exit:
    """The way on to one process."""

    def __init__(self, context: zmq.Context[Any], address: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 5)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
        self.socket.connect(address)
        self.waiting: deque[bytes] = deque(maxlen=WAITING)

    def flush(self) -> None:
        """Send what waits, as far as somebody takes it."""
        with suppress(zmq.Again):
            while self.waiting:
                self.socket.send(self.waiting[0], zmq.NOBLOCK)
                self.waiting.popleft()


class Proxy:
    """A context manager: while it is entered, messages pass."""

    def __init__(
        self,
        directory: Directory,
        processes: Sequence[str],
        seed: int = 0,
        overhear: Callable[[bytes], None] | None = None,
    ) -> None:
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._poller = zmq.Poller()
        self._exits: dict[Any, _Exit] = {}
        for process in processes:
            entry = self._context.socket(zmq.ROUTER)
            entry.setsockopt(zmq.LINGER, 0)
            entry.bind(directory.address(process))
            self._exits[entry] = _Exit(self._context, directory.listens(process))
            self._poller.register(entry, zmq.POLLIN)
        self._random = random.Random(seed)
        self._overhear = overhear
        self._head = msgspec.msgpack.Decoder(_Head)
        self._harms: tuple[Harm, ...] = ()
        self._late: list[tuple[float, int, _Exit, bytes]] = []
        self._due: dict[tuple[str, str], float] = {}
        """Link that was ever late -> when the last of its late messages leaves."""
        self._count = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")
        self.lost = 0
        self.delayed = 0

    def harm(self, harms: Sequence[Harm]) -> None:
        """From now on these, and no others; from any thread."""
        self._harms = tuple(harms)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            waits = [one for one in self._exits.values() if one.waiting]
            until_ms = 1000 * (self._late[0][0] - monotonic()) if self._late else LOOK_MS
            for entry, _ in self._poller.poll(max(0, min(round(until_ms), 5 if waits else LOOK_MS))):
                self._take(entry, self._exits[entry])
            while self._late and self._late[0][0] <= monotonic():
                _, _, to, data = heapq.heappop(self._late)
                to.waiting.append(data)
            for one in self._exits.values():
                one.flush()
        for entry, one in self._exits.items():
            entry.close(0)
            one.socket.close(0)
        self._context.term()

    def _take(self, entry: Any, to: _Exit) -> None:
        with suppress(zmq.Again):
            while True:
                body = entry.recv_multipart(zmq.NOBLOCK)[-1]
                for data in unpack(memoryview(body)) if body[:1] == bytes([SEVERAL_BYTE]) else [body]:
                    self._pass(bytes(data), to)

    def _pass(self, data: bytes, to: _Exit) -> None:
        head = self._head.decode(data)
        if self._overhear is not None:
            self._overhear(data)
        link = (head.sender, head.to)
        held_until = self._due.get(link, 0.0)
        for harm in self._harms:
            if not _hits(harm.link, *link) or self._random.random() >= harm.share:
                continue
            if harm.delay_s:
                held_until = max(held_until, monotonic() + harm.delay_s)
                self.delayed += 1
            elif not head.to.startswith("@"):
                self.lost += 1
                return
        if not held_until:
            to.waiting.append(data)
            return
        self._due[link] = held_until
        self._count += 1
        heapq.heappush(self._late, (held_until, self._count, to, data))


def _hits(link: str, sender: str, to: str) -> bool:
    if "->" not in link:
        return link in ("*", sender, to)
    one, other = link.split("->")
    return one in ("*", sender) and other in ("*", to)
