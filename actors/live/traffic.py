"""What a process sends to others, by kind of message: counted as it leaves, written to the event log once a second."""

from __future__ import annotations

from collections.abc import Callable

from actors.eventlog import EventLogWriter
from actors.kernel.backend import Envelope

Lent = bytes | bytearray
"""An encoded envelope; an array of bytes is overwritten by the next one."""

PERIOD_NS = 1_000_000_000


class Traffic:
    """Counts of messages and bytes since the last record of them."""

    __slots__ = ("_counts", "_told_ns")

    def __init__(self, began_ns: int) -> None:
        self._counts: dict[type, list[int]] = {}
        self._told_ns = began_ns

    def counted(self, encode: Callable[[Envelope], Lent], envelope: Envelope) -> Lent:
        """Encode an envelope, and count it for its message's class."""
        data, kind = encode(envelope), type(envelope.message)
        count = self._counts.get(kind)
        if count is None:
            count = self._counts[kind] = [0, 0]
        count[0] += 1
        count[1] += len(data)
        return data

    def tell(self, log: EventLogWriter, at_ns: int, process: str, at_once: bool = False) -> None:
        """Write a record of each kind that was sent, where a second has gone by since the last ones (or `at_once`)."""
        if at_once or at_ns - self._told_ns >= PERIOD_NS:
            for kind, (count, size) in self._counts.items():
                log.traffic(at_ns, process, kind.__name__, count, size)
            self._counts.clear()
            self._told_ns = at_ns
