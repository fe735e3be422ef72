"""Lease 256 groups of 8 and pack them to arrays: gigabytes of real tokens a second, padding not counted.

Every response is one real segment of 64 to 8,192 tokens (uniform; a seed fixed here), 13 bytes a token as everywhere:
id, log-probability, version, mask. One turn is what a learner's update asks of the buffer: the lease, its segments out
of the store, the arrays [B, T]; the buffer is filled beforehand. The store is once the one in memory and once LMDB,
which checks a checksum and decodes. Beside them stands copying as many bytes once, and the goal of 1 GB/s;
`per_cpu_s` is the same figure by processor time, which other programs disturb less.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from buffers.answers import Leased, Opened
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.memory_store import MemoryStore
from buffers.prompts import make_prompts
from buffers.segment import BYTES_PER_TOKEN, Segment, token_arrays
from policies.packing import Batch, Config, pack
from policies.trainer import Member, TrainGroup, UpdateJob
from tests.bench.alternate import row

GROUPS, K = 256, 8
SHORTEST, LONGEST = 64, 8192
RUNS = 7
GOAL = 1.0


def filled(store: MemoryStore | LmdbStore) -> Buffer:
    """256 eligible groups with real tokens in a store."""
    config = BufferConfig(k=K, batch=GROUPS * K, max_response_tokens=LONGEST, eta=1)
    buffer, draw = Buffer(config), np.random.default_rng(5)
    buffer.load_prompts(make_prompts([token_arrays(range(64), [0.0] * 64)]))
    opened = buffer.open_groups(buffer.snapshot().epoch, 1, GROUPS)
    buffer.hello(0, 0, ())
    assert isinstance(opened, Opened)
    for member in opened.members:
        length = int(draw.integers(SHORTEST, LONGEST + 1))
        payload = token_arrays(draw.integers(0, 150_000, length, np.int32), -draw.random(length, np.float32))
        buffer.append(member.trajectory, 1, Segment(0, payload, ((0, length),), ((1, length),), "stop"))
        buffer.score(member.trajectory, 2, {"outcome": float(member.index % 2)})
        store.write(buffer.drain())
    if isinstance(store, LmdbStore):
        store.flush()
    return buffer


def turn(buffer: Buffer, store: MemoryStore | LmdbStore, update: int) -> Batch:
    """What is measured; the lease is given back afterwards by whoever calls."""
    lease = buffer.lease(0, update, 0)
    assert isinstance(lease, Leased)
    groups = []
    for group in lease.groups:
        prompt = buffer.prompt(group.prompt)
        assert prompt is not None
        members = tuple(Member(one.trajectory, store.segments(one.trajectory), one.components) for one in group.members)
        groups.append(TrainGroup(group.group, group.use, prompt.payload, group.weight, members))
    return pack(UpdateJob(lease.lease, lease.version, tuple(groups)), Config())


def run() -> Iterator[dict[str, Any]]:
    """Against the goal, and against one plain copy."""
    yield from measured("memory", MemoryStore())
    with tempfile.TemporaryDirectory() as folder:
        store = LmdbStore(LmdbConfig(folder, 512 << 20), lambda event: None)
        try:
            yield from measured("LMDB", store)
        finally:
            store.close()


def measured(name: str, store: MemoryStore | LmdbStore) -> Iterator[dict[str, Any]]:
    """The lines of one store."""
    buffer = filled(store)
    rates, cpu, copies, size = list[float](), list[float](), list[float](), 0
    for update in range(1, RUNS + 2):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        batch = turn(buffer, store, update)
        spent, cpu_spent = time.perf_counter() - begin, time.process_time() - cpu_begin
        size = int(batch.produced_BT.sum()) * BYTES_PER_TOKEN
        del batch
        buffer.expire(buffer.open_leases()[0])
        source = np.ones(size, np.uint8)
        begin = time.perf_counter()
        source.copy()
        copied = time.perf_counter() - begin
        if update > 1:
            rates.append(size / spent / 1e9)
            cpu.append(size / cpu_spent / 1e9)
            copies.append(size / copied / 1e9)
    case = f"lease {GROUPS} x {K} segments of {SHORTEST} to {LONGEST} tokens from {name}, pack {size >> 20} MiB"
    ours = round(statistics.median(rates), 3)
    copy = round(statistics.median(copies), 3)
    for peer, theirs in (("goal", GOAL), ("one copy of as many bytes", copy)):
        yield {
            **row(case, ours, peer, theirs, "GB/s", RUNS, "more"),
            "per_cpu_s": round(statistics.median(cpu), 3),
        }
