"""The Reward port: what a rewarder holds to score ended trajectories.

    score(job) -> Scored(trajectory, attempt, components)        exactly one of the two per job
               -> ScoringFailed(trajectory, attempt, reason)     the infrastructure failed, not the answer
    close()

An answer that kills or hangs its scorer is `Scored` with outcome 0, not `ScoringFailed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from buffers.segment import EndReason, Payload


class ScoreJob(msgspec.Struct, frozen=True, gc=False):
    """One ended trajectory to score."""

    trajectory: int
    attempt: int
    prompt: Payload
    response: Payload
    answer: str
    """The prompt's reference answer, in the form that its task chose."""
    end: EndReason


class Scored(msgspec.Struct, frozen=True, gc=False):
    """Components by name: `outcome` is 0 or 1; others (format, repetition ...) are what their reward says."""

    trajectory: int
    attempt: int
    components: dict[str, float]
    seconds: float


class ScoringFailed(msgspec.Struct, frozen=True):
    """The scorer could not be run; the trajectory may be scored again under a new attempt."""

    trajectory: int
    attempt: int
    reason: str


RewardEvent = Scored | ScoringFailed


class Reward(Protocol):
    """What every scorer offers. All commands return at once."""

    def score(self, job: ScoreJob) -> None:
        """Take a job."""

    def close(self) -> None:
        """Stop; nothing is emitted afterwards. May be called twice."""


Emit = Callable[[RewardEvent], None]
