"""The discrete-event kernel: a heap, a counter, a clock in integer nanoseconds, and a digest of what was executed.

    call_at(time, code, call, argument) --> [time, sequence, code, call, argument] on the heap
    run(until)                          --> pop the least, set the clock, fold into the digest, call(argument)

Events at equal times run in the order of their calls. Calls that come in order of their times anyhow (messages over
links of one latency, timers of one length) may be put on one of two lines, queues beside the heap that need no sorting.
A cancelled event stays where it is until its time comes, it heads the second line, or the dead outnumber the living
(lazy deletion). The digest is an FNV-1a style fold, in 64 bits, of (time, sequence, code) of each executed event; codes
number the names in order of registration and each name is folded in once, so equal digests mean equal histories,
whatever the hash seed or the process. It knows nothing of actors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final
from zlib import crc32

from buffers.errors import ContractError

FOREVER: Final = 1 << 62
"""A time that no run reaches."""

NOBODY: Final = -1
"""The code that is running between events."""

Event = list[Any]
"""[time ns, sequence, code, call or None, argument]: an entry of the heap and at once the handle for `cancel`."""

Observer = Callable[[int, int, str, str], None]
"""Told of each event before it runs: time, sequence, name, kind."""

_PRIME: Final = 0x100000001B3
_MASK: Final = (1 << 64) - 1
_FEW: Final = 64
"""So many cancelled events are not worth a sweep."""


class Kernel:
    """Time, order and digest."""

    __slots__ = (
        "_codes",
        "_dead",
        "_heap",
        "_lines",
        "_sequence",
        "digest",
        "halted",
        "names",
        "now",
        "observer",
        "running",
    )

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._dead = 0
        self._heap: list[Event] = []
        self._lines: tuple[deque[Event], ...] = (deque(), deque())
        self._sequence = 0
        self.digest = 0xCBF29CE484222325
        """Of all executed events so far."""
        self.halted = False
        """Set by an event, it ends the run behind that event; `run` unsets it."""
        self.names: list[str] = []
        """The name of each code."""
        self.now = 0
        """Nanoseconds."""
        self.observer: Observer | None = None
        self.running = NOBODY
        """Code of the event being executed, or of the one that raised."""

    def __len__(self) -> int:
        """Events that will still be executed."""
        near, far = self._lines
        return len(self._heap) + len(near) + len(far) - self._dead

    @property
    def ordered(self) -> int:
        """Events ever asked for, cancelled ones too."""
        return self._sequence

    def code(self, name: str) -> int:
        """The small integer that stands for a name in events."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
            self.digest = (self.digest ^ crc32(name.encode())) * _PRIME & _MASK
        return code

    def call_at(self, at: int, code: int, call: Callable[[Any], object], argument: Any = None) -> Event:
        """Call back at a time that is not past; returns the handle for `cancel`."""
        if at < self.now:
            raise ContractError(f"{self.names[code]}: asked for a call at {at} ns, but it is {self.now} ns already")
        self._sequence = sequence = self._sequence + 1
        event: Event = [at, sequence, code, call, argument]
        heappush(self._heap, event)
        return event

    def call_behind(self, line: int, at: int, code: int, call: Callable[[Any], object], argument: Any = None) -> Event:
        """`call_at` on one of two lines; a time before the last one of the line goes to the heap."""
        queue = self._lines[line]
        if at < (queue[-1][0] if queue else self.now):
            return self.call_at(at, code, call, argument)
        self._sequence = sequence = self._sequence + 1
        event: Event = [at, sequence, code, call, argument]
        queue.append(event)
        return event

    def cancel(self, event: Event) -> None:
        """Forget an event; one that was executed or cancelled before is ignored."""
        if event[3] is not None:
            event[3] = event[4] = None
            if event[2] < 0:
                return
            self._dead += 1
            far = self._lines[1]
            while far and far[0][3] is None:
                far.popleft()
                self._dead -= 1
            if self._dead > _FEW and self._dead * 2 > len(self._heap) + len(self._lines[0]) + len(far):
                self._sweep()

    def set_aside(self, code: int) -> list[Event]:
        """Take all events of a code off the heap, in order; `put_back` returns them, or they are forgotten.

        They still can be cancelled; meanwhile they bear their code inverted.
        """
        heap = self._heap
        taken = []
        for queue in (heap, *self._lines):
            found = [event for event in queue if event[2] == code and event[3] is not None]
            if found:
                kept = [event for event in queue if event[2] != code or event[3] is None]
                queue.clear()
                queue.extend(kept)
                taken += found
        heapify(heap)
        taken.sort()
        for event in taken:
            event[2] = ~code
        return taken

    def put_back(self, events: list[Event]) -> None:
        """Return what was set aside, in order; what is overdue is due now."""
        for event in events:
            if event[3] is not None:
                self._sequence += 1
                event[:3] = max(event[0], self.now), self._sequence, ~event[2]
                heappush(self._heap, event)

    def run(self, until: int = FOREVER, after: Callable[[], object] | None = None) -> bool:
        """Execute every event up to and including `until` ns, then set the clock to it (unless it is `FOREVER`).

        `after` is called after each event; if it returns something true, or an event halts the kernel, the run ends
        there and returns True.
        """
        heap, (near, far) = self._heap, self._lines
        queue: Any
        while True:
            if near:
                queue, event = near, near[0]
                if heap and heap[0] < event:
                    queue, event = heap, heap[0]
            elif heap:
                queue, event = heap, heap[0]
            elif far:
                queue, event = far, far[0]
            else:
                break
            if far and far[0] < event:
                queue, event = far, far[0]
            at, sequence, code, call, argument = event
            if at > until:
                break
            if queue is heap:
                heappop(heap)
            else:
                queue.popleft()
            if call is None:
                self._dead -= 1
                continue
            event[3] = None
            self.now = at
            self.running = code
            self.digest = ((self.digest ^ at) * _PRIME + (sequence << 16 ^ code)) & _MASK
            if self.observer is not None:
                self.observer(at, sequence, self.names[code], _kind(call, argument))
            call(argument)
            if after is not None:
                self.running = NOBODY
                if after():
                    return True
            if self.halted:
                self.halted = False
                self.running = NOBODY
                return True
        self.running = NOBODY
        if until != FOREVER:
            self.now = max(self.now, until)
        return False

    def _sweep(self) -> None:
        heap = self._heap
        heap[:] = [event for event in heap if event[3] is not None]
        heapify(heap)
        for queue in self._lines:
            living = [event for event in queue if event[3] is not None]
            queue.clear()
            queue.extend(living)
        self._dead = 0


def _kind(call: Callable[[Any], object], argument: Any) -> str:
    name = getattr(call, "__qualname__", type(call).__name__)
    return f"{name}({type(argument).__name__})"
