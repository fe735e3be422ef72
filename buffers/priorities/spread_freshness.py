"""Spread of outcomes times freshness: groups that teach something, while they are fresh."""

from __future__ import annotations

import math
from dataclasses import dataclass

from buffers.priorities import Signal, require_positive


@dataclass(frozen=True, slots=True)
class Rule:
    """floor + worth * 0.5 ** (age / half_life); worth is the spread, or the learner's feedback after a use."""

    floor: float = 0.05
    """Keeps every group drawable."""
    half_life: float = 2.0
    """Versions of age that halve a group's worth."""

    def __post_init__(self) -> None:
        """Refuse a half-life or a floor that is none."""
        require_positive("half_life", self.half_life)
        require_positive("floor", self.floor)

    @property
    def proportional(self) -> bool:
        """Drawn in proportion."""
        return True

    def priority(self, signal: Signal) -> float:
        """See the class."""
        worth = signal.spread if signal.feedback < 0.0 else signal.feedback
        return self.floor + worth * math.pow(0.5, signal.age / self.half_life)
