"""The store of the live world: LMDB in a thread of its own, with group commit.

    write --> recent (reads see it) --> queue --> writer thread: all that waits, in one LMDB transaction, with sync
                                                     |
                                                     +--> Durable(up_to), only after the disk has it

Every value carries a checksum of its key and bytes; a value that does not fit is named and refused, never decoded. It
is checked and decoded where it lies in the map: what a row holds is copied once.
Every commit signs itself with its number. The map grows by doubling, after dead readers were struck from LMDB's table:
what they had read may be overwritten again. The folder, its file's check and its compaction: `buffers/lmdb_files.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from buffers.errors import ContractError, UsageError
from buffers.lmdb_files import LmdbConfig as LmdbConfig
from buffers.lmdb_files import below_prefix, keys_below, named, open_owned, own, stamp
from buffers.lmdb_pages import FILE
from buffers.recent import Batch, Recent
from buffers.rows import ROW_TYPES, SEGMENT, Row, Transaction, segments_key
from buffers.sealed import Sealer, unseal_row
from buffers.segment import Segment
from buffers.store import Durable, Emit, Store, StoreFailed

COMMIT_BYTES = 64 << 20
"""One LMDB transaction takes no more than about this much."""


def open_store(config: Mapping[str, Any], emit: Emit, clock: object) -> Store:
    """Open the store of a run whose settings are `config`, at `config["store"]["path"]`; it has its own clock."""
    del clock
    try:
        settings = msgspec.convert(config.get("store", {}), LmdbConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"store: {error}; it takes path, first_bytes, compact_above and compact_bytes") from error
    return LmdbStore(settings, emit)


class LmdbStore:
    """See the module; the port is `buffers/store.py`. `emit` is called from the writer thread."""

    def __init__(self, config: LmdbConfig, emit: Emit) -> None:
        self._file = Path(config.path) / FILE
        self._emit = emit
        self._lock_file = own(Path(config.path))
        try:
            self._env = open_owned(config)
        except BaseException:
            self._lock_file.close()
            raise
        self._page_bytes = self._env.stat()["psize"]
        self._recent = Recent(COMMIT_BYTES)
        self._sealer = Sealer()
        self._changed = threading.Condition()
        self._mapped = threading.Lock()
        """Held by each read, and while the map grows: LMDB allows no transaction then."""
        self._written = 0
        self._durable = 0
        self._closing = False
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name="lmdb store", daemon=True)
        self._thread.start()

    # -- the port ------------------------------------------------------------------------------------------------

    def write(self, transaction: Transaction) -> int:
        """Take a transaction; its sequence number."""
        with self._changed:
            if self._closing:
                raise ContractError("write to a closed store")
            self._written += 1
            if self._recent.take(self._written, transaction):
                self._changed.notify_all()
            return self._written

    def read(self, key: bytes) -> Row | None:
        """A row, as last written; raises `CorruptStore` if the disk's value is damaged."""
        with self._changed:
            known, row = self._recent.row(key)
        if known:
            return row
        with self._mapped, named(self._file), self._env.begin(buffers=True) as txn:
            value = txn.get(key)
            return None if value is None else unseal_row(key, value, self._file)

    def segments(self, trajectory: int) -> tuple[Segment, ...]:
        """All segments of a trajectory in order of their start."""
        prefix = segments_key(trajectory)
        with self._changed:
            on_disk, recent = self._recent.segments(prefix)
        found: dict[bytes, Row] = {}
        if on_disk:
            with self._mapped, named(self._file), self._env.begin(buffers=True) as txn:
                found = {key: unseal_row(key, value, self._file) for key, value in below_prefix(txn, prefix)}
        found.update(recent)
        return tuple(row for _, row in sorted(found.items()) if isinstance(row, Segment))

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """All rows except segments, in order of their keys; waits until what was written is on the disk."""
        self.flush()
        with self._mapped, named(self._file), self._env.begin(buffers=True) as txn:
            kinds = (kind for kind in sorted(ROW_TYPES) if kind != SEGMENT)
            values = (put for kind in kinds for put in below_prefix(txn, kind))
            return iter([(key, unseal_row(key, value, self._file)) for key, value in values])

    def flush(self) -> None:
        """Wait until everything written is durable, or the store has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._durable == self._written)

    def close(self) -> None:
        """Make everything durable and stop."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._env.close()
        self._lock_file.close()

    # -- the writer thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._recent or self._closing)
                if not self._recent:
                    return
                batch = self._recent.oldest()
            try:
                self._make_room(batch.size)
                self._commit(batch)
            except Exception as error:  # whatever it is, the thread's end must be known to who waits for it
                with self._changed:
                    self._failed = f"{self._file}: {error}"
                    self._changed.notify_all()
                self._emit(StoreFailed(self._failed))
                return
            self._settle(batch.last)

    def _commit(self, batch: Batch) -> None:
        """One LMDB transaction; the map grows until it fits."""
        puts = batch.puts()
        if not puts and not batch.removed:
            return
        seal = self._sealer.seal
        while True:
            try:
                with self._env.begin(write=True) as txn, txn.cursor() as cursor:
                    for prefix in batch.removed:
                        for key in list(keys_below(txn, prefix)):
                            txn.delete(key)
                    cursor.putmulti((key, seal(key, row)) for key, row in puts if row is not None)
                    for key, row in puts:
                        if row is None:
                            txn.delete(key)
                    stamp(txn)
                return
            except lmdb.MapFullError:
                self._grow(2 * self._env.info()["map_size"])

    def _make_room(self, size: int) -> None:
        """Grow the map before it is full: a transaction that meets its end is done twice."""
        used = self._env.info()["last_pgno"] * self._page_bytes
        if used + 2 * size > self._env.info()["map_size"]:
            self._grow(2 * (used + 2 * size))

    def _grow(self, size: int) -> None:
        with self._mapped:
            self._env.reader_check()
            self._env.set_mapsize(size)

    def _settle(self, last: int) -> None:
        with self._changed:
            self._recent.settled()
            self._durable = last
            self._changed.notify_all()
        self._emit(Durable(last))
