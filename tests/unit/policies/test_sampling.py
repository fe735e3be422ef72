"""Keyed randomness and drawing by inverse distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.sampling import draw, rule, uniforms

CPU = torch.device("cpu")


def rows(count, temperature=1.0, top_p=1.0):
    return rule(np.full(count, temperature, np.float32), np.full(count, top_p, np.float64), CPU)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 40), st.integers(0, 40))
def test_any_stretch_of_uniforms_is_the_same_stretch_of_the_whole(seed, trajectory, start, count):
    whole = uniforms(seed, trajectory, 0, start + count)
    assert uniforms(seed, trajectory, start, count).tolist() == whole[start:].tolist()
    assert ((whole >= 0) & (whole < 1)).all()


def test_neighbouring_seeds_and_trajectories_draw_unrelated_uniforms():
    streams = np.array([uniforms(seed, trajectory, 0, 4000) for seed in (0, 1) for trajectory in (0, 1, 2)])
    correlations = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlations).max() < 0.06
    assert abs(streams.mean() - 0.5) < 0.01
    assert abs(streams.var() - 1 / 12) < 0.002


def test_tokens_are_drawn_as_often_as_the_divided_logits_say():
    torch.manual_seed(0)
    logits = torch.randn(1, 20) * 2
    numbers = torch.from_numpy(uniforms(1, 2, 0, 40_000))
    drawn = draw(logits.expand(len(numbers), -1), numbers, rows(len(numbers), temperature=0.7))
    share = torch.bincount(drawn.ids_B, minlength=20) / len(numbers)
    expected = torch.softmax(logits[0] / 0.7, -1)
    assert torch.allclose(share, expected, atol=0.01)
    assert torch.allclose(drawn.logps_B, torch.log(expected)[drawn.ids_B], atol=1e-5)


def test_the_margin_is_how_far_the_uniform_is_from_another_token():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    for number, token, margin in (
        (0.1, 0, 0.1),
        (0.199, 0, 0.001),
        (0.21, 1, 0.01),
        (0.699, 1, 0.001),
        (0.95, 2, 0.05),
    ):
        drawn = draw(logits, torch.tensor([number], dtype=torch.float64), rows(1))
        assert drawn.ids_B.tolist() == [token]
        assert drawn.margins_B.tolist() == pytest.approx([margin], abs=1e-6)


def test_the_largest_uniform_and_impossible_tokens_stay_within_the_support():
    logits = torch.full((1, 50), -torch.inf)
    logits[0, 7], logits[0, 30] = 0.0, 1.0
    largest = torch.tensor([1 - 2.0**-52], dtype=torch.float64)
    assert draw(logits, largest, rows(1)).ids_B.tolist() == [30]
    assert draw(logits, torch.zeros(1, dtype=torch.float64), rows(1)).ids_B.tolist() == [7]


def test_temperature_zero_takes_the_best_token_beside_rows_that_sample():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]]))
    how = rule(np.array([0.0, 1.0], np.float32), np.ones(2), CPU)
    drawn = draw(logits, torch.tensor([0.05, 0.05], dtype=torch.float64), how)
    assert drawn.ids_B.tolist() == [1, 0]
    assert drawn.margins_B.tolist() == pytest.approx([0.2, 0.05], abs=1e-6)
    assert drawn.logps_B.exp().tolist() == pytest.approx([0.5, 0.2], abs=1e-6)


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    logits = torch.log(torch.tensor([[0.15, 0.5, 0.05, 0.3]]))
    numbers = torch.linspace(0, 0.999, 500, dtype=torch.float64)
    for top_p, kept in ((0.4, {1}), (0.6, {1, 3}), (0.85, {0, 1, 3}), (1.0, {0, 1, 2, 3})):
        drawn = draw(logits.expand(500, -1), numbers, rows(500, top_p=top_p))
        assert set(drawn.ids_B.tolist()) == kept
    assert draw(logits, numbers[:1], rows(1, top_p=0.1)).logps_B.exp().tolist() == pytest.approx([0.5], abs=1e-6)
