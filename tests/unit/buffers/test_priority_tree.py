import numpy as np
import pytest

from buffers.errors import UsageError
from buffers.priority_tree import COMPILED, PriorityTree


@pytest.mark.parametrize("compiled", [False, COMPILED])
@pytest.mark.parametrize("size", [1, 16, 17, 300, 5000])
def test_sums_minima_and_draws_are_those_of_a_plain_array(size: int, compiled: bool) -> None:
    tree, plain, draw = PriorityTree(size, compiled), np.zeros(size), np.random.default_rng(size)
    for _ in range(6):
        indices = draw.integers(0, size, 50)
        priorities = draw.random(50) * (draw.random(50) > 0.3)
        priorities[0] += 0.1
        for index, priority in zip(indices, priorities, strict=True):
            plain[index] = priority
        tree.set(indices, priorities)
        assert tree.total == pytest.approx(plain.sum())
        assert tree.least == (plain[plain > 0].min() if plain.any() else np.inf)
        if plain.any():
            shares = draw.random(200)
            found = tree.find(shares)
            assert (plain[found] > 0).all()
            ends = plain.cumsum()
            assert (np.abs(found - np.searchsorted(ends, shares * ends[-1], side="right")) <= 1).mean() > 0.9


@pytest.mark.parametrize("compiled", [False, COMPILED])
def test_a_bad_priority_or_index_is_named_and_changes_nothing(compiled: bool) -> None:
    tree = PriorityTree(4, compiled)
    with pytest.raises(UsageError, match="no item"):
        tree.find(np.array([0.5]))
    tree.set(np.array([1]), np.array([2.0]))
    for index, priority in ((0, -1.0), (0, np.nan), (0, np.inf), (4, 1.0), (-1, 1.0)):
        with pytest.raises(UsageError, match=f"{index}"):
            tree.set(np.array([2, index]), np.array([1.0, priority]))
    with pytest.raises(UsageError, match="as many of each"):
        tree.set(np.array([2]), np.array([1.0, 2.0]))
    assert tree.total == 2.0
