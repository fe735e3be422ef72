import msgspec
import pytest

from buffers.answers import Appended, AttemptFailed, Opened, Reassigned, Refused, ScoreStored
from buffers.buffer import ORDINALS_KEPT, Buffer
from buffers.errors import UsageError
from buffers.memory_store import MemoryStore
from buffers.prompts import Frontier, PromptConfig, make_prompts
from buffers.rows import GroupRow, PromptRow, TrajectoryRow, segment_key, segments_key, trajectory_key
from buffers.segment import Attachment, Ghost, Segment
from tests.buffer_builders import config, eligible, filled, finish, ghost, leased, opened, passes, real


def reason(answer: object) -> str:
    assert isinstance(answer, Refused), answer
    return answer.reason


def test_groups_are_opened_as_admission_allows_and_once_for_each_ordinal() -> None:
    buffer = filled(config(eta=0))
    answer = buffer.open_groups(1, 1, 5)
    assert isinstance(answer, Opened)
    assert [(m.trajectory, m.group, m.index, m.attempt, m.state) for m in answer.members] == [
        (1, 1, 0, 1, "running"),
        (2, 1, 1, 1, "running"),
        (3, 2, 0, 1, "running"),
        (4, 2, 1, 1, "running"),
    ]
    assert buffer.open_groups(1, 1, 5) == answer
    assert reason(buffer.open_groups(1, 2, 1)) == "admission"
    assert buffer.ledger().opened == 4


def test_the_answer_to_an_old_ordinal_is_kept_for_a_while_and_then_refused_not_repeated() -> None:
    buffer = filled(config(batch=2 * (ORDINALS_KEPT + 3), eta=0))
    first = buffer.open_groups(1, 1, 1)
    for ordinal in range(2, ORDINALS_KEPT + 1):
        buffer.open_groups(1, ordinal, 1)
    assert buffer.open_groups(1, 1, 1) == first
    buffer.open_groups(1, ORDINALS_KEPT + 1, 1)
    assert reason(buffer.open_groups(1, 1, 1)) == "ordinal"
    assert isinstance(buffer.open_groups(1, 2, 1), Opened)


def test_an_older_controller_can_open_and_reassign_nothing() -> None:
    buffer = filled()
    (first, *_) = opened(buffer, 1)
    assert buffer.snapshot().epoch == 2
    assert reason(buffer.open_groups(1, 7, 1)) == "epoch"
    assert reason(buffer.reassign(1, first, 1)) == "epoch"
    assert isinstance(buffer.open_groups(2, 1, 1), Opened)


def test_space_is_reserved_at_opening_and_what_was_not_used_returns_at_the_end() -> None:
    buffer = filled(config(capacity_tokens=100))
    trajectories = opened(buffer, 9)
    assert len(trajectories) == 4
    assert buffer.ledger().held_tokens == 4 * (3 + 20)
    assert reason(buffer.open_groups(1, 2, 1)) == "capacity"
    finish(buffer, trajectories[0], length=5)
    assert buffer.ledger().held_tokens == 3 * (3 + 20) + (3 + 5)
    assert reason(buffer.open_groups(1, 3, 1)) == "capacity"
    for trajectory in trajectories[1:3]:
        finish(buffer, trajectory, length=5)
    buffer.check()
    assert len(opened(buffer, 9, 4)) == 2


def test_bytes_are_reserved_too_with_room_for_attachments_that_returns_when_unused() -> None:
    member = 13 * (3 + 20) + 50
    buffer = filled(config(capacity_bytes=4 * member + 13, max_attached_bytes=50))
    trajectories = opened(buffer, 9)
    assert len(trajectories) == 4
    assert buffer.ledger().held_bytes == 4 * member
    assert reason(buffer.open_groups(1, 2, 1)) == "capacity"
    files = (Attachment("plot", bytes(40)),)
    assert isinstance(
        buffer.append(trajectories[0], 1, msgspec.structs.replace(ghost(0, 5), attachments=files)), Appended
    )
    refused = buffer.append(trajectories[0], 2, msgspec.structs.replace(ghost(5, 1), attachments=files))
    assert reason(refused) == "over capacity"
    assert buffer.ledger().held_bytes == 4 * member
    finish(buffer, trajectories[0], length=2)
    assert buffer.ledger().held_bytes == 3 * member + 13 * (3 + 7) + 44
    store = MemoryStore()
    store.write(buffer.drain())
    assert Buffer.recover(buffer.config, store.rows()).ledger().held_bytes == buffer.ledger().held_bytes
    assert store.segments(trajectories[0])[0].attachments == files
    for trajectory in trajectories[1:]:
        finish(buffer, trajectory, length=0)
    assert len(opened(buffer, 9, 3)) == 2
    buffer.check()


