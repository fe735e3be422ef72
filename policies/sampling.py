"""Drawing tokens with randomness that belongs to the trajectory, not to the batch.

One uniform number per (seed, trajectory, position), from a counter-based generator (Philox), is turned into a token by
the inverse of the cumulative distribution in the order of the vocabulary. So a trajectory comes out the same whatever
else is in the batch, however its generation is cut into segments, and after any interruption.

The same up to rounding: logits computed in another batch shape differ in their last bits, and a uniform that lies next
to a boundary of the cumulative distribution may then fall on its other side. The *margin* of a token is that distance;
only a token whose margin is below `CLOSE_MARGIN` can come out differently. Sums are in float64, so that a vocabulary
of 150,000 adds no rounding of its own.

Axes: B rows of the batch, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

CLOSE_MARGIN = 1e-5
"""Tokens drawn with a smaller margin are counted: rounding of the logits could have drawn another."""

_BLOCK = 4
"""Philox gives four numbers per value of its counter."""


def uniforms(seed: int, trajectory: int, start: int, count: int) -> npt.NDArray[np.float64]:
    """Uniform numbers float64 [count] in [0, 1) for the positions from `start` of a trajectory's response."""
    mask = 2**64 - 1
    generator = np.random.Philox(
        counter=np.array([start // _BLOCK, 0, 0, 0], dtype=np.uint64),
        key=np.array([seed & mask, trajectory & mask], dtype=np.uint64),
    )
    skipped = start % _BLOCK
    raw = generator.random_raw(skipped + count)[skipped:]
    return (raw >> np.uint64(12)).astype(np.float64) * 2.0**-52  # 52 bits: times any total still below that total


@dataclass(frozen=True, slots=True)
class Rule:
    """How each row of a batch draws; made once, as long as the batch stays together."""

    divisors_B1: Tensor
    """What the logits are divided by, float32: the temperature, or 1 where it is 0."""
    greedy_B: Tensor | None
    """Rows that take their most likely token; None if there are none."""
    top_p_B1: Tensor | None
    """The share of probability that a row keeps, float64, for evaluation; None if all keep everything."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One token per row: `ids` int64 [B], `logps` float32 [B] at the divided logits, `margins` float64 [B]."""

    ids_B: Tensor
    logps_B: Tensor
    margins_B: Tensor


def rule(temperatures: npt.NDArray[np.float32], top_ps: npt.NDArray[np.float64], device: torch.device) -> Rule:
    """The rule of a batch from each row's temperature [B] and top_p [B]."""
    greedy = temperatures == 0
    divisors = torch.from_numpy(np.where(greedy, np.float32(1.0), temperatures))[:, None]
    return Rule(
        divisors_B1=divisors.to(device),
        greedy_B=torch.from_numpy(greedy).to(device) if greedy.any() else None,
        top_p_B1=torch.from_numpy(top_ps)[:, None].to(device) if (top_ps < 1).any() else None,
    )


def draw(logits_BV: Tensor, uniforms_B: Tensor, how: Rule) -> Draw:
    """One token per row of raw float32 logits [B, V], from uniforms float64 [B] in [0, 1).

    Log-probabilities are those of the divided logits, before top_p. A greedy row's margin is the distance in
    probability between its best two tokens.
    """
    logps_BV = torch.log_softmax(logits_BV / how.divisors_B1, dim=-1)
    weights_BV = logps_BV.exp()
    if how.top_p_B1 is not None:
        weights_BV = _nucleus(weights_BV, how.top_p_B1)
    ids_B1, margins_B = _invert(weights_BV, uniforms_B)
    if how.greedy_B is not None:
        best_B2 = weights_BV.topk(2, dim=-1).values.to(torch.float64)
        ids_B1 = torch.where(how.greedy_B[:, None], logits_BV.argmax(dim=-1, keepdim=True), ids_B1)
        margins_B = torch.where(how.greedy_B, best_B2[:, 0] - best_B2[:, 1], margins_B)
    return Draw(ids_B1[:, 0], logps_BV.gather(1, ids_B1)[:, 0], margins_B)


def _invert(weights_BV: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
    """The first token whose cumulative weight exceeds the uniform's share of the total [B, 1], and margins [B]."""
    cumulative_BV = weights_BV.cumsum(dim=-1, dtype=torch.float64)
    total_B1 = cumulative_BV[:, -1:]
    target_B1 = uniforms_B[:, None] * total_B1
    ids_B1 = torch.searchsorted(cumulative_BV, target_B1, right=True)
    to_upper_B1 = cumulative_BV.gather(1, ids_B1) - target_B1
    to_lower_B1 = weights_BV.gather(1, ids_B1) - to_upper_B1
    return ids_B1, (torch.minimum(to_upper_B1, to_lower_B1) / total_B1)[:, 0]


def _nucleus(weights_BV: Tensor, top_p_B1: Tensor) -> Tensor:
    """Zero all but the fewest most likely tokens whose weight reaches top_p; the most likely one always stays."""
    sorted_BV, order_BV = weights_BV.sort(dim=-1, descending=True, stable=True)
    above_BV = sorted_BV.cumsum(dim=-1, dtype=torch.float64) - sorted_BV
    kept_BV = torch.where(above_BV < top_p_B1, sorted_BV, 0.0)
    return torch.zeros_like(weights_BV).scatter_(1, order_BV, kept_BV)
