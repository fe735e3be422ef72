"""The Store port: durable rows below a buffer. Commands return at once; durability is reported by events.

    write(transaction) -> sequence      ... ----> Durable(up_to)      all transactions up to this number are on disk
                                        ... ----> StoreFailed(reason) nothing more will be; the holder fails
    read, segments, rows                synchronous, see what was written, durable or not
    close()                             what was written is made durable first

Transactions become durable in the order of `write`, each whole or not at all: after a crash a store holds a prefix of
them that contains everything reported durable. Answers to messages leave their actor only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from buffers.rows import Row, Transaction
from buffers.segment import Segment


class Durable(msgspec.Struct, frozen=True, gc=False):
    """Every transaction up to and including this sequence number survives a crash."""

    up_to: int


class StoreFailed(msgspec.Struct, frozen=True):
    """The store can make nothing durable any more (disk full, device error)."""

    reason: str


StoreEvent = Durable | StoreFailed

Emit = Callable[[StoreEvent], None]


class Store(Protocol):
    """What every store offers."""

    def write(self, transaction: Transaction) -> int:
        """Take a transaction; its sequence number, 1, 2, 3 ... An empty one is reported durable like any other."""

    def read(self, key: bytes) -> Row | None:
        """A row, as last written."""

    def segments(self, trajectory: int) -> tuple[Segment, ...]:
        """All segments of a trajectory in order of their start."""

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """All rows except segments, in order of their keys; what `Buffer.recover` takes."""

    def close(self) -> None:
        """Make everything durable and stop; nothing is emitted afterwards. May be called twice."""
