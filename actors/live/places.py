"""Places: where the launcher has its processes started; this machine, or the nodes of a cluster.

A place starts a process from its file, passes signals on, and says once, in the launcher's loop, that it has ended and
why. What the launcher knows of a process lies in the `Child` that the place returns.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from actors.kernel.context import ActorSpec
from actors.live.keys import Keys
from actors.live.loop import Loop
from actors.live.process import ProcessFile


class Child(Protocol):
    """One process that runs, or is being started."""

    name: str
    start: int
    """Number of the process among all that the run has started."""
    lives: dict[str, int]
    """Actors that were started in it and whose end is not known, with their incarnations."""
    next: list[tuple[ActorSpec, int]]
    """To be started in a new process of this name as soon as this one is gone."""

    @property
    def placed(self) -> bool:
        """Whether it has a place: until then nothing can be heard of its actors."""

    def signal(self, number: int) -> None:
        """Send a signal to the process (never to another that has taken its number)."""

    def clear_away(self) -> None:
        """See that nothing of it runs; it is not heard of again."""


REP_MOVSB = "glibc.cpu.x86_rep_movsb_threshold"
"""From how many bytes on the C library copies by one instruction. AMD's Zen 3 and 4 take up to 12 times as long for it
where the target lies 1 to 15 bytes behind the source, modulo a page (glibc bug 30994); vector registers never do."""

Ended = Callable[[str], None]
"""Called once when a process has ended, with the reason: `left`, or how it died."""


class Places(Protocol):
    """Where processes are started."""

    @property
    def host(self) -> str:
        """Address of this machine at which the launcher listens on TCP; empty for sockets in a folder."""

    def launch(self, loop: Loop, file: ProcessFile, keys: Keys | None, ended: Ended) -> Child:
        """Start a process; never waits."""

    def close(self) -> None:
        """Give back what was taken; all processes have been cleared away."""


class ThisMachine:
    """Processes of this machine, children of this one."""

    def __init__(self, host: str = "") -> None:
        self.host = host

    def launch(self, loop: Loop, file: ProcessFile, keys: Keys | None, ended: Ended) -> LocalChild:
        """Start a process of this machine."""
        return LocalChild(loop, file, keys, ended)

    def close(self) -> None:
        """Nothing was taken."""


class LocalChild:
    """See `Child`."""

    placed = True

    def __init__(self, loop: Loop, file: ProcessFile, keys: Keys | None, ended: Ended) -> None:
        self.name = file.host.process
        self.start = file.host.start
        self.lives: dict[str, int] = {}
        self.next: list[tuple[ActorSpec, int]] = []
        self.popen, self.log = begin(msgspec.structs.replace(file, launcher_pid=os.getpid()), keys)
        self.pidfd = os.pidfd_open(self.popen.pid)
        self._loop = loop
        self._ended = ended
        loop.watch(self.pidfd, self._over)

    def signal(self, number: int) -> None:
        """Send a signal."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def clear_away(self) -> None:
        """Kill it and what it has left in its group."""
        clear(self.popen)
        self._loop.unwatch(self.pidfd)
        os.close(self.pidfd)

    def _over(self) -> bool:
        self.clear_away()
        self._ended(reason_of(self.popen.returncode, self.log))
        return False


def begin(file: ProcessFile, keys: Keys | None) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a process of this machine from its file, as a child of this one; the process, and where its log lies."""
    run = Path(file.host.folder)
    stem = Path(file.host.events).stem
    path = run / "processes" / f"{stem}.msgpack"
    path.touch(mode=0o600)
    path.write_bytes(msgspec.msgpack.encode(file))
    log_path = run / "logs" / f"{stem}.log"
    with log_path.open("wb") as out:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "actors.live.process", str(path)],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(import_path()),
                "GLIBC_TUNABLES": tunables(os.environ.get("GLIBC_TUNABLES", "")),
            },
            start_new_session=True,
        )
    assert popen.stdin is not None
    with suppress(BrokenPipeError), popen.stdin as door:  # it may have ended already
        door.write(b"" if keys is None else msgspec.msgpack.encode(keys))
    return popen, log_path


def clear(popen: subprocess.Popen[bytes]) -> int:
    """Kill a process and what it may have left in its group; its status."""
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    return popen.wait()


def reason_of(status: int, log_path: Path) -> str:
    """Why a process has ended, from its status and the last line of its log."""
    if status == 0:
        return "left"
    if status < 0:
        return f"killed by signal {-status}"
    lines = log_path.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    return f"exit status {status}: {lines[-1] if lines else 'no word'}"


def tunables(given: str) -> str:
    """Settings of the C library for a child: those that were given, and copies by vector registers (`REP_MOVSB`)."""
    named = [setting.partition("=")[0] for setting in given.split(":")]
    return given if REP_MOVSB in named else ":".join(filter(None, (given, f"{REP_MOVSB}={1 << 30}")))


def import_path() -> list[str]:
    """Where a child finds the house, and whatever this process could import."""
    house = str(Path(__file__).resolve().parents[2])
    return list(dict.fromkeys([house, *(entry or str(Path.cwd()) for entry in sys.path)]))
