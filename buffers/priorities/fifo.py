"""First eligible, first trained."""

from __future__ import annotations

from dataclasses import dataclass

from buffers.priorities import Signal


@dataclass(frozen=True, slots=True)
class Rule:
    """The group that has been eligible for longest is taken."""

    @property
    def proportional(self) -> bool:
        """The greatest is taken."""
        return False

    def priority(self, signal: Signal) -> float:
        """See the class."""
        return -float(signal.position)
