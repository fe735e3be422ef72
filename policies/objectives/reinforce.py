"""REINFORCE with a group baseline and truncated importance sampling.

    A_j = r_j - mean(r)
    w_t = stopgrad(min(exp(l_t - b_t), C))
    L   = -sum_j A_j sum_t m_t w_t l_t   / divisor

The weight compares the current policy with the one that drew the token, so one ratio covers staleness and the
difference between engines; no reference is involved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from buffers.errors import UsageError
from policies.objectives import objective
from policies.objectives.objective import DivideBy, Loss, Tokens, group_mean

Tensor = torch.Tensor


@dataclass(frozen=True)
class Config:
    """How far a token's weight may go."""

    truncate: float = 2.0
    """C, the largest weight of a token."""
    divide_by: DivideBy = "tokens"
    """What the sum of losses is divided by."""


class Objective:
    """Truncated importance sampling."""

    config_type: ClassVar[type] = Config

    def __init__(self, config: Config) -> None:
        self.config, self.divide_by = config, config.divide_by
        if config.truncate < 1:
            raise UsageError(f"truncate {config.truncate}; below 1 it would cut tokens that are neither old nor off")

    def check(self, updates_per_reference: int) -> None:
        """Any count makes sense: the reference is not used."""

    def advantages(self, rewards_B: Tensor, groups_B: Tensor) -> Tensor:
        """Reward minus its group's mean [B]."""
        return rewards_B - group_mean(rewards_B, groups_B)

    def loss(self, tokens: Tokens) -> Loss:
        """See the module's formula."""
        limit, mask = self.config.truncate, tokens.mask_BT
        weight_BT = objective.truncated_weight(tokens.logp_BT, tokens.behaviour_BT, limit)
        gain_B = tokens.advantage_B * (mask * weight_BT * tokens.logp_BT).sum(1)
        cut = objective.count_truncated(tokens.logp_BT, tokens.behaviour_BT, mask, limit)
        return Loss(-(tokens.weight_B * gain_B).sum(), {"penalty": torch.zeros_like(cut), "truncated": cut})
