"""The store of the live world beside the disk that it lies on, and beside sqlite3 as another embedded library.

Append: segments of a fixed mix of lengths (64 to 8,192 tokens, as many of each octave), each a transaction, until all
are durable; MB/s of ids and log-probabilities alone. The disk's figure is the same bytes in one file, written in blocks
of 1 MiB, with an fsync as often as the store commits when it is busy. sqlite3 gets the same values under the same keys,
in a table without row ids, with a write-ahead log and `synchronous = FULL`, committed as often; and the same checksums.

Memory and a store beyond it: see `tests/bench/store_memory.py`. The disk is that of the temporary folder.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from buffers.lmdb_files import examine
from buffers.lmdb_store import COMMIT_BYTES, LmdbConfig, LmdbStore
from buffers.rows import SuccessRow, segment_key, success_key
from buffers.sealed import Sealer, unseal_row
from buffers.segment import BYTES_PER_TOKEN, Segment, token_arrays
from tests.bench.alternate import Row, alternate, row, seconds

RUNS = 5
MIX_BYTES = 192 << 20
BLOCK = 1 << 20
ROWS = 50_000
SINGLE = 150
"""Appends that wait for their own commit."""
MB = 1e6
TOKEN_BYTES = 8
COMMITTED_BYTES = COMMIT_BYTES * TOKEN_BYTES // BYTES_PER_TOKEN
"""Of ids and log-probabilities in one commit of the store at most."""
ROOT = Path(__file__).resolve().parents[2]

Work = Callable[[Path], float]


def in_folder(work: Work) -> Callable[[], float]:
    """The work's figure, in a fresh folder each time."""

    def timed() -> float:
        with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
            return work(Path(folder))

    return timed


def segments(lengths: list[int]) -> list[Segment]:
    """Whole responses of these lengths; equal lengths share their tokens."""
    draw, made = np.random.default_rng(0), dict[int, Segment]()
    for length in lengths:
        if length not in made:
            payload = token_arrays(draw.integers(0, 150_000, length, np.int32), -draw.random(length, np.float32))
            made[length] = Segment(0, payload, ((0, length),), ((1, length),), "stop")
    return [made[length] for length in lengths]


def mixed(total_bytes: int) -> list[int]:
    """Lengths of 64 to 8,192 tokens, log-uniform, until they weigh so much."""
    draw, lengths, left = np.random.default_rng(1), list[int](), total_bytes
    while left > 0:
        lengths.append(int(64 * 2 ** (7 * draw.random())))
        left -= TOKEN_BYTES * lengths[-1]
    return lengths


def ours_append(made: list[Segment], folder: Path) -> float:
    """MB/s of durable tokens through the store."""
    store = LmdbStore(LmdbConfig(str(folder)), lambda event: None)
    begin = time.perf_counter()
    for number, segment in enumerate(made):
        store.write(((segment_key(number, 0), segment),))
    store.flush()
    took = time.perf_counter() - begin
    store.close()
    return size_of(made) / took / MB


def disk_append(made: list[Segment], folder: Path) -> float:
    """MB/s of the same bytes to one file."""
    total, block, waiting = size_of(made), os.urandom(BLOCK), 0
    begin = time.perf_counter()
    with open(folder / "plain", "wb", buffering=0) as file:
        for written in range(0, total, BLOCK):
            waiting += file.write(block[: total - written])
            if waiting > COMMITTED_BYTES:
                os.fsync(file.fileno())
                waiting = 0
        os.fsync(file.fileno())
    return total / (time.perf_counter() - begin) / MB


def processor_s_per_gb(append: Callable[[list[Segment], Path], float], made: list[Segment], folder: Path) -> float:
    """Processor seconds that an append takes for each GB, the system's part included."""
    begin = time.process_time()
    append(made, folder)
    return (time.process_time() - begin) * 1e9 / size_of(made)


