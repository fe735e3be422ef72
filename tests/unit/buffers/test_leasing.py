from collections import Counter
from collections.abc import Callable

import pytest

from buffers.draws import uniform
from buffers.leasing import Candidate, Room, choose, must_wait


def candidates(*deadlines: int, uses: int = 1) -> list[Candidate]:
    """Groups 0, 1, 2 ... with rising priority."""
    return [Candidate(number, deadline, uses, number + 1.0) for number, deadline in enumerate(deadlines)]


def room(slots: int, left: int = 0, per_version: int = 2, strict: bool = True, proportional: bool = False) -> Room:
    return Room(10, slots, left, per_version, strict, proportional)


def numbers(seed: int = 1) -> Callable[[], float]:
    drawn = iter(uniform(seed, 1, counter) for counter in range(10**9))
    return lambda: next(drawn)


def test_the_law_decides_while_what_remains_can_still_be_leased_in_time() -> None:
    # four groups due at 11, two slots a version: after this version's two, two remain for version 11
    assert [(c.group, c.by_law) for c in choose(candidates(11, 11, 11, 11), room(2), numbers())] == [
        (3, True),
        (2, True),
    ]


def test_the_earliest_deadline_goes_first_where_the_law_would_lose_it() -> None:
    # group 0 is due now; the law wants 3 first, which one slot allows, then deadline takes the other
    assert [(c.group, c.by_law) for c in choose(candidates(10, 12, 12, 12), room(2), numbers())] == [
        (3, True),
        (0, False),
    ]
    # two are due now: both slots go by deadline
    assert [c.group for c in choose(candidates(10, 10, 12, 12), room(2), numbers())] == [0, 1]


def test_slots_left_in_this_version_leave_room_for_the_law() -> None:
    assert [c.group for c in choose(candidates(10, 12, 12, 12), room(1, left=1), numbers())] == [3]
    assert [c.group for c in choose(candidates(10, 12, 12, 12), room(1, left=0), numbers())] == [0]


def test_a_later_horizon_binds_too() -> None:
    # five groups are due by 11: two slots now and two at 11 cannot hold them, so deadlines rule from the start
    assert [c.by_law for c in choose(candidates(11, 11, 11, 11, 11, 13), room(2), numbers())] == [False, False]


def test_further_uses_count_against_what_remains() -> None:
    assert [c.by_law for c in choose(candidates(11, 11, 11), room(2), numbers())] == [True, True]
    # with a second use each, due at 12, three groups leave 1 use due at 11 and 3 at 12: still feasible with 2 a version
    assert [c.by_law for c in choose(candidates(11, 11, 11, uses=2), room(2), numbers())] == [True, True]
    # but not with one slot a version
    assert not choose(candidates(11, 11, 11, uses=2), room(1, per_version=1), numbers())[0].by_law


def test_with_oversampling_deadlines_do_not_bind() -> None:
    chosen = choose(candidates(10, 10, 12, 12), room(2, strict=False), numbers())
    assert [(c.group, c.by_law) for c in chosen] == [(3, True), (2, True)]


def test_the_law_draws_in_proportion_and_no_group_twice() -> None:
    draw = numbers(5)
    one = room(1, strict=False, proportional=True)
    first = Counter(choose(candidates(12, 12, 12, 12), one, draw)[0].group for _ in range(10_000))
    for group in range(4):
        assert first[group] / 10_000 == pytest.approx((group + 1) / 10, abs=0.015)
    both = room(2, strict=False, proportional=True)
    pairs = Counter(tuple(c.group for c in choose(candidates(12, 12, 12), both, draw)) for _ in range(12_000))
    assert all(a != b for a, b in pairs)
    # without replacement: P(2 then 1) = 3/6 * 2/3
    assert pairs[2, 1] / 12_000 == pytest.approx(1 / 3, abs=0.015)


def test_a_lease_takes_what_there_is() -> None:
    assert [c.group for c in choose(candidates(12), room(3), numbers())] == [0]
    assert choose([], room(3), numbers()) == []


def test_a_slot_goes_by_deadline_where_groups_that_wait_for_scores_will_need_what_is_left() -> None:
    # due at 11: one here and two that are not scored yet; two slots a version
    assert [c.by_law for c in choose(candidates(11, 13), room(1, left=1), numbers())] == [True]
    chosen = choose(candidates(11, 13), room(1, left=0), numbers(), awaited=(11, 11))
    assert [(c.group, c.by_law) for c in chosen] == [(0, False)]


def test_a_lease_waits_for_scores_where_it_would_cost_their_groups_their_age_and_only_then() -> None:
    due_now_and_later = candidates(11, 13)
    assert must_wait(due_now_and_later, room(1, left=0), (10,))
    assert not must_wait(due_now_and_later, room(1, left=1), (10,))
    assert not must_wait(due_now_and_later, room(1, left=0), ())
    assert not must_wait(due_now_and_later, room(1, left=0), (9,)), "it is too late for that one"
    assert not must_wait(due_now_and_later, room(1, left=0, strict=False), (10,))
    assert not must_wait(candidates(10, 10), room(1, left=0), (10,)), "not all of these can be saved either way"
