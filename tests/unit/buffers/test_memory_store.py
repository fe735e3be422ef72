from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffers.errors import ContractError
from buffers.memory_store import MemoryStore
from buffers.rows import SuccessRow, Transaction, segment_key, segments_key, success_key
from buffers.store import Durable
from tests.buffer_builders import ghost


def contents(store: MemoryStore) -> tuple:
    return tuple(store.rows()), tuple(store.segments(number) for number in range(3))


def puts() -> st.SearchStrategy[Transaction]:
    rows = st.builds(lambda n, v: (success_key(n), SuccessRow(n, v)), st.integers(0, 3), st.floats(0, 9))
    gone = st.builds(lambda n: (success_key(n), None), st.integers(0, 3))
    more = st.builds(lambda t, s: (segment_key(t, s), ghost(s, 1)), st.integers(0, 2), st.integers(0, 3))
    none = st.builds(lambda t: (segments_key(t), None), st.integers(0, 2))
    return st.lists(rows | gone | more | none, max_size=4).map(tuple)


@given(st.lists(puts(), max_size=12), st.data())
def test_a_crash_leaves_exactly_a_prefix_of_the_transactions(
    transactions: list[Transaction], data: st.DataObject
) -> None:
    synced = data.draw(st.integers(0, len(transactions)))
    keep = data.draw(st.integers(0, len(transactions)))
    events: list[object] = []
    store = MemoryStore(events.append)
    for number, transaction in enumerate(transactions):
        assert store.write(transaction) == number + 1
    store.sync(synced)
    assert events == ([Durable(synced)] if synced else [])
    assert store.unsynced == len(transactions) - synced
    store.crash(keep)
    other = MemoryStore()
    for transaction in transactions[: max(synced, min(synced + keep, len(transactions)))]:
        other.write(transaction)
    assert contents(store) == contents(other)
    assert store.unsynced == 0
    assert store.write(()) == other.write(())


def test_durability_is_reported_once_and_in_order() -> None:
    events: list[Durable] = []
    store = MemoryStore(events.append)  # type: ignore[arg-type]
    for _ in range(4):
        store.write(())
    store.sync(2)
    store.sync(2)
    store.sync(1)
    store.sync()
    store.close()
    assert events == [Durable(2), Durable(4)]
    with pytest.raises(ContractError, match="closed"):
        store.write(())
