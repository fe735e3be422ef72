"""A store's folder: who owns it, how its file begins, and when the file is made smaller.

    owner.lock     held by the one process that writes; a second one is refused
    readers.lock   held by readers of other processes (`buffers/lmdb_reader.py`); by the owner while it compacts
    data.mdb       the rows; lock.mdb is LMDB's table of readers
    new.mdb        a file that is being made; it becomes data.mdb whole, by renaming, or is removed at the next opening

So data.mdb is complete from its first moment on: one that is empty, cut or without its marks is no work of a crash
here, and is refused. It is checked (`buffers/lmdb_pages.py`) before LMDB maps it.

Space: rows of closed groups are removed, and LMDB uses their pages again, so the file grows no further than what was
held at once. It never shrinks while it is open; at opening it is compacted if more than `compact_above` of it is free
and it is longer than `compact_bytes`, unless somebody is reading it just then.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import lmdb

from buffers.errors import CorruptStore, UsageError
from buffers.lmdb_pages import FILE, Account, Pages
from buffers.sealed import (
    COMMIT_KEY,
    COMPACTED_KEY,
    FORMAT,
    FORMAT_KEY,
    Bytes,
    pack_numbers,
    seal,
    unpack_numbers,
    unseal,
)

NEW = "new.mdb"
OWNER = "owner.lock"
READERS = "readers.lock"
TABLE = "lock.mdb"
MAX_READERS = 64
PATIENCE_S = (0.02, 0.08)
"""Pauses before a folder counts as somebody's: a reader that asks who the owner is holds its lock for a moment."""


@dataclass(frozen=True, slots=True)
class LmdbConfig:
    """Where a store lies and how it begins."""

    path: str
    """A folder; made if it is not there."""
    first_bytes: int = 64 << 20
    """Size of the map at first; doubled whenever it is full."""
    compact_above: float = 0.5
    """Free share of the file above which it is compacted at opening; 1 never does."""
    compact_bytes: int = 64 << 20
    """A shorter file is left as it is."""


def own(path: Path) -> IO[bytes]:
    """Own the folder until the file is closed, or the process ends however it ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / OWNER, "ab")  # noqa: SIM115
        open(path / READERS, "ab").close()
    except OSError as error:
        raise UsageError(f"store path {path} cannot be used: {error.strerror}") from error
    for pause in (*PATIENCE_S, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if pause is None:
                file.close()
                raise UsageError(f"store {path} is in use by another run; stop it or choose another folder") from error
            time.sleep(pause)
        else:
            break
    return file


def open_owned(config: LmdbConfig) -> Any:
    """The LMDB environment of a folder that this process owns: made, checked, compacted, as needed."""
    path = Path(config.path)
    (path / NEW).unlink(missing_ok=True)
    if not (path / FILE).exists():
        if (path / TABLE).exists():
            raise CorruptStore(f"{path / FILE} is missing, its table of readers is there; restore it from a copy")
        _begin(path, config.first_bytes)
    account = examine(path)
    with open(path / READERS, "ab") as readers:
        if worth_compacting(account, config) and _lock(readers):
            _compact(path, account)
        try:
            return lmdb.open(str(path), map_size=config.first_bytes, readahead=False, max_readers=MAX_READERS)
        except lmdb.Error as error:
            raise UsageError(f"store {path} cannot be opened: {error}; restore it from a copy") from error


def examine(path: Path) -> Account:
    """Check a store's file before it is mapped: `CorruptStore` if it is damaged, `UsageError` if it is another's."""
    with Pages(path) as pages:
        check_format(pages.path, pages.format())
        return pages.check()


def check_format(file: Path, found: bytes | None) -> None:
    """Raise `UsageError` unless a file is a store of the format of this Braid."""
    if found == FORMAT:
        return
    name = "no Braid store" if found is None else f"of format {found.decode(errors='replace')!r}"
    raise UsageError(f"store {file} is {name}; this Braid reads {FORMAT.decode()!r}: choose another folder")


@contextmanager
def named(file: Path) -> Iterator[None]:
    """What LMDB finds wrong with its file while it is read, as `CorruptStore` with the file's name."""
    try:
        yield
    except lmdb.Error as error:
        raise CorruptStore(f"{file} is damaged: {error}; restore it from a copy") from error


def below_prefix(txn: Any, prefix: bytes) -> Iterator[tuple[bytes, Bytes]]:
    """Everything whose key begins with `prefix`, in order; in a transaction of buffers, values lie in the map."""
    with txn.cursor() as cursor:
        if cursor.set_range(prefix):
            for found, value in cursor.iternext():
                key = bytes(found)
                if not key.startswith(prefix):
                    return
                yield key, value


def keys_below(txn: Any, prefix: bytes) -> Iterator[bytes]:
    """Keys that begin with `prefix`, in order; nothing of their values is read."""
    with txn.cursor() as cursor:
        if cursor.set_range(prefix):
            for key in cursor.iternext(values=False):
                if not key.startswith(prefix):
                    return
                yield key


def worth_compacting(account: Account, config: LmdbConfig) -> bool:
    """Whether the config asks for a smaller file."""
    share = account.free_pages / (account.free_pages + account.used_pages)
    return share > config.compact_above and account.file_bytes > config.compact_bytes


def stamp(txn: Any) -> None:
    """Sign a writing transaction with its number, so that a header which names another one is found."""
    txn.put(COMMIT_KEY, seal(COMMIT_KEY, pack_numbers(txn.id())))


def compactions(txn: Any, path: Path) -> tuple[int, int, int]:
    """How often a store was compacted, and the bytes of its file before and after the last time."""
    value = txn.get(COMPACTED_KEY)
    if value is None:
        return 0, 0, 0
    times, before, after = unpack_numbers(unseal(COMPACTED_KEY, value, path))
    return times, before, after


def _begin(path: Path, first_bytes: int) -> None:
    """Put an empty store in place."""
    _sign(path, first_bytes, FORMAT_KEY, FORMAT)
    _replace(path)


def _compact(path: Path, account: Account) -> None:
    """Put a copy without its free pages in the file's place; what a crash leaves is the one or the other."""
    with lmdb.open(str(path), readonly=True, lock=False, readahead=False, map_size=account.file_bytes) as env:
        with open(path / NEW, "wb") as copy:
            env.copyfd(copy.fileno(), compact=True)
            after = os.fstat(copy.fileno()).st_size
        with env.begin() as txn:
            times = compactions(txn, path)[0] + 1
    mark = seal(COMPACTED_KEY, pack_numbers(times, account.file_bytes, after))
    _sign(path, 2 * after + (1 << 20), COMPACTED_KEY, mark)
    _replace(path)


def _sign(path: Path, map_bytes: int, key: bytes, value: bytes) -> None:
    """Put a mark into the file that is being made; twice, so that both of its headers are signed."""
    with lmdb.open(str(path / NEW), subdir=False, lock=False, map_size=map_bytes) as env:
        for _ in range(2):
            with env.begin(write=True) as txn:
                txn.put(key, value)
                stamp(txn)


def _replace(path: Path) -> None:
    """The file that was made takes its place, durably."""
    with open(path / NEW, "rb") as made:
        os.fsync(made.fileno())
    os.rename(path / NEW, path / FILE)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
