"""The youngest first; among equals the one that became eligible last."""

from __future__ import annotations

from dataclasses import dataclass

from buffers.priorities import Signal


@dataclass(frozen=True, slots=True)
class Rule:
    """The group whose last member ended at the newest version is taken."""

    @property
    def proportional(self) -> bool:
        """The greatest is taken."""
        return False

    def priority(self, signal: Signal) -> float:
        """See the class."""
        return float(signal.position) - 1e9 * signal.age