def test_evictions_tell_their_tokens_by_reason() -> None:
    buffer = filled(config(no_signal="evict"))
    for trajectory in opened(buffer, 2):
        finish(buffer, trajectory, 1.0, length=7)
    assert buffer.ledger().reason_tokens == {"evicted: no signal": 4 * 7}
    assert buffer.ledger().lengths["evicted"] == (4, 28)


def test_prompts_run_out() -> None:
    buffer = filled(config(prompts=passes(epochs=1)), prompts=3)
    members = buffer.open_groups(1, 1, 9)
    assert isinstance(members, Opened)
    assert sorted({member.prompt for member in members.members}) == [0, 1, 2]
    assert reason(buffer.open_groups(1, 2, 1)) == "prompts"
    assert reason(Buffer(config()).open_groups(0, 1, 1)) == "prompts"


def test_segments_join_and_each_answer_issues_the_next_attempt() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    assert buffer.append(trajectory, 1, ghost(0, 4)) == Appended(trajectory, 2, 4, 0, "cut")
    assert buffer.append(trajectory, 2, ghost(4, 3)) == Appended(trajectory, 3, 7, 0, "cut")
    assert buffer.append(trajectory, 3, ghost(7, 2, end="length")) == Appended(trajectory, 4, 9, 0, "ended")


def test_a_retried_append_gets_the_same_answer_and_an_older_one_is_stale() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    first = buffer.append(trajectory, 1, ghost(0, 4))
    buffer.drain()
    assert buffer.append(trajectory, 1, ghost(0, 4)) == first
    assert buffer.drain() == ()
    assert buffer.ledger().duplicates == 1
    last = buffer.append(trajectory, 2, ghost(4, 3, end="stop"))
    assert buffer.append(trajectory, 2, ghost(4, 3, end="stop")) == last
    assert reason(buffer.append(trajectory, 1, ghost(0, 4))) == "stale attempt"
    assert reason(buffer.append(trajectory, 3, ghost(7, 3))) == "closed"
    assert buffer.ledger().refused == {"stale attempt": 1, "closed": 1}


def test_bad_segments_are_refused_by_the_rule_that_they_break() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    assert reason(buffer.append(trajectory, 1, ghost(1, 4))) == "gap"
    assert reason(buffer.append(trajectory, 1, ghost(0, 4, version=1))) == "version from the future"
    assert reason(buffer.append(trajectory, 1, ghost(0, 21))) == "over capacity"
    assert reason(buffer.append(trajectory, 1, ghost(0, 0))).startswith("invalid: a cut segment")
    positive = Segment(0, real(0, 1).payload.__class__(b"\0" * 4, b"\0\0\x80\x3f"), ((0, 1),), ((1, 1),), "cut")
    assert reason(buffer.append(trajectory, 1, positive)) == (
        "invalid: a log-probability is positive or not finite: 1.0 at 0"
    )
    assert reason(buffer.append(trajectory, 2, ghost(0, 4))) == "unknown"
    assert reason(buffer.append(99, 1, ghost(0, 4))) == "unknown"
    assert buffer.view(trajectory).length == 0  # type: ignore[union-attr]
    assert isinstance(buffer.append(trajectory, 1, ghost(0, 20)), Appended)


def test_a_segment_goes_to_the_store_and_only_metadata_stays() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    buffer.drain()
    segment = real(0, 6)
    buffer.append(trajectory, 1, segment)
    rows = dict(buffer.drain())
    assert rows[segment_key(trajectory, 0)] is segment
    assert isinstance(rows[trajectory_key(trajectory)], TrajectoryRow)
    assert len(rows) == 2


def test_a_response_may_end_without_a_further_token() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    buffer.append(trajectory, 1, ghost(0, 4))
    buffer.drain()
    assert buffer.append(trajectory, 2, ghost(4, 0, end="stop")) == Appended(trajectory, 3, 4, 0, "ended")
    assert dict(buffer.drain())[segment_key(trajectory, 4)] == ghost(4, 0, end="stop")


