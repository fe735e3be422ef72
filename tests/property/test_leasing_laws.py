"""Statistical laws of the priority law's draws. Each is held to `Z` = 5 standard deviations: a right choice would fail
one of them for 2.9e-7 of all seeds (5.7e-7 where both sides count); the seeds are fixed.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffers.draws import uniform
from buffers.errors import UsageError
from buffers.leasing import Candidate, LeasingConfig, Room, choose
from buffers.testing.laws import Z, chi_square_score

PRIORITIES = (1.0, 4.0, 0.25, 2.0, 1.0, 8.0, 0.5)
WITH = LeasingConfig(replacement=True)


def numbers(seed: int) -> Callable[[], float]:
    drawn = (uniform(seed, 1, counter) for counter in itertools.count())
    return lambda: next(drawn)


def candidates(priorities=PRIORITIES) -> list[Candidate]:
    return [Candidate(number, 99, 1, priority) for number, priority in enumerate(priorities)]


def room(slots: int, how: LeasingConfig) -> Room:
    return Room(10, slots, 0, 8, False, True, how)


def times(weight: float, priority: float, priorities, how: LeasingConfig) -> float:
    """How much more often than its importance weight something was drawn: its weight over (N P) ** -beta."""
    total = sum(one**how.alpha for one in priorities)
    return weight * (len(priorities) * priority**how.alpha / total) ** how.beta


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("stratified", [False, True])
def test_the_first_draw_of_a_lease_follows_the_priorities_to_the_power_alpha(alpha: float, stratified: bool) -> None:
    draw, drawn = numbers(3), Counter[int]()
    how = LeasingConfig(stratified=stratified, alpha=alpha)
    for _ in range(8000):
        drawn[choose(candidates(), room(1, how), draw)[0].group] += 1
    shares = [priority**alpha for priority in PRIORITIES]
    assert chi_square_score([drawn[one] for one in range(len(shares))], shares) < Z


def test_without_replacement_pairs_come_as_draws_from_what_is_left() -> None:
    few, draw, drawn = (1.0, 4.0, 2.0, 0.5), numbers(4), Counter[tuple[int, ...]]()
    for _ in range(12_000):
        drawn[tuple(one.group for one in choose(candidates(few), room(2, LeasingConfig()), draw))] += 1
    pairs = list(itertools.permutations(range(len(few)), 2))
    shares = [few[a] / sum(few) * few[b] / (sum(few) - few[a]) for a, b in pairs]
    assert sum(drawn.values()) == sum(drawn[pair] for pair in pairs)
    assert chi_square_score([drawn[pair] for pair in pairs], shares) < Z


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_with_replacement_counts_follow_the_priorities(beta: float) -> None:
    how = LeasingConfig(replacement=True, beta=beta)
    slots, counts = 20_000, Counter[int]()
    chosen = choose(candidates(), room(slots, how), numbers(5))
    unscaled = {one.group: times(one.weight, PRIORITIES[one.group], PRIORITIES, how) for one in chosen}
    for group, count in unscaled.items():
        counts[group] = round(count * slots / sum(unscaled.values()))
    assert sum(counts.values()) == pytest.approx(slots, abs=len(PRIORITIES))
    assert chi_square_score([counts[one] for one in range(len(PRIORITIES))], PRIORITIES) < Z


def test_weights_of_beta_one_make_the_weighted_mean_the_uniform_mean_and_of_beta_zero_do_not() -> None:
    """Over many leases the sums of weight * x and of weight, un-normalized by (N P) ** -1, have the uniform ratio."""
    leases, slots, uniform_mean = 3000, 4, (len(PRIORITIES) - 1) / 2
    for how, fair in (
        (LeasingConfig(True, beta=1.0), True),
        (LeasingConfig(True, True, beta=1.0), True),
        (WITH, False),
    ):
        draw, pairs = numbers(6), list[tuple[float, float]]()
        for _ in range(leases):
            chosen = choose(candidates(), room(slots, how), draw)
            assert sum(one.weight for one in chosen) == pytest.approx(len(chosen))
            drawn = sum(times(one.weight, PRIORITIES[one.group], PRIORITIES, how) for one in chosen)
            weights = [one.weight * slots / drawn for one in chosen]  # n_i (N P_i) ** -beta, as before normalization
            pairs.append((sum(w * one.group for w, one in zip(weights, chosen, strict=True)), sum(weights)))
        mean = sum(value for value, _ in pairs) / sum(weight for _, weight in pairs)
        spread = math.sqrt(sum((value - mean * weight) ** 2 for value, weight in pairs)) / sum(w for _, w in pairs)
        assert (abs(mean - uniform_mean) < Z * spread) == fair, (how, mean, spread)


@given(st.lists(st.floats(0.05, 50.0), min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 99))
def test_stratified_draws_with_replacement_differ_from_their_expectation_by_less_than_two(priorities, slots, seed):
    how = LeasingConfig(replacement=True, stratified=True)
    chosen = choose(candidates(priorities), room(slots, how), numbers(seed))
    scale = slots / sum(one.weight for one in chosen)
    counts = {one.group: one.weight * scale for one in chosen}
    assert sum(counts.values()) == pytest.approx(slots)
    for number, priority in enumerate(priorities):
        expected = slots * priority / sum(priorities)
        assert abs(counts.get(number, 0.0) - expected) < 2.0 + 1e-6


@given(
    st.lists(st.floats(0.05, 50.0), min_size=1, max_size=12),
    st.integers(1, 20),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_group_is_chosen_once_and_weights_are_one_unless_draws_are_replaced(priorities, slots, again, strata, seed):
    how = LeasingConfig(again, strata, 0.8, 0.5 if again else 0.0)
    chosen = choose(candidates(priorities), room(slots, how), numbers(seed))
    assert len({one.group for one in chosen}) == len(chosen) <= min(slots, len(priorities))
    assert again or (len(chosen) == min(slots, len(priorities)) and all(one.weight == 1.0 for one in chosen))
    assert all(one.weight > 0.0 for one in chosen)


@pytest.mark.parametrize(
    ("key", "value"), [("alpha", -0.1), ("alpha", math.nan), ("beta", 1.1), ("beta", 0.5), ("pool", 0.9)]
)
def test_exponents_out_of_range_and_weights_without_replacement_are_refused(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"buffer\.leasing\.{key} is"):
        LeasingConfig(**{key: value})


def test_replacement_needs_a_surplus_and_a_law_that_draws() -> None:
    WITH.check(True, 1.5)
    with pytest.raises(UsageError, match="oversample above 1"):
        WITH.check(True, 1.0)
    with pytest.raises(UsageError, match=r"buffer\.leasing\.pool is 2\.0, more than the oversample of 1\.5"):
        LeasingConfig(pool=2.0).check(True, 1.5)
    for how, key in ((WITH, "replacement"), (LeasingConfig(stratified=True), "stratified")):
        with pytest.raises(UsageError, match=rf"buffer\.leasing\.{key} needs a priority rule that draws"):
            how.check(False, 1.5)
