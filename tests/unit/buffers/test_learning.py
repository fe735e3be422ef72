from collections.abc import Iterable

import msgspec
import pytest

from buffers.answers import Completed, Expired, Leased, Refused, Welcome
from buffers.buffer import Buffer
from buffers.errors import ContractError
from buffers.leasing import LeasingConfig
from buffers.memory_store import MemoryStore
from buffers.rows import MetaRow
from tests.buffer_builders import config, eligible, filled, finish, ghost, leased, opened, passes


def reason(answer: object) -> str:
    assert isinstance(answer, Refused), answer
    return answer.reason


def groups_of(lease: Leased) -> list[int]:
    return [group.group for group in lease.groups]


def uses_of(lease: Leased) -> tuple[tuple[int, int], ...]:
    return tuple((group.group, group.use) for group in lease.groups)


def test_a_lease_holds_whole_groups_with_handles_lengths_and_components() -> None:
    buffer = filled()
    eligible(buffer, 1)
    assert reason(buffer.lease(0, 1, 0)) == "not yet"
    eligible(buffer, 1, ordinal=2)
    lease = leased(buffer)
    assert sorted(groups_of(lease)) == [1, 2]
    member = lease.groups[0].members[0]
    assert (member.length, member.components["outcome"], member.oldest_version) == (5, 1.0, 0)
    assert [(group.use, group.age, group.weight) for group in lease.groups] == [(1, 0, 1.0), (1, 0, 1.0)]
    assert buffer.may_fetch(lease.lease, member.trajectory)
    assert not buffer.may_fetch(lease.lease + 1, member.trajectory)
    assert leased(buffer) == lease


def test_completing_publishes_a_version_and_a_retry_publishes_none() -> None:
    buffer = filled()
    eligible(buffer, 2)
    lease = leased(buffer)
    assert buffer.complete(0, lease.lease, 1, True) == Completed(lease.lease, 1)
    buffer.drain()
    assert buffer.complete(0, lease.lease, 1, True) == Completed(lease.lease, 1)
    assert buffer.drain() == ()
    assert buffer.highest == 1
    assert buffer.ledger().trained == 4
    assert reason(buffer.lease(0, 1, 1)) == "closed"
    assert not buffer.may_fetch(lease.lease, 1)


def test_an_update_in_the_middle_of_a_version_publishes_nothing_and_admits_nothing() -> None:
    buffer = filled(config(updates_per_version=2, eta=0))
    eligible(buffer, 2)
    lease = leased(buffer)
    assert len(lease.groups) == 1
    assert buffer.complete(0, lease.lease, 0, False) == Completed(lease.lease, 0)
    assert reason(buffer.open_groups(1, 2, 1)) == "admission"
    second = leased(buffer, update=2)
    assert buffer.complete(0, second.lease, 1, True) == Completed(second.lease, 1)
    assert len(opened(buffer, 9, 3)) == 4


def test_a_version_that_is_neither_the_highest_nor_the_next_is_refused() -> None:
    buffer = filled()
    eligible(buffer, 2)
    assert reason(buffer.lease(0, 1, 1)) == "version"
    lease = leased(buffer)
    assert reason(buffer.complete(0, lease.lease, 2, True)) == "version"
    assert buffer.ledger().leased == 4


def test_an_expired_lease_returns_its_groups_and_fences_the_late_completion_off() -> None:
    buffer = filled()
    eligible(buffer, 2)
    lease = leased(buffer)
    assert buffer.expire(lease.lease) == Expired(lease.lease, tuple(groups_of(lease)))
    assert reason(buffer.complete(0, lease.lease, 1, True)) == "stale lease"
    assert reason(buffer.expire(lease.lease)) == "stale lease"
    again = leased(buffer)
    assert again.lease > lease.lease
    assert sorted(groups_of(again)) == sorted(groups_of(lease))
    buffer.check()


def test_uses_are_applied_until_a_checkpoint_holds_them() -> None:
    buffer = filled(config(checkpoint_every=2))
    eligible(buffer, 4)
    first = leased(buffer)
    buffer.complete(0, first.lease, 1, False)
    assert (buffer.ledger().applied, buffer.ledger().trained, buffer.live) == (4, 0, 4)
    second = leased(buffer, update=2)
    buffer.complete(0, second.lease, 2, True)
    assert (buffer.ledger().applied, buffer.ledger().trained) == (0, 8)


