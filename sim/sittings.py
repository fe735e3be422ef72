"""A run in several sittings: a person stops it, or everybody is killed at once, and it starts again on the same disks.

    Stop(orderly) --> StopRun to the supervisor --> everybody leaves --+
    Stop          --> everybody is killed ----------------------------+--pause--> next start, on the same disks

Each start has the settings of the first with `starts` raised by one, which is what resuming a run gives to its cast. A
run that ends by itself is over. What is on its way is lost with the sockets; what is on its way to replay may (`late`)
be held up by something between and come in the next sitting, as words of the dead, which replay alone has to stand:
the others begin anew. Left out: a stop that comes while nobody supervises; it is lost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from actors.kernel.backend import Envelope
from actors.messages import StopRun
from sim.cluster import finished, supervised
from sim.world import VirtualWorld

REASON = "stopped by the person"


class Stop(msgspec.Struct, frozen=True):
    """The end of a sitting."""

    at_ns: int
    orderly: bool
    """The supervisor is asked to end the run; otherwise everybody is killed."""
    pause_ns: int = 50_000_000
    """From the last actor's end to the next start."""
    late: bool = False
    """What was on its way to replay arrives in the next sitting."""

    def __str__(self) -> str:
        """One line for a report."""
        how = "the person stops the run" if self.orderly else "everybody is killed"
        late = ", with late messages to replay" if self.late else ""
        return f"{self.at_ns / 1e9:g} s: {how}, resumed after {self.pause_ns / 1e9:g} s{late}"


class Sittings:
    """Orders the stops of a world, and its next start after each."""

    def __init__(self, world: VirtualWorld, config: dict[str, Any], stops: tuple[Stop, ...]) -> None:
        self._world = world
        self._config = config
        self._stopped: Stop | None = None
        self._starting = False
        """The next start is ordered, and nobody lives yet."""
        self._code = world.kernel.code("sittings") if stops else -1
        for stop in stops:
            world.kernel.call_at(stop.at_ns, self._code, self._stop, stop)

    def over(self) -> bool:
        """Whether everybody has left for good; asked after each event."""
        if not finished(self._world):
            self._starting = False
            return False
        if self._starting:
            return False
        stop, self._stopped = self._stopped, None
        if stop is None or (stop.orderly and self._outcome() != REASON):
            return True
        self._starting = True
        self._world.kernel.call_at(self._world.now + stop.pause_ns, self._code, self._start, stop)
        return False

    def _stop(self, stop: Stop) -> None:
        world, boss = self._world, self._world.config.supervisor
        if self._starting:
            return
        self._stopped = stop
        if stop.orderly:
            world.place(boss).arrive(Envelope(boss, "person", 1, 0, 0, 0, StopRun(REASON)))
            return
        for name in sorted(world.alive, key=lambda name: name != boss):
            world.crash(name)

    def _start(self, stop: Stop) -> None:
        self._world.silence(but=self._config["roster"].get("replay", "replay") if stop.late else "")
        self._config = {**self._config, "starts": self._config.get("starts", 0) + 1}
        boss = supervised(self._config)
        self._world.spawn(boss, self._world.place(boss.name).incarnation + 1)

    def _outcome(self) -> str:
        """Why the supervisor ended the run, if it did."""
        for one in reversed(self._world.decisions):
            if one.kind == "stop":
                return str(one.fields[0])
        return ""
