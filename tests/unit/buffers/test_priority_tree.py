import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buffers import priority_tree
from buffers.draws import uniform
from buffers.errors import UsageError
from buffers.priority_tree import COMPILED, Form, PriorityTree, form_for, tree_of

FORMS: list[Form] = ["plain", "numpy", *(["compiled"] if COMPILED else [])]
PRIORITY = st.sampled_from([0.0, 1.0, 2.0]) | st.floats(0.0, 1e9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 16, 17, 300, 5000])
def test_sums_minima_and_draws_are_those_of_a_plain_array(size: int, form: Form) -> None:
    tree, plain, draw = PriorityTree(size, form), np.zeros(size), np.random.default_rng(size)
    for _ in range(6):
        indices = draw.integers(0, size, 50)
        priorities = draw.random(50) * (draw.random(50) > 0.3)
        priorities[0] += 0.1
        for index, priority in zip(indices, priorities, strict=True):
            plain[index] = priority
        tree.set(indices, priorities)
        assert tree.total == pytest.approx(plain.sum())
        assert tree.least == (plain[plain > 0].min() if plain.any() else np.inf)
        assert (tree.priorities(indices) == plain[indices]).all()
        if plain.any():
            shares = draw.random(200)
            found = tree.find(shares)
            assert (plain[found] > 0).all()
            ends = plain.cumsum()
            assert (np.abs(found - np.searchsorted(ends, shares * ends[-1], side="right")) <= 1).mean() > 0.9


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700),
    st.lists(st.lists(st.tuples(st.integers(0, 10**6), PRIORITY), max_size=40), min_size=1, max_size=4),
    st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=20),
)
def test_every_form_gives_the_same_to_the_last_bit(size, changes, shares) -> None:
    trees = [PriorityTree(size, form) for form in FORMS]
    for change in changes:
        indices = np.array([index % size for index, _ in change], np.int64)
        priorities = np.array([priority for _, priority in change], np.float64)
        for tree in trees:
            tree.set(indices, priorities)
        assert len({(tree.total, tree.least) for tree in trees}) == 1
        if trees[0].total > 0.0:
            drawn = {tuple(tree.find(np.array(shares)).tolist()) for tree in trees}
            assert len(drawn) == 1
            assert drawn == {tuple(tree.find_one(share) for share in shares) for tree in trees}
            assert all(trees[0].priority(index) > 0.0 for index in drawn.pop())


@pytest.mark.parametrize("form", FORMS)
def test_a_bad_priority_or_index_is_named_and_changes_nothing(form: Form) -> None:
    tree = PriorityTree(4, form)
    with pytest.raises(UsageError, match="no item"):
        tree.find(np.array([0.5]))
    tree.set(np.array([1]), np.array([2.0]))
    for index, priority in ((0, -1.0), (0, np.nan), (0, np.inf), (4, 1.0), (-1, 1.0)):
        for others in (1, 9):
            with pytest.raises(UsageError, match=f"{index}"):
                tree.set(np.array([*[2] * others, index]), np.array([*[1.0] * others, priority]))
        with pytest.raises(UsageError, match=f"{index}"):
            tree.set_one(index, priority)
    with pytest.raises(UsageError, match="as many of each"):
        tree.set(np.array([2]), np.array([1.0, 2.0]))
    assert (tree.total, tree.least) == (2.0, 2.0)


@pytest.mark.parametrize("form", FORMS)
def test_weights_undo_the_priorities_and_the_rarest_has_one(form: Form) -> None:
    tree = PriorityTree(40, form)
    tree.set(np.array([3, 30, 31]), np.array([0.5, 2.0, 8.0]))
    found, weights = tree.sample(np.array([0.0, 0.2, 0.5, 0.99, 0.6]), 0.5)
    assert found.tolist() == [3, 30, 31, 31, 31]
    assert weights == pytest.approx([1.0, 0.5, 0.25, 0.25, 0.25])


def test_indices_are_found_in_proportion_to_their_weight() -> None:
    tree = tree_of([1.0, 0.0, 3.0, 4.0, 2.0])
    found = [tree.find_one(uniform(1, 2, counter)) for counter in range(20_000)]
    for index, share in enumerate([0.1, 0.0, 0.3, 0.4, 0.2]):
        assert found.count(index) / 20_000 == pytest.approx(share, abs=0.012)


def test_the_form_follows_the_size_and_what_is_installed() -> None:
    assert form_for(65_536) == "plain"
    assert form_for(65_537) == ("compiled" if COMPILED else "numpy")
    assert PriorityTree(17).form == "plain"


def test_what_cannot_be_kept_on_disk_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, bool]] = []

    def njit(function=None, **options):
        asked.append(options)
        if options:
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(njit=njit))
    priority_tree._compiled.cache_clear()
    try:
        assert PriorityTree(20, "compiled").form == "compiled"
    finally:
        priority_tree._compiled.cache_clear()
    assert asked == [{"cache": True}, {}, {}]
