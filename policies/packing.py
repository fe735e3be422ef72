"""Packing: the groups of one update to right-padded arrays, and the terms that belong to groups.

    UpdateJob --pack--> Batch: ids, behaviour log-probabilities, versions, masks [B, T]; rewards, groups, weights [B]

A row is prompt + response, rows of a group adjacent. A token bears loss if the model produced it, not masked, and its
lag, the update's version - its own, is at most `max_token_lag`; a trajectory whose tokens are all masked keeps its
place in its group's mean reward and length reward. Rewards are the weighted sum of the stored components plus the
length reward at its current weight. Pure numpy; leaves out advantages, which belong to the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from buffers.errors import ContractError, UsageError
from buffers.segment import MASKED, MODEL, ids_of, logps_of
from policies import length_reward
from policies.trainer import Member, UpdateJob

BROKEN = {"killed", "raised"}
"""Components of a response that its scorer did not survive (`rewards/scorer.py`)."""
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Config:
    """What a token and a response are worth."""

    max_token_lag: int = 8
    """Tokens that are older than so many versions bear no loss."""
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
    produced_BT: Bools
    """Whether the model produced the token."""
    mask_BT: Bools
    """Whether the token bears loss."""
    lengths_B: Ints
    """Prompt + response, in tokens."""
    rewards_B: Floats
    outcomes_B: Floats
    groups_B: Ints
    """Index of the group, from 0 in the job's order."""
    weight_B: Floats
    lagging_tokens: int = 0
    """Tokens that would bear loss but for their lag."""

    @property
    def masked_share(self) -> float:
        """Share of the tokens that train which are masked for their lag."""
        bearing = float(self.mask_BT.sum()) + self.lagging_tokens
        return self.lagging_tokens / bearing if bearing else 0.0


@dataclass(frozen=True)
class _Rows:
    """The arrays of a batch while they are filled, row by row."""

    ids_BT: Ints
    behaviour_BT: Floats
    versions_BT: Ints
    produced_BT: Bools
    mask_BT: Bools

    @classmethod
    def blank(cls, rows: int, columns: int) -> _Rows:
        """All padding but the versions, which `fill` sets in full; memory that stays blank is never touched."""
        shape = (rows, columns)
        ids, behaviour = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        return cls(ids, behaviour, np.empty(shape, np.int32), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_))

    def fill(self, place: int, prompt: Ints, member: Member, oldest: int) -> tuple[int, int]:
        """One row; tokens of versions below `oldest` bear no loss. (Tokens produced, of them masked for their lag)."""
        at = len(prompt)
        self.ids_BT[place, :at] = prompt
        versions, produced, mask = self.versions_BT[place], self.produced_BT[place], self.mask_BT[place]
        versions[:at] = -1
        made = lagging = 0
        for part in member.segments:
            stop = at + part.length
            self.ids_BT[place, at:stop] = ids_of(part.payload)
            self.behaviour_BT[place, at:stop] = logps_of(part.payload)
            begin = at
            for producer, count in part.produced:
                if producer in (MODEL, MASKED):
                    made += count
                    produced[begin : begin + count] = True
                    if producer == MODEL:
                        mask[begin : begin + count] = True
                begin += count
            for version, count in part.versions:
                versions[at : at + count] = version
                if version < oldest:
                    lagging += int(mask[at : at + count].sum())
                    mask[at : at + count] = False
                at += count
        versions[at:] = -1
        return made, lagging


def _response_tokens(member: Member) -> int:
    place = 0
    for segment in member.segments:
        if segment.start != place:
            raise ContractError(f"trajectory {member.trajectory}: a segment starts at {segment.start}, not at {place}")
        place = segment.stop
    return place


def _outcomes(members: Sequence[Member]) -> Floats:
    return np.array([member.components.get("outcome", 0.0) for member in members], np.float32)


def group_rewards(members: Sequence[Member], lengths: npt.NDArray[np.int64], config: Config, version: int) -> Floats:
    """Rewards [k] of one group: weighted components plus the length reward; lengths are of produced tokens."""
    rewards = np.zeros(len(members), np.float32)
    for name, weight in config.components:
        for index, member in enumerate(members):
            if name not in member.components:
                if BROKEN & member.components.keys():  # the scorer knows no names of a person's components: all are 0
                    continue
                known = ", ".join(sorted(member.components))
                raise UsageError(f"trajectory {member.trajectory} has no reward component {name!r}, only {known}")
            rewards[index] += weight * member.components[name]
    weight = length_reward.weight_at(config.length, version)
    if weight:
        rewards += np.float32(weight) * length_reward.length_reward(lengths, _outcomes(members) > 0.5)
    return rewards


def pack(job: UpdateJob, config: Config) -> Batch:
    """The arrays of one update."""
    prompts = [ids_of(group.prompt) for group in job.groups]
    lengths = [
        len(prompt) + _response_tokens(member)
        for group, prompt in zip(job.groups, prompts, strict=True)
        for member in group.members
    ]
    if not lengths:
        raise ContractError(f"lease {job.lease} holds no trajectory")
    rows, rewards, place, lagging = _Rows.blank(len(lengths), max(lengths)), list[Floats](), 0, 0
    for group, prompt in zip(job.groups, prompts, strict=True):
        made = np.zeros(len(group.members), np.int64)
        for index, member in enumerate(group.members):
            made[index], late = rows.fill(place, prompt, member, job.version - config.max_token_lag)
            lagging += late
            place += 1
        rewards.append(group_rewards(group.members, made, config, job.version))
    sizes = [len(group.members) for group in job.groups]
    return Batch(
        version=job.version,
        ids_BT=rows.ids_BT,
        behaviour_BT=rows.behaviour_BT,
        versions_BT=rows.versions_BT,
        produced_BT=rows.produced_BT,
        mask_BT=rows.mask_BT,
        lengths_B=np.array(lengths, np.int32),
        rewards_B=np.concatenate(rewards),
        outcomes_B=np.concatenate([_outcomes(group.members) for group in job.groups]),
        groups_B=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        weight_B=np.repeat(np.array([group.weight for group in job.groups], np.float32), sizes),
        lagging_tokens=lagging,
    )
