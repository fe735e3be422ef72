"""The closed forms of a cost's growth are what adding step by step gives."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffers.errors import ContractError
from sim.costs.curve import Curve


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    gaps = draw(st.lists(st.integers(1, 500), max_size=4))
    rises = draw(st.lists(st.floats(0, 50), min_size=len(gaps), max_size=len(gaps)))
    xs, ys = [0.0], [draw(st.floats(1, 1e4))]
    for gap, rise in zip(gaps, rises, strict=True):
        xs.append(xs[-1] + gap)
        ys.append(ys[-1] + rise * gap)
    return Curve(xs, ys, draw(st.floats(0, 50)))


@given(curves(), st.integers(0, 3000), st.integers(0, 64), st.integers(0, 300))
def test_a_total_is_the_sum_of_its_terms(curve: Curve, x: int, dx: int, count: int) -> None:
    slow = math.fsum(curve.at(x + dx * index) for index in range(count))
    assert curve.total(x, dx, count) == pytest.approx(slow, rel=1e-11, abs=1e-6)


@given(curves(), st.integers(0, 3000), st.integers(0, 64), st.integers(0, 200), st.floats(0, 0.99))
def test_steps_within_inverts_the_total(curve: Curve, x: int, dx: int, count: int, share: float) -> None:
    limit = curve.total(x, dx, count) + share * curve.at(x + dx * count)
    found = curve.steps_within(x, dx, limit)
    assert curve.total(x, dx, found) <= limit * (1 + 1e-12) + 1e-6
    assert curve.total(x, dx, found + 1) >= limit * (1 - 1e-12) - 1e-6


def test_a_curve_that_falls_is_refused() -> None:
    with pytest.raises(ContractError, match="fall"):
        Curve([0, 10], [5, 4], 1)
    with pytest.raises(ContractError, match="knots"):
        Curve([1], [5], 1)
