"""Weight updates: a base, bytes over an effective bandwidth, and what is recomputed.

Effective bandwidths in published systems are 2 to 145 GB/s, far below the links'.
"""

from __future__ import annotations

import msgspec

from sim.costs.cost import Install


class WeightsCost(msgspec.Struct, frozen=True):
    """How generators get new weights."""

    base_s: float = 0.5
    """Standing still before the first byte."""
    bytes_per_s: float = 20e9
    """Effective."""
    overlapped: float = 0.0
    """Share of the transfer that goes on beside generation."""
    recompute: bool = True
    """Keys and values of the old weights are computed again."""

    def install(self, size: float) -> Install:
        """What an engine's install of `size` bytes takes."""
        transfer = size / self.bytes_per_s
        fetch = self.overlapped * transfer
        return Install(round(1e9 * fetch), round(1e9 * (self.base_s + transfer - fetch)), self.recompute)
