"""Every group alike."""

from __future__ import annotations

from dataclasses import dataclass

from buffers.priorities import Signal


@dataclass(frozen=True, slots=True)
class Rule:
    """Priority 1."""

    @property
    def proportional(self) -> bool:
        """Drawn in proportion."""
        return True

    def priority(self, signal: Signal) -> float:
        """See the class."""
        del signal
        return 1.0