def sqlite_store(folder: Path) -> sqlite3.Connection:
    """A table of keys and values that survives a crash as LMDB's does."""
    database = sqlite3.connect(folder / "store.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    return database


def sqlite_append(made: list[Segment], folder: Path) -> float:
    """MB/s of the same values in sqlite3."""
    database, sealer, waiting = sqlite_store(folder), Sealer(), 0
    begin = time.perf_counter()
    database.execute("BEGIN")
    for number, segment in enumerate(made):
        key = segment_key(number, 0)
        database.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (key, bytes(sealer.seal(key, segment))))
        waiting += TOKEN_BYTES * segment.length
        if waiting > COMMITTED_BYTES:
            database.execute("COMMIT")
            database.execute("BEGIN")
            waiting = 0
    database.execute("COMMIT")
    took = time.perf_counter() - begin
    database.close()
    return size_of(made) / took / MB


def ours_single(made: list[Segment], together: int, folder: Path) -> float:
    """Appends a second; so many wait for the same commit."""
    store = LmdbStore(LmdbConfig(str(folder)), lambda event: None)
    begin = time.perf_counter()
    for number, segment in enumerate(made):
        store.write(((segment_key(number, 0), segment),))
        if number % together == together - 1:
            store.flush()
    took = time.perf_counter() - begin
    store.close()
    return len(made) / took


def sqlite_single(made: list[Segment], together: int, folder: Path) -> float:
    """The same in sqlite3."""
    database, sealer = sqlite_store(folder), Sealer()
    begin = time.perf_counter()
    for number, segment in enumerate(made):
        key = segment_key(number, 0)
        if number % together == 0:
            database.execute("BEGIN")
        database.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (key, bytes(sealer.seal(key, segment))))
        if number % together == together - 1:
            database.execute("COMMIT")
    took = time.perf_counter() - begin
    database.close()
    return len(made) / took


def size_of(made: list[Segment]) -> int:
    """Bytes of ids and log-probabilities."""
    return TOKEN_BYTES * sum(segment.length for segment in made)


class Filled:
    """A store and a sqlite3 file with the same segments and some thousand rows besides, in one folder."""

    def __init__(self, folder: Path, made: list[Segment], rows: int) -> None:
        self.made = made
        self.folder = folder
        ours_append(made, folder)
        sqlite_append(made, folder)
        store = LmdbStore(LmdbConfig(str(folder)), lambda event: None)
        store.write(tuple((success_key(number), SuccessRow(number)) for number in range(rows)))
        store.close()
        database, sealer = sqlite_store(folder), Sealer()
        keys = [success_key(number) for number in range(rows)]
        pairs = [(key, bytes(sealer.seal(key, SuccessRow(number)))) for number, key in enumerate(keys)]
        database.execute("BEGIN")
        database.executemany("INSERT INTO rows VALUES (?, ?)", pairs)
        database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()

    def bytes_per_token(self) -> tuple[float, float]:
        """Of both files."""
        tokens = sum(segment.length for segment in self.made)
        ours, theirs = ((self.folder / name).stat().st_size / tokens for name in ("data.mdb", "store.sqlite"))
        return ours, theirs

    def reading(self) -> tuple[float, float]:
        """Responses a second, read whole in a random order."""
        order = np.random.default_rng(2).permutation(len(self.made)).tolist()
        store, database = LmdbStore(LmdbConfig(str(self.folder)), lambda event: None), sqlite_store(self.folder)

        def ours() -> float:
            begin = time.perf_counter()
            for number in order:
                store.segments(number)
            return len(order) / (time.perf_counter() - begin)

        def theirs() -> float:
            begin = time.perf_counter()
            for number in order:
                low, high = segment_key(number, 0), segment_key(number + 1, 0)
                query = "SELECT key, value FROM rows WHERE key >= ? AND key < ?"
                for key, value in database.execute(query, (low, high)).fetchall():
                    unseal_row(key, value, self.folder)
            return len(order) / (time.perf_counter() - begin)

        try:
            return alternate(ours, theirs, RUNS)
        finally:
            store.close()
            database.close()

    def checking(self) -> tuple[float, float]:
        """Seconds of the check before a store is opened, and of sqlite3's own quick check."""

        def theirs() -> None:
            database = sqlite_store(self.folder)
            if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise RuntimeError("sqlite3 finds its file damaged")
            database.close()

        return alternate(seconds(lambda: examine(self.folder)), seconds(theirs), RUNS)


