"""A store in memory with an unsynced tail that a crash loses: the virtual world's disk, and the tests'.

Nothing syncs by itself: whoever holds the store calls `sync` when its disk would be done. `crash(keep)` leaves what was
synced and the first `keep` transactions of the tail, as a disk does that had written some of them.

Invariant: the rows are those of a prefix of all transactions. Undoing the tail needs only the rows that it replaced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from buffers.errors import ContractError
from buffers.rows import SEGMENT, Row, Transaction, segments_key
from buffers.segment import Segment
from buffers.store import Durable, Emit

Segments = dict[bytes, Segment]

SEGMENT_BYTE = SEGMENT[0]


def ignore(event: object) -> None:
    """For a holder that does not wait for durability."""


class MemoryStore:
    """See the module."""

    def __init__(self, emit: Emit = ignore) -> None:
        self._emit = emit
        self._rows: dict[bytes, Row] = {}
        self._segments: dict[bytes, Segments] = {}
        self._tail: deque[list[tuple[bytes, Row | Segments | None]]] = deque()
        self._written = 0
        self._closed = False

    @property
    def unsynced(self) -> int:
        """Transactions that a crash could lose."""
        return len(self._tail)

    def write(self, transaction: Transaction) -> int:
        """Take a transaction; its sequence number."""
        if self._closed:
            raise ContractError("write to a closed store")
        undo: list[tuple[bytes, Row | Segments | None]] = []
        rows = self._rows
        for key, row in transaction:
            if key[0] == SEGMENT_BYTE:
                self._put_segment(key, row, undo)
                continue
            undo.append((key, rows.get(key)))
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        self._tail.append(undo)
        self._written += 1
        return self._written

    def sync(self, up_to: int | None = None) -> None:
        """The disk is done with all transactions up to a number (default: all); emits `Durable`."""
        written, tail = self._written, self._tail
        last = written if up_to is None or up_to > written else up_to
        synced = written - len(tail)
        for _ in range(last - synced):
            tail.popleft()
        if last > synced:
            self._emit(Durable(last))

    def crash(self, keep: int = 0) -> None:
        """Lose the unsynced transactions but the first `keep`; what is left is durable, and counts on from there."""
        while len(self._tail) > keep:
            for key, row in reversed(self._tail.pop()):
                self._undo(key, row)
            self._written -= 1
        self._tail.clear()
        self._closed = False

    def read(self, key: bytes) -> Row | None:
        """A row, as last written."""
        if key[:1] == SEGMENT:
            return self._segments.get(key[:9], {}).get(key)
        return self._rows.get(key)

    def segments(self, trajectory: int) -> tuple[Segment, ...]:
        """All segments of a trajectory in order of their start."""
        found = self._segments.get(segments_key(trajectory))
        return tuple(map(found.__getitem__, sorted(found))) if found else ()

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """All rows except segments, in order of their keys."""
        return iter([(key, self._rows[key]) for key in sorted(self._rows)])

    def close(self) -> None:
        """Sync and stop."""
        if not self._closed:
            self.sync()
            self._closed = True

    def _put_segment(self, key: bytes, row: Row | None, undo: list[tuple[bytes, Row | Segments | None]]) -> None:
        """Put a segment, or remove all segments of a trajectory; `undo` gets what was there before."""
        prefix = key[:9]
        if isinstance(row, Segment):
            found = self._segments.setdefault(prefix, {})
            undo.append((key, found.get(key)))
            found[key] = row
        elif len(key) == 9:
            undo.append((key, self._segments.pop(prefix, None)))
        else:
            undo.append((key, self._segments.get(prefix, {}).pop(key, None)))

    def _undo(self, key: bytes, before: Row | Segments | None) -> None:
        if key[:1] != SEGMENT:
            if before is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = before  # type: ignore[assignment]
        elif isinstance(before, dict):
            self._segments[key[:9]] = before
        elif isinstance(before, Segment):
            self._segments.setdefault(key[:9], {})[key] = before
        elif len(key) > 9:
            found = self._segments.get(key[:9], {})
            found.pop(key, None)
            if not found:
                self._segments.pop(key[:9], None)
