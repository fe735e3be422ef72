"""The store of the live world: LMDB in a thread of its own, with group commit.

    write --> recent (reads see it) --> queue --> writer thread: all that waits, in one LMDB transaction, with sync
                                                     |
                                                     +--> Durable(up_to), only after the disk has it

Every value carries a checksum of its key and bytes; a value that does not fit is named and refused, never decoded. The
file grows by doubling. A second process that opens the same folder is refused. Left out: compaction (rows of closed
groups are removed by the buffer, and LMDB uses their pages again).
"""

from __future__ import annotations

import fcntl
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import lmdb
import msgspec

from buffers.errors import ContractError, CorruptStore, UsageError
from buffers.recent import Recent
from buffers.rows import ROW_TYPES, SEGMENT, Row, Transaction, describe_key, segments_key
from buffers.segment import Segment
from buffers.store import Durable, Emit, Store, StoreFailed

FORMAT = 1
FORMAT_KEY = b"\x00format"
COMMIT_BYTES = 64 << 20
"""One LMDB transaction takes no more than about this much."""

_encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
_decode = {kind: msgspec.msgpack.Decoder(row_type).decode for kind, row_type in ROW_TYPES.items()}


@dataclass(frozen=True, slots=True)
class LmdbConfig:
    """Where a store lies and how it begins."""

    path: str
    """A folder; made if it is not there."""
    first_bytes: int = 64 << 20
    """Size of the map at first; doubled whenever it is full."""


def open_store(config: Mapping[str, Any], emit: Emit, clock: object) -> Store:
    """Open the store of a run whose settings are `config`, at `config["store"]["path"]`; it has its own clock."""
    del clock
    try:
        settings = msgspec.convert(config.get("store", {}), LmdbConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"store: {error}; it takes path and first_bytes") from error
    return LmdbStore(settings, emit)


class LmdbStore:
    """See the module; the port is `buffers/store.py`. `emit` is called from the writer thread."""

    def __init__(self, config: LmdbConfig, emit: Emit) -> None:
        self._path = Path(config.path)
        self._emit = emit
        self._lock_file = _lock(self._path)
        try:
            self._env = _open(self._path, config.first_bytes)
        except BaseException:
            self._lock_file.close()
            raise
        self._recent = Recent()
        self._waiting: deque[tuple[int, Transaction]] = deque()
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
            self._recent.take(self._written, transaction)
            self._waiting.append((self._written, transaction))
            self._changed.notify_all()
            return self._written

    def read(self, key: bytes) -> Row | None:
        """A row, as last written; raises `CorruptStore` if the disk's value is damaged."""
        with self._changed:
            known, row = self._recent.row(key)
        if known:
            return row
        with self._mapped, self._env.begin() as txn:
            value = txn.get(key)
        return None if value is None else self._row(key, value)

    def segments(self, trajectory: int) -> tuple[Segment, ...]:
        """All segments of a trajectory in order of their start."""
        prefix = segments_key(trajectory)
        with self._changed:
            on_disk, recent = self._recent.segments(prefix)
        found: dict[bytes, Row] = {}
        if on_disk:
            with self._mapped, self._env.begin() as txn:
                values = list(_below(txn, prefix))
            found = {key: self._row(key, value) for key, value in values}
        found.update(recent)
        return tuple(row for _, row in sorted(found.items()) if isinstance(row, Segment))

    def rows(self) -> Iterator[tuple[bytes, Row]]:
        """All rows except segments, in order of their keys; waits until what was written is on the disk."""
        self.flush()
        values: list[tuple[bytes, bytes]] = []
        with self._mapped, self._env.begin() as txn:
            for kind in sorted(ROW_TYPES):
                if kind != SEGMENT:
                    values.extend(_below(txn, kind))
        return iter([(key, self._row(key, value)) for key, value in values])

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
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
            try:
                batch = self._batch()
                self._commit([put for _, puts in batch for put in puts])
            except Exception as error:  # whatever it is, the thread's end must be known to who waits for it
                with self._changed:
                    self._failed = f"{self._path}: {error}"
                    self._changed.notify_all()
                self._emit(StoreFailed(self._failed))
                return
            self._settle(len(batch))

    def _batch(self) -> list[tuple[int, list[tuple[bytes, bytes | None]]]]:
        """The next transactions in their stored form; they stay in the queue until they are durable."""
        batch = []
        size = 0
        with self._changed:
            waiting = list(self._waiting)
        for sequence, transaction in waiting:
            puts = [(key, None if row is None else seal(key, _encode(row))) for key, row in transaction]
            batch.append((sequence, puts))
            size += sum(len(value or b"") for _, value in puts)
            if size > COMMIT_BYTES:
                break
        return batch

    def _commit(self, puts: list[tuple[bytes, bytes | None]]) -> None:
        """One LMDB transaction; the map grows until it fits."""
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    for key, value in puts:
                        if value is not None:
                            txn.put(key, value)
                        elif key[:1] == SEGMENT:
                            for below, _ in list(_below(txn, key)):
                                txn.delete(below)
                        else:
                            txn.delete(key)
                return
            except lmdb.MapFullError:
                with self._mapped:
                    self._env.set_mapsize(2 * self._env.info()["map_size"])

    def _settle(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                sequence, transaction = self._waiting.popleft()
                self._recent.settled(sequence, transaction)
            self._durable = sequence
            self._changed.notify_all()
        self._emit(Durable(sequence))

    def _row(self, key: bytes, value: bytes) -> Row:
        return _decode[key[:1]](unseal(key, value, self._path))


def seal(key: bytes, body: bytes) -> bytes:
    """A value as it is stored: checksum of key and body, then the body."""
    return zlib.crc32(body, zlib.crc32(key)).to_bytes(4, "big") + body


def unseal(key: bytes, value: bytes, path: Path) -> bytes:
    """The body of a stored value; raises `CorruptStore` with the key's name if the checksum does not fit."""
    if zlib.crc32(value[4:], zlib.crc32(key)) != int.from_bytes(value[:4], "big"):
        raise CorruptStore(f"{path}: {describe_key(key)} is damaged; restore this folder from a copy")
    return value[4:]


def _below(txn: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Everything whose key begins with `prefix`, in order."""
    with txn.cursor() as cursor:
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield key, value


def _lock(path: Path) -> IO[bytes]:
    """Own the folder until the file is closed, or the process ends however it ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / "owner.lock", "ab")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"store path {path} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise UsageError(f"store {path} is in use by another run; stop it or choose another folder") from error
    return file


def _open(path: Path, first_bytes: int) -> Any:
    """Open the environment and check that it is a store of this format; a new one is marked."""
    try:
        env = lmdb.open(str(path), map_size=first_bytes, readahead=False, max_readers=16)
    except lmdb.Error as error:
        raise UsageError(f"store {path} cannot be opened: {error}; restore it from a copy") from error
    with env.begin() as txn:
        found = txn.get(FORMAT_KEY)
        empty = txn.stat()["entries"] == 0
    if found is None and empty:
        with env.begin(write=True) as txn:
            txn.put(FORMAT_KEY, b"braid %d" % FORMAT)
        return env
    if found != b"braid %d" % FORMAT:
        env.close()
        name = "no Braid store" if found is None else f"of format {found.decode(errors='replace')!r}"
        raise UsageError(f"store {path} is {name}; this Braid reads 'braid {FORMAT}': choose another folder")
    return env
