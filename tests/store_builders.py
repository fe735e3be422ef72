"""Stores on disk in a certain state, for what looks at them; builders instead of mocks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from buffers.buffer import Buffer
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.memory_store import MemoryStore
from buffers.prompts import make_prompts
from buffers.rows import Row
from buffers.segment import EndReason, Segment
from tests.buffer_builders import config, finish, leased, opened, real

GROUP = 2
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder in memory, if there is one: a killed process leaves there what it leaves on a disk, without the waiting."""


def begun_buffer(store: LmdbStore | MemoryStore) -> Buffer:
    """A buffer of pairs with five prompts, epoch 1 and learner 0, in a store."""
    buffer = Buffer(config())
    prompts = [real(0, 3).payload for _ in range(5)]
    buffer.load_prompts(make_prompts(prompts, [str(n) for n in range(5)]))
    buffer.snapshot()
    buffer.hello(0, 0, ())
    store.write(buffer.drain())
    return buffer


def used_buffer(store: LmdbStore | MemoryStore) -> Buffer:
    """The same with trajectories in many states: trained, leased, eligible, scored, ended, cut, running."""
    buffer = begun_buffer(store)
    play(buffer, store, 1)
    eight = opened(buffer, 4, 1000)
    for trajectory in eight[:5]:
        write(buffer, trajectory, "cut", 6)
        finish(buffer, trajectory, float(trajectory % 2))
    write(buffer, eight[5], "stop", 4)
    write(buffer, eight[6], "cut", 3)
    leased(buffer, 2)
    store.write(buffer.drain())
    return buffer


def play(buffer: Buffer, store: LmdbStore | MemoryStore, number: int) -> None:
    """A version: groups are opened, written, scored, leased and trained on."""
    for trajectory in opened(buffer, 2, number):
        write(buffer, trajectory, "cut", 5)
        store.write(buffer.drain())
        finish(buffer, trajectory, float(trajectory % 2))
        store.write(buffer.drain())
    lease = leased(buffer, number)
    store.write(buffer.drain())
    buffer.complete(0, lease.lease, buffer.highest + 1, True)
    store.write(buffer.drain())


def write(buffer: Buffer, trajectory: int, end: EndReason, length: int) -> Segment:
    """Append real tokens to a trajectory."""
    view = buffer.view(trajectory)
    assert view is not None
    segment = real(view.length, length, buffer.highest, end)
    buffer.append(trajectory, view.attempt, segment)
    return segment


def used_store(folder: Path) -> None:
    """A store of a used buffer, closed."""
    store = LmdbStore(LmdbConfig(str(folder)), lambda event: None)
    used_buffer(store)
    store.close()


def change(folder: Path, rows: Iterable[tuple[bytes, Row | None]]) -> None:
    """Put rows into a closed store, whatever they say."""
    store = LmdbStore(LmdbConfig(str(folder)), lambda event: None)
    store.write(tuple(rows))
    store.close()


def run_folder(folder: Path) -> Path:
    """Make a folder look like that of a run whose buffer is `buffer_builders.config`; its store's folder."""
    folder.mkdir(exist_ok=True)
    schedule = {"group": GROUP, "batch": 4, "max_response_tokens": 20, "eta": 1, "segment_tokens": 8}
    settings = {"seed": 0, "schedule": schedule, "store": {"path": str(folder / "store")}}
    (folder / "run.json").write_text(json.dumps(settings))
    return folder / "store"
