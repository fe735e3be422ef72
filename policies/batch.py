"""Packing: the groups of one update to right-padded arrays, and the terms that belong to groups.

    UpdateJob --pack--> Batch: ids, behaviour log-probabilities, versions, masks [B, T]; rewards, groups, weights [B]

A row is prompt + response, rows of a group adjacent. A token bears loss if the model produced it and its lag, the
update's version - its own, is at most `max_token_lag`; a trajectory whose tokens are all masked keeps its place in its
group's mean reward and length reward. Rewards are the weighted sum of the stored components plus the length reward at
its current weight. Pure numpy; leaves out advantages, which belong to the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from buffers.errors import ContractError, UsageError
from buffers.segment import expand, ids_of, logps_of
from policies import length_reward
from policies.trainer import Member, UpdateJob

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Config:
    """What a token and a response are worth."""

    max_token_lag: int = 8
    components: tuple[tuple[str, float], ...] = (("outcome", 1.0),)
    """(name, weight) of the reward components that count."""
    length: length_reward.Config = field(default_factory=length_reward.Config)


@dataclass(frozen=True)
class Batch:
    """One update's arrays; B trajectories, T columns; padding has id 0, log-probability 0, version -1, mask 0."""

    version: int
    ids_BT: Ints
    behaviour_BT: Floats
    versions_BT: Ints
    produced_BT: Floats
    """1 where the model produced the token."""
    mask_BT: Floats
    """1 where the token bears loss."""
    lengths_B: Ints
    """Prompt + response, in tokens."""
    rewards_B: Floats
    outcomes_B: Floats
    groups_B: Ints
    """Index of the group, from 0 in the job's order."""
    weight_B: Floats

    @property
    def masked_share(self) -> float:
        """Share of the produced tokens that are masked for their lag."""
        produced = float(self.produced_BT.sum())
        return 1.0 - float(self.mask_BT.sum()) / produced if produced else 0.0


@dataclass(frozen=True)
class _Row:
    ids: Ints
    logps: Floats
    versions: Ints
    produced: Ints
    """All [prompt + response]; prompt columns: log-probability 0, version -1, produced 0."""


def _row(prompt: Ints, member: Member) -> _Row:
    place = 0
    for segment in member.segments:
        if segment.start != place:
            raise ContractError(f"trajectory {member.trajectory}: a segment starts at {segment.start}, not at {place}")
        place = segment.stop
    blank = np.zeros(len(prompt), np.int32)
    parts = member.segments
    return _Row(
        np.concatenate([prompt, *(ids_of(part.payload) for part in parts)]),
        np.concatenate([blank.astype(np.float32), *(logps_of(part.payload) for part in parts)]),
        np.concatenate([blank - 1, *(expand(part.versions) for part in parts)]),
        np.concatenate([blank, *(expand(part.produced) for part in parts)]),
    )


def _outcomes(members: Sequence[Member]) -> Floats:
    return np.array([member.components.get("outcome", 0.0) for member in members], np.float32)


def group_rewards(members: Sequence[Member], lengths: npt.NDArray[np.int64], config: Config, version: int) -> Floats:
    """Rewards [k] of one group: weighted components plus the length reward; lengths are of produced tokens."""
    rewards = np.zeros(len(members), np.float32)
    for name, weight in config.components:
        for index, member in enumerate(members):
            if name not in member.components:
                known = ", ".join(sorted(member.components))
                raise UsageError(f"trajectory {member.trajectory} has no reward component {name!r}, only {known}")
            rewards[index] += weight * member.components[name]
    weight = length_reward.weight_at(config.length, version)
    if weight:
        rewards += np.float32(weight) * length_reward.length_reward(lengths, _outcomes(members) > 0.5)
    return rewards


def pack(job: UpdateJob, config: Config) -> Batch:
    """The arrays of one update."""
    rows: list[_Row] = []
    rewards, outcomes, groups, weights = [], [], list[int](), list[float]()
    for index, group in enumerate(job.groups):
        prompt = ids_of(group.prompt).astype(np.int32)
        members = [_row(prompt, member) for member in group.members]
        lengths = np.array([int(row.produced.sum()) for row in members], np.int64)
        rewards.append(group_rewards(group.members, lengths, config, job.version))
        outcomes.append(_outcomes(group.members))
        groups += [index] * len(members)
        weights += [group.weight] * len(members)
        rows += members
    if not rows:
        raise ContractError(f"lease {job.lease} holds no trajectory")
    shape = (len(rows), max(len(row.ids) for row in rows))
    ids_BT, versions_BT = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    behaviour_BT, produced_BT = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for place, row in enumerate(rows):
        length = len(row.ids)
        ids_BT[place, :length], behaviour_BT[place, :length] = row.ids, row.logps
        versions_BT[place, :length], produced_BT[place, :length] = row.versions, row.produced
    return Batch(
        version=job.version,
        ids_BT=ids_BT,
        behaviour_BT=behaviour_BT,
        versions_BT=versions_BT,
        produced_BT=produced_BT,
        mask_BT=produced_BT * (job.version - versions_BT <= config.max_token_lag),
        lengths_B=np.array([len(row.ids) for row in rows], np.int32),
        rewards_B=np.concatenate(rewards),
        outcomes_B=np.concatenate(outcomes),
        groups_B=np.array(groups, np.int32),
        weight_B=np.array(weights, np.float32),
    )
