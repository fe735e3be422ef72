"""The learner's word alone; it needs `reuse` above 1 to matter, since a group is judged by its last use."""

from __future__ import annotations

from dataclasses import dataclass

from buffers.priorities import Signal, require_positive


@dataclass(frozen=True, slots=True)
class Rule:
    """floor + the learner's feedback, or `unused` before the first use."""

    unused: float = 1.0
    """What a group is worth that the learner has not seen."""
    floor: float = 0.05
    """Keeps every group drawable."""

    def __post_init__(self) -> None:
        """Refuse a floor or a first worth that is none."""
        require_positive("unused", self.unused)
        require_positive("floor", self.floor)

    @property
    def proportional(self) -> bool:
        """Drawn in proportion."""
        return True

    def priority(self, signal: Signal) -> float:
        """See the class."""
        return self.floor + (self.unused if signal.feedback < 0.0 else signal.feedback)
