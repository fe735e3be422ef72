"""The loop of one process: one thread that fires timers, reads sockets, and takes what other threads hand over.

    timers (heap) --\
    ready (this thread), posted (other threads, woken by an eventfd) --> one call after the other, none inside another
    sockets and descriptors (epoll) --/

Invariants: calls never nest; what was made ready in a turn runs in the next one, so a chatter of local actors starves
neither sockets nor timers; an exception in a call belongs to the call's owner, and without an owner it ends the loop.
Signals only set a flag; their handler runs as an ordinary call.

A ZeroMQ socket tells of news once, by its descriptor: whoever watches one takes what is there until nothing is left, or
says that something is. That spares asking the socket for its state, and the transport's own poll asks several times.
"""

from __future__ import annotations

import os
import select
import signal
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from threading import get_ident
from time import monotonic_ns
from typing import Any, Protocol

import zmq

Call = Callable[[Any], None]
Watcher = Callable[[], bool]
"""Takes what is there; True: it left something, call it again without waiting."""

LONGEST_WAIT_S = 60.0
COMPACT_ABOVE = 1024
"""Cancelled timers are swept out when there are more than this, and more than living ones."""


class Owner(Protocol):
    """Whose calls these are: nothing is called once it is over, and it is told of an exception."""

    over: bool

    def failed(self, error: Exception) -> None:
        """A call of this owner raised."""


class Timer:
    """A call at a time; `call` is None once it was made or cancelled."""

    __slots__ = ("argument", "call", "owner")

    def __init__(self, call: Call | None, argument: Any, owner: Owner | None) -> None:
        self.call = call
        self.argument = argument
        self.owner = owner


