"""A process that writes to a store is killed: at random moments, and at each line of its opening and its compaction.

After each death the store opens, holds everything that was reported durable and exactly a prefix of what was written
after that, and no page or checksum is wrong. What transaction n leaves behind follows from n alone, so the state after
any n is known: `expected`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from buffers import lmdb_files
from buffers.lmdb_pages import Pages
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.rows import Row, SuccessRow, Transaction, segment_key, segments_key, success_key
from buffers.segment import Segment
from buffers.store import Durable, StoreEvent
from tests.buffer_builders import real
from tests.forks import in_child, status_of
from tests.store_builders import FAST

KEPT = 8
"""Trajectories that live at a time; older ones are removed, so that pages are freed and used again."""
EAGER = {"compact_above": 0.01, "compact_bytes": 0, "first_bytes": 1 << 16}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder where nothing waits for a disk."""
    with tempfile.TemporaryDirectory(dir=FAST) as name:
        yield Path(name)


def transaction(n: int) -> Transaction:
    """Number n, 1, 2, 3 ...: a trajectory of two segments comes, one goes, and the counter says n."""
    rows: list[tuple[bytes, Row | None]] = [(success_key(0), SuccessRow(0, draws=n))]
    rows += [(segment_key(n, 0), real(0, 30)), (segment_key(n, 30), real(30, n % 7 * 300 + 1))]
    if n > KEPT:
        rows.append((segments_key(n - KEPT), None))
    return tuple(rows)


def expected(n: int) -> dict[int, tuple[Segment, ...]]:
    """Segments of each trajectory after transaction n."""
    return {t: (real(0, 30), real(30, t % 7 * 300 + 1)) for t in range(max(1, n - KEPT + 1), n + 1)}


def number_in(store: LmdbStore) -> int:
    row = store.read(success_key(0))
    return row.draws if isinstance(row, SuccessRow) else 0


def write_for_ever(folder: Path, report: int, dies_at: int) -> None:
    """Go on from where the store is; each durable number goes to the pipe `report`; it may die with one of them."""
    begun = said = 0

    def emit(event: StoreEvent) -> None:
        nonlocal said
        assert isinstance(event, Durable)
        os.write(report, struct.pack("=Q", begun + event.up_to))
        said += 1
        if said == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    store = LmdbStore(LmdbConfig(str(folder), **EAGER), emit)
    begun = number_in(store)
    draw = random.Random(begun)
    for n in range(begun + 1, begun + 1_000_000):
        store.write(transaction(n))
        if draw.random() < 0.3:
            store.flush()


def assert_sound(folder: Path, durable: int) -> int:
    """The store is what a prefix of the transactions leaves, as long as what was durable; how many those are."""
    with Pages(folder) as pages:
        pages.check(deep=True)
    store = LmdbStore(LmdbConfig(str(folder), first_bytes=1 << 16), lambda event: None)
    n = number_in(store)
    there = {t: store.segments(t) for t in range(max(1, n - KEPT - 40), n + 40)}
    store.close()
    assert n >= durable, "something durable is lost"
    assert {t: segments for t, segments in there.items() if segments} == expected(n)
    return n


def test_a_writer_killed_at_random_moments_loses_nothing_durable(tmp_path: Path) -> None:
    draw = random.Random(5)
    durable = reached = lives = 0
    for number, after in enumerate((0, 1, 0, 5, 12, 2, 0, 20, 1, 10, 3, 0, 7, 1, 0, 15)):
        at_once = number % 2 == 1
        child, pipe = in_child(lambda report, n=after if at_once else -1: write_for_ever(tmp_path, report, n))
        with os.fdopen(pipe, "rb", buffering=0) as reports:
            told = [reports.read(8) for _ in range(after)]
            if not at_once or not after:
                time.sleep(draw.choice((0.0, 0.002, 0.01)) * draw.random())
                os.kill(child, signal.SIGKILL)
            while more := reports.read(8):
                told.append(more)
        assert status_of(child) == -signal.SIGKILL
        if told:
            durable = struct.unpack("=Q", told[-1])[0]
        if (tmp_path / "data.mdb").exists():
            reached, lives = assert_sound(tmp_path, durable), lives + 1
    assert reached > 50
    assert lives > 8


