"""Packing of groups to arrays."""

import numpy as np
import pytest

from buffers.errors import ContractError, UsageError
from buffers.segment import MASKED, MODEL, TOOL, USER, Segment, token_arrays
from policies import length_reward
from policies.packing import Config, pack
from policies.trainer import Member, TrainGroup, UpdateJob


def segment(start, ids, versions, produced=None, end="stop"):
    payload = token_arrays(ids, [-0.1 * token for token in ids])
    return Segment(start, payload, versions, produced or ((1, len(ids)),), end)


def member(number, segments, **components):
    return Member(number, tuple(segments), components or {"outcome": 1.0})


def prompt(*ids):
    return token_arrays(ids, [0.0] * len(ids))


def job(*groups, version=5):
    return UpdateJob(1, version, groups)


TWO = TrainGroup(
    7,
    1,
    prompt(9, 8),
    0.5,
    (
        member(1, [segment(0, [1, 2], ((3, 1), (4, 1)), end="cut"), segment(2, [3], ((5, 1),))], outcome=1.0),
        member(2, [segment(0, [4, 5, 6, 7], ((4, 4),), ((1, 1), (0, 2), (1, 1)))], outcome=0.0),
    ),
)
THREE = TrainGroup(8, 1, prompt(9), 1.0, (member(3, [segment(0, [1], ((5, 1),))], outcome=1.0),))


def test_rows_hold_prompt_and_segments_in_order_padded_on_the_right():
    batch = pack(job(TWO, THREE), Config())
    assert batch.ids_BT.tolist() == [[9, 8, 1, 2, 3, 0], [9, 8, 4, 5, 6, 7], [9, 1, 0, 0, 0, 0]]
    assert batch.versions_BT.tolist() == [[-1, -1, 3, 4, 5, -1], [-1, -1, 4, 4, 4, 4], [-1, 5, -1, -1, -1, -1]]
    assert batch.behaviour_BT[0].tolist() == pytest.approx([0, 0, -0.1, -0.2, -0.3, 0])
    assert batch.lengths_B.tolist() == [5, 6, 2]
    assert batch.groups_B.tolist() == [0, 0, 1]
    assert batch.weight_B.tolist() == [0.5, 0.5, 1.0]
    assert batch.rewards_B.tolist() == [1.0, 0.0, 1.0]


def test_prompts_padding_and_tokens_of_tools_bear_no_loss():
    batch = pack(job(TWO, THREE), Config())
    assert batch.mask_BT.tolist() == [[0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0]]
    assert batch.masked_share == 0.0


def test_tokens_over_the_lag_are_masked_and_counted_but_their_reward_stays():
    batch = pack(job(TWO, THREE), Config(max_token_lag=0))
    assert batch.mask_BT.tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]]
    assert batch.masked_share == pytest.approx(4 / 6)
    assert batch.rewards_B.tolist() == [1.0, 0.0, 1.0]
    assert pack(job(TWO, THREE), Config(max_token_lag=1)).mask_BT[0].tolist() == [0, 0, 0, 1, 1, 0]


def test_a_response_of_several_turns_trains_on_what_the_model_produced_and_is_not_masked():
    turns = ((MODEL, 1), (TOOL, 1), (USER, 1), (MASKED, 1))
    first = segment(0, [1, 2, 3, 4], ((3, 4),), turns, end="cut")
    group = TrainGroup(1, 1, prompt(9), 1.0, (member(1, [first, segment(4, [5], ((5, 1),))]),))
    batch = pack(job(group), Config())
    assert batch.mask_BT.tolist() == [[0, 1, 0, 0, 0, 1]]
    assert batch.produced_BT.tolist() == [[0, 1, 0, 0, 1, 1]]
    assert batch.versions_BT.tolist() == [[-1, 3, 3, 3, 3, 5]]
    late = pack(job(group), Config(max_token_lag=1))
    assert late.mask_BT.tolist() == [[0, 0, 0, 0, 0, 1]]
    assert late.masked_share == 0.5


def test_the_length_reward_joins_at_its_version_and_counts_what_the_model_produced():
    group = TrainGroup(
        1,
        1,
        prompt(1),
        1.0,
        (
            member(1, [segment(0, [2] * 6, ((0, 6),), ((1, 1), (0, 5)))], outcome=1.0),
            member(2, [segment(0, [2] * 3, ((0, 3),))], outcome=1.0),
        ),
    )
    config = Config(length=length_reward.Config(weight=0.4, from_version=2))
    assert pack(job(group, version=1), config).rewards_B.tolist() == [1.0, 1.0]
    assert pack(job(group, version=2), config).rewards_B.tolist() == pytest.approx([1.2, 0.8])


def test_components_add_up_by_their_weights():
    group = TrainGroup(1, 1, prompt(1), 1.0, (member(1, [segment(0, [2], ((0, 1),))], outcome=1.0, form=0.5),))
    config = Config(components=(("outcome", 1.0), ("form", -0.2)))
    assert pack(job(group), config).rewards_B.tolist() == pytest.approx([0.9])


def test_a_response_that_its_scorer_did_not_survive_has_nothing_of_a_persons_components():
    members = (
        member(1, [segment(0, [1], ((5, 1),))], outcome=1.0, steps=1.0),
        member(2, [segment(0, [1], ((5, 1),))], outcome=0.0, killed=1.0),
        member(3, [segment(0, [1], ((5, 1),))], outcome=0.0, raised=1.0),
    )
    batch = pack(job(TrainGroup(7, 1, prompt(9), 1.0, members)), Config(components=(("outcome", 1.0), ("steps", 0.5))))
    assert batch.rewards_B.tolist() == [1.5, 0.0, 0.0]


def test_a_missing_component_is_refused_by_name():
    with pytest.raises(UsageError, match="'form', only outcome"):
        pack(job(THREE), Config(components=(("form", 1.0),)))


def test_a_gap_between_segments_is_refused():
    torn = TrainGroup(1, 1, prompt(1), 1.0, (member(4, [segment(0, [1], ((0, 1),)), segment(2, [1], ((0, 1),))]),))
    with pytest.raises(ContractError, match="trajectory 4: a segment starts at 2, not at 1"):
        pack(job(torn), Config())


def test_an_empty_response_keeps_its_place():
    empty = Segment(0, token_arrays([], []), (), (), "stop")
    group = TrainGroup(1, 1, prompt(1, 2), 1.0, (Member(1, (empty,), {"outcome": 0.0}), *TWO.members))
    batch = pack(job(group), Config())
    assert batch.lengths_B.tolist() == [2, 5, 6]
    assert np.asarray(batch.mask_BT[0]).sum() == 0
