"""The inside of a sandbox: a process that builds one function and applies it to frame after frame.

It speaks through a private copy of its standard output; what the function prints goes nowhere. Address space is
limited after the build. A worker whose parent was killed does not compute for ever: on Linux the system kills it with
its parent; elsewhere each call arms the alarm clock at a multiple of its limit. End of input ends it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec

PR_SET_PDEATHSIG = 1
HEADER = struct.Struct("<I")
ORPHAN_FACTOR = 3.0
"""The alarm clock rings after so many limits; the parent kills after one."""


def main() -> None:
    """Serve; arguments: (path), target `module:name`, its JSON argument, seconds of a call, bytes of memory."""
    die_with_parent()
    target, argument, seconds, memory_bytes = sys.argv[2:6]
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        module, _, name = target.partition(":")
        build = getattr(importlib.import_module(module), name)
        function = build(msgspec.json.decode(argument))
    except BaseException as error:
        reply(replies, True, f"{type(error).__name__}: {error}")
        return
    with contextlib.suppress(ValueError, OSError):  # macOS knows no limit of address space
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_bytes), int(memory_bytes)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reply(replies, False, "ready")
    serve(function, sys.stdin.buffer, replies, float(seconds) * ORPHAN_FACTOR)


def die_with_parent() -> None:
    """Let the system kill this process when the thread that started it ends; does nothing where it cannot."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(function: Callable[[Any], object], requests: BinaryIO, replies: BinaryIO, alarm_s: float) -> None:
    """Answer frame after frame until the input ends."""
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        value = msgspec.json.decode(requests.read(HEADER.unpack(header)[0]))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, alarm_s)
        try:
            raised, result = False, function(value)
            frame = msgspec.json.encode((raised, result))
        except BaseException as error:
            frame = msgspec.json.encode((True, f"{type(error).__name__}: {error}"[:2000]))
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(HEADER.pack(len(frame)) + frame)
        replies.flush()


def reply(replies: BinaryIO, raised: bool, value: object) -> None:
    """Write one frame."""
    frame = msgspec.json.encode((raised, value))
    replies.write(HEADER.pack(len(frame)) + frame)
    replies.flush()
