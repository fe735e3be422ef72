"""The live world under the suite: real processes, real sockets; what they decide comes back through event logs."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import zmq

from actors.eventlog import SUFFIX, EventLogReader, Refusal
from actors.kernel.asks import Window
from actors.kernel.backend import Decision
from actors.kernel.context import ActorSpec
from actors.live.launch import LaunchConfig, Launcher
from tests.conformance import probes
from tests.conformance.world import Until

LOOK_S = 0.02
"""How often the event logs are read."""
PATIENCE = 4
"""So many times what a test allows for is waited for on a busy machine; a wait ends with what it waits for."""


class LiveWorldUnderTest:
    """A launcher in this process; each probe in a process of its own, unless its spec says otherwise."""

    def __init__(self, *, tcp_host: str = "") -> None:
        self.tcp_host = tcp_host
        self.decisions: list[Decision] = []
        self.launcher: Launcher | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._readers: dict[Path, EventLogReader] = {}
        self._refused: dict[Path, int] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._strangers: dict[str, zmq.Socket[bytes]] = {}

    def start(
        self,
        specs: Sequence[ActorSpec],
        *,
        seed: int = 0,
        window: Window = Window(),  # noqa: B008
        codec_kinds: Iterable[type[msgspec.Struct]] = probes.KINDS,
        supervisor: str = "",
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="braid-test-")
        config = LaunchConfig(
            folder=self._folder.name,
            supervisor=supervisor,
            seed=seed,
            window=window,
            tcp_host=self.tcp_host,
            flush_s=0.0,
        )
        self.launcher = Launcher(config, codec_kinds)
        self.launcher.start(specs)

    def run(self, seconds: float, until: Until | None = None) -> list[Decision]:
        assert self.launcher is not None
        if until is None:
            self.launcher.run(seconds)
        else:
            left = PATIENCE * seconds  # ends as soon as what is waited for has come
            while not until(self._read()) and left > 0:
                self.launcher.run(min(LOOK_S, left))
                left -= LOOK_S
        return list(self._read())

    def crash(self, name: str) -> None:
        self._signal(name, signal.SIGKILL)

    def restart(self, name: str) -> None:
        assert self.launcher is not None
        self.launcher.spawn(self.launcher.specs[name], self.launcher.incarnations[name] + 1)

    def pause(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP)

    def unpause(self, name: str) -> None:
        self._signal(name, signal.SIGCONT)

    def inject(self, data: bytes, to: str) -> None:
        assert self.launcher is not None
        if self._context is None:
            self._context = zmq.Context()
        if to not in self._strangers:
            stranger = self._strangers[to] = self._context.socket(zmq.DEALER)
            stranger.setsockopt(zmq.LINGER, 0)
            directory = self.launcher.host.directory
            stranger.connect(directory.address(directory.homes[to]))
        self._strangers[to].send(data)

    def strangers(self) -> int:
        self._read()
        return sum(self._refused.values())

    def close(self) -> None:
        for stranger in self._strangers.values():
            stranger.close()
        self._strangers.clear()
        if self._context is not None:
            self._context.term()
            self._context = None
        if self.launcher is not None:
            self.launcher.close()
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def logs(self) -> str:
        """What the processes wrote to stdout and stderr."""
        assert self._folder is not None
        return "".join(path.read_text() for path in sorted((Path(self._folder.name) / "logs").iterdir()))

    def _signal(self, name: str, number: int) -> None:
        assert self.launcher is not None
        self.launcher.signal(name, number)

    def _read(self) -> list[Decision]:
        assert self._folder is not None
        for path in (Path(self._folder.name) / "events").glob(f"*{SUFFIX}"):
            if path not in self._readers:
                self._readers[path] = EventLogReader(path)
        fresh: list[Decision] = []
        for path, reader in self._readers.items():
            for record in reader.read():
                if isinstance(record, Decision):
                    fresh.append(record)
                elif isinstance(record, Refusal):
                    self._refused[path] = record.count
        self.decisions.extend(sorted(fresh, key=lambda decision: decision.at_ns))
        return self.decisions
