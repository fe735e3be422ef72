"""Spread of outcomes alone: groups in which some members succeed and some fail."""

from __future__ import annotations

from dataclasses import dataclass

from buffers.priorities import Signal, require_positive


@dataclass(frozen=True, slots=True)
class Rule:
    """floor + spread, which is four times the variance of the outcomes."""

    floor: float = 0.05
    """Keeps every group drawable."""

    def __post_init__(self) -> None:
        """Refuse a floor that is none."""
        require_positive("floor", self.floor)

    @property
    def proportional(self) -> bool:
        """Drawn in proportion."""
        return True

    def priority(self, signal: Signal) -> float:
        """See the class."""
        return self.floor + signal.spread
