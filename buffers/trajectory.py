"""The life of a trajectory, and the only place that changes its state.

    (opened)
        |           issued               resume, has tokens
        v      ------------->          --------------------->
      queued                  running                          cut
               <-------------     |    <---------------------
             resume, no token     |            issued
                                  | a segment ends it: stop, length, repetition
                                  v
                                ended
                                  | components stored
                                  v                     no signal
                                scored ------------------------------------> evicted
                                  |                                             ^
                                  | all k are scored                            |
                                  v                  first use beyond its age   |
        +------------------> eligible ------------------------------------------+
        |  returned, or           |  |                                          |
        |  further uses left      |  |  later use beyond its age                |
        |                         |  +----------------------------> consumed    |
        |                         | lease                            ^    ^     |
        |                         v       last use, checkpointed     |    |     |
        +--------------------- leased -------------------------------+    |     |
        |                         | last use                              |     |
        |  rolled back            v                    a checkpoint       |     |
        +--------------------- applied -----------------------------------+     |
                                  |           rolled back, beyond its age       |
                                  +---------------------------------------------+

    queued, running, cut, ended, scored --> failed     a member of the group failed max_attempts times
    eligible --> applied                               later use beyond its age, before a checkpoint holds the earlier
    eligible --> applied, consumed                     a learner's hello: its weights hold a use whose lease expired
    applied --> consumed                               also when rolled back beyond its age with an earlier use durable

Reading of the first states. A dispatch does not tell replay, so an attempt that replay has handed out (in its answer
to open, append, fail, reassign or snapshot) may be at work anywhere: its trajectory is `running`, also between a
segment that was cut and the next dispatch. `queued` (no token) and `cut` mean that a run was resumed: nobody holds it,
its attempt has not been handed out; a snapshot shows it so and thereby hands it out. A failure of infrastructure
changes the attempt, not the state, until `max_attempts` of them fail the group.

Invariants: exactly one state at a time; `counts` always says how many are in each; a closed trajectory is never seen
again. Left out: what a change means for groups and leases (`group.py`, `leasing.py`).
"""

from __future__ import annotations

from buffers.answers import State
from buffers.config import BufferConfig
from buffers.errors import ContractError
from buffers.rows import TrajectoryRow
from buffers.segment import MODEL, Segment, attached_bytes

OPEN: tuple[State, ...] = ("queued", "running", "cut")
"""May still get tokens."""

LIVE: tuple[State, ...] = ("queued", "running", "cut", "ended", "scored", "eligible", "leased")
"""Count against admission."""

CLOSED: tuple[State, ...] = ("consumed", "evicted", "failed")
"""Final."""

STATES: tuple[State, ...] = (*LIVE, "applied", *CLOSED)

NEXT: dict[State, tuple[State, ...]] = {
    "queued": ("running", "failed"),
    "running": ("ended", "cut", "queued", "failed"),
    "cut": ("running", "failed"),
    "ended": ("scored", "failed"),
    "scored": ("eligible", "evicted", "failed"),
    "eligible": ("leased", "evicted", "applied", "consumed"),
    "leased": ("eligible", "applied", "consumed"),
    "applied": ("consumed", "eligible", "evicted"),
    "consumed": (),
    "evicted": (),
    "failed": (),
}
"""The drawing above as a table."""


def move(row: TrajectoryRow, to: State, counts: dict[State, int]) -> None:
    """Change a state and the count of both; raises `ContractError` on a change that the drawing does not show."""
    state = row.state
    if to not in NEXT[state]:
        raise ContractError(f"trajectory {row.trajectory} cannot go from {state} to {to}; see buffers/trajectory.py")
    counts[state] -= 1
    counts[to] += 1
    row.state = to


def admit_segment(row: TrajectoryRow, segment: Segment, highest: int, config: BufferConfig) -> str:
    """Say why a well-formed segment cannot follow what is stored; "" if it can."""
    if segment.start != row.length:
        return "gap"
    if segment.versions:
        if segment.versions[0][0] < row.last_version:
            return f"invalid: version {segment.versions[0][0]} follows {row.last_version}"
        if segment.versions[-1][0] > highest:
            return "version from the future"
    if segment.stop > config.max_response_tokens:
        return "over capacity"
    if segment.attachments and row.attached_bytes + attached_bytes(segment) > config.max_attached_bytes:
        return "over capacity"
    return ""


def extend(row: TrajectoryRow, segment: Segment) -> None:
    """Take over a segment's length and versions, and raise the attempt; the state stays."""
    row.applied_attempt = row.attempt
    row.applied_start = segment.start
    row.attempt += 1
    row.attached_bytes += attached_bytes(segment)
    if segment.versions:
        row.length = segment.stop
        row.last_version = segment.versions[-1][0]
        for version, count in segment.versions:
            row.version_sum += version * count
        if row.oldest_version < 0:
            row.oldest_version = first_trained_version(segment)


def first_trained_version(segment: Segment) -> int:
    """Version of the first token that trains; -1 if there is none."""
    position = 0
    for produced, count in segment.produced:
        if produced == MODEL:
            break
        position += count
    else:
        return -1
    for version, count in segment.versions:
        if position < count:
            return version
        position -= count
    return -1
