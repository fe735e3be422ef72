"""A function in a process of its own that can be killed: limits of time and memory for code that may not come back.

    Sandbox(target, argument, limits)            the worker imports `module:name` and calls it with `argument`;
         |  pipe, one JSON frame each way         what that returns is the function (rewards/sandbox_worker.py)
       call(value) -> Returned | Raised | Killed

A worker that exceeds its time, or dies, is killed with everything that it started, and the next call gets a new one.
A call whose worker dies is made once more in a new worker, so that a kill from outside is not taken for
the value's doing. Startup (imports included) has its own limit.

This bounds accidents: an endless computation, a memory bomb, a crash in a library. It is no wall against code that
means harm: the worker has the rights of its parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from buffers.errors import BraidError, UsageError

HEADER = struct.Struct("<I")
"""Length of the frame that follows, in bytes."""
LONGEST_FRAME_BYTES = 64 << 20


@dataclass(frozen=True)
class Limits:
    """What one call may use."""

    seconds: float = 10.0
    """Wall time of a call; the worker is killed after it."""
    memory_bytes: int = 2 << 30
    """Address space of a worker."""
    start_seconds: float = 60.0
    """Wall time of a worker's start, imports included."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The function's result, as JSON gives it back."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised; its type and message."""

    text: str


@dataclass(frozen=True, slots=True)
class Killed:
    """The call used up its time, or its worker died twice of it."""

    reason: Literal["time", "died"]


Outcome = Returned | Raised | Killed


class SandboxError(BraidError):
    """No worker could be started: the infrastructure failed, not the value."""


class Sandbox:
    """One worker process, started at the first call or by `start`, and started again after each kill."""

    def __init__(self, target: str, argument: object, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.starts = 0
        self._target = target
        self._argument = msgspec.json.encode(argument).decode()
        self._process: subprocess.Popen[bytes] | None = None
        self._calling = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Start the worker if there is none; `UsageError` for a bad target or argument, `SandboxError` otherwise."""
        if self._process is not None:
            return
        if self._closed:
            raise SandboxError("the sandbox is closed")
        settings = [self._target, self._argument, str(self.limits.seconds), str(self.limits.memory_bytes)]
        code = "import sys; sys.path[:] = sys.argv[1].split('\\n'); from rewards.sandbox_worker import main; main()"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, "\n".join(sys.path), *settings],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
            )
        except OSError as error:
            raise SandboxError(f"no scoring process could be started: {error}") from error
        self.starts += 1
        ready = self._receive(self.limits.start_seconds)
        if not isinstance(ready, Returned):
            self._discard()
            if isinstance(ready, Raised) and ready.text.startswith("UsageError: "):
                raise UsageError(ready.text.removeprefix("UsageError: "))
            raise SandboxError(f"a scoring process for {self._target} did not start: {ready}")

    def call(self, value: object) -> Outcome:
        """The function of `value` (anything that JSON holds), within the limits; `SandboxError` without a worker."""
        with self._calling:
            outcome = self._call_once(value)
            if outcome == Killed("died"):
                outcome = self._call_once(value)
            return outcome

    def close(self) -> None:
        """End the worker, also under a running call, which then raises `SandboxError`; may be called twice."""
        self._closed = True
        process = self._process
        if process is not None:
            kill_group(process)
        with self._calling:
            self._discard()

    def _call_once(self, value: object) -> Outcome:
        self.start()
        if self._closed or self._process is None or self._process.stdin is None:
            self._discard()
            raise SandboxError("the sandbox is closed")
        frame = msgspec.json.encode(value)
        try:
            self._process.stdin.write(HEADER.pack(len(frame)) + frame)
            self._process.stdin.flush()
        except OSError:
            self._discard()
            return Killed("died")
        outcome = self._receive(self.limits.seconds)
        if isinstance(outcome, Killed):
            self._discard()
        return outcome

    def _receive(self, seconds: float) -> Outcome:
        """The worker's next frame, within `seconds`."""
        deadline = time.monotonic() + seconds
        header = self._read(HEADER.size, deadline)
        if isinstance(header, Killed):
            return header
        (length,) = HEADER.unpack(header)
        if length > LONGEST_FRAME_BYTES:
            return Killed("died")
        frame = self._read(length, deadline)
        if isinstance(frame, Killed):
            return frame
        try:
            raised, value = msgspec.json.decode(frame, type=tuple[bool, Any])
        except msgspec.DecodeError:
            return Killed("died")
        return Raised(value) if raised else Returned(value)

    def _read(self, count: int, deadline: float) -> bytes | Killed:
        process = self._process
        if process is None or process.stdout is None:
            return Killed("died")
        pipe, data = process.stdout.fileno(), bytearray()
        poller = select.poll()
        poller.register(pipe, select.POLLIN)
        while len(data) < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poller.poll(left_s * 1000):
                return Killed("time")
            part = os.read(pipe, count - len(data))
            if not part:
                return Killed("died")
            data += part
        return bytes(data)

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        kill_group(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and everything that it started there, at once."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