def test_rows_handed_to_the_store_do_not_change_afterwards() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    before = dict(buffer.drain())
    buffer.append(trajectory, 1, ghost(0, 4, end="stop"))
    assert before[trajectory_key(trajectory)].state == "running"  # type: ignore[union-attr]
    assert before[trajectory_key(trajectory)].length == 0  # type: ignore[union-attr]


def test_reassigning_fences_the_holder_off_and_a_retry_changes_nothing() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    buffer.append(trajectory, 1, ghost(0, 4))
    answer = buffer.reassign(1, trajectory, 2)
    assert isinstance(answer, Reassigned)
    assert (answer.member.attempt, answer.member.length, answer.member.state) == (3, 4, "running")
    assert buffer.reassign(1, trajectory, 2) == answer
    assert buffer.reassign(1, trajectory, 1) == answer
    assert reason(buffer.append(trajectory, 2, ghost(4, 4))) == "stale attempt"
    assert isinstance(buffer.append(trajectory, 3, ghost(4, 4)), Appended)
    assert reason(buffer.reassign(1, trajectory, 9)) == "unknown"


def test_an_ended_trajectory_is_reassigned_for_scoring_and_a_scored_one_is_not() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    buffer.append(trajectory, 1, ghost(0, 4, end="stop"))
    answer = buffer.reassign(1, trajectory, 2)
    assert isinstance(answer, Reassigned)
    assert answer.member.state == "ended"
    assert reason(buffer.score(trajectory, 2, {"outcome": 1.0})) == "stale attempt"
    assert buffer.score(trajectory, 3, {"outcome": 1.0}) == ScoreStored(trajectory, 1)
    assert buffer.score(trajectory, 3, {"outcome": 1.0}) == ScoreStored(trajectory, 1)
    assert reason(buffer.reassign(1, trajectory, 3)) == "closed"


def test_a_score_needs_an_end_and_an_outcome_of_zero_or_one() -> None:
    buffer = filled()
    trajectory, *_ = opened(buffer, 1)
    assert reason(buffer.score(trajectory, 1, {"outcome": 1.0})) == "not ended"
    buffer.append(trajectory, 1, ghost(0, 4, end="stop"))
    assert reason(buffer.score(trajectory, 2, {"format": 1.0})).startswith("invalid")
    assert reason(buffer.score(trajectory, 2, {"outcome": 0.5})).startswith("invalid")
    assert reason(buffer.score(trajectory, 2, {"outcome": 1.0, "format": float("nan")})).startswith("invalid")
    buffer.score(trajectory, 2, {"outcome": 1.0, "format": -0.5})
    assert buffer._held.trajectories[trajectory].components == {"outcome": 1.0, "format": -0.5}


def test_one_failure_too_many_fails_the_whole_group_and_frees_admission() -> None:
    buffer = filled(config(eta=0, max_attempts=2))
    first, second, *_ = opened(buffer, 2)
    buffer.append(first, 1, ghost(0, 4))
    assert buffer.fail(first, 2, "engine") == AttemptFailed(first, 3, ())
    assert buffer.fail(first, 2, "engine") == AttemptFailed(first, 3, ())
    buffer.append(first, 3, ghost(4, 4, end="stop"))
    buffer.drain()
    assert buffer.fail(first, 4, "scorer") == AttemptFailed(first, 0, (first, second))
    removed = [key for key, row in buffer.drain() if row is None]
    assert segments_key(first) in removed
    assert reason(buffer.append(second, 1, ghost(0, 4))) == "closed"
    assert reason(buffer.score(first, 4, {"outcome": 1.0})) == "closed"
    assert len(opened(buffer, 1, 2)) == 2
    assert buffer.ledger().reasons == {"failed: scorer": 2}
    buffer.check()


def test_a_failed_segment_keeps_its_tokens_and_counts_as_a_failure() -> None:
    buffer = filled(config(max_attempts=2))
    trajectory, sibling = opened(buffer, 1)
    assert buffer.append(trajectory, 1, ghost(0, 4, end="failed")) == Appended(trajectory, 2, 4, 0, "cut")
    answer = buffer.append(trajectory, 2, ghost(4, 0, end="failed"))
    assert answer == Appended(trajectory, 3, 4, 0, "failed", (trajectory, sibling))