def test_a_crashed_learner_rolls_uses_back_and_its_state_gets_an_unused_number() -> None:
    buffer = filled(config(eta=2, checkpoint_every=9))
    eligible(buffer, 4)
    first = leased(buffer)
    buffer.complete(0, first.lease, 1, False)
    second = leased(buffer, update=2)
    welcome = buffer.hello(1, 0, ())
    assert isinstance(welcome, Welcome)
    assert welcome.highest == 2
    assert welcome.returned == tuple(groups_of(second))
    assert sorted(welcome.rolled_back) == sorted(groups_of(first))
    assert (buffer.highest, buffer.groups_eligible) == (2, 4)
    assert buffer.hello(1, 0, ()) == welcome
    assert buffer.highest == 2
    assert reason(buffer.complete(0, second.lease, 3, False)) == "stale incarnation"
    assert reason(buffer.hello(0, 0, ())) == "stale incarnation"
    buffer.check()


def test_what_was_rolled_back_beyond_its_age_is_evicted_with_that_reason() -> None:
    buffer = filled(config(eta=0, checkpoint_every=9))
    eligible(buffer, 2)
    lease = leased(buffer)
    buffer.complete(0, lease.lease, 1, False)
    buffer.hello(1, 0, ())
    assert buffer.ledger().reasons == {"evicted: rolled back": 4}
    assert len(opened(buffer, 9, 2)) == 4


def test_a_completion_that_was_lost_is_settled_by_hello_under_the_learners_own_number() -> None:
    buffer = filled()
    eligible(buffer, 2)
    lease = leased(buffer)
    # the checkpoint of version 1 is durable, the message that says so never arrives; the lease expires, too
    buffer.expire(lease.lease)
    welcome = buffer.hello(1, 1, uses_of(lease))
    assert isinstance(welcome, Welcome)
    assert welcome.highest == buffer.highest == 1
    assert sorted(welcome.settled) == sorted(uses_of(lease))
    assert buffer.ledger().trained == 4
    # a use counts once: saying it again under the next incarnation settles nothing more
    again = buffer.hello(2, 1, uses_of(lease))
    assert isinstance(again, Welcome)
    assert again.settled == ()
    assert buffer.ledger().trained == 4


def test_uses_that_replay_counted_already_become_durable_by_hello_and_are_not_settled_twice() -> None:
    buffer = filled(config(checkpoint_every=9))
    eligible(buffer, 2)
    lease = leased(buffer)
    buffer.complete(0, lease.lease, 1, False)
    welcome = buffer.hello(1, 1, uses_of(lease))
    assert isinstance(welcome, Welcome)
    assert (welcome.highest, welcome.settled, welcome.rolled_back) == (1, (), ())
    assert buffer.ledger().trained == 4


def test_a_later_use_that_was_rolled_back_beyond_its_age_leaves_the_group_trained() -> None:
    buffer = filled(config(reuse=2, eta=0, batch=2, checkpoint_every=9))
    eligible(buffer, 1)
    first = leased(buffer)
    buffer.complete(0, first.lease, 1, True)
    second = leased(buffer, 2)
    buffer.complete(0, second.lease, 2, False)
    assert buffer.ledger().applied == 2
    buffer.hello(1, 1, uses_of(first))
    assert buffer.ledger().reasons == {"consumed: age": 2}
    buffer.check()


def test_a_group_is_used_again_while_its_age_allows_and_each_use_counts_once() -> None:
    buffer = filled(config(reuse=2, eta=0))
    eligible(buffer, 2)
    first = leased(buffer)
    buffer.complete(0, first.lease, 1, True, ((first.groups[0].group, 4.0),))
    assert buffer.groups_eligible == 2
    second = leased(buffer, update=2)
    assert [(group.use, group.age) for group in second.groups] == [(2, 1), (2, 1)]
    buffer.complete(0, second.lease, 2, True)
    assert buffer.ledger().reasons == {"consumed": 4}


def test_a_group_too_old_for_its_second_use_closes_as_consumed() -> None:
    buffer = filled(config(reuse=2, eta=0, batch=2))
    eligible(buffer, 1)
    lease = leased(buffer)
    buffer.complete(0, lease.lease, 1, True)
    buffer.hello(1, 0, ())  # jumps to version 2, at which the second use (by age 1) may not start
    assert reason(buffer.lease(1, 1, 2)) == "not yet"
    assert buffer.ledger().reasons == {"consumed: age": 2}


def test_with_oversampling_groups_past_their_age_are_evicted_at_the_next_lease() -> None:
    buffer = filled(config(eta=0, oversample=2.0))
    eligible(buffer, 4)
    lease = leased(buffer)
    buffer.complete(0, lease.lease, 1, True)
    eligible(buffer, 2, ordinal=2)
    second = leased(buffer, update=2)
    assert sorted(groups_of(second)) == [5, 6]
    assert buffer.ledger().reasons == {"consumed": 4, "evicted: age": 4}
    assert buffer.ledger().law_slots == buffer.ledger().slots == 4


