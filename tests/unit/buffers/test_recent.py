from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buffers.memory_store import MemoryStore
from buffers.recent import Recent
from buffers.rows import Row, SuccessRow, Transaction, segment_key, segments_key, success_key
from buffers.segment import Segment
from tests.buffer_builders import ghost

KEYS = [success_key(0), success_key(1), segment_key(0, 0), segment_key(0, 2), segment_key(1, 0)]


def puts() -> st.SearchStrategy[Transaction]:
    rows = st.builds(lambda n, v: (success_key(n), SuccessRow(n, v)), st.integers(0, 1), st.floats(0, 9))
    gone = st.builds(lambda n: (success_key(n), None), st.integers(0, 1))
    more = st.builds(
        lambda t, s, n: (segment_key(t, s), ghost(s, n)), st.integers(0, 1), st.sampled_from([0, 2]), st.integers(1, 9)
    )
    none = st.builds(lambda t: (segments_key(t), None), st.integers(0, 1))
    return st.lists(rows | gone | more | none, max_size=3).map(tuple)


def read(recent: Recent, disk: MemoryStore, key: bytes) -> Row | None:
    known, row = recent.row(key)
    return row if known else disk.read(key)


def segments(recent: Recent, disk: MemoryStore, trajectory: int) -> tuple[Segment, ...]:
    on_disk, fresh = recent.segments(segments_key(trajectory))
    found = {segment_key(trajectory, one.start): one for one in disk.segments(trajectory)} if on_disk else {}
    found.update(fresh)
    return tuple(found[key] for key in sorted(found))


@given(st.lists(puts() | st.none(), max_size=20))
def test_reads_give_what_was_written_last_however_far_the_disk_is(steps: list[Transaction | None]) -> None:
    recent, disk, whole = Recent(), MemoryStore(), MemoryStore()
    waiting: list[tuple[int, Transaction]] = []
    for number, step in enumerate(steps):
        if step is not None:
            recent.take(number, step)
            whole.write(step)
            waiting.append((number, step))
        elif waiting:
            sequence, transaction = waiting.pop(0)
            disk.write(transaction)
            recent.settled(sequence, transaction)
        for key in KEYS:
            assert read(recent, disk, key) == whole.read(key)
        for trajectory in (0, 1):
            assert segments(recent, disk, trajectory) == whole.segments(trajectory)
    for sequence, transaction in waiting:
        disk.write(transaction)
        recent.settled(sequence, transaction)
    assert (recent._rows, recent._segments, recent._removed) == ({}, {}, {})


def test_a_row_put_again_before_the_first_is_on_disk_stays_the_newer_one() -> None:
    recent = Recent()
    for number, length in ((1, 3), (2, 5)):
        recent.take(
            number,
            ((segment_key(0, 0), ghost(0, length)), (success_key(0), SuccessRow(0, length)), (segments_key(1), None)),
        )
    recent.settled(1, ((segment_key(0, 0), ghost(0, 3)), (success_key(0), SuccessRow(0, 3.0)), (segments_key(1), None)))
    assert recent.row(segment_key(0, 0)) == (True, ghost(0, 5))
    assert recent.row(success_key(0)) == (True, SuccessRow(0, 5))
    assert recent.row(segment_key(1, 0)) == (True, None)
