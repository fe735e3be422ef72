"""`python -m actors.live.process FILE`: one process of a live world, from the file that its launcher wrote.

The keys of its sockets, where they have any, are not in the file: they come through its standard input.

It ends when its last actor has ended (status 0, or 1 if one died), on SIGTERM or SIGINT after an orderly stop of its
actors, and with its launcher: the system kills it then, whatever it is doing.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from actors.kernel.context import ActorSpec
from actors.live.host import Host, HostConfig
from actors.live.keys import Keys
from actors.live.links import ORDERLY_LINGER_S
from actors.live.loop import Loop
from buffers.errors import UsageError

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


class ProcessFile(msgspec.Struct, frozen=True):
    """What a process is started with."""

    host: HostConfig
    launcher_pid: int
    actors: tuple[tuple[ActorSpec, int], ...]
    """Specs and incarnations."""


def die_with(launcher_pid: int) -> None:
    """Let the system kill this process when its launcher ends; end now if that has happened already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != launcher_pid:
        sys.exit(1)


def keep_memory() -> None:
    """Let the C library reuse what messages needed instead of giving it back and faulting it in for each of them."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)
        libc.mallopt(M_TOP_PAD, 4 << 20)


def run(file: ProcessFile, keys: Keys | None = None) -> int:
    """Host the actors until the last has ended; the result is the exit status."""
    loop = Loop(file.host.origin_ns)
    host = Host(loop, file.host, None, keys)
    host.on_empty = loop.stop
    loop.take_signals(lambda _: host.end_all(), signal.SIGTERM, signal.SIGINT)
    for spec, incarnation in file.actors:
        loop.soon(lambda actor: host.start(*actor), (spec, incarnation))
    gc.collect()
    gc.freeze()
    orderly = False
    try:
        loop.run()
        orderly = host.status == 0
    finally:
        host.close(ORDERLY_LINGER_S if orderly else 0.0)
        loop.close()
    return host.status


def main(path: str) -> int:
    """Run the process that a file describes."""
    file = msgspec.msgpack.decode(Path(path).read_bytes(), type=ProcessFile)
    die_with(file.launcher_pid)
    given = sys.stdin.buffer.read()
    keys = msgspec.msgpack.decode(given, type=Keys) if given else None
    keep_memory()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # writes the stacks of a hanging process to its log
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        return run(file, keys)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
