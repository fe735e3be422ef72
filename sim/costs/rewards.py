"""Scoring: a lognormal time on a core, drawn by trajectory."""

from __future__ import annotations

from math import exp
from statistics import NormalDist

import msgspec

from sim.costs.lengths import uniform


class Scoring(msgspec.Struct, frozen=True):
    """One rewarder's scorer."""

    median_s: float = 0.05
    """Median time of a scoring on a core of its own."""
    sigma: float = 0.0
    """Of the logarithm."""
    cores: int = 16
    """Cores that one rewarder's scorings share."""
    seed: int = 0
    """Of the times."""

    def work(self, trajectory: int, tokens: int) -> int:
        """Time on a core of its own (ns)."""
        z = NormalDist().inv_cdf(uniform(self.seed, trajectory, 21)) if self.sigma else 0.0
        return round(1e9 * self.median_s * exp(self.sigma * z))
