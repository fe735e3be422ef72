"""The length reward against the vector worked out from the paper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.length_reward import Config, length_reward, weight_at


def test_the_worked_example():
    found = length_reward(np.array([100, 200, 300, 400]), np.array([True, False, True, False]))
    assert found.tolist() == pytest.approx([0.5, 0.0, -1 / 6, -0.5])


def test_equal_lengths_get_nothing():
    assert length_reward(np.full(3, 7), np.array([True, False, True])).tolist() == [0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 9999), st.booleans()), min_size=2, max_size=12))
def test_shorter_right_answers_get_strictly_more_and_wrong_ones_never_gain(members):
    lengths = np.array([length for length, _ in members])
    right = np.array([flag for _, flag in members])
    found = length_reward(lengths, right)
    assert found.min() >= -0.5
    assert found.max() <= 0.5
    assert not (found[~right] > 0).any()
    if lengths.min() < lengths.max():
        order = np.argsort(lengths[right], kind="stable")
        steps, drops = np.diff(lengths[right][order]), np.diff(found[right][order])
        assert ((drops < 0) == (steps > 0)).all()


def test_the_weight_is_a_switch_in_two_phases():
    config = Config(weight=0.5, from_version=3)
    assert [weight_at(config, version) for version in (0, 2, 3, 9)] == [0.0, 0.0, 0.5, 0.5]
