"""The batching scheduler's decisions, one by one."""

import pytest

from buffers.errors import ContractError, UsageError
from policies.batching import Admission, Batching, BatchingConfig


def batching(**limits):
    return Batching(
        BatchingConfig(**{"slots": 4, "rows": 8, "kv_tokens": 1000, "prefill_tokens": 100, "headroom": 1, **limits})
    )


def decode_all(subject, steps):
    """Carry out plans until `steps` decode steps were done by everybody who runs."""
    while steps:
        plan = subject.plan()
        count = min(steps, plan.steps)
        subject.advance(count)
        steps -= count if plan.decoding else 0


def test_prefill_is_cut_into_chunks_and_shared_in_order():
    subject = batching(prefill_tokens=100)
    for trajectory, known in ((1, 151), (2, 41), (3, 1)):
        subject.submit(trajectory, known, known + 10)
    plan = subject.plan()
    assert plan.admitted == (Admission(1, 0), Admission(2, 0), Admission(3, 0))
    assert (plan.prefill, plan.decoding, plan.steps) == (((1, 100),), 1, 1)  # one known token needs no prefill
    subject.advance()
    assert subject.plan().prefill == ((1, 50), (2, 40))
    subject.advance()
    assert subject.decoding == (3, 1, 2)


def test_a_long_prefill_that_fills_the_budget_is_one_plan_for_many_steps():
    subject = batching(prefill_tokens=100)
    subject.submit(1, 451, 500)
    assert (subject.plan().prefill, subject.plan().steps) == (((1, 100),), 4)
    subject.advance(4)
    assert (subject.plan().prefill, subject.plan().steps) == (((1, 50),), 1)


def test_decoding_needs_no_plan_until_the_cache_is_full():
    subject = batching(kv_tokens=100)
    subject.submit(1, 1, 60)
    subject.submit(2, 1, 40)
    plan = subject.plan()
    assert (plan.decoding, plan.steps) == (2, 50)
    subject.advance(30)
    assert subject.plan().steps == 20
    with pytest.raises(ContractError, match="holds for 20"):
        subject.advance(21)


def test_the_youngest_is_preempted_and_comes_back_when_somebody_left():
    subject = batching(kv_tokens=100)
    for trajectory in (1, 2, 3):
        subject.submit(trajectory, 1, 90)
    decode_all(subject, 33)
    assert subject.plan().preempted == (3,)
    assert (subject.running, subject.waiting) == ((1, 2), (3,))
    assert subject.plan().admitted == ()  # there is room for it, but it was taken from it a moment ago
    subject.remove(1, keep=False)
    plan = subject.plan()
    assert plan.admitted == (Admission(3, 0),)
    assert plan.prefill == ((3, 33),)


def test_a_cached_prefix_is_taken_up_without_prefill():
    subject = batching()
    subject.submit(1, 21, 60)
    decode_all(subject, 10)
    subject.remove(1, keep=True)
    assert subject.cached == {1: 30}
    subject.submit(1, 31, 60)
    plan = subject.plan()
    assert (plan.admitted, plan.prefill, plan.decoding) == ((Admission(1, 30),), (), 1)


def test_cached_prefixes_give_way_least_recently_used_first():
    subject = batching(kv_tokens=100)
    for trajectory in (1, 2, 3):
        subject.submit(trajectory, 21, 40)
    decode_all(subject, 5)
    for trajectory in (2, 1, 3):
        subject.remove(trajectory, keep=True)
    subject.submit(4, 46, 60)
    plan = subject.plan()
    assert (plan.evicted, subject.cached) == ((2,), {1: 25, 3: 25})
    assert plan.admitted == (Admission(4, 0),)


def test_headroom_keeps_a_job_waiting_that_would_soon_be_preempted():
    for headroom, admitted in ((5, [1, 2, 3]), (10, [1, 2])):
        subject = batching(kv_tokens=80, headroom=headroom)
        for trajectory in (1, 2, 3):
            subject.submit(trajectory, 21, 60)
        assert [admission.trajectory for admission in subject.plan().admitted] == admitted
    alone = batching(kv_tokens=80, headroom=100)
    alone.submit(1, 60, 80)
    assert alone.plan().admitted == (Admission(1, 0),)


def test_a_job_never_evicts_its_own_prefix_to_make_room():
    subject = batching(slots=1, kv_tokens=60)
    subject.submit(1, 21, 60)
    decode_all(subject, 1)
    subject.remove(1, keep=True)
    subject.submit(2, 30, 60)
    decode_all(subject, 1)
    subject.submit(1, 41, 60)
    subject.remove(2, keep=True)  # used more recently than the prefix of 1, which waits
    plan = subject.plan()
    assert (plan.evicted, plan.admitted, plan.prefill) == ((2,), (Admission(1, 21),), ((1, 19),))


