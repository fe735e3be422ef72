"""The Engine port: what a generator holds to continue trajectories by at most one segment at a time.

Commands return at once; what happens is reported by `emit(event)`, given at construction, and lands in the holder's
mailbox. An engine goes on through weight updates: `install` changes the weights between two tokens of everything that
runs, and each token's version is recorded. A real engine lives in its own thread or process and may use any library
there; the simulator's double emits the same events at virtual times.

    submit(job) ----> ... ----> SegmentDone(trajectory, attempt, segment)       exactly one per accepted job,
    abort(trajectory) --------> SegmentDone(..., end="cut") with what there is     or JobFailed, unless the engine dies
    install(version, source) -> Installed(version), or InstallFailed
    close()

Each job ends in exactly one `SegmentDone` or `JobFailed`. An aborted job with no new token emits a `SegmentDone` whose
segment is empty (end "cut"), which holders do not store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from buffers.segment import Payload, Segment
from policies.card import Held


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """How tokens are drawn. Training refuses `top_p` < 1."""

    temperature: float = 1.0
    """Divides the logits; 0 is greedy. Recorded log-probabilities are those of the divided logits."""
    top_p: float = 1.0
    seed: int = 0
    """Token randomness is a function of (seed, trajectory, position) alone."""
    stop_ids: tuple[int, ...] = ()
    """The stop token is the last of the response."""


class Job(msgspec.Struct, frozen=True, gc=False):
    """One segment to generate: continue `prefix` of `trajectory` by at most `max_tokens`."""

    trajectory: int
    attempt: int
    """A fence for the holder; the engine only hands it back."""
    prompt: Payload
    """Prompt ids (log-probabilities zero)."""
    prefix: Payload | None
    """Response tokens generated so far; None when the holder knows that the engine has them cached."""
    start: int
    """Length of the response so far = position of the next token."""
    max_tokens: int
    """Segment budget: the segment ends as `cut` after this many tokens."""
    max_response_tokens: int
    """The response ends as `length` when it holds this many tokens in all."""
    sampling: Sampling


class SegmentDone(msgspec.Struct, frozen=True, gc=False):
    """A job's segment is finished (any end reason)."""

    trajectory: int
    attempt: int
    segment: Segment


class JobFailed(msgspec.Struct, frozen=True):
    """A job cannot be done, e.g. `prefix` None but no longer cached (`reason` "not cached": submit again with it)."""

    trajectory: int
    attempt: int
    reason: str


class Installed(msgspec.Struct, frozen=True):
    """The engine samples every following token from this version."""

    version: int
    stall_s: float
    """How long generation stood still for it."""
    recomputed: bool = False
    """Whether keys and values of older weights are computed again; else what runs goes on over them. With the
    versions of a segment's tokens this is the policy of each of its spans."""


class InstallFailed(msgspec.Struct, frozen=True):
    """The weights could not be read; the engine goes on with those that it has."""

    version: int
    reason: str


class EngineFailed(msgspec.Struct, frozen=True):
    """The engine is unusable; its holder fails and is restarted."""

    reason: str


class EngineReport(msgspec.Struct, frozen=True):
    """What the engine did since the last report, about once a second (for calibration and idle shares)."""

    seconds: float
    """Length of the interval."""
    busy_s: float
    """Seconds of it spent in useful steps."""
    steps: int
    decoded_tokens: int
    prefill_tokens: int
    mean_batch: float
    context_tokens: int
    """Sum of context lengths over the batch, mean over steps."""
    cached_tokens: int
    """Prefix tokens that did not have to be computed again."""


EngineEvent = SegmentDone | JobFailed | Installed | InstallFailed | EngineFailed | EngineReport | Held
"""`Held`: a turn on a card that is shared is over."""


class Engine(Protocol):
    """What every engine offers. All commands return at once."""

    slots: int
    """How many jobs can usefully run at once."""

    def submit(self, job: Job) -> None:
        """Take a job; more than `slots` wait in the engine's queue."""

    def abort(self, trajectory: int) -> None:
        """End this trajectory's job early; unknown trajectories are ignored."""

    def install(self, version: int, source: str) -> None:
        """Go over to `version`, found at `source` (a weights address, see `policies/weights.py`)."""

    def forget(self, trajectory: int) -> None:
        """Free what is cached of a trajectory that will not come back; a hint."""

    def close(self) -> None:
        """Stop; nothing is emitted afterwards. May be called twice."""


Emit = Callable[[EngineEvent], None]