def test_a_group_without_signal_is_evicted_or_trained_and_its_prompt_learns_either_way() -> None:
    for no_signal, evicted in (("evict", 2), ("train", 0)):
        buffer = filled(config(no_signal=no_signal), prompts=1)
        for trajectory in opened(buffer, 1):
            finish(buffer, trajectory, 1.0)
        assert buffer.ledger().evicted == evicted
        assert buffer.groups_eligible == (0 if evicted else 1)
        assert buffer._held.prompts.success_rate(0) == pytest.approx((2 + 0.5) / (2 + 1))


def test_resuming_a_run_cuts_what_ran_under_new_attempts_and_a_snapshot_hands_them_out() -> None:
    buffer = filled()
    begun, fresh, ended, _ = opened(buffer, 2)
    buffer.append(begun, 1, ghost(0, 4))
    buffer.append(ended, 1, ghost(0, 4, end="stop"))
    store = MemoryStore()
    store.write(buffer.drain())
    again = Buffer.recover(buffer.config, store.rows())
    assert again.view(begun) == buffer.view(begun)
    assert again.resume_all() == 3
    taken = again.snapshot()
    assert [(m.trajectory, m.state, m.attempt) for m in taken.members] == [
        (begun, "cut", 3),
        (fresh, "queued", 2),
        (ended, "ended", 2),
        (ended + 1, "queued", 2),
    ]
    assert reason(again.append(begun, 2, ghost(4, 4))) == "stale attempt"
    assert again.view(begun).state == "running"  # type: ignore[union-attr]
    assert isinstance(again.append(begun, 3, ghost(4, 4)), Appended)
    again.check()


def test_a_prompt_set_is_put_in_once_and_another_one_is_refused() -> None:
    buffer = filled(prompts=3)
    store = MemoryStore()
    store.write(buffer.drain())
    again = Buffer.recover(buffer.config, store.rows())
    again.load_prompts(make_prompts([Ghost(3, seed) for seed in range(3)], ["0", "1", "2"]))
    assert again.drain() == ()
    with pytest.raises(UsageError, match="differs"):
        again.load_prompts(make_prompts([Ghost(3, seed) for seed in range(4)]))


def test_a_recovered_buffer_draws_the_prompts_that_the_lost_one_would_have_drawn() -> None:
    frontier = Frontier(start=0, opens_at=0.4, least_tries=2)
    for prompts in (PromptConfig(), PromptConfig(order="passes"), PromptConfig(frontier=frontier)):
        buffer = filled(config(batch=40, prompts=prompts), prompts=0)
        buffer.load_prompts(PromptRow(n, Ghost(3, n), "", float(n)) for n in range(7))
        store = MemoryStore()
        eligible(buffer, 5)
        store.write(buffer.drain())
        again = Buffer.recover(buffer.config, store.rows())
        assert again.frontier() == buffer.frontier()
        assert prompts.frontier is None or again.frontier() > 0.0  # type: ignore[operator]
        assert again.open_groups(1, 9, 9) == buffer.open_groups(1, 9, 9)
        assert again.drain() == buffer.drain()


def test_settings_that_do_not_fit_the_store_or_each_other_are_refused() -> None:
    buffer = filled()
    store = MemoryStore()
    store.write(buffer.drain())
    with pytest.raises(UsageError, match=r"buffer\.k is 4"):
        Buffer.recover(config(k=4), store.rows())
    with pytest.raises(UsageError, match="multiple of k"):
        config(k=3)
    with pytest.raises(UsageError, match=r"buffer\.eta is -1"):
        config(eta=-1)
    with pytest.raises(UsageError, match="oversample"):
        config(oversample=0.5)
    with pytest.raises(UsageError, match="92 are needed"):
        filled(config(capacity_tokens=91))


def test_closed_groups_leave_the_store_unless_they_are_kept() -> None:
    for keep in (False, True):
        buffer = filled(config(keep_closed=keep))
        store = MemoryStore()
        trajectories = eligible(buffer, 2)
        store.write(buffer.drain())
        lease = leased(buffer)
        buffer.complete(0, lease.lease, 1, True)
        store.write(buffer.drain())
        groups = [row for _, row in store.rows() if isinstance(row, GroupRow)]
        assert [group.stage for group in groups] == (["closed", "closed"] if keep else [])
        assert bool(store.segments(trajectories[0])) == keep
        again = Buffer.recover(buffer.config, store.rows())
        assert again.ledger().by_state == buffer.ledger().by_state
        assert again.ledger().in_flight == 0
        again.check()