def test_room_comes_from_cached_prefixes_before_anybody_is_preempted():
    subject = batching(kv_tokens=100)
    for trajectory in (1, 2, 3):
        subject.submit(trajectory, 21, 80)
    decode_all(subject, 5)
    subject.remove(2, keep=True)
    decode_all(subject, 11)
    assert subject.plan().evicted == ()
    decode_all(subject, 1)
    plan = subject.plan()
    assert (plan.evicted, plan.preempted) == ((2,), ())


def test_rows_bound_what_is_cached():
    subject = batching(slots=1, rows=2)
    for trajectory in (1, 2, 3):
        subject.submit(trajectory, 11, 20)
        decode_all(subject, 2)
        subject.remove(trajectory, keep=True)
        subject.plan()
    assert subject.cached == {2: 12, 3: 12}


def test_new_jobs_wait_for_refill_slots_and_cached_ones_do_not():
    subject = batching(slots=4, refill=2)
    for trajectory in range(8):
        subject.submit(trajectory, 11, 20)
    decode_all(subject, 1)
    assert subject.running == (0, 1, 2, 3)
    subject.remove(0, keep=False)
    assert subject.plan().admitted == ()
    subject.remove(1, keep=False)
    assert [admission.trajectory for admission in subject.plan().admitted] == [4, 5]


def test_everybody_who_waits_is_let_in_at_once_if_there_are_slots():
    subject = batching(slots=4, refill=4)
    subject.submit(1, 11, 20)
    decode_all(subject, 1)
    subject.submit(2, 11, 20)
    assert subject.plan().admitted == (Admission(2, 0),)


def test_recompute_makes_running_jobs_prefill_again_and_drops_what_is_cached():
    subject = batching()
    for trajectory in (1, 2):
        subject.submit(trajectory, 11, 60)
    decode_all(subject, 5)
    subject.remove(1, keep=True)
    subject.recompute()
    plan = subject.plan()
    assert (plan.evicted, plan.prefill, plan.decoding) == ((1,), ((2, 15),), 0)
    assert subject.held == 15


def test_decoding_takes_its_tokens_from_the_budget_of_the_step():
    subject = batching(step_tokens=20)
    for trajectory, known in ((1, 1), (2, 1), (3, 51)):
        subject.submit(trajectory, known, known + 90)
    assert (subject.plan().prefill, subject.plan().decoding, subject.plan().steps) == (((3, 18),), 2, 2)
    subject.advance(2)
    assert subject.plan().prefill == ((3, 14),)


def test_memory_is_held_in_whole_blocks():
    subject = batching(kv_tokens=100, block_tokens=16)  # six blocks
    subject.submit(1, 17, 80)
    subject.submit(2, 21, 60)
    subject.plan()
    assert subject.held == 16 + 32
    subject.advance()
    assert subject.plan().steps == 28  # their new blocks are due at once and after 12 steps, after 16 and 28
    subject.advance(28)
    assert subject.held == 48 + 48
    assert subject.plan().preempted == (2,)
    assert (subject.held, subject.plan().steps) == (48, 52)
    assert batching(kv_tokens=100, block_tokens=16).fits(97)
    assert not batching(kv_tokens=100, block_tokens=16).fits(98)


def test_what_was_held_of_a_preempted_job_gives_way_from_its_end():
    subject = batching(kv_tokens=96, block_tokens=16, shrink=True)
    subject.submit(1, 17, 80)
    subject.submit(2, 21, 60)
    decode_all(subject, 28)
    plan = subject.plan()
    assert (plan.preempted, plan.evicted, subject.cached) == ((2,), (), {2: 48})  # its own next block found no room
    assert plan.steps == 4
    subject.advance(4)
    assert (subject.plan().evicted, subject.cached) == ((), {2: 32})  # the first job has begun a block
    subject.remove(1, keep=False)
    plan = subject.plan()
    assert (plan.admitted, plan.prefill) == ((Admission(2, 32),), ((2, 16),))


def test_what_can_never_run_is_refused():
    subject = batching(kv_tokens=50)
    assert subject.fits(51)
    assert not subject.fits(52)
    with pytest.raises(ContractError, match="kv_tokens=50"):
        subject.submit(1, 10, 52)
    subject.submit(1, 10, 51)
    with pytest.raises(ContractError, match="has a job already"):
        subject.submit(1, 10, 51)
    with pytest.raises(ContractError, match="has no job"):
        subject.remove(2, keep=False)
    with pytest.raises(UsageError, match="rows=3"):
        BatchingConfig(slots=4, rows=3)
    with pytest.raises(UsageError, match="step_tokens=4 must exceed slots=4"):
        BatchingConfig(slots=4, rows=8, step_tokens=4)
    with pytest.raises(UsageError, match="kv_tokens=10 must be at least a block, block_tokens=16"):
        BatchingConfig(kv_tokens=10, block_tokens=16)
