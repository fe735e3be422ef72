"""The length reward of Kimi k1.5 (arXiv 2501.12599, section 2.3.3): among k responses, short right ones are preferred.

    lambda_j = 0.5 - (len_j - min) / (max - min)         over all k, right and wrong
    reward_j = lambda_j if right, min(0, lambda_j) if not;   all zero when every length is equal

It slows early training, so its weight is 0 up to a version and constant from there on (the paper's two phases).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Config:
    """When it counts, and how much."""

    weight: float = 0.0
    """Of the length reward beside the components; 0 switches it off."""
    from_version: int = 0
    """First version whose updates see it."""


def weight_at(config: Config, version: int) -> float:
    """The weight in an update that starts from `version`."""
    return config.weight if version >= config.from_version else 0.0


def length_reward(lengths: npt.NDArray[np.int64], right: npt.NDArray[np.bool_]) -> Floats:
    """One number in [-0.5, 0.5] per response [k] from lengths int [k] in tokens and right answers bool [k]."""
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest == longest:
        return np.zeros(len(lengths), np.float32)
    lam = 0.5 - (lengths - shortest) / (longest - shortest)
    return np.where(right, lam, np.minimum(0.0, lam)).astype(np.float32)
