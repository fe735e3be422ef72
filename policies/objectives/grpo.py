"""GRPO (arXiv 2402.03300) in its decoupled form: the clip is around the reference, a weight corrects the data's age.

    A_j = (r_j - mean(r)) / (std(r) + 1e-6)
    u_t = exp(l_t - l_ref,t),    w_t = stopgrad(min(exp(l_ref,t - b_t), C))
    L   = -sum_j sum_t m_t w_t min(u_t A_j, clip(u_t, 1 - low, 1 + high) A_j)   / divisor

With b = l_ref and the reference refreshed each version it is plain GRPO without the KL term; `high` above `low` is
DAPO's (2503.14476); `standardize = False` is Dr. GRPO's advantage (2503.20783).
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
    """Where to clip."""

    low: float = 0.2
    """A ratio below 1 - low gains nothing more."""
    high: float = 0.28
    """A ratio above 1 + high gains nothing more."""
    standardize: bool = True
    """Divide advantages by the group's standard deviation."""
    truncate: float = 2.0
    """C, the largest weight of a token."""
    divide_by: DivideBy = "tokens"
    """What the sum of losses is divided by."""


class Objective:
    """Group relative policy optimization."""

    config_type: ClassVar[type] = Config

    def __init__(self, config: Config) -> None:
        self.config, self.divide_by = config, config.divide_by
        if not 0 < config.low < 1 or config.high <= 0:
            raise UsageError(f"clip low {config.low}, high {config.high}; 0 < low < 1 and high > 0 are needed")

    def check(self, updates_per_reference: int) -> None:
        """Any count makes sense: with one, nothing is clipped."""

    def advantages(self, rewards_B: Tensor, groups_B: Tensor) -> Tensor:
        """Centred rewards, divided by the group's standard deviation [B]."""
        centred_B = rewards_B - group_mean(rewards_B, groups_B)
        if not self.config.standardize:
            return centred_B
        return centred_B / (group_mean(centred_B.square(), groups_B).sqrt() + 1e-6)

    def loss(self, tokens: Tokens) -> Loss:
        """See the module's formula; `truncated` counts clipped tokens too."""
        low, high, limit, mask = self.config.low, self.config.high, self.config.truncate, tokens.mask_BT
        weight_BT = objective.truncated_weight(tokens.reference_BT, tokens.behaviour_BT, limit)
        ratio_BT = (mask * (tokens.logp_BT - tokens.reference_BT)).exp()
        advantage_BT = tokens.advantage_B[:, None]
        gain_BT = torch.minimum(ratio_BT * advantage_BT, ratio_BT.clamp(1 - low, 1 + high) * advantage_BT)
        total = -(tokens.weight_B * (mask * weight_BT * gain_BT).sum(1)).sum()
        cut = objective.count_truncated(tokens.reference_BT, tokens.behaviour_BT, mask, limit)
        with torch.no_grad():
            clipped = (mask * (gain_BT < ratio_BT * advantage_BT)).sum()
        return Loss(total, {"penalty": torch.zeros_like(cut), "truncated": cut, "clipped": clipped})
