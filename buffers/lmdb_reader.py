"""A store as it was at one moment, for another process than its owner's: also while a run writes.

Nothing is made and nothing is changed: the files are opened for reading. While somebody owns the store its pages would
be used again under the reader; so the reader has an entry of its own in LMDB's table of readers (lock.mdb, shared
memory of all who have it open), which goes with it. Without an owner there is no such entry, and `confirm` says
afterwards that nobody began to write meanwhile.

The file is checked (`buffers/lmdb_pages.py`) before a row is read from its map. A second reader or an owner of the same
store in one process is not possible: LMDB opens a file once in a process.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Any

import lmdb

from buffers.errors import CorruptStore, UsageError
from buffers.lmdb_files import OWNER, READERS, TABLE, below_prefix, check_format, compactions, keys_below, named
from buffers.lmdb_pages import FILE, Account, Pages
from buffers.rows import ROW_TYPES, SEGMENT, Row, segments_key
from buffers.sealed import unseal_row
from buffers.segment import Segment

TRY_S = 10.0
"""How long to try to meet the state that the header named before it was read; an owner may commit in between."""
LEAST_MAP_BYTES = 1 << 30
"""Addresses, not memory."""


class StoreReader:
    """See the module. Raises `UsageError` if the folder holds no store of this format, `CorruptStore` if a damaged one.

    Its state is the newest of the moment of its making.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE
        if not self.file.is_file():
            raise UsageError(f"{folder} holds no store (no {FILE}); name the folder of a run or of its store")
        self._open = ExitStack()
        try:
            self._begin()
            self.account: Account = self._pages.check()
        except lmdb.Error as error:
            self._open.close()
            raise UsageError(f"{self.file} cannot be read: {error}; try again, or name a copy of it") from error
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> StoreReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the state go; its owner may use its pages again."""
        self._open.close()

    @property
    def compactions(self) -> tuple[int, int, int]:
        """How often the store was compacted, and the bytes of its file before and after the last time."""
        return compactions(self._txn, self.folder)

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """All rows except segments, in order of their keys."""
        with named(self.file):
            for kind in sorted(ROW_TYPES):
                if kind != SEGMENT:
                    yield from (
                        (key, unseal_row(key, value, self.file)) for key, value in below_prefix(self._txn, kind)
                    )

    def segments(self, trajectory: int) -> dict[bytes, Segment]:
        """All segments of a trajectory by their keys, in order of their start."""
        with named(self.file):
            values = list(below_prefix(self._txn, segments_key(trajectory)))
        rows = {key: unseal_row(key, value, self.file) for key, value in values}
        return {key: row for key, row in rows.items() if isinstance(row, Segment)}

    def segment_counts(self) -> dict[int, int]:
        """Trajectory -> its stored segments; no segment is read."""
        counts: dict[int, int] = {}
        for key in keys_below(self._txn, SEGMENT):
            trajectory = int.from_bytes(key[1:9], "big")
            counts[trajectory] = counts.get(trajectory, 0) + 1
        return counts

    def strange_keys(self) -> list[bytes]:
        """Keys of rows that no store of this format has."""
        with self._txn.cursor() as cursor:
            return [key for key in cursor.iternext(values=False) if key[:1] not in ROW_TYPES and key[:1] != b"\x00"]

    def check_pages(self) -> None:
        """Check every page and every value, those of overflow pages too; raises `CorruptStore`."""
        self._pages.check(deep=True)

    def confirm(self) -> None:
        """Raise `UsageError` if somebody began to write while this read without an entry in the table of readers."""
        if not self.live:
            with Pages(self.folder) as now:
                if now.header.transaction > self.account.transaction + 1:
                    raise UsageError(f"{self.file}: a run began to write while it was read; run this again")

    def _begin(self) -> None:
        """Meet a state whose header was read: its pages stay from then on."""
        readers = self.folder / READERS
        if readers.is_file():
            fcntl.flock(self._open.enter_context(readers.open("rb")), fcntl.LOCK_SH)
        self.live = _is_owned(self.folder) and (self.folder / TABLE).is_file()
        end = monotonic() + TRY_S
        while monotonic() < end:
            damaged = None
            try:
                if self._meet():
                    return
            except CorruptStore as error:  # its owner may be writing the header just now
                if not self.live:
                    raise
                damaged = error
        if damaged is not None:
            raise damaged
        raise UsageError(f"{self.file}: its owner writes faster than its header can be read; try again")

    def _meet(self) -> bool:
        """Begin to read; whether what LMDB reads is the state of the header."""
        with ExitStack() as attempt:
            pages = attempt.enter_context(Pages(self.folder))
            size = max(LEAST_MAP_BYTES, 4 * pages.file_bytes)
            env: Any = lmdb.open(str(self.folder), map_size=size, readonly=True, lock=self.live, create=False)
            attempt.callback(env.close)
            txn = attempt.enter_context(env.begin())
            if txn.id() != pages.header.transaction or (self.live and not pages.consecutive):
                return False
            check_format(pages.path, pages.format())
            self._pages, self._txn = pages, txn
            self._open.push(attempt.pop_all())
            return True


def _is_owned(folder: Path) -> bool:
    """Whether a process owns the store."""
    file: IO[bytes]
    try:
        file = open(folder / OWNER, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
