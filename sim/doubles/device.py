"""What a double's work runs on: a device of its own, or a host whose cores are shared.

    Dedicated   work time is the world's time
    Cores       c cores under processor sharing: with n activities at work each progresses at min(1, c / n), less where
                the host is throttled

A double counts in work time (float ns) and says when it is at work. On shared cores the work clock W runs at the rate
that one activity gets, so whatever is at work ends when W reaches its target, however often the rate changes meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Protocol

from actors.kernel.backend import Clock

Call = Callable[[Any], None]


class Device(Protocol):
    """Where one double works."""

    def now(self) -> float:
        """Work time in ns."""

    def call_at(self, at: float, call: Call, argument: Any) -> Any:
        """Call back when work time reaches `at`; returns a handle."""

    def cancel(self, handle: Any) -> None:
        """Forget a call; one that was made is ignored."""

    def busy(self, on: bool) -> None:
        """Whether this double is at work; work time is only meaningful while it is."""

    def close(self) -> None:
        """The double is gone."""


class Dedicated:
    """A device of its own: work time is the world's."""

    __slots__ = ("_clock",)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        """Work time in ns."""
        return self._clock.now()

    def call_at(self, at: float, call: Call, argument: Any) -> Any:
        """Call back at a time, rounded once."""
        clock = self._clock
        delay = round(at) - clock.now()
        return clock.call_later(delay if delay > 0 else 0, call, argument)

    def cancel(self, handle: Any) -> None:
        """Forget a call."""
        self._clock.cancel(handle)

    def busy(self, on: bool) -> None:
        """Nobody else is slowed down."""

    def close(self) -> None:
        """Nothing to free."""


class Cores:
    """A host of `count` cores; shared by the doubles that it gives a `Share`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.active = 0
        self.speed = 1.0
        """Share of the usual speed."""
        self._work = 0.0
        self._at = 0
        self._order = 0
        self._due: list[list[Any]] = []
        """Heap of [work time, order, share, call or None, argument]."""
        self._head: tuple[Clock, Any] | None = None
        """Whose clock holds a call for what is due first, and the call."""

    @property
    def rate(self) -> float:
        """Progress of each activity per unit of time."""
        return self.speed if self.active <= self.count else self.speed * self.count / self.active

    def work(self, now: int) -> float:
        """Work time at a time."""
        if now != self._at:
            self._work += (now - self._at) * self.rate
            self._at = now
        return self._work

    def change(self, now: int, by: int) -> None:
        """So many activities more are at work."""
        self.work(now)
        self.active += by
        self._aim(now)

    def throttle(self, now: int, speed: float) -> None:
        """Work at this share of the usual speed from now on."""
        self.work(now)
        self.speed = speed
        self._aim(now)

    def add(self, at: float, share: Share, call: Call, argument: Any) -> list[Any]:
        """Call back when work time reaches `at`."""
        self._order += 1
        entry = [at, self._order, share, call, argument]
        heappush(self._due, entry)
        self._aim(share.clock.now())
        return entry

    def drop(self, entry: list[Any], now: int) -> None:
        """Forget a call."""
        if entry[3] is not None:
            entry[3] = None
            self._aim(now)

    def leave(self, share: Share, now: int) -> None:
        """Forget everything of one share."""
        for entry in self._due:
            if entry[2] is share:
                entry[3] = None
        self._aim(now)

    def _aim(self, now: int) -> None:
        """Let the clock of whatever is due first call back then."""
        due, head = self._due, self._head
        while due and due[0][3] is None:
            heappop(due)
        if head is not None:
            clock, handle = head
            clock.cancel(handle)
            self._head = None
        if due:
            first = due[0]
            clock = first[2].clock
            delay = round((first[0] - self.work(now)) / self.rate)
            self._head = clock, clock.call_later(delay if delay > 0 else 0, self._fire, first)

    def _fire(self, entry: list[Any]) -> None:
        self._head = None
        at, _, share, call, argument = entry
        now = share.clock.now()
        self._work = max(self.work(now), at)
        entry[3] = None
        self._aim(now)
        call(argument)


class Share:
    """One double's part of a host."""

    __slots__ = ("_busy", "clock", "cores")

    def __init__(self, cores: Cores, clock: Clock) -> None:
        self.cores = cores
        self.clock = clock
        self._busy = False

    def now(self) -> float:
        """Work time in ns."""
        return self.cores.work(self.clock.now())

    def call_at(self, at: float, call: Call, argument: Any) -> Any:
        """Call back when work time reaches `at`."""
        return self.cores.add(at, self, call, argument)

    def cancel(self, handle: Any) -> None:
        """Forget a call."""
        self.cores.drop(handle, self.clock.now())

    def busy(self, on: bool) -> None:
        """Take a core, or give it back."""
        if on != self._busy:
            self._busy = on
            self.cores.change(self.clock.now(), 1 if on else -1)

    def close(self) -> None:
        """Give everything back."""
        self.busy(False)
        self.cores.leave(self, self.clock.now())
