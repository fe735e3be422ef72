"""What a Buffer answers: one typed struct for each command. They travel on the wire as they are (tagged arrays).

Every accepted command has an answer of its own kind; every refused one gets `Refused` with a reason that names the
rule. A refusal changes nothing but a counter.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal[
    "queued",
    "running",
    "cut",
    "ended",
    "scored",
    "eligible",
    "leased",
    "applied",
    "consumed",
    "evicted",
    "failed",
]


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The command changed nothing. `reason` is one of the names below, or `invalid: ...` with the rule.

    admission, capacity, prompts, signal, epoch, stale attempt, stale lease, stale incarnation, closed, gap, unknown,
    version from the future, not yet, drain
    """

    reason: str
    detail: str = ""


class MemberView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trajectory as the controller sees it: ids, lengths, versions, states; never tokens."""

    trajectory: int
    group: int
    index: int
    prompt: int
    prompt_tokens: int
    attempt: int
    """The current one; whoever holds it may continue (or, when `state` is ended, score) the trajectory."""
    length: int
    """Response tokens stored."""
    last_version: int
    """Version of the last stored token; -1 without tokens."""
    state: State


class Ledger(msgspec.Struct, frozen=True, array_like=True):
    """Trajectories ever opened, by what became of them; opened = trained + evicted + failed + in_flight."""

    opened: int
    trained: int
    evicted: int
    failed: int
    in_flight: int
    live: int
    """Opened and not yet applied, consumed, evicted or failed: what admission counts."""
    eligible: int
    leased: int
    applied: int
    by_state: dict[str, int] = {}
    """Trajectories by state; the closed ones since the beginning."""
    reasons: dict[str, int] = {}
    """Trajectories closed, by "state: reason"."""
    lengths: dict[str, tuple[int, int]] = {}
    """(trajectories, response tokens) of those that ended, and that were trained, evicted and failed."""
    held_tokens: int = 0
    """Tokens stored or reserved, prompts included."""
    slots: int = 0
    """Groups leased since the beginning."""
    law_slots: int = 0
    """Those of them that the priority law chose; the others went by deadline."""
    refused: dict[str, int] = {}
    """Commands refused by this process, by reason."""
    duplicates: int = 0
    """Retries that this process recognized and answered as before."""
    held_bytes: int = 0
    """Bytes stored or reserved, prompts and attachments included."""
    reason_tokens: dict[str, int] = {}
    """Response tokens closed, by "state: reason": what evictions cost."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="opened"):
    """Groups were opened (or had been, by the same (epoch, ordinal)): their members, attempt 1 issued."""

    ordinal: int
    members: tuple[MemberView, ...]


class Appended(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="appended"):
    """A segment is stored. The next attempt is issued with it, for continuing or (ended) for scoring."""

    trajectory: int
    next_attempt: int
    length: int
    last_version: int
    state: State
    """cut (to be continued, also after a failure that is retried), ended, or failed (the group failed with it)."""
    closed: tuple[int, ...] = ()
    """Trajectories of the failed group."""


class Reassigned(msgspec.Struct, frozen=True, array_like=True, tag="reassigned"):
    """The current view: with a new attempt if the given one was current; holders of older ones are fenced off."""

    member: MemberView


class ScoreStored(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="score_stored"):
    """The components of a trajectory are stored."""

    trajectory: int
    group: int


class AttemptFailed(msgspec.Struct, frozen=True, array_like=True, tag="attempt_failed"):
    """A failed attempt was counted: either a new one is issued, or the whole group failed."""

    trajectory: int
    next_attempt: int
    """0 when the group failed."""
    closed: tuple[int, ...]
    """Trajectories of the failed group."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="snapshot_taken"):
    """Everything a new controller needs; taking it raised the epoch."""

    epoch: int
    highest: int
    members: tuple[MemberView, ...]
    """Members in the states queued, running, cut and ended."""
    ledger: Ledger


class LeasedMember(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A handle: what a rank needs to fetch one trajectory."""

    trajectory: int
    length: int
    components: dict[str, float]
    oldest_version: int = -1
    """Version of its first, hence oldest token that trains; -1 if none does."""
    last_version: int = -1
    attached_bytes: int = 0


class LeasedGroup(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One group of a lease."""

    group: int
    prompt: int
    use: int
    """1 for the first use."""
    weight: float
    """Importance weight, over a lease 1 in the mean; 1 unless groups are drawn with replacement."""
    age: int
    """Version that the update starts from, minus the one that was current when the last member ended."""
    members: tuple[LeasedMember, ...]
    prompt_tokens: int = 0


class Leased(msgspec.Struct, frozen=True, array_like=True, tag="leased"):
    """One lease = one optimizer update."""

    lease: int
    """Rises with every lease ever given: it is its own fence."""
    update: int
    version: int
    """Version that the update starts from."""
    groups: tuple[LeasedGroup, ...]


class Completed(msgspec.Struct, frozen=True, array_like=True, tag="completed"):
    """A lease is closed; `highest` is the highest version recorded."""

    lease: int
    highest: int


class Expired(msgspec.Struct, frozen=True, array_like=True, tag="expired"):
    """A lease was taken back; its groups are eligible again."""

    lease: int
    groups: tuple[int, ...]


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag="welcome"):
    """A learner's new incarnation is known; leases and applied groups of older ones are settled."""

    incarnation: int
    highest: int
    """The highest version, recorded by this: the weights are exposed under this number.

    It is the number that they bear if that was the highest (or above it: its completion had been lost), else one that
    was never used before."""
    settled: tuple[tuple[int, int], ...]
    """(group, use) pairs that replay closed because the learner had applied them."""
    returned: tuple[int, ...] = ()
    """Groups of open leases that are eligible again."""
    rolled_back: tuple[int, ...] = ()
    """Groups with a use that the weights do not hold: eligible again, or closed beyond their age."""
