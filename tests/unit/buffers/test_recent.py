from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buffers.memory_store import MemoryStore
from buffers.recent import ROW_BYTES, Recent
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


def settle(recent: Recent, disk: MemoryStore) -> int:
    """What a commit does; the number of the last transaction that is on the disk now."""
    batch = recent.oldest()
    disk.write(tuple((prefix, None) for prefix in batch.removed))
    disk.write(batch.puts())
    recent.settled()
    return batch.last


@given(st.lists(puts() | st.sampled_from(["begin", "settle"]), max_size=20), st.sampled_from([0, 600, 1 << 20]))
def test_reads_give_what_was_written_last_however_far_the_disk_is(
    steps: list[Transaction | str], batch_bytes: int
) -> None:
    recent, disk, whole = Recent(batch_bytes), MemoryStore(), MemoryStore()
    number = 0
    states = [tuple(whole.rows())]
    for step in steps:
        if not isinstance(step, str):
            number += 1
            recent.take(number, step)
            whole.write(step)
            states.append(tuple(whole.rows()))
        elif recent and step == "begin":
            recent.oldest()
        elif recent:
            last = settle(recent, disk)
            assert tuple(disk.rows()) == states[last]
        for key in KEYS:
            assert read(recent, disk, key) == whole.read(key)
        for trajectory in (0, 1):
            assert segments(recent, disk, trajectory) == whole.segments(trajectory)
    while recent:
        settle(recent, disk)
    assert seen(disk) == seen(whole)


def seen(store: MemoryStore) -> object:
    return tuple(store.rows()), store.segments(0), store.segments(1)


def test_a_row_written_again_is_put_once_and_a_batch_whose_commit_has_begun_stays_as_it_is() -> None:
    recent = Recent(1 << 20)
    begins = [recent.take(n, ((success_key(0), SuccessRow(0, n)), (segment_key(0, 0), ghost(0, n)))) for n in (1, 2)]
    first = recent.oldest()
    begins.append(recent.take(3, ((success_key(0), SuccessRow(0, 3)), (segments_key(0), None))))
    assert begins == [True, False, True]
    assert (first.last, first.puts()) == (2, ((success_key(0), SuccessRow(0, 2)), (segment_key(0, 0), ghost(0, 2))))
    assert recent.row(success_key(0)) == (True, SuccessRow(0, 3))
    assert recent.row(segment_key(0, 0)) == (True, None)
    recent.settled()
    assert list(recent.oldest().removed) == [segments_key(0)]


def test_a_full_batch_is_followed_by_another() -> None:
    recent = Recent(10 * ROW_BYTES)
    assert [recent.take(n, ((success_key(n), SuccessRow(n)),)) for n in range(14)] == [n in (0, 11) for n in range(14)]
