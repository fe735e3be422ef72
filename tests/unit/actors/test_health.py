"""Alarms of a training run."""

import math

import pytest

from actors.health import LIMITS, WINDOW, Health


def feed(health, name, value, times):
    return [said for said in (health.take(name, value) for _ in range(times)) if said]


def test_an_alarm_rings_once_when_the_mean_passes_its_limit_and_again_after_it_came_back():
    health = Health()
    assert feed(health, "truncated_share", 0.04, WINDOW) == []
    (said,) = feed(health, "truncated_share", 0.2, WINDOW)
    assert said.startswith("alarm: truncated_share")
    assert "schedule.eta" in said
    assert feed(health, "truncated_share", 0.0, WINDOW) == []
    assert len(feed(health, "truncated_share", 0.2, WINDOW)) == 1
    assert health.alarms == {"truncated_share": 2}


def test_one_odd_batch_rings_nothing_but_a_gradient_that_is_not_finite_does():
    health = Health()
    assert feed(health, "masked_share", 0.0, WINDOW - 1) == []
    assert health.take("masked_share", 0.9) is None
    assert health.take("skipped", 0.0) is None
    assert "not finite" in health.take("skipped", 1.0)


def test_a_vanished_entropy_rings():
    assert "below" in feed(Health(), "entropy", 1e-4, WINDOW)[0]


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_mean_that_is_no_number_rings(name):
    assert feed(Health(), name, math.nan, WINDOW)


def test_numbers_without_a_limit_are_let_through():
    assert feed(Health(), "outcome", 1e9, 3 * WINDOW) == []
