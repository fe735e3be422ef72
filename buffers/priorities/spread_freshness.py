"""Spread of outcomes times freshness: groups that teach something, while they are fresh."""

from __future__ import annotations

from dataclasses import dataclass

from buffers.priorities import Signal


@dataclass(frozen=True, slots=True)
class Rule:
    """floor + signal * decay ** age, where signal is the spread, or the learner's feedback after a use."""

    floor: float = 0.05
    """Keeps every group drawable."""
    decay: float = 0.7
    """What a version of age costs."""

    @property
    def proportional(self) -> bool:
        """Drawn in proportion."""
        return True

    def priority(self, signal: Signal) -> float:
        """See the class."""
        worth = signal.spread if signal.feedback < 0.0 else signal.feedback
        return self.floor + worth * self.decay**signal.age
