"""What the buffer costs: microseconds per append and per trajectory over a memory store, and durable writes to a disk.

The first two are set beside their budgets (a simulated cluster spends at most 75 us of real code on a segment), the
last beside the same library used without group commit.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb

from buffers.answers import Leased, Opened
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.memory_store import MemoryStore
from buffers.prompts import make_prompts
from buffers.rows import segment_key
from buffers.segment import EndReason, Ghost, Segment, token_arrays
from tests.bench.alternate import Row, alternate, row

APPEND_US = 10.0
TRAJECTORY_US = 40.0
VERSIONS = 12
RUNS = 5


def train(segments: int, real: bool) -> float:
    """Processor seconds per trajectory of some versions; each has `segments` segments of 64 tokens."""
    config = BufferConfig(k=8, batch=256, max_response_tokens=64 * segments, eta=2)
    buffer, store = Buffer(config), MemoryStore()
    buffer.load_prompts(make_prompts([Ghost(20, seed) for seed in range(100)]))
    epoch = buffer.snapshot().epoch
    buffer.hello(0, 0, ())
    payload = token_arrays([1] * 64, [-0.5] * 64) if real else Ghost(64, 1)
    begin = time.process_time()
    while buffer.highest < VERSIONS:
        opened = buffer.open_groups(epoch, buffer.highest, 1000)
        store.write(buffer.drain())
        assert isinstance(opened, Opened)
        for member in opened.members:
            for index in range(segments):
                end: EndReason = "stop" if index == segments - 1 else "cut"
                segment = Segment(64 * index, payload, ((buffer.highest, 64),), ((1, 64),), end)
                buffer.append(member.trajectory, index + 1, segment)
                store.write(buffer.drain())
            buffer.score(member.trajectory, segments + 1, {"outcome": float(member.index % 2)})
            store.write(buffer.drain())
        store.sync()
        lease = buffer.lease(0, buffer.highest + 1, buffer.highest)
        assert isinstance(lease, Leased)
        buffer.complete(0, lease.lease, buffer.highest + 1, True)
        store.write(buffer.drain())
    return (time.process_time() - begin) / buffer.ledger().opened


def trajectory_us() -> float:
    """Open, end, score, lease and complete, per trajectory."""
    return train(1, False) * 1e6


def append_us(real: bool) -> float:
    """One further segment, journal and store included."""
    return (train(17, real) - train(1, real)) / 16 * 1e6


def durable_us(writes: int, work: Callable[[Path], object]) -> Callable[[], float]:
    """Microseconds per durable write in a fresh folder."""

    def timed() -> float:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            work(Path(folder))
            return (time.perf_counter() - begin) / writes * 1e6

    return timed


def ours_durable(folder: Path, writes: int, segment: Segment) -> None:
    """All writes through the store, durable at its close."""
    store = LmdbStore(LmdbConfig(str(folder), 256 << 20), lambda event: None)
    for number in range(writes):
        store.write(((segment_key(number, 0), segment),))
    store.close()


def plain_durable(folder: Path, writes: int, segment: Segment) -> None:
    """One commit for each."""
    assert not isinstance(segment.payload, Ghost)
    value = segment.payload.ids + segment.payload.logps
    with lmdb.open(str(folder), map_size=256 << 20) as env:
        for number in range(writes):
            with env.begin(write=True) as txn:
                txn.put(segment_key(number, 0), value)


def run() -> Iterator[Row]:
    """Three figures."""
    for case, measure, budget in (
        ("append of a ghost segment", lambda: append_us(False), APPEND_US),
        ("append of a real segment of 64 tokens", lambda: append_us(True), APPEND_US),
        ("trajectory: open, end, score, lease, complete", trajectory_us, TRAJECTORY_US),
    ):
        ours, theirs = alternate(measure, lambda budget=budget: budget, RUNS)  # type: ignore[misc]
        yield row(case, round(ours, 2), "budget of the design", theirs, "us", RUNS, "less")
    writes = 2000
    segment = Segment(0, token_arrays([1] * 256, [-0.5] * 256), ((0, 256),), ((1, 256),), "cut")
    ours, theirs = alternate(
        durable_us(writes, lambda folder: ours_durable(folder, writes, segment)),
        durable_us(200, lambda folder: plain_durable(folder, 200, segment)),
        RUNS,
    )
    peer = f"lmdb {lmdb.__version__}, one commit a write"
    yield row("durable write of 256 tokens", round(ours, 2), peer, round(theirs, 2), "us", RUNS, "less")
