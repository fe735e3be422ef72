"""Bad input of every kind, at any moment: refused by a reason that names the rule and the id, and nothing changes."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buffers.answers import Appended, Leased, Refused
from buffers.buffer import Buffer
from buffers.errors import ContractError, InvalidSegment, UsageError
from buffers.segment import Segment, TokenArrays, token_arrays
from tests.buffer_builders import config, eligible, filled, opened

GOOD = Segment(5, token_arrays([7, 8, 9], [-0.5] * 3), ((0, 3),), ((1, 3),), "cut")
BAD_LOGP = st.sampled_from([math.nan, math.inf, -math.inf, 0.1, 1e-30])
BAD_WORTH = st.sampled_from([math.nan, math.inf, -math.inf, -1e-9, -1.0])


def changed(**parts: object) -> Segment:
    return msgspec.structs.replace(GOOD, **parts)


def logp_at(place: int, value: float) -> TokenArrays:
    logps = np.full(3, -0.5, np.float32)
    logps[place] = value
    return token_arrays([7, 8, 9], logps)


def id_at(place: int, value: int) -> TokenArrays:
    ids = np.array([7, 8, 9], np.int32)
    ids[place] = value
    return TokenArrays(ids.tobytes(), np.full(3, -0.5, np.float32).tobytes())


PLACE = st.integers(0, 2)
SEGMENTS = st.one_of(
    st.tuples(st.builds(lambda p, v: changed(payload=logp_at(p, v)), PLACE, BAD_LOGP), st.just("log-probability")),
    st.tuples(st.builds(lambda p, v: changed(payload=id_at(p, v)), PLACE, st.integers(-(2**31), -1)), st.just("id")),
    st.tuples(st.builds(lambda v: changed(versions=((v, 3),)), st.integers(1, 9)), st.just("version from the future")),
    st.tuples(st.builds(lambda v: changed(versions=((v, 3),)), st.integers(-9, -1)), st.just("version")),
    st.tuples(st.builds(lambda s: changed(start=s), st.integers(0, 40).filter(lambda s: s != 5)), st.just("gap")),
    st.tuples(st.builds(lambda s: changed(start=s), st.integers(-9, -1)), st.just("negative")),
    st.tuples(
        st.builds(lambda n: changed(versions=((0, n),)), st.integers(-3, 9).filter(lambda n: n != 3)),
        st.just("version"),
    ),
    st.tuples(st.builds(lambda f: changed(produced=((f, 3),)), st.sampled_from([-1, 4, 7])), st.just("produced")),
    st.tuples(
        st.builds(
            lambda n: changed(payload=token_arrays([1] * n, [-1.0] * n), versions=((0, n),), produced=((1, n),)),
            st.integers(16, 30),
        ),
        st.just("over capacity"),
    ),
)


def fixture() -> tuple[Buffer, Leased, int]:
    """A buffer with a lease, eligible groups, and a running trajectory (the number) of 5 tokens."""
    buffer = filled(config(eta=5, oversample=2.0))
    eligible(buffer, 4)
    lease = buffer.lease(0, 1, 0)
    assert isinstance(lease, Leased)
    running = opened(buffer, 1, 2)[0]
    first = msgspec.structs.replace(GOOD, start=0, payload=token_arrays([1] * 5, [-1.0] * 5))
    first = msgspec.structs.replace(first, versions=((0, 5),), produced=((1, 5),))
    assert isinstance(buffer.append(running, 1, first), Appended)
    buffer.drain()
    return buffer, lease, running


def refused(buffer: Buffer, answer: object, rule: str, name: str) -> None:
    """The answer names rule and id, and the buffer is what it was."""
    assert isinstance(answer, Refused), answer
    assert rule in answer.reason
    assert name in f"{answer.reason}; {answer.detail}"
    assert not buffer.changed
    twin, lease, running = fixture()
    mine, other = buffer._held, twin._held
    for part in ("meta", "groups", "trajectories", "leases", "opens", "counts", "reserved_tokens", "prompts"):
        left, right = getattr(mine, part), getattr(other, part)
        assert (left.success if part == "prompts" else left) == (right.success if part == "prompts" else right), part
    buffer.check()
    assert isinstance(buffer.append(running, 2, GOOD), Appended), "what is right is still taken"
    assert buffer.lease(0, 1, 0) == lease


@given(SEGMENTS)
def test_a_bad_segment_is_refused_by_its_rule_and_its_trajectory(case: tuple[Segment, str]) -> None:
    buffer, _, running = fixture()
    segment, rule = case
    refused(buffer, buffer.append(running, 2, segment), rule, f"trajectory {running}")


@given(st.integers(-5, 2**70), st.integers(-5, 9))
def test_an_unknown_trajectory_or_attempt_is_named(number: int, attempt: int) -> None:
    buffer, _, running = fixture()
    name = f"trajectory {number}"
    if not 0 < number <= running + 1:
        refused(buffer, buffer.append(number, attempt, GOOD), "unknown", name)
        buffer = fixture()[0]
        refused(buffer, buffer.score(number, attempt, {"outcome": 1.0}), "unknown", name)
        buffer = fixture()[0]
        refused(buffer, buffer.fail(number, attempt, "engine"), "unknown", name)
    if attempt != 2 and attempt != 1:
        buffer = fixture()[0]
        rule = "unknown" if attempt > 2 else "stale attempt"
        refused(buffer, buffer.append(running, attempt, GOOD), rule, f"trajectory {running}")


@given(BAD_WORTH, st.integers(0, 1))
def test_bad_feedback_is_named_with_its_group_and_the_lease_stays_open(told: float, place: int) -> None:
    buffer, lease, _ = fixture()
    feedback = [(group.group, 1.0) for group in lease.groups]
    feedback[place] = (feedback[place][0], told)
    answer = buffer.complete(0, lease.lease, 1, True, tuple(feedback))
    refused(buffer, answer, f"is {told}; it must be finite and not negative", f"group {feedback[place][0]}")
    buffer, lease, _ = fixture()
    stranger = next(number for number in buffer._held.groups if number not in {one.group for one in lease.groups})
    refused(buffer, buffer.complete(0, lease.lease, 1, True, ((stranger, 1.0),)), "does not hold", f"group {stranger}")


@given(st.integers(-3, 9).filter(lambda n: n not in (0, 1)), st.integers(2, 2**40))
def test_versions_from_the_future_and_unknown_leases_are_refused(version: int, number: int) -> None:
    buffer, lease, _ = fixture()
    refused(buffer, buffer.complete(0, lease.lease, version, True), "version", str(version))
    buffer = fixture()[0]
    refused(buffer, buffer.complete(0, number, 1, True), "stale lease", f"lease {number}")
    buffer = fixture()[0]
    refused(buffer, buffer.expire(number), "stale lease", f"lease {number}")
    buffer = fixture()[0]
    refused(buffer, buffer.lease(0, 2, version), "version", str(version))


@given(st.sampled_from(["outcome", "format"]), st.sampled_from([math.nan, math.inf, 0.5, -1.0]))
def test_a_bad_score_is_named_with_its_trajectory(name: str, value: float) -> None:
    if name == "format" and math.isfinite(value):
        return
    buffer, _, running = fixture()
    ends = msgspec.structs.replace(GOOD, end="stop")
    assert isinstance(buffer.append(running, 2, ends), Appended)
    buffer.drain()
    answer = buffer.score(running, 3, {"outcome": 1.0} | {name: value})
    assert isinstance(answer, Refused)
    assert name in answer.reason
    assert answer.detail.startswith(f"trajectory {running}")
    assert not buffer.changed


@given(st.integers(2**31, 2**62) | st.integers(-(2**62), -1), st.integers(0, 3))
@settings(max_examples=40)
def test_an_id_beyond_int32_is_named_where_tokens_are_packed(number: int, place: int) -> None:
    ids = [1, 2, 3]
    ids.insert(place, number)
    for form in (ids, np.array(ids)):
        with pytest.raises(InvalidSegment, match=f"token id {number} at {place}"):
            token_arrays(form, [-1.0] * 4)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_a_rule_that_gives_no_priority_is_named_before_anything_changes(value: float, monkeypatch) -> None:
    buffer, lease, _ = fixture()
    buffer.complete(0, lease.lease, 1, True)
    buffer.drain()
    kind = type(buffer._rule)
    monkeypatch.setattr(kind, "priority", lambda self, signal: value)
    before = [msgspec.structs.astuple(group) for group in buffer._held.groups.values()]
    with pytest.raises(ContractError, match=r"buffer\.priority 'spread_freshness' gave group \d+ the priority"):
        buffer.lease(0, 2, 1)
    assert not buffer.changed
    assert before == [msgspec.structs.astuple(group) for group in buffer._held.groups.values()]
    buffer.check()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"k": 1, "no_signal": "evict"}, "outcomes of one response are always equal"),
        ({"k": 0}, "buffer.k is 0"),
        ({"max_gen_batches": -1, "no_signal": "evict"}, "buffer.max_gen_batches is -1"),
        ({"max_gen_batches": 4}, "groups without signal are trained, so the limit would never be reached"),
        ({"capacity_tokens": -1}, "buffer.capacity_tokens is -1"),
    ],
)
def test_numbers_that_cannot_work_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        config(**changes)
    config(k=1)


def test_a_capacity_under_one_response_is_refused_with_what_is_needed() -> None:
    with pytest.raises(UsageError, match=r"capacity_tokens is 22; .* = 92 are needed"):
        filled(config(capacity_tokens=22))
