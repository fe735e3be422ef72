"""What a store costs in memory, in a process of its own: `python -m tests.bench.store_memory CASE FOLDER ...`.

Memory is what the process cannot give back without writing it somewhere: its anonymous pages (RssAnon). Pages of
LMDB's map belong to the file; the system takes them back when it needs them. What is in flight to the disk is bounded
by the askers' credits, here by `IN_FLIGHT` appends, whatever is stored.

    held FOLDER lmdb|memory TRAJECTORIES TOKENS    anonymous bytes that a buffer with its store adds
    beyond FOLDER BYTES LIMIT                      a store far beyond a limit: write it, read all of it back
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from buffers.answers import Opened
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.memory_store import MemoryStore
from buffers.prompts import make_prompts
from buffers.rows import segment_key
from buffers.segment import Ghost, Segment, token_arrays

SEGMENT_TOKENS = 512
IN_FLIGHT = 1024


def anonymous_bytes() -> int:
    """Anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status; this needs Linux")


def held(kind: str, folder: Path, trajectories: int, tokens: int) -> dict[str, float]:
    """Anonymous bytes per stored token of a buffer whose trajectories are all there, scored and eligible."""
    store = LmdbStore(LmdbConfig(str(folder)), lambda event: None) if kind == "lmdb" else MemoryStore()
    config = BufferConfig(k=8, batch=trajectories, max_response_tokens=tokens)
    buffer = Buffer(config)
    buffer.load_prompts(make_prompts([Ghost(20, seed) for seed in range(1000)]))
    epoch = buffer.snapshot().epoch
    buffer.hello(0, 0, ())
    store.write(buffer.drain())
    draw = np.random.default_rng(0)
    gc.collect()
    before = anonymous_bytes()
    opened = buffer.open_groups(epoch, 1, trajectories // 8)
    assert isinstance(opened, Opened)
    ids = [member.trajectory for member in opened.members]
    del opened
    attempt = 0
    for start in range(0, tokens, SEGMENT_TOKENS):
        length, attempt = min(SEGMENT_TOKENS, tokens - start), attempt + 1
        last = start + length == tokens
        for place, trajectory in enumerate(ids):
            payload = token_arrays(draw.integers(0, 150_000, length, np.int32), -draw.random(length, np.float32))
            end = "stop" if last else "cut"
            buffer.append(trajectory, attempt, Segment(start, payload, ((0, length),), ((1, length),), end))
            if last:
                buffer.score(trajectory, attempt + 1, {"outcome": float(place % 2)})
            store.write(buffer.drain())
            if place % IN_FLIGHT == IN_FLIGHT - 1:
                settle(store)
    settle(store)
    gc.collect()
    grown = anonymous_bytes() - before
    stored = trajectories * tokens
    disk = (folder / "data.mdb").stat().st_size if kind == "lmdb" else 0
    store.close()
    return {"bytes_per_token": grown / stored, "disk_bytes_per_token": disk / stored}


def settle(store: LmdbStore | MemoryStore) -> None:
    """Wait for the disk."""
    if isinstance(store, LmdbStore):
        store.flush()
    else:
        store.sync()


def beyond(folder: Path, size: int, limit: int) -> dict[str, object]:
    """Fill a store far beyond the limit, read it all back, open it again; raises where memory does not suffice."""
    with limited(limit) as how:
        tokens = SEGMENT_TOKENS * 4
        payload = token_arrays(np.arange(tokens, dtype=np.int32), np.full(tokens, -0.5, np.float32))
        segment = Segment(0, payload, ((0, tokens),), ((1, tokens),), "stop")
        count = size // (8 * tokens)
        store = LmdbStore(LmdbConfig(str(folder)), lambda event: None)
        peak = anonymous_bytes()
        for number in range(count):
            store.write(((segment_key(number, 0), segment),))
            if number % 1024 == 1023:
                store.flush()
                peak = max(peak, anonymous_bytes())
        store.close()
        began = time.perf_counter()
        store = LmdbStore(LmdbConfig(str(folder)), lambda event: None)
        opening_s = time.perf_counter() - began
        order = np.random.default_rng(0).permutation(count)
        whole = all(store.segments(int(number)) == (segment,) for number in order)
        peak = max(peak, anonymous_bytes())
        store.close()
        used = peak_of_group(how)
    return {
        "limit": limit,
        "how": how,
        "stored_bytes": (folder / "data.mdb").stat().st_size,
        "anonymous_bytes": peak,
        "group_bytes": used,
        "opening_s": opening_s,
        "whole": whole,
    }


@contextlib.contextmanager
def limited(limit: int) -> Iterator[str]:
    """A limit on this process: a memory control group where one may be made (files' pages count), else RLIMIT_DATA."""
    group = Path(f"/sys/fs/cgroup/memory/braid-bench-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        yield "RLIMIT_DATA"
        return
    try:
        yield f"control group {group}"
    finally:
        (group.parent / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()


def peak_of_group(how: str) -> int:
    """The most that the control group used, pages of files included; 0 without one."""
    _, _, group = how.partition("control group ")
    return int((Path(group) / "memory.max_usage_in_bytes").read_text()) if group else 0


if __name__ == "__main__":
    case, folder, *rest = sys.argv[1:]
    if case == "held":
        print(json.dumps(held(rest[0], Path(folder), int(rest[1]), int(rest[2]))))
    else:
        print(json.dumps(beyond(Path(folder), int(rest[0]), int(rest[1]))))
