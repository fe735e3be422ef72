"""Online policy mirror descent of Kimi k1.5 (arXiv 2501.12599, section 2.3.2), for asynchronous data.

    w_t = stopgrad(min(exp(l_ref,t - b_t), C))
    D_j = sum_t m_t (l_t - l_ref,t)
    A_j = r_j - mean(r)        or        r_j - tau (logsumexp(r / tau) - log k)
    L   = -sum_j [ A_j sum_t m_t w_t l_t - (tau / 2) D_j^2 ]   / divisor

The reference is a frozen snapshot of the learner, not the policy that drew the tokens: staleness is corrected by w
alone. For b = l_ref the gradient is the paper's equation 3. A group of equal rewards has the penalty only. With
`penalty = "token"` the square is taken per token, tau / 2 sum_t m_t (l_t - l_ref,t)^2, as in Kimi K2.5: advised above
about 2,000 tokens, where a square of a sum grows without measure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from buffers.errors import UsageError
from policies.objectives import objective
from policies.objectives.objective import DivideBy, Loss, Tokens, group_mean

Tensor = torch.Tensor


@dataclass(frozen=True)
class Config:
    """How strongly, and towards what."""

    tau: float = 0.1
    """Strength of the pull to the reference."""
    baseline: Literal["mean", "logsumexp"] = "mean"
    """The mean is the paper's shortcut for the estimate of tau log Z."""
    penalty: Literal["sequence", "token"] = "sequence"
    """The square of a response's summed log-ratio, or the sum of its tokens' squares."""
    truncate: float = 2.0
    """C, the largest weight of a token."""
    divide_by: DivideBy = "sequences"
    """What the sum of losses is divided by."""


def soft_baseline(rewards_B: Tensor, groups_B: Tensor, tau: float) -> Tensor:
    """Tau (logsumexp(r / tau) - log k) of each trajectory's group [B]: the estimate of tau log Z from k samples."""
    count = int(groups_B.max()) + 1
    top = rewards_B.new_full((count,), -math.inf).scatter_reduce_(0, groups_B, rewards_B, "amax")[groups_B]
    return top + tau * group_mean(((rewards_B - top) / tau).exp(), groups_B).log()


class Objective:
    """Mirror descent with truncated importance weights."""

    config_type: ClassVar[type] = Config

    def __init__(self, config: Config) -> None:
        self.config, self.divide_by = config, config.divide_by
        if config.tau < 0 or (config.tau == 0 and config.baseline == "logsumexp"):
            raise UsageError(f"tau {config.tau}; it must be positive (0 only switches the penalty off, baseline mean)")
        if config.truncate < 1:
            raise UsageError(f"truncate {config.truncate}; below 1 it would cut tokens that are neither old nor off")

    def check(self, updates_per_reference: int) -> None:
        """Refuse a penalty that could never have a gradient: each update at the reference itself."""
        if self.config.tau > 0 and updates_per_reference < 2:
            raise UsageError(
                f"updates_per_reference {updates_per_reference}: at theta = theta_ref the penalty has no gradient; "
                "make it 2 or more, or set tau to 0"
            )

    def advantages(self, rewards_B: Tensor, groups_B: Tensor) -> Tensor:
        """Reward minus the baseline of its group [B]."""
        if self.config.baseline == "mean":
            return rewards_B - group_mean(rewards_B, groups_B)
        return rewards_B - soft_baseline(rewards_B, groups_B, self.config.tau)

    def loss(self, tokens: Tokens) -> Loss:
        """See the module's formula."""
        limit, mask = self.config.truncate, tokens.mask_BT
        weight_BT = objective.truncated_weight(tokens.reference_BT, tokens.behaviour_BT, limit)
        gain_B = tokens.advantage_B * (mask * weight_BT * tokens.logp_BT).sum(1)
        drift_BT = mask * (tokens.logp_BT - tokens.reference_BT)
        square_B = drift_BT.sum(1).square() if self.config.penalty == "sequence" else drift_BT.square().sum(1)
        penalty = (tokens.weight_B * square_B).sum() * (self.config.tau / 2)
        return Loss(
            penalty - (tokens.weight_B * gain_B).sum(),
            {
                "penalty": penalty.detach(),
                "truncated": objective.count_truncated(tokens.reference_BT, tokens.behaviour_BT, mask, limit),
            },
        )
