"""The asks of one actor: windows per link, reserved bytes, serial numbers. Pure bookkeeping; the cell does the rest.

The window of a link bounds what is outstanding on it, in count and in bytes (request plus reserved reply): that is the
credit of bulk data. An ask that finds the window full waits here, first in first out; an ask heavier than the whole
window goes alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actors.kernel.operations import Ask, Message

Done = Callable[[Message | None], None]


class Window(msgspec.Struct, frozen=True):
    """Credit of one link."""

    count: int = 256
    """Outstanding asks."""
    bytes: int = 64 << 20
    """Outstanding bytes: requests and the space reserved for replies."""


class Pending(msgspec.Struct, eq=False):
    """One ask, waiting or outstanding."""

    serial: int
    ask: Ask
    charge: int
    link: _Link
    done: Done | None
    """Who is told of the end; None: the mailbox, by an `Answer`."""
    timer: Any = None
    waits: bool = False
    """For room in its window."""


class _Link:
    __slots__ = ("bytes", "count", "waiting", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.count = 0
        self.bytes = 0
        self.waiting: deque[Pending] = deque()

    def admits(self, charge: int) -> bool:
        window = self.window
        return self.count == 0 or (self.count < window.count and self.bytes + charge <= window.bytes)


class AskBook:
    """All asks of one actor. `open` and `close` return what may go out now; nothing is sent here."""

    __slots__ = ("_links", "_pending", "_serial", "_window_of")

    def __init__(self, window_of: Callable[[str], Window]) -> None:
        self._window_of = window_of
        self._links: dict[str, _Link] = {}
        self._pending: dict[int, Pending] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, ask: Ask, weight: int, done: Done | None) -> tuple[Pending, bool]:
        """Enter an ask of `weight` request bytes; True: it goes out now, False: it waits for its window."""
        link = self._links.get(ask.to)
        if link is None:
            link = self._links[ask.to] = _Link(self._window_of(ask.to))
        self._serial += 1
        pending = Pending(self._serial, ask, weight + ask.reply_bytes, link, done)
        self._pending[self._serial] = pending
        if not link.waiting and link.admits(pending.charge):
            link.count += 1
            link.bytes += pending.charge
            return pending, True
        pending.waits = True
        link.waiting.append(pending)
        return pending, False

    def close(self, serial: int) -> tuple[Pending | None, Sequence[Pending]]:
        """End an ask (reply or timeout): (the ask or None if it is unknown, the waiting ones that may go out now)."""
        pending = self._pending.pop(serial, None)
        if pending is None:
            return None, ()
        link = pending.link
        if pending.waits:
            link.waiting.remove(pending)
        else:
            link.count -= 1
            link.bytes -= pending.charge
        return pending, self._release(link) if link.waiting else ()

    def _release(self, link: _Link) -> list[Pending]:
        released = []
        while link.waiting and link.admits(link.waiting[0].charge):
            pending = link.waiting.popleft()
            pending.waits = False
            link.count += 1
            link.bytes += pending.charge
            released.append(pending)
        return released