def killed_at_line(number: int, work: Callable[[], object]) -> bool:
    """Do this in a fork that kills itself before the n-th line of `buffers/lmdb_files.py`; whether it came so far."""

    def follow(_report: int) -> None:
        passed = 0

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal passed
            if event == "line":
                passed += 1
                if passed == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return line

        def call(frame: FrameType, event: str, _: Any) -> Any:
            return line if frame.f_code.co_filename == lmdb_files.__file__ else None

        sys.settrace(call)
        work()

    child, pipe = in_child(follow)
    os.close(pipe)
    status = status_of(child)
    assert status in (0, -signal.SIGKILL)
    return status != 0


def holes(folder: Path) -> int:
    """A store of which most is free; its last transaction."""
    store = LmdbStore(LmdbConfig(str(folder), first_bytes=1 << 16, compact_above=1.0), lambda event: None)
    store.write(tuple((segment_key(1000 + n, 0), real(0, 1500)) for n in range(40)))
    store.flush()
    store.write(tuple((segments_key(1000 + n), None) for n in range(40)))
    for n in range(1, 21):
        store.write(transaction(n))
    store.close()
    return 20


def test_a_store_killed_at_each_line_of_its_compaction_is_the_one_or_the_other(tmp_path: Path) -> None:
    last = holes(tmp_path / "original")
    data = (tmp_path / "original" / "data.mdb").read_bytes()
    sizes = []
    for number in range(1, 400):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "data.mdb").write_bytes(data)
        config = LmdbConfig(str(folder), compact_bytes=0, compact_above=0.1, first_bytes=1 << 16)
        died = killed_at_line(number, lambda config=config: LmdbStore(config, lambda event: None).close())
        sizes.append((folder / "data.mdb").stat().st_size)
        assert assert_sound(folder, last) == last
        assert not (folder / "new.mdb").exists()
        shutil.rmtree(folder)
        if not died:
            break
    assert not died, "more lines than expected"
    assert sizes[0] == len(data)
    assert sizes[-1] < len(data) / 2
    assert number > 40


def test_a_store_killed_at_each_line_of_its_first_opening_begins_all_the_same(tmp_path: Path) -> None:
    for number in range(1, 400):
        config = LmdbConfig(str(tmp_path / str(number)), first_bytes=1 << 16)
        died = killed_at_line(number, lambda config=config: LmdbStore(config, lambda event: None).close())
        store = LmdbStore(config, lambda event: None)
        store.write(transaction(1))
        store.close()
        assert assert_sound(tmp_path / str(number), 1) == 1
        shutil.rmtree(tmp_path / str(number))
        if not died:
            break
    assert not died, "more lines than expected"
    assert number > 20


@pytest.mark.parametrize("above", [0.1, 0.9])
def test_the_file_is_compacted_at_opening_when_enough_of_it_is_free(tmp_path: Path, above: float) -> None:
    last = holes(tmp_path)
    before = (tmp_path / "data.mdb").stat().st_size
    LmdbStore(LmdbConfig(str(tmp_path), compact_bytes=0, compact_above=above), lambda event: None).close()
    after = (tmp_path / "data.mdb").stat().st_size
    assert (after < before / 2) == (above == 0.1)
    assert assert_sound(tmp_path, last) == last
    LmdbStore(LmdbConfig(str(tmp_path), compact_bytes=0, compact_above=above), lambda event: None).close()
    assert (tmp_path / "data.mdb").stat().st_size == after


def test_space_of_what_is_removed_is_used_again(tmp_path: Path) -> None:
    store = LmdbStore(LmdbConfig(str(tmp_path), first_bytes=1 << 16), lambda event: None)
    sizes = []
    for n in range(1, 401):
        store.write(transaction(n))
        store.flush()
        sizes.append((tmp_path / "data.mdb").stat().st_size)
    store.close()
    assert sizes[-1] <= 1.5 * sizes[49], f"the file grew from {sizes[49]} to {sizes[-1]} with as much in it"
    assert assert_sound(tmp_path, 400) == 400