def in_process(*words: object) -> dict[str, float]:
    """What `tests/bench/store_memory.py` says, in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
        case, *rest = map(str, words)
        command = [sys.executable, "-m", "tests.bench.store_memory", case, folder, *rest]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found


def run() -> Iterator[Row]:
    """Append, single appends, reading, opening, memory, beyond memory."""
    sqlite = f"sqlite3 {sqlite3.sqlite_version}, WAL, synchronous = FULL"
    lengths = mixed(MIX_BYTES)
    mix = segments(lengths)
    for name, made in (
        ("64 to 8,192 tokens", mix),
        ("256 tokens", segments([256] * (MIX_BYTES // 8 // 256 // 2))),
        ("8,192 tokens", segments([8192] * (MIX_BYTES // 8 // 8192))),
    ):
        mine, disk = alternate(in_folder(partial(ours_append, made)), in_folder(partial(disk_append, made)), RUNS)
        case = f"durable append, {len(made):,} segments of {name}"
        yield row(case, round(mine), "sequential write + fsync of the same bytes", round(disk), "MB/s", RUNS, "more")
    mine, disk = alternate(
        in_folder(partial(processor_s_per_gb, ours_append, mix)),
        in_folder(partial(processor_s_per_gb, disk_append, mix)),
        RUNS,
    )
    yield row("processor time of the first line", round(mine, 2), "sequential write + fsync of the same bytes",
              round(disk, 2), "s/GB", RUNS, "less")  # fmt: skip
    mine, other = alternate(in_folder(partial(ours_append, mix)), in_folder(partial(sqlite_append, mix)), RUNS)
    yield row(
        f"durable append, {len(mix):,} segments of 64 to 8,192 tokens",
        round(mine), sqlite, round(other), "MB/s", RUNS, "more",
    )  # fmt: skip
    for together in (1, 64):
        short = segments([256] * (SINGLE * together))
        works = (in_folder(partial(work, short, together)) for work in (ours_single, sqlite_single))
        mine, other = alternate(*works, RUNS)
        case = f"appends of 256 tokens, {together} at a time waiting to be durable"
        yield row(case, round(mine), sqlite, round(other), "1/s", RUNS, "more")
    with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
        filled = Filled(Path(folder), mix, ROWS)
        mine, other = filled.bytes_per_token()
        yield row("size of the file (ids and log-probabilities are 8)", round(mine, 2), sqlite, round(other, 2),
                  "bytes a token", 1, "less")  # fmt: skip
        mine, other = (rate / 1000 for rate in filled.reading())
        yield row("responses of 64 to 8,192 tokens read in random order", round(mine, 1), sqlite, round(other, 1),
                  "1000/s", RUNS, "more")  # fmt: skip
        mine, other = filled.checking()
        yield row(
            f"check the file before it is opened: {size_of(mix) >> 20} MiB of {len(mix):,} segments, {ROWS:,} rows",
            round(mine, 3), f"quick_check of {sqlite}", round(other, 3), "s", RUNS, "less",
        )  # fmt: skip
    for trajectories, tokens in ((16_384, 64), (16_384, 256), (2_048, 4_096)):
        found = in_process("held", "lmdb", trajectories, tokens)
        plain = in_process("held", "memory", trajectories, tokens)
        yield row(
            f"memory of a buffer and its store, {trajectories:,} responses of {tokens:,} tokens",
            round(found["bytes_per_token"], 1), "the same in a memory store", round(plain["bytes_per_token"], 1),
            "bytes a token", 1, "less",
        )  # fmt: skip
    limit = 96 << 20
    found = in_process("beyond", 400 << 20, limit)
    if not found["whole"]:
        raise RuntimeError("what was read back is not what was written")
    yield row(
        f"a store larger than memory, all read back in random order ({str(found['how']).partition(' /')[0]})",
        round(found["stored_bytes"] / MB), "the limit on its process", round(limit / MB), "MB", 1, "more",
    )  # fmt: skip
