from actors.lease_statistics import lease_statistics
from buffers.answers import Leased, LeasedGroup, LeasedMember
from buffers.segment import Ghost, Segment
from policies.trainer import Member, TrainGroup, UpdateJob


def segment(start, *versions):
    length = sum(count for _, count in versions)
    return Segment(start, Ghost(length, 1), versions, ((1, length),), "cut")


def lease_of(version, ages, members):
    groups = tuple(LeasedGroup(1 + n, 0, 1, 1.0, age, (LeasedMember(1, 1, {}),)) for n, age in enumerate(ages))
    job = UpdateJob(1, version, (TrainGroup(1, 1, Ghost(4, 1), 1.0, members),))
    return lease_statistics(Leased(1, 1, version, groups), job)


def test_lags_are_counted_over_tokens_from_the_version_that_the_update_starts_from():
    member = Member(1, (segment(0, (3, 10)), segment(10, (3, 5), (5, 5))), {})
    found = lease_of(6, (1, 3), (member,))
    assert found["lag_mean"] == (15 * 3 + 5 * 1) / 20
    assert found["lag_max"] == 3
    assert (found["age_mean"], found["age_max"]) == (2, 3)


def test_shares_count_trajectories_with_two_or_more_segments_or_versions():
    one = Member(1, (segment(0, (5, 8)),), {})
    two = Member(2, (segment(0, (5, 8)), segment(8, (5, 2))), {})
    three = Member(3, (segment(0, (4, 8), (5, 1)),), {})
    found = lease_of(5, (0,), (one, two, three))
    assert found["multi_segment_share"] == 1 / 3
    assert found["mixed_version_share"] == 1 / 3
    assert found["segments_mean"] == 4 / 3
    assert found["response_tokens"] == 9


def test_the_spread_of_outcomes_is_a_mean_over_groups():
    even = tuple(LeasedMember(n, 1, {"outcome": float(n % 2)}) for n in range(4))
    solved = tuple(LeasedMember(n, 1, {"outcome": 1.0}) for n in range(4))
    groups = (LeasedGroup(1, 0, 1, 1.0, 0, even), LeasedGroup(2, 0, 1, 1.0, 0, solved))
    assert lease_statistics(Leased(1, 1, 0, groups), UpdateJob(1, 0, ()))["spread"] == 0.5


def test_a_lease_without_groups_is_all_zeros():
    found = lease_statistics(Leased(1, 1, 0, ()), UpdateJob(1, 0, ()))
    assert set(found.values()) == {0.0}
