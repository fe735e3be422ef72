"""Is a run the same each time? Run it twice and name the first event or decision that differs.

A `Trace` is told of every event before it runs and of every decision; it keeps all of them, or a ring of the last ones
(what led to a failure). Two traces of one build must be equal; a digest tells that they are not, a trace tells where.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from actors.kernel.operations import NS
from sim.world import VirtualWorld


class Step(msgspec.Struct, frozen=True):
    """One event, or one decision made during it."""

    at_ns: int
    sequence: int
    """0: a decision."""
    name: str
    kind: str

    def __str__(self) -> str:
        """One line for a report."""
        return f"{self.at_ns / NS:.9f} s #{self.sequence} {self.name} {self.kind}"


class Divergence(msgspec.Struct, frozen=True):
    """Where two runs part; None: that run had already ended."""

    index: int
    first: Step | None
    second: Step | None

    def __str__(self) -> str:
        """Both sides, for a person."""
        return (
            f"step {self.index} differs:\n  {self.first or 'the run had ended'}\n  {self.second or 'the run had ended'}"
        )


class Trace:
    """What happened in a world since this was attached to it; with a limit, the last so many steps."""

    def __init__(self, world: VirtualWorld, limit: int | None = None) -> None:
        self.steps: deque[Step] = deque(maxlen=limit)
        world.kernel.observer = self._observe

    def _observe(self, at_ns: int, sequence: int, name: str, kind: str) -> None:
        self.steps.append(Step(at_ns, sequence, name, kind))


def first_divergence(build: Callable[[], VirtualWorld], drive: Callable[[VirtualWorld], object]) -> Divergence | None:
    """Build and drive a world twice; None if both runs are the same, step for step."""
    one, other = _traced(build, drive), _traced(build, drive)
    for index in range(max(len(one), len(other))):
        first = one[index] if index < len(one) else None
        second = other[index] if index < len(other) else None
        if first != second:
            return Divergence(index, first, second)
    return None


def _traced(build: Callable[[], VirtualWorld], drive: Callable[[VirtualWorld], object]) -> list[Step]:
    world = build()
    trace = Trace(world)
    drive(world)
    return list(trace.steps)
