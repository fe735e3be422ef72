import pytest

from buffers.errors import UsageError
from buffers.priorities import Signal, load, names


def signal(spread: float = 0.0, age: int = 0, position: int = 1, feedback: float = -1.0) -> Signal:
    return Signal(spread, age, position, feedback)


@pytest.mark.parametrize("name", names())
def test_every_rule_is_positive_where_it_is_drawn_in_proportion(name: str) -> None:
    rule = load(name, {})
    signals = [signal(spread, age, 5, feedback) for spread in (0.0, 1.0) for age in (0, 50) for feedback in (-1.0, 0.0)]
    assert all(rule.priority(one) > 0.0 for one in signals) or not rule.proportional
    assert rule == load(name, {})


def test_the_default_likes_spread_and_freshness_and_takes_the_learners_word() -> None:
    rule = load("spread_freshness", {"floor": 0.1, "decay": 0.5})
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


@pytest.mark.parametrize("name", ["spread", "nowhere:Rule", "buffers.priorities.uniform:Missing"])
def test_unknown_rules_and_options_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="priority"):
        load(name, {})
    with pytest.raises(UsageError, match="heat"):
        load("uniform", {"heat": 1.0})
