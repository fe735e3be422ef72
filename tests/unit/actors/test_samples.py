"""What a person is shown of a lease."""

import numpy as np

from actors.samples import MOST_TOKENS, samples_of
from buffers.segment import Ghost, Segment, token_arrays
from policies.trainer import Member, TrainGroup, UpdateJob


def tokens(*ids):
    return token_arrays(ids, np.full(len(ids), -1.0, np.float32))


def member(trajectory, *segments):
    """Segments as (version, ids)."""
    start, made = 0, []
    for version, ids in segments:
        made.append(Segment(start, tokens(*ids), ((version, len(ids)),), ((1, len(ids)),), "cut"))
        start += len(ids)
    return Member(trajectory, tuple(made), {"outcome": 1.0})


def job(*members, prompt=None):
    return UpdateJob(1, 9, (TrainGroup(4, 1, prompt or tokens(5, 6), 1.0, members),))


def test_the_slowest_and_the_first_are_shown_with_their_segments():
    found = samples_of(job(member(1, (8, [1])), member(2, (7, [1, 2]), (9, [3])), member(3, (7, [1]))))
    assert [one.trajectory for one in found] == [2, 1]
    slowest = found[0]
    assert (slowest.group, slowest.version, slowest.components) == (4, 9, {"outcome": 1.0})
    assert np.frombuffer(slowest.prompt, "<i4").tolist() == [5, 6]
    assert [np.frombuffer(part.ids, "<i4").tolist() for part in slowest.parts] == [[1, 2], [3]]
    assert [part.versions for part in slowest.parts] == [((7, 2),), ((9, 1),)]


def test_one_member_is_shown_once():
    assert len(samples_of(job(member(1, (8, [1]))))) == 1


def test_ghosts_and_very_long_responses_are_not_shown():
    ghost = Member(1, (Segment(0, Ghost(3, 1), ((0, 3),), ((1, 3),), "stop"),), {})
    assert samples_of(job(ghost)) == ()
    assert samples_of(job(member(1, (0, [1] * MOST_TOKENS)))) == ()
    assert samples_of(job(member(1, (0, [1])), prompt=Ghost(2, 1))) == ()
