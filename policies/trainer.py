"""The Trainer port: what a learner holds to turn leased groups into new weights.

Commands return at once and are carried out one after the other; each is reported by one event to `emit`.

    start()             -> TrainerReady(version, steps, applied, source) restored from the newest durable checkpoint
    step(job)           -> StepDone(lease, ...)                         one optimizer update
    checkpoint(version) -> Checkpointed(version, source)                weights, optimizer and `applied` are durable
    expose(version)     -> Exposed(version, source)                     generators may pull the current weights
    close()

`applied` is the trainer's own record of (group, use) pairs in the weights that it holds; it is stored with them, so
that after a crash a learner can tell replay what its weights contain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from buffers.segment import Payload, Segment
from policies.card import Held


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One scored trajectory of a group, whole."""

    trajectory: int
    segments: tuple[Segment, ...]
    components: dict[str, float]
    """Reward components: `outcome` (0 or 1) and whatever else the rewards gave."""


class TrainGroup(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All k scored trajectories of one prompt."""

    group: int
    use: int
    """1 for the first use, up to `reuse`."""
    prompt: Payload
    weight: float
    """Importance weight of the group (1 unless drawn with replacement)."""
    members: tuple[Member, ...]


class UpdateJob(msgspec.Struct, frozen=True):
    """One optimizer update: everything of one lease."""

    lease: int
    version: int
    """Version that the update starts from; lags are counted from it."""
    groups: tuple[TrainGroup, ...]


class TrainerReady(msgspec.Struct, frozen=True):
    """The trainer holds the weights of its newest durable checkpoint (or the initial ones, version 0)."""

    version: int
    steps: int
    """Optimizer updates in these weights."""
    applied: tuple[tuple[int, int], ...]
    """(group, use) pairs in these weights whose closing replay may not know of yet."""
    source: str = ""
    """Where these weights are durable; empty if nowhere."""


class StepDone(msgspec.Struct, frozen=True):
    """One update is in the weights."""

    lease: int
    metrics: dict[str, float]
    feedback: tuple[tuple[int, float], ...]
    """(group, feedback) pairs for the priorities, feedback >= 0."""
    trained_tokens: int
    busy_s: float


class Checkpointed(msgspec.Struct, frozen=True):
    """The weights called `version` are durable at `source`."""

    version: int
    source: str


class Exposed(msgspec.Struct, frozen=True):
    """The weights called `version` can be pulled from `source`."""

    version: int
    source: str


class TrainerFailed(msgspec.Struct, frozen=True):
    """The trainer is unusable; its holder fails and is restarted."""

    reason: str


TrainerEvent = TrainerReady | StepDone | Checkpointed | Exposed | TrainerFailed | Held
"""`Held`: a turn on a card that is shared is over."""


class Trainer(Protocol):
    """What every trainer offers. All commands return at once."""

    def start(self) -> None:
        """Restore the newest durable checkpoint."""

    def step(self, job: UpdateJob) -> None:
        """Apply one update."""

    def checkpoint(self, version: int) -> None:
        """Make the current weights durable under this number."""

    def expose(self, version: int) -> None:
        """Let generators pull the current weights under this number."""

    def close(self) -> None:
        """Stop; nothing is emitted afterwards. A running step is abandoned. May be called twice."""


Emit = Callable[[TrainerEvent], None]
