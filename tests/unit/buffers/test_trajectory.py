import pytest

from buffers.answers import State
from buffers.errors import ContractError
from buffers.rows import TrajectoryRow
from buffers.segment import Ghost, Segment
from buffers.trajectory import CLOSED, LIVE, NEXT, STATES, admit_segment, extend, first_trained_version, move
from tests.buffer_builders import config, ghost

SETTINGS = config(max_response_tokens=10)


def test_every_state_can_be_reached_and_closed_ones_are_final() -> None:
    reached: list[State] = ["queued"]
    for state in reached:
        reached.extend(after for after in NEXT[state] if after not in reached)
    assert sorted(reached) == sorted(STATES)
    assert set(NEXT) == set(STATES) == {*LIVE, "applied", *CLOSED}
    assert all(NEXT[state] == () for state in CLOSED)


def test_a_move_that_is_not_drawn_raises_and_changes_nothing() -> None:
    row = TrajectoryRow(1, 1, 0)
    counts = dict.fromkeys(STATES, 0) | {"queued": 1}
    move(row, "running", counts)
    assert (row.state, counts["queued"], counts["running"]) == ("running", 0, 1)
    with pytest.raises(ContractError, match="from running to scored"):
        move(row, "scored", counts)
    assert (row.state, counts["running"], counts["scored"]) == ("running", 1, 0)


def test_a_segment_must_continue_what_is_stored_in_place_and_version() -> None:
    row = TrajectoryRow(1, 1, 0)
    extend(row, ghost(0, 4, version=2))
    assert admit_segment(row, ghost(4, 3, version=2), 2, SETTINGS) == ""
    assert admit_segment(row, ghost(5, 3, version=2), 2, SETTINGS) == "gap"
    assert admit_segment(row, ghost(3, 3, version=2), 2, SETTINGS) == "gap"
    assert admit_segment(row, ghost(4, 3, version=1), 2, SETTINGS) == "invalid: version 1 follows 2"
    assert admit_segment(row, ghost(4, 3, version=3), 2, SETTINGS) == "version from the future"
    assert admit_segment(row, ghost(4, 6, version=2), 2, SETTINGS) == ""
    assert admit_segment(row, ghost(4, 7, version=2), 2, SETTINGS) == "over capacity"


def test_lengths_versions_and_attempts_add_up_over_segments() -> None:
    row = TrajectoryRow(1, 1, 0)
    extend(row, Segment(0, Ghost(3, 1), ((1, 2), (2, 1)), ((0, 2), (1, 1)), "cut"))
    extend(row, Segment(3, Ghost(2, 1), ((4, 2),), ((1, 2),), "stop"))
    assert (row.length, row.last_version, row.attempt) == (5, 4, 3)
    assert row.version_sum == 1 + 1 + 2 + 4 + 4
    assert row.oldest_version == 2  # the two tokens of version 1 are a tool's and do not train
    assert (row.applied_attempt, row.applied_start) == (2, 3)


def test_the_first_token_that_trains_gives_the_oldest_version() -> None:
    assert first_trained_version(Segment(0, Ghost(4, 1), ((1, 2), (5, 2)), ((0, 2), (1, 2)), "cut")) == 5
    assert first_trained_version(Segment(0, Ghost(4, 1), ((1, 2), (5, 2)), ((0, 1), (1, 3)), "cut")) == 1
    assert first_trained_version(Segment(0, Ghost(4, 1), ((1, 4),), ((0, 4),), "cut")) == -1
