"""What was written to a store and is not on its disk yet: batches, each to be one commit, so that reads see it.

    write --> newest batch          of each key the newest row only: a commit puts it once
    read  <-- newest batch first, then the older ones, then the disk

Invariants: a batch holds consecutive transactions whole, so the disk has a prefix of them after each commit; a reader
that asks here first and on the disk afterwards misses nothing, since a batch leaves only after the disk has it.
"""

from __future__ import annotations

from collections import deque

from buffers.rows import SEGMENT, Row, Transaction
from buffers.segment import Segment, segment_bytes

PREFIX = 9
"""Length of `segments_key`."""
ROW_BYTES = 256
"""What a row takes besides tokens, about."""


class Batch:
    """Consecutive transactions as what they leave behind; what it removes counts before what it puts."""

    __slots__ = ("last", "removed", "rows", "segments", "size", "taken")

    def __init__(self) -> None:
        self.last = 0
        """Number of its last transaction."""
        self.size = 0
        """Bytes, about."""
        self.taken = False
        """Whether its commit has begun."""
        self.rows: dict[bytes, Row | None] = {}
        self.removed: dict[bytes, None] = {}
        """`segments_key` of the trajectories whose segments on the disk no longer count."""
        self.segments: dict[bytes, dict[bytes, Segment]] = {}

    def take(self, sequence: int, transaction: Transaction) -> None:
        """The next transaction."""
        self.last = sequence
        for key, row in transaction:
            self.size += ROW_BYTES
            if isinstance(row, Segment):
                self.size += segment_bytes(row)
                prefix = key[:PREFIX]
                found = self.segments.get(prefix)
                if found is None:
                    self.segments[prefix] = {key: row}
                else:
                    found[key] = row
            elif key[:1] == SEGMENT:
                self.segments.pop(key, None)
                self.removed[key] = None
            else:
                self.rows[key] = row

    def puts(self) -> Transaction:
        """Its rows and segments, and its removals of rows."""
        return (*self.rows.items(), *[put for found in self.segments.values() for put in found.items()])


class Recent:
    """Batches on their way to the disk, the oldest first. Not locked; its store locks."""

    def __init__(self, batch_bytes: int) -> None:
        self._batch_bytes = batch_bytes
        self._batches: deque[Batch] = deque()

    def __bool__(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._batches)

    def take(self, sequence: int, transaction: Transaction) -> bool:
        """A transaction is on its way; whether it begins a batch."""
        batches = self._batches
        begins = not batches or batches[-1].taken or batches[-1].size > self._batch_bytes
        if begins:
            batches.append(Batch())
        batches[-1].take(sequence, transaction)
        return begins

    def oldest(self) -> Batch:
        """The batch whose commit begins now; it gets no more."""
        self._batches[0].taken = True
        return self._batches[0]

    def settled(self) -> None:
        """The oldest batch is on the disk."""
        self._batches.popleft()

    def row(self, key: bytes) -> tuple[bool, Row | None]:
        """Whether the answer is known here, and the row (None if it was removed)."""
        if key[:1] == SEGMENT:
            on_disk, found = self.segments(key[:PREFIX])
            return key in found or not on_disk, found.get(key)
        for batch in reversed(self._batches):
            if key in batch.rows:
                return True, batch.rows[key]
        return False, None

    def segments(self, prefix: bytes) -> tuple[bool, dict[bytes, Segment]]:
        """Whether the disk's segments of a trajectory still count, and those written since."""
        on_disk, found = True, dict[bytes, Segment]()
        for batch in self._batches:
            if prefix in batch.removed:
                on_disk = False
                found.clear()
            found.update(batch.segments.get(prefix, {}))
        return on_disk, found
