"""What a buffer is to the kit: a small core, and abilities that it may claim.

    core        append, read                      every buffer
    segments                                      a trajectory may come in several pieces, in order
    priorities  set_priority, sample, alpha       draws with replacement in proportion to priority ** alpha
    weights     sample gives importance weights   of exponent 1: their weighted mean is the uniform mean
    leases      lease, complete, expire, k        whole groups; trajectory t belongs to group t // k
    staleness   publish, max_age                  with leases: nothing older is handed out
    capacity    capacity_tokens, held_tokens      a bound; what is leased is never evicted
    durability  sync, crash                       what was synced survives, the rest as a prefix of whole appends

A refusal (False, None) is always allowed except on an empty buffer, and must change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from buffers.errors import UsageError

METHODS: dict[str, tuple[str, ...]] = {
    "segments": (),
    "priorities": ("set_priority", "sample", "alpha"),
    "weights": ("sample",),
    "leases": ("lease", "complete", "expire", "k"),
    "staleness": ("publish", "max_age", "lease"),
    "capacity": ("capacity_tokens", "held_tokens"),
    "durability": ("sync", "crash"),
}
"""What each ability asks for beyond the core."""

ABILITIES = tuple(METHODS)


class NotABuffer(UsageError):
    """The object lacks what it needs to be tested at all."""


class BufferUnderTest(Protocol):
    """All methods; a buffer has `append`, `read` and those of the abilities that it names."""

    abilities: Sequence[str]
    alpha: float
    k: int
    max_age: int
    capacity_tokens: int

    def append(self, trajectory: int, start: int, version: int, tokens: tuple[int, ...], last: bool) -> bool:
        """Store tokens [start, start + len) of a trajectory, generated at `version`; whether they were taken.

        Must refuse a gap, an overlap, a repeat, a version below the trajectory's last, and anything after `last`.
        """

    def read(self, trajectory: int) -> tuple[int, ...] | None:
        """All tokens of a trajectory that is held; None or () for others."""

    def set_priority(self, trajectory: int, priority: float) -> bool:
        """Give a complete trajectory another priority; refuses what is negative, not finite or not held."""

    def sample(self, count: int, seed: int) -> tuple[Sequence[int], Sequence[float]]:
        """`count` trajectories drawn with replacement, and their importance weights (all 1 without that ability)."""

    def lease(self) -> tuple[int, Sequence[int]] | None:
        """(number of a new lease, its trajectories), or None while there is nothing whole to hand out."""

    def complete(self, lease: int) -> bool:
        """The lease was trained on: its trajectories never come again. False for a lease that is not open."""

    def expire(self, lease: int) -> bool:
        """The holder is gone: its trajectories may be leased again, and it may no longer complete."""

    def publish(self, version: int) -> None:
        """The learner's version rises; called while no lease is open."""

    def held_tokens(self) -> int:
        """Tokens held now."""

    def sync(self) -> None:
        """Make everything so far durable."""

    def crash(self, keep: int) -> None:
        """Lose the memory, and the unsynced changes but about the first `keep`; go on from the disk."""


Factory = Callable[[], BufferUnderTest]


def checked_abilities(factory: Factory) -> tuple[str, ...]:
    """The abilities of a fresh buffer; raises `NotABuffer` naming what is missing."""
    if not callable(factory):
        raise NotABuffer(f"{factory!r} is no class or function that makes a buffer")
    try:
        buffer = factory()
    except Exception as error:
        raise NotABuffer(f"{factory!r} cannot be called without arguments: {error}") from error
    claimed = tuple(getattr(buffer, "abilities", ()))
    unknown = [name for name in claimed if name not in METHODS]
    if unknown:
        raise NotABuffer(f"abilities names {unknown[0]!r}; there are {', '.join(ABILITIES)}")
    needed = ["append", "read", *(name for ability in claimed for name in METHODS[ability])]
    missing = [name for name in needed if not hasattr(buffer, name)]
    if missing:
        raise NotABuffer(f"{type(buffer).__name__} is no buffer: it has no {', '.join(dict.fromkeys(missing))}")
    return claimed
