"""What is asked of a group: its deadline, its age, the signal in its outcomes."""

from __future__ import annotations

from collections.abc import Sequence

from buffers.priorities import Signal
from buffers.rows import GroupRow


def spread_of(outcomes: Sequence[float]) -> float:
    """Four times the variance of 0/1 outcomes [k]: 0 if all are equal, 1 if half are solved."""
    share = sum(outcomes) / len(outcomes)
    return 4.0 * share * (1.0 - share)


def age_of(group: GroupRow, version: int) -> int:
    """Versions since its last member ended."""
    return version - group.ended_version


def deadline_of(group: GroupRow, eta: int) -> int:
    """Last version from which its next use may start: use u by age eta + u - 1."""
    return group.ended_version + eta + group.uses


def signal_of(group: GroupRow, version: int) -> Signal:
    """What a priority rule may see of it."""
    return Signal(group.spread, version - group.ended_version, group.position, group.feedback)
