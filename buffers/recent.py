"""What was written to a store and is not on its disk yet, so that reads see it.

Invariant: for every key, the newest row of the transactions between `write` and `settled`; a reader that asks here
first and on the disk afterwards misses nothing, since a row leaves only after the disk has it.
"""

from __future__ import annotations

from buffers.rows import SEGMENT, Row, Transaction
from buffers.segment import Segment

PREFIX = 9
"""Length of `segments_key`."""


class Recent:
    """Rows in flight to the disk. Not locked; its store locks."""

    def __init__(self) -> None:
        self._rows: dict[bytes, tuple[int, Row | None]] = {}
        self._segments: dict[bytes, dict[bytes, tuple[int, Segment]]] = {}
        self._removed: dict[bytes, int] = {}

    def take(self, sequence: int, transaction: Transaction) -> None:
        """A transaction is on its way."""
        for key, row in transaction:
            if isinstance(row, Segment):
                self._segments.setdefault(key[:PREFIX], {})[key] = (sequence, row)
            elif key[:1] == SEGMENT:
                self._segments.pop(key, None)
                self._removed[key] = sequence
            else:
                self._rows[key] = (sequence, row)

    def settled(self, sequence: int, transaction: Transaction) -> None:
        """A transaction is on the disk."""
        for key, row in transaction:
            if isinstance(row, Segment):
                found = self._segments.get(key[:PREFIX])
                if found is not None and key in found and found[key][0] == sequence:
                    del found[key]
                    if not found:
                        del self._segments[key[:PREFIX]]
            elif key[:1] == SEGMENT:
                if self._removed.get(key) == sequence:
                    del self._removed[key]
            elif key in self._rows and self._rows[key][0] == sequence:
                del self._rows[key]

    def row(self, key: bytes) -> tuple[bool, Row | None]:
        """Whether the answer is known here, and the row (None if it was removed)."""
        if key[:1] == SEGMENT:
            found = self._segments.get(key[:PREFIX], {}).get(key)
            if found is not None:
                return True, found[1]
            return key[:PREFIX] in self._removed, None
        known = self._rows.get(key)
        return (False, None) if known is None else (True, known[1])

    def segments(self, prefix: bytes) -> tuple[bool, dict[bytes, Segment]]:
        """Whether the disk's segments of a trajectory still count, and those written since."""
        found = self._segments.get(prefix, {})
        return prefix not in self._removed, {key: segment for key, (_, segment) in found.items()}
