"""The virtual disk: replay's store in virtual time, with an unsynced tail that a crash loses.

Transactions become durable in order, each batch `sync_s` after the sync before it was done (group commit); a crash
keeps what was synced and a prefix of the rest, its length drawn from the world's seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from actors.kernel.backend import Clock
from actors.kernel.operations import ns
from actors.kernel.streams import stream
from buffers.memory_store import MemoryStore
from buffers.rows import Row, Transaction
from buffers.segment import Segment
from buffers.store import StoreEvent


class Platter:
    """What a place keeps of its store over crashes: the rows, who listens now, and the stream that tears tails."""

    def __init__(self, seed: int) -> None:
        self.memory = MemoryStore(self._report)
        self.torn = stream(seed, "torn tail")
        self.emit: Callable[[StoreEvent], None] | None = None

    def _report(self, event: StoreEvent) -> None:
        if self.emit is not None:
            self.emit(event)


class VirtualStore:
    """A Store over the platter that its place in the world keeps."""

    def __init__(self, config: dict[str, Any], emit: Callable[[StoreEvent], None], clock: Clock) -> None:
        disk: Any = clock.disk
        self._platter: Platter = disk.setdefault("store", Platter(int(config.get("seed", 0))))
        self._platter.emit = emit
        self._memory: MemoryStore = self._platter.memory
        self._clock = clock
        self._sync_ns = ns(float(config.get("store", {}).get("sync_s", 0.002)))
        self._last = 0
        self._syncing = False

    def write(self, transaction: Transaction) -> int:
        """Take a transaction; its sequence number."""
        self._last = self._memory.write(transaction)
        if not self._syncing:
            self._syncing = True
            self._clock.call_later(self._sync_ns, self._synced, self._last)
        return self._last

    def _synced(self, up_to: int) -> None:
        self._syncing = False
        self._memory.sync(up_to)
        if self._memory.unsynced and not self._syncing:
            self._syncing = True
            self._clock.call_later(self._sync_ns, self._synced, self._last)

    def read(self, key: bytes) -> Row | None:
        """A row, as last written."""
        return self._memory.read(key)

    def segments(self, trajectory: int) -> tuple[Segment, ...]:
        """All segments of a trajectory."""
        return self._memory.segments(trajectory)

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """All rows but the segments."""
        return self._memory.rows()

    def crash(self) -> None:
        """The power goes: some of the unsynced tail is lost."""
        self._platter.emit = None
        self._memory.crash(self._platter.torn.randint(0, self._memory.unsynced))

    def close(self) -> None:
        """What was written is made durable; nothing is emitted any more."""
        self._platter.emit = None
        self._memory.sync()