def test_the_last_lease_may_be_short_and_then_the_prompts_are_over() -> None:
    buffer = filled(config(prompts=passes(epochs=1)), prompts=3)
    first, *rest = opened(buffer, 9)
    for trajectory in rest:
        finish(buffer, trajectory)
    lease = leased(buffer)
    buffer.complete(0, lease.lease, 1, True)
    assert reason(buffer.lease(0, 2, 1)) == "not yet"
    buffer.append(first, 1, ghost(0, 3, end="stop"))
    buffer.score(first, 2, {"outcome": 0.0})
    last = leased(buffer, update=2)
    assert groups_of(last) == [1]
    buffer.complete(0, last.lease, 2, True)
    assert reason(buffer.lease(0, 3, 2)) == "prompts"


def without_signal(buffer: Buffer, ordinals: Iterable[int], outcome: float = 1.0) -> None:
    """One group of equal outcomes for each ordinal."""
    for ordinal in ordinals:
        for trajectory in opened(buffer, 1, ordinal):
            finish(buffer, trajectory, outcome)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_a_run_without_signal_ends_at_its_limit_and_not_before(outcome: float) -> None:
    buffer = filled(config(no_signal="evict", max_gen_batches=3))
    without_signal(buffer, range(1, 6), outcome)
    first, last = opened(buffer, 1, 6)
    finish(buffer, first, outcome)
    assert reason(buffer.lease(0, 1, 0)) == "not yet"
    finish(buffer, last, outcome)
    assert buffer.ledger().reasons == {"evicted: no signal": 3 * 2 * 2}
    assert reason(buffer.open_groups(1, 7, 1)) == "signal"
    assert reason(buffer.lease(0, 1, 0)) == "signal"


def test_without_a_limit_a_run_without_signal_goes_on() -> None:
    buffer = filled(config(no_signal="evict"))
    without_signal(buffer, range(1, 50))
    assert reason(buffer.lease(0, 1, 0)) == "not yet"
    assert len(opened(buffer, 1, 50)) == 2


def test_a_whole_lease_begins_the_count_anew() -> None:
    buffer = filled(config(no_signal="evict", max_gen_batches=1))
    without_signal(buffer, [1])
    eligible(buffer, 2, 2)
    lease = leased(buffer)
    buffer.complete(0, lease.lease, 1, True)
    without_signal(buffer, [3])
    assert len(opened(buffer, 1, 4)) == 2


def test_what_comes_while_a_whole_lease_waits_does_not_count() -> None:
    buffer = filled(config(no_signal="evict", max_gen_batches=1, oversample=2.0))
    eligible(buffer, 2)
    without_signal(buffer, range(2, 9))
    assert len(opened(buffer, 1, 9)) == 2
    assert len(leased(buffer).groups) == 2


def test_open_groups_finish_first_and_may_make_a_lease_with_which_the_run_goes_on() -> None:
    buffer = filled(config(no_signal="evict", max_gen_batches=1))
    some = [opened(buffer, 1, ordinal) for ordinal in (1, 2)]
    without_signal(buffer, [3, 4])
    assert reason(buffer.open_groups(1, 5, 1)) == "signal"
    assert reason(buffer.lease(0, 1, 0)) == "not yet"
    for trajectory in [one for members in some for one in members]:
        finish(buffer, trajectory, float(trajectory % 2))
    assert len(leased(buffer).groups) == 2
    assert len(opened(buffer, 1, 6)) == 2


def test_what_is_eligible_when_the_signal_is_used_up_makes_a_last_short_lease() -> None:
    buffer = filled(config(no_signal="evict", max_gen_batches=1))
    trained = eligible(buffer, 1)
    without_signal(buffer, [2, 3])
    last = leased(buffer)
    assert [member.trajectory for group in last.groups for member in group.members] == trained
    assert reason(buffer.open_groups(1, 4, 1)) == "signal", "the short lease is the last"
    buffer.expire(last.lease)
    last = leased(buffer)
    buffer.complete(0, last.lease, 1, True)
    assert reason(buffer.lease(0, 2, 1)) == "signal"
    assert reason(buffer.open_groups(1, 5, 1)) == "signal"


def test_a_recovered_buffer_knows_how_much_came_without_signal() -> None:
    buffer, store = filled(config(no_signal="evict", max_gen_batches=1)), MemoryStore()
    without_signal(buffer, [1])
    store.write(buffer.drain())
    buffer = Buffer.recover(buffer.config, store.rows())
    without_signal(buffer, [2])
    store.write(buffer.drain())
    for one in (buffer, Buffer.recover(buffer.config, store.rows())):
        assert reason(one.lease(0, 1, 0)) == "signal"


