"""Actors of the live world's own tests; they record what happens to them as decisions."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from actors.kernel.context import ActorSpec, Answer, Started
from actors.messages import ActorDied


class Blob(msgspec.Struct, frozen=True, array_like=True, tag="blob"):
    n: int
    data: bytes = b""

    def bulk_bytes(self) -> int:
        return len(self.data)


class Poke(msgspec.Struct, frozen=True, array_like=True, tag="poke"):
    n: int


class Event(msgspec.Struct, frozen=True):
    n: int


KINDS = (Blob, Poke, ActorDied)


class Watcher:
    """A supervisor that only records deaths; it restarts those whose names begin with `again`."""

    def __init__(self, spec, shop, emit):
        self.specs = {}

    def receive(self, message, context):
        if isinstance(message, ActorDied):
            context.decide("died", message.name, message.incarnation, message.reason, context.now // 1000)


class Fragile:
    """Raises at poke 13, closes its port when its life ends, echoes other pokes that are asks."""

    def __init__(self, spec, shop, emit):
        self.folder = Path(spec.config["folder"])
        self.name = spec.name

    def receive(self, message, context):
        if isinstance(message, Started):
            context.decide("started", message.incarnation)
        elif isinstance(message, Poke):
            if message.n == 13:
                raise ValueError("thirteen is too many")
            context.decide("poked", message.n, context.sender)
            if context.ticket is not None:
                context.send(context.ticket, message)

    def close(self):
        (self.folder / f"closed-{self.name}").touch()


class Poker:
    """Pokes `to` with each number of `numbers`, `every_s` apart, by ask; records what comes back (-1: nothing)."""

    def __init__(self, spec, shop, emit):
        self.config = spec.config
        self.left = list(spec.config["numbers"])

    def receive(self, message, context):
        if isinstance(message, Answer):
            context.decide("back", -1 if message.reply is None else message.reply.n)
        if isinstance(message, Started | Answer) and self.left:
            context.ask(self.config["to"], Poke(self.left.pop(0)), self.config.get("timeout_s", 1.0))


class Parent:
    """Leaves a process of its own behind, and records its number."""

    def __init__(self, spec, shop, emit):
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        self.child = subprocess.Popen(command)

    def receive(self, message, context):
        if isinstance(message, Started):
            context.decide("left", self.child.pid)


class Threaded:
    """Holds a port whose threads speak at once, and records receives that overlap or run in another thread."""

    def __init__(self, spec, shop, emit):
        self.port = shop.open("choir", spec, emit)
        self.inside = False
        self.heard = 0

    def receive(self, message, context):
        if isinstance(message, Started):
            self.thread = threading.get_ident()
        if self.inside or threading.get_ident() != self.thread:
            context.decide("nested")
        self.inside = True
        if isinstance(message, Started):
            self.port.sing()
        elif isinstance(message, Event):
            self.heard += 1
            if self.heard % 2000 == 0:
                context.decide("heard", self.heard)
        self.inside = False

    def close(self):
        self.port.close()


class Choir:
    """A port of four threads that emit 500 events each."""

    def __init__(self, config, emit, clock):
        self.emit = emit
        self.threads = [threading.Thread(target=self._voice) for _ in range(4)]

    def sing(self):
        for thread in self.threads:
            thread.start()

    def _voice(self):
        time.sleep(0.02)  # its holder is not at work when it begins
        for n in range(500):
            self.emit(Event(n))

    def close(self):
        for thread in self.threads:
            thread.join()


class Saver:
    """Adds its incarnation to what its port's disk holds, and records it."""

    def __init__(self, spec, shop, emit):
        self.disk = shop.clock.disk

    def receive(self, message, context):
        if isinstance(message, Started):
            self.disk["lives"] = self.disk.get("lives", b"") + b"%d" % message.incarnation
            context.decide("lives", self.disk["lives"].decode(), len(self.disk))


class BlobReader:
    """Answers each blob with its number."""

    def __init__(self, spec, shop, emit):
        pass

    def receive(self, message, context):
        if isinstance(message, Blob | Poke):
            context.send(context.ticket, Poke(message.n))


class BlobAsker:
    """Meets the reader, waits a moment, then asks `count` blobs of `size` bytes at once."""

    def __init__(self, spec, shop, emit):
        self.config = spec.config
        self.answered = -1

    def receive(self, message, context):
        if isinstance(message, Started):
            context.ask("r", Poke(0), 5.0)
        elif isinstance(message, Event):
            data = bytes(self.config["size"])
            for n in range(self.config["count"]):
                context.ask("r", Blob(n, data), 30.0)
            context.decide("asked")
        elif isinstance(message, Answer):
            self.answered += message.reply is not None
            if self.answered == 0:
                context.decide("ready")
                context.after(0.5, Event(0))
            elif self.answered == self.config["count"]:
                context.decide("answered", self.answered)


class Spawner:
    """Asks for an incarnation that does not follow."""

    def __init__(self, spec, shop, emit):
        self.folder = spec.config["folder"]

    def receive(self, message, context):
        if isinstance(message, Started):
            context.spawn(ActorSpec("f", "tests.end_to_end.live_probes:Fragile", {"folder": self.folder}), 1)
