import math
from types import SimpleNamespace

import pytest

from buffers.errors import ContractError, UsageError
from buffers.priorities import Signal, load, names, worth


def signal(spread: float = 0.0, age: int = 0, position: int = 1, feedback: float = -1.0) -> Signal:
    return Signal(spread, age, position, feedback)


@pytest.mark.parametrize("name", names())
def test_every_rule_is_positive_where_it_is_drawn_in_proportion(name: str) -> None:
    rule = load(name, {})
    signals = [signal(spread, age, 5, feedback) for spread in (0.0, 1.0) for age in (0, 50) for feedback in (-1.0, 0.0)]
    assert all(rule.priority(one) > 0.0 for one in signals) or not rule.proportional
    assert rule == load(name, {})


def test_the_default_likes_spread_and_freshness_and_takes_the_learners_word() -> None:
    rule = load("spread_freshness", {"floor": 0.1, "half_life": 1.0})
    assert rule.priority(signal(spread=1.0)) == pytest.approx(1.1)
    assert rule.priority(signal(spread=1.0, age=2)) == pytest.approx(0.35)
    assert rule.priority(signal(spread=0.0)) == pytest.approx(0.1)
    assert rule.priority(signal(spread=1.0, feedback=3.0)) == pytest.approx(3.1)


def test_fifo_takes_the_oldest_place_and_freshest_the_youngest_age_then_the_newest_place() -> None:
    fifo, freshest = load("fifo", {}), load("freshest", {})
    assert fifo.priority(signal(position=1)) > fifo.priority(signal(position=2))
    assert freshest.priority(signal(age=0, position=1)) > freshest.priority(signal(age=1, position=9))
    assert freshest.priority(signal(age=1, position=3)) > freshest.priority(signal(age=1, position=2))


def test_a_rule_of_ones_own_is_found_by_module_and_name() -> None:
    assert load("buffers.priorities.uniform:Rule", {}) == load("uniform", {})


@pytest.mark.parametrize("name", ["sprd", "nowhere:Rule", "buffers.priorities.uniform:Missing"])
def test_unknown_rules_and_options_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="priority"):
        load(name, {})
    with pytest.raises(UsageError, match="heat"):
        load("uniform", {"heat": 1.0})
    with pytest.raises(UsageError, match="no rule: it needs proportional"):
        load("collections:OrderedDict", {})


@pytest.mark.parametrize("name", ["freshness", "spread_freshness"])
def test_a_half_life_of_age_halves_the_worth_above_the_floor(name: str) -> None:
    rule = load(name, {"half_life": 3.0, "floor": 0.01})
    young, old = rule.priority(signal(1.0, 0)) - 0.01, rule.priority(signal(1.0, 3)) - 0.01
    assert old == pytest.approx(young / 2)


def test_feedback_alone_counts_after_a_use_and_a_guess_before_it() -> None:
    rule = load("feedback", {"unused": 2.0, "floor": 0.5})
    assert rule.priority(signal(spread=1.0)) == 2.5
    assert rule.priority(signal(spread=1.0, feedback=0.25)) == 0.75


@pytest.mark.parametrize("name", ["spread", "freshness", "feedback", "spread_freshness"])
@pytest.mark.parametrize("floor", [0.0, -1.0, math.nan, math.inf])
def test_a_floor_is_positive_and_finite(name: str, floor: float) -> None:
    with pytest.raises(UsageError, match=r"buffer\.priority_options\.floor is"):
        load(name, {"floor": floor})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("proportional", [True, False])
def test_a_number_that_is_no_priority_is_named_with_its_group_and_rule(value: float, proportional: bool) -> None:
    rule = SimpleNamespace(proportional=proportional, priority=lambda signal: value)
    with pytest.raises(ContractError, match=r"buffer\.priority 'mine' gave group 7 the priority (nan|-?inf)"):
        worth(rule, "mine", 7, signal())
    assert worth(SimpleNamespace(proportional=False, priority=lambda signal: -1.0), "mine", 7, signal()) == -1.0
    with pytest.raises(ContractError, match="positive"):
        worth(SimpleNamespace(proportional=True, priority=lambda signal: 0.0), "mine", 7, signal())
