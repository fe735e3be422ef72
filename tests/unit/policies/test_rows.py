"""Rows are brought together and into order without losing anything."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.engines.lean import rows as rows_module
from policies.engines.lean.rows import Rows


@pytest.fixture(autouse=True, scope="module")
def groups_of_two():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_GROUP_ROWS", 2)
        yield


def loaded(lengths):
    """Rows of trajectories 0, 1, ... whose tokens and uniforms tell whose they are."""
    rows = Rows(len(lengths) + 2, 200, torch.device("cpu"))
    for trajectory, length in enumerate(lengths):
        row = rows.take(trajectory)
        rows.load(
            row, 1, np.full(length, trajectory), np.full(length, -trajectory, np.float32), np.full(3, trajectory / 100)
        )
        rows.set_sampling(row, trajectory, 0.5, (trajectory,))
    return rows


def check(rows, trajectory, length):
    row = rows.row_of[trajectory]
    assert rows.known_R[row] == length
    assert (rows.ids_RL[row, :length] == trajectory).all()
    assert (rows.logps_RL[row, :length] == -trajectory).all()
    batch = rows.batch([trajectory])
    assert batch.ends_B[row] == length + 3
    assert batch.stop_ids_BM[row].tolist() == [trajectory]
    assert batch.rule.greedy_B is None or batch.rule.greedy_B[row] == (trajectory == 0)
    assert rows.uniforms(batch)[row] == trajectory / 100
    assert rows.trajectory_R[row] == trajectory


@given(st.lists(st.integers(1, 100), min_size=1, max_size=9), st.data())
def test_nobody_loses_tokens_or_settings_by_a_move(lengths, data):
    rows = loaded(lengths)
    names = range(len(lengths))
    freed = data.draw(st.sets(st.sampled_from(names), max_size=len(lengths) - 1))
    for trajectory in freed:
        rows.free(trajectory)
    kept = [name for name in names if name not in freed]
    running = data.draw(st.sets(st.sampled_from(kept), min_size=1))
    sources, targets = rows.moves(running)
    assert len(set(sources)) == len(sources) == len(targets) == len(set(targets))
    if sources:
        rows.relocate(sources, targets)
    for trajectory in kept:
        check(rows, trajectory, lengths[trajectory])
    assert len(set(rows.row_of.values())) == len(kept)
    taken = {rows.take(100 + new) for new in range(len(lengths) + 2 - len(kept))}
    assert not taken & {rows.row_of[trajectory] for trajectory in kept}
    if sources:
        assert sorted(rows.row_of[trajectory] for trajectory in running) == list(range(len(running)))
        by_row = sorted(running, key=lambda trajectory: rows.row_of[trajectory])
        groups = [[lengths[name] for name in by_row[lo : lo + 2]] for lo in range(0, len(by_row), 2)]
        assert all(min(left) >= max(right) for left, right in pairwise(groups))


def test_rows_far_apart_are_brought_together_and_a_cached_one_makes_way():
    rows = loaded([5, 50, 5, 5, 50, 50])
    rows.free(0)
    sources, targets = rows.moves([2, 3, 5])  # 1 and 4 are cached
    rows.relocate(sources, targets)
    assert rows.row_of[5] in (0, 1)
    assert {rows.row_of[name] for name in (2, 3, 5)} == {0, 1, 2}
    for trajectory, length in ((1, 50), (2, 5), (3, 5), (4, 50), (5, 50)):
        check(rows, trajectory, length)


def test_rows_in_order_stay_where_they_are():
    assert loaded([50, 40, 30, 20]).moves([0, 1, 2, 3]) == ([], [])


def test_a_move_that_saves_next_to_nothing_is_not_made():
    assert loaded([50, 49, 51, 50]).moves([0, 1, 2, 3]) == ([], [])
