"""The store on a disk and the one in memory hold the same after the same transactions, at once and after reopening."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from buffers.lmdb_pages import Pages
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.memory_store import MemoryStore
from buffers.rows import GroupRow, SuccessRow, group_key, segment_key, segments_key, success_key
from buffers.store import Store
from tests.buffer_builders import ghost, real
from tests.store_builders import FAST

FEW = st.integers(0, 3)
STARTS = st.sampled_from([0, 1, 255, 256, 70_000])
PUTS = st.one_of(
    st.builds(lambda n, tries: (success_key(n), SuccessRow(n, float(tries))), FEW, FEW),
    st.builds(lambda n: (success_key(n), None), FEW),
    st.builds(lambda n, k: (group_key(n), GroupRow(n, 0, 3, 1, k + 2, 0)), FEW, FEW),
    st.builds(lambda n: (group_key(n), None), FEW),
    st.builds(
        lambda t, start, length: (segment_key(t, start), real(start, length)),
        FEW,
        STARTS,
        st.sampled_from([1, 20, 240, 250, 600]),
    ),
    st.builds(lambda t, start: (segment_key(t, start), ghost(start, 4)), FEW, STARTS),
    st.builds(lambda t: (segments_key(t), None), FEW),
)
TRANSACTIONS = st.lists(PUTS, max_size=5, unique_by=lambda put: put[0]).map(tuple)
THEN = st.sampled_from(["look", "look", "flush", "reopen", "compact"])


def seen(store: Store) -> tuple[object, ...]:
    """Everything that a store says."""
    keys = [success_key(n) for n in range(4)] + [segment_key(t, start) for t in range(4) for start in (0, 1, 70_000)]
    return list(store.rows()), [store.segments(t) for t in range(5)], [store.read(key) for key in keys]


@settings(max_examples=40)
@given(steps=st.lists(st.tuples(TRANSACTIONS, THEN), max_size=12))
def test_both_stores_hold_the_same(steps: list) -> None:
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        config = LmdbConfig(folder, first_bytes=1 << 16)
        compacting = LmdbConfig(folder, first_bytes=1 << 16, compact_above=0.0, compact_bytes=0)
        disk, memory = LmdbStore(config, lambda event: None), MemoryStore()
        for transaction, then in steps:
            for store in (disk, memory):
                store.write(transaction)
            if then == "flush":
                disk.flush()
            elif then in ("reopen", "compact"):
                disk.close()
                disk = LmdbStore(config if then == "reopen" else compacting, lambda event: None)
            assert seen(disk) == seen(memory)
        disk.close()
        with Pages(Path(folder)) as pages:
            pages.check(deep=True)
