import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffers.draws import uniform
from buffers.sum_tree import SumTree

WEIGHTS = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20)


@given(WEIGHTS, st.lists(st.tuples(st.integers(0, 19), st.floats(0.0, 1e6)), max_size=20))
def test_the_total_is_that_of_a_tree_built_anew(weights: list[float], changes: list[tuple[int, float]]) -> None:
    tree = SumTree(weights)
    for index, weight in changes:
        weights[index % len(weights)] = weight
        tree.set(index % len(weights), weight)
    assert tree.total == SumTree(weights).total
    assert tree.total == pytest.approx(sum(weights))
    assert [tree.weight(index) for index in range(len(weights))] == weights


@given(WEIGHTS.filter(any), st.floats(0.0, 1.0, exclude_max=True))
def test_what_is_found_is_never_without_weight(weights: list[float], share: float) -> None:
    assert weights[SumTree(weights).find(share)] > 0.0


def test_indices_are_found_in_proportion_to_their_weight() -> None:
    tree = SumTree([1.0, 0.0, 3.0, 4.0, 2.0])
    found = [tree.find(uniform(1, 2, counter)) for counter in range(20_000)]
    for index, share in enumerate([0.1, 0.0, 0.3, 0.4, 0.2]):
        assert found.count(index) / 20_000 == pytest.approx(share, abs=0.012)
