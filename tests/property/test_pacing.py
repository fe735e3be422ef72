"""Admission and leasing together, without losses: nothing is thrown away for age, and the bound is AReaL's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buffers.answers import Leased, Opened
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.priorities import names
from buffers.prompts import make_prompts
from buffers.segment import Ghost, Segment


@given(
    eta=st.integers(0, 3),
    updates=st.sampled_from([1, 2]),
    priority=st.sampled_from(names()),
    choices=st.lists(st.tuples(st.integers(0, 1 << 30), st.sampled_from([0.0, 1.0])), min_size=100, max_size=400),
)
def test_without_losses_nothing_is_evicted_for_age_and_the_bound_on_everything_opened_holds(
    eta: int, updates: int, priority: str, choices: list[tuple[int, float]]
) -> None:
    config = BufferConfig(
        k=2, batch=8, max_response_tokens=9, eta=eta, updates_per_version=updates, priority=priority, seed=eta
    )
    buffer = Buffer(config)
    buffer.load_prompts(make_prompts([Ghost(2, 1)]))
    epoch = buffer.snapshot().epoch
    buffer.hello(0, 0, ())
    running: list[int] = []
    update = done_in_version = 0
    for ordinal, (number, outcome) in enumerate(choices):
        answer = buffer.open_groups(epoch, ordinal, 1000)
        if isinstance(answer, Opened):
            running.extend(member.trajectory for member in answer.members)
        assert buffer.ledger().opened <= (buffer.highest + eta + 1) * config.batch
        assert (
            buffer.ledger().opened >= (buffer.highest + eta + 1) * config.batch - config.batch + config.batch // updates
        )
        if running:
            # any trajectory may end at any time, so slow ones stay behind for several versions
            trajectory = running.pop(number % len(running))
            stored = buffer.append(trajectory, 1, Segment(0, Ghost(3, 1), ((buffer.highest, 3),), ((1, 3),), "stop"))
            buffer.score(trajectory, stored.next_attempt, {"outcome": outcome})
        leased = buffer.lease(0, update + 1, buffer.highest)
        if isinstance(leased, Leased):
            update += 1
            done_in_version += 1
            ends = done_in_version == updates
            done_in_version %= updates
            buffer.complete(0, leased.lease, buffer.highest + ends, ends)
            assert all(group.age <= eta for group in leased.groups)
        buffer.check()
    ledger = buffer.ledger()
    assert ledger.evicted == 0, ledger
    assert buffer.highest > 0


@given(eta=st.integers(0, 2), outcomes=st.lists(st.sampled_from([0.0, 0.0, 1.0]), min_size=200, max_size=200))
def test_training_goes_on_with_failed_members_and_groups_without_signal(eta: int, outcomes: list[float]) -> None:
    config = BufferConfig(
        k=2, batch=4, max_response_tokens=9, eta=eta, no_signal="evict", max_attempts=1, capacity_tokens=44
    )
    buffer = Buffer(config)
    buffer.load_prompts(make_prompts([Ghost(2, 1)]))
    epoch = buffer.snapshot().epoch
    buffer.hello(0, 0, ())
    running: list[int] = []
    update = 0
    for number, outcome in enumerate(outcomes * 3):
        answer = buffer.open_groups(epoch, number, 1)
        if isinstance(answer, Opened):
            running.extend(member.trajectory for member in answer.members)
        assert running, "nothing runs and nothing may be opened"
        trajectory = running.pop(0)
        if number % 17 == 16:
            buffer.fail(trajectory, 1, "scorer")
            running = [one for one in running if buffer.view(one)]
        else:
            stored = buffer.append(trajectory, 1, Segment(0, Ghost(3, 1), ((buffer.highest, 3),), ((1, 3),), "stop"))
            buffer.score(trajectory, stored.next_attempt, {"outcome": outcome})
        leased = buffer.lease(0, update + 1, buffer.highest)
        if isinstance(leased, Leased):
            update += 1
            buffer.complete(0, leased.lease, buffer.highest + 1, True)
        buffer.check()
