"""The reference model: what a buffer was told and answered, and what it may therefore say next. A few dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field


class Violation(AssertionError):
    """A buffer broke an invariant, named by `law`."""

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law


def demand(holds: bool, law: str, what: str) -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation(law, what)


@dataclass
class Known:
    """A trajectory as the outside world knows it."""

    tokens: tuple[int, ...] = ()
    version: int = -1
    ended: bool = False
    durable: int = 0
    """How many entries of `past` were synced."""
    past: list[tuple[tuple[int, ...], int, bool]] = field(default_factory=lambda: [((), -1, False)])
    """(tokens, version, ended) after each accepted append."""


@dataclass
class Model:
    """All of it."""

    known: dict[int, Known] = field(default_factory=dict)
    leases: dict[int, tuple[int, ...]] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    """Leases that are over."""
    leases_durably: set[int] = field(default_factory=set)
    """Numbers of leases given before the last sync."""
    trained: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    """Evicted, as far as was seen; not watched any more."""
    trained_durably: set[int] = field(default_factory=set)
    ended_at: dict[int, int] = field(default_factory=dict)
    """Trajectory -> learner's version when it ended."""
    version: int = 0

    @property
    def leased(self) -> set[int]:
        """Trajectories in open leases."""
        return {one for members in self.leases.values() for one in members}
