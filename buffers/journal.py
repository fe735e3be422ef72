"""What changed since the last transaction.

Invariants: a row is copied when it is handed out, so later changes do not reach the store; the order of a transaction
is the order of first changes, hence a function of the commands.
"""

from __future__ import annotations

from buffers.rows import Changing, Row, Transaction, copy_row


class Journal:
    """Changed rows by key, the newest state of each once."""

    __slots__ = ("_changed", "_fixed")

    def __init__(self) -> None:
        self._changed: dict[bytes, Changing] = {}
        self._fixed: dict[bytes, Row | None] = {}

    def __bool__(self) -> bool:
        """Whether anything changed since the last drain."""
        return bool(self._changed or self._fixed)

    def change(self, key: bytes, row: Changing) -> None:
        """A row of the buffer changed or will before `drain`; it is copied then."""
        self._changed[key] = row

    def put(self, key: bytes, row: Row) -> None:
        """Add a row that never changes, or put one in its final form."""
        self._fixed[key] = row

    def remove(self, key: bytes) -> None:
        """Remove a key (`segments_key`: all segments of a trajectory)."""
        self._changed.pop(key, None)
        self._fixed[key] = None

    def drain(self) -> Transaction:
        """Everything since the last drain, as one transaction; () if nothing changed."""
        changed, fixed = self._changed, self._fixed
        if not changed and not fixed:
            return ()
        self._changed, self._fixed = {}, {}
        return (*fixed.items(), *[(key, copy_row(row)) for key, row in changed.items()])