def test_counters_of_an_older_store_are_read() -> None:
    older = msgspec.to_builtins(MetaRow(2, epoch=4, prompts=5, prompts_digest=6))[:-1]
    row = msgspec.msgpack.decode(msgspec.msgpack.encode(older), type=MetaRow)
    assert (row.epoch, row.prompts, row.prompts_digest, row.unsignalled) == (4, 5, 6, 0)


def test_a_checkpoint_without_a_lease_makes_the_last_uses_durable_and_may_end_a_short_version() -> None:
    buffer = filled(config(prompts=passes(epochs=1)), prompts=2)
    for trajectory in opened(buffer, 9):
        finish(buffer, trajectory)
    lease = leased(buffer)
    buffer.complete(0, lease.lease, 0, False)
    assert (buffer.ledger().applied, reason(buffer.lease(0, 2, 0))) == (len(lease.groups) * 2, "prompts")
    assert reason(buffer.complete(0, 0, 1, False)) == "stale lease"
    assert buffer.complete(0, 0, 1, True) == Completed(0, 1)
    assert (buffer.ledger().applied, buffer.ledger().trained) == (0, len(lease.groups) * 2)
    assert buffer.complete(0, 0, 1, True) == Completed(0, 1)
    assert reason(buffer.complete(0, 0, 3, True)) == "version"


def test_an_open_lease_survives_the_crash_of_replay() -> None:
    buffer = filled(config(eta=3))
    eligible(buffer, 4)
    lease = leased(buffer)
    store = MemoryStore()
    store.write(buffer.drain())
    again = Buffer.recover(buffer.config, store.rows())
    assert again.open_leases() == (lease.lease,)
    assert leased(again) == lease
    for one in (buffer, again):
        one.complete(0, lease.lease, 1, False)
    assert leased(again, 2) == leased(buffer, 2)
    assert again.drain() == buffer.drain()


def test_feedback_of_the_learner_reaches_the_priority_of_the_next_use() -> None:
    rule = "tests.buffer_builders:ByFeedback"
    for favourite, other in ((1, 2), (2, 1)):
        buffer = filled(config(reuse=2, eta=5, oversample=2.0, priority=rule))
        eligible(buffer, 2)
        lease = leased(buffer)
        buffer.complete(0, lease.lease, 1, True, ((favourite, 9.0), (other, 1.0)))
        assert groups_of(leased(buffer, 2)) == [favourite, other]


def test_a_proportional_priority_that_is_not_positive_is_a_defect_of_its_rule() -> None:
    buffer = filled(config(priority="tests.buffer_builders:Nothing"))
    eligible(buffer, 2)
    with pytest.raises(ContractError, match="must be positive"):
        buffer.lease(0, 1, 0)


def test_an_incarnation_that_has_not_said_hello_gets_nothing() -> None:
    buffer = filled()
    eligible(buffer, 2)
    assert reason(buffer.lease(1, 1, 0)) == "unknown"
    lease = leased(buffer)
    assert reason(buffer.complete(1, lease.lease, 1, True)) == "unknown"


def test_weights_of_draws_with_replacement_are_kept_with_the_lease_through_a_restart() -> None:
    how = LeasingConfig(replacement=True, beta=1.0)
    buffer = filled(config(batch=8, oversample=2.0, leasing=how, seed=4))
    for ordinal, outcomes in enumerate([(0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)], 1):
        for trajectory, outcome in zip(opened(buffer, 1, ordinal), outcomes, strict=True):
            finish(buffer, trajectory, outcome)
    lease = leased(buffer)
    weights = [group.weight for group in lease.groups]
    assert len(set(weights)) > 1
    assert sum(weights) == pytest.approx(len(weights))
    store = MemoryStore()
    store.write(buffer.drain())
    again = Buffer.recover(buffer.config, store.rows())
    assert leased(again) == lease
    buffer.complete(0, lease.lease, 1, True)
    assert buffer.ledger().trained == 2 * len(lease.groups)
    buffer.check()


def test_a_lease_waits_for_its_pool_while_an_open_group_may_still_fill_it() -> None:
    settings = config(oversample=3.0, priority="tests.buffer_builders:ByFeedback", leasing=LeasingConfig(pool=2.0))
    buffer = filled(settings)
    eligible(buffer, 2)
    running = opened(buffer, 2, 2)
    assert reason(buffer.lease(0, 1, 0)) == "not yet"
    for trajectory in running[:2]:
        finish(buffer, trajectory, float(trajectory % 2))
    assert reason(buffer.lease(0, 1, 0)) == "not yet", "three of four"
    for trajectory in running[2:]:
        finish(buffer, trajectory, float(trajectory % 2))
    assert len(leased(buffer).groups) == 2
    few = filled(settings)
    eligible(few, 3)
    assert len(leased(few).groups) == 2, "nothing is open that could be waited for"