class Loop:
    """See the module. Only `post` may be called from other threads."""

    def __init__(self, origin_ns: int | None = None) -> None:
        self._origin = monotonic_ns() if origin_ns is None else origin_ns
        self._heap: list[tuple[int, int, Timer]] = []
        self._sequence = 0
        self._cancelled = 0
        self._ready: deque[tuple[Call, Any, Owner | None]] = deque()
        self._posted: deque[tuple[Call, Any, Owner | None]] = deque()
        self._before_wait: list[Callable[[], None]] = []
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._descriptors: dict[Any, int] = {}
        self._left: list[int] = []
        self._thread = get_ident()
        self._signals: deque[int] = deque()
        self._on_signal: dict[int, Callable[[int], None]] = {}
        self._before: dict[int, Any] = {}
        self._stopped = False
        self.watch(self._wake, self._woken)

    # ---- time -------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Nanoseconds since the origin of this world."""
        return monotonic_ns() - self._origin

    def call_later(self, delay_ns: int, call: Call, argument: Any = None, owner: Owner | None = None) -> Timer:
        """Call once, not before `delay_ns` have passed."""
        timer = Timer(call, argument, owner)
        self._sequence += 1
        heappush(self._heap, (monotonic_ns() + delay_ns, self._sequence, timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget a call; one that was made is ignored."""
        if timer.call is None:
            return
        timer.call = timer.argument = timer.owner = None
        self._cancelled += 1
        if self._cancelled > COMPACT_ABOVE and 2 * self._cancelled > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapify(self._heap)
            self._cancelled = 0

    # ---- handing over -----------------------------------------------------------------------------------------------

    def soon(self, call: Call, argument: Any = None, owner: Owner | None = None) -> None:
        """Call in the next turn; from the loop's own thread."""
        self._ready.append((call, argument, owner))

    def post(self, call: Call, argument: Any = None, owner: Owner | None = None) -> None:
        """Call in the next turn; from any thread."""
        if get_ident() == self._thread:
            self._ready.append((call, argument, owner))
        else:
            self._posted.append((call, argument, owner))
            self._wake_up()

    def before_wait(self, call: Callable[[], None]) -> None:
        """Call once, after everything that can be done now and before the loop waits or returns."""
        self._before_wait.append(call)

    # ---- descriptors ------------------------------------------------------------------------------------------------

    def watch(self, source: zmq.Socket[Any] | int, call: Watcher) -> None:
        """Call when a socket has news or a descriptor is readable; a source has one watcher."""
        if isinstance(source, int):
            descriptor = source
        else:
            descriptor = int(source.FD)
            self._left.append(descriptor)  # it may have told of its news already
        self._descriptors[source] = descriptor
        self._watchers[descriptor] = call
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, source: zmq.Socket[Any] | int) -> None:
        """Stop watching; an unwatched source is ignored."""
        descriptor = self._descriptors.pop(source, None)
        if descriptor is not None:
            del self._watchers[descriptor]
            self._epoll.unregister(descriptor)

    # ---- running ----------------------------------------------------------------------------------------------------

    def take_signals(self, handler: Callable[[int], None], *numbers: int) -> None:
        """Let signals of this process call `handler(number)` in the loop (main thread only)."""
        for number in numbers:
            self._on_signal[number] = handler
            self._before[number] = signal.signal(number, self._signalled)

    def stop(self) -> None:
        """Leave `run` after the present call."""
        self._stopped = True

    def run(self, seconds: float | None = None, until: Callable[[], bool] | None = None) -> None:
        """Run until `stop`, until so much time has passed, or until the condition holds after some turn."""
        self._thread = get_ident()
        self._stopped = False
        end = None if seconds is None else monotonic_ns() + round(seconds * 1e9)
        while not self._stopped:
            now = monotonic_ns()
            if end is not None and now >= end:
                break
            self._fire(now)
            self._drain()
            if self._stopped or (until is not None and until()):
                break
            if self._before_wait:
                self._settle()
            self._poll(end)
        self._settle()

    def close(self) -> None:
        """Give the descriptor and the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self.unwatch(self._wake)
        self._epoll.close()
        os.close(self._wake)

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _fire(self, now: int) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            timer = heappop(heap)[2]
            call = timer.call
            if call is None:
                self._cancelled -= 1
                continue
            owner, argument = timer.owner, timer.argument
            timer.call = timer.argument = timer.owner = None
            self._make(call, argument, owner)
            if heap is not self._heap:
                heap = self._heap

    def _drain(self) -> None:
        ready, posted = self._ready, self._posted
        for _ in range(len(ready)):
            self._make(*ready.popleft())
        for _ in range(len(posted)):
            self._make(*posted.popleft())
        while self._signals:
            number = self._signals.popleft()
            self._on_signal[number](number)

    def _make(self, call: Call, argument: Any, owner: Owner | None) -> None:
        if owner is None:
            call(argument)
        elif not owner.over:
            try:
                call(argument)
            except Exception as error:
                owner.failed(error)

    def _settle(self) -> None:
        calls, self._before_wait = self._before_wait, []
        for call in calls:
            call()

    def _poll(self, end: int | None) -> None:
        left = self._left
        if left:
            self._left = []
            for descriptor in left:
                self._call(descriptor)
        for descriptor, _ in self._epoll.poll(0 if left else self._wait_s(end)):
            self._call(descriptor)

    def _call(self, descriptor: int) -> None:
        watcher = self._watchers.get(descriptor)
        if watcher is not None and watcher():
            self._left.append(descriptor)

    def _wait_s(self, end: int | None) -> float:
        if self._ready or self._posted or self._signals:
            return 0
        heap = self._heap
        while heap and heap[0][2].call is None:
            heappop(heap)
            self._cancelled -= 1
        at = heap[0][0] if heap else None
        if end is not None and (at is None or end < at):
            at = end
        if at is None:
            return LONGEST_WAIT_S
        wait = at - monotonic_ns()
        return 0 if wait <= 0 else min(LONGEST_WAIT_S, wait / 1e9)  # rounded up to milliseconds by the wait itself

    def _wake_up(self) -> None:
        try:
            os.eventfd_write(self._wake, 1)
        except BlockingIOError:  # the counter is full: the loop has been woken often enough
            return

    def _woken(self) -> bool:
        os.eventfd_read(self._wake)
        return False

    def _signalled(self, number: int, _frame: Any) -> None:
        self._signals.append(number)
        self._wake_up()
