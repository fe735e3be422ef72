"""The message set of the whole system, typed; what travels between actors is one of `KINDS`.

    controller  --TakeSnapshot, OpenGroups, Reassign-->            replay     Snapshot, Opened, Reassigned | Refused
    controller  --Dispatch, DropJobs-->                            generator  (heartbeat: GeneratorState)
    controller  --Score, DropJobs-->                               rewarder   (heartbeat: RewarderState)
    generator   --FetchPrompt, FetchResponse, Append, FailAttempt--> replay   PromptRecord, Chunk, Appended | Refused
    generator   --Released, Settled, Declined-->                   controller
    rewarder    --FetchPrompt, FetchResponse, PutScore, FailAttempt--> replay
    rewarder    --Settled, Declined-->                             controller
    learner     --Hello, TakeLease, KeepLease, FetchPrompt, FetchShare, Complete--> replay
                                                                   Welcome, Leased, PromptRecord, Share, Completed
    learner     --LearnerState (heartbeat: what may be pulled)-->  generators, controller, evaluator, supervisor
    replay      --ReplayState (heartbeat: highest version)-->      controller
    evaluator   --Evaluated-->                                     supervisor
    everybody   --Alive-->                                         supervisor;  --Notes--> recorder

Fences: `attempt` (a trajectory's holder), `lease` (rises with every lease), `epoch` (controllers), `incarnation`
(learners; the envelope's covers every actor). What is bulk moves only as an ask or its reply; everything else is small,
idempotent and repeated as state. Prompts are numbered by their position in the prompt set, groups and trajectories by
opening order.
"""

from __future__ import annotations

import msgspec

from buffers.answers import (
    Appended,
    AttemptFailed,
    Completed,
    Leased,
    Opened,
    Reassigned,
    Refused,
    ScoreStored,
    Snapshot,
    State,
    Welcome,
)
from buffers.segment import EndReason, Payload, Runs, Segment, charged_bytes, segment_bytes


class _Kind(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A message kind: frozen, an array on the wire; never part of a cycle, so the collector need not look at it."""


# ---- controller and replay ------------------------------------------------------------------------------------------


class TakeSnapshot(_Kind, frozen=True, array_like=True, tag="take_snapshot"):
    """A controller starts: give it everything and raise the epoch."""

    incarnation: int


class OpenGroups(_Kind, frozen=True, array_like=True, tag="open_groups"):
    """Open up to `count` groups; the same (epoch, ordinal) gives the same groups."""

    epoch: int
    ordinal: int
    count: int


class Reassign(_Kind, frozen=True, array_like=True, tag="reassign"):
    """Issue a new attempt if `attempt` is still the current one; the answer is how things stand either way."""

    epoch: int
    trajectory: int
    attempt: int


class ReplayState(_Kind, frozen=True, array_like=True, tag="replay_state"):
    """Replay's heartbeat."""

    highest: int
    """The highest durable version."""


# ---- controller and workers -----------------------------------------------------------------------------------------


class Assignment(_Kind, frozen=True, array_like=True):
    """One segment to continue."""

    trajectory: int
    attempt: int
    prompt: int
    length: int
    """Response tokens stored."""
    min_version: int
    """max(version of the last token, highest published - eta)."""
    max_tokens: int
    """Segment budget."""


class Dispatch(_Kind, frozen=True, array_like=True, tag="dispatch"):
    """Continue these trajectories."""

    epoch: int
    assignments: tuple[Assignment, ...]


class DropJobs(_Kind, frozen=True, array_like=True, tag="drop_jobs"):
    """Abort these trajectories; their group is closed."""

    epoch: int
    trajectories: tuple[int, ...]


class Released(_Kind, frozen=True, array_like=True, tag="released"):
    """A generator no longer holds this trajectory; what replay answered to its last segment."""

    trajectory: int
    next_attempt: int
    length: int
    last_version: int
    state: State


class Declined(_Kind, frozen=True, array_like=True, tag="declined"):
    """A worker does not take (or gives up) this attempt; nothing of it was stored."""

    trajectory: int
    attempt: int
    reason: str


class GeneratorState(_Kind, frozen=True, array_like=True, tag="generator_state"):
    """A generator's heartbeat."""

    epoch: int
    """Of the controller that it listens to."""
    version: int
    """Installed; -1 before the first."""
    slots: int
    held: tuple[tuple[int, int], ...]
    """(trajectory, attempt) pairs."""


class Score(_Kind, frozen=True, array_like=True, tag="score"):
    """Score an ended trajectory."""

    epoch: int
    trajectory: int
    attempt: int
    prompt: int
    length: int


class RewarderState(_Kind, frozen=True, array_like=True, tag="rewarder_state"):
    """A rewarder's heartbeat."""

    epoch: int
    held: tuple[tuple[int, int], ...]


class Settled(_Kind, frozen=True, array_like=True, tag="settled"):
    """A worker is done with this attempt: a rewarder scored it, or either failed with what replay answered."""

    trajectory: int
    attempt: int
    next_attempt: int
    """> 0: to be tried again under this attempt; 0: nothing more to do."""
    group_closed: bool
    """Its whole group failed with it."""


# ---- workers and replay ---------------------------------------------------------------------------------------------


class FetchPrompt(_Kind, frozen=True, array_like=True, tag="fetch_prompt"):
    """Ask for a prompt's tokens and answer."""

    prompt: int


class PromptRecord(_Kind, frozen=True, array_like=True, tag="prompt_record"):
    """A prompt of the set."""

    prompt: int
    payload: Payload
    answer: str

    def bulk_bytes(self) -> int:
        """Charged bytes."""
        return charged_bytes(self.payload)


class FetchResponse(_Kind, frozen=True, array_like=True, tag="fetch_response"):
    """Ask for the stored response tokens [start, start + max_tokens) of a trajectory."""

    trajectory: int
    start: int
    max_tokens: int


class Chunk(_Kind, frozen=True, array_like=True, tag="chunk"):
    """Stored response tokens from `start`; `length` is that of the whole stored response."""

    trajectory: int
    start: int
    length: int
    end: EndReason
    payloads: tuple[Payload, ...]

    def bulk_bytes(self) -> int:
        """Charged bytes."""
        return sum(charged_bytes(payload) for payload in self.payloads)


class Append(_Kind, frozen=True, array_like=True, tag="append"):
    """Store a segment; sent again with the same (trajectory, attempt, start) until it is answered."""

    trajectory: int
    attempt: int
    segment: Segment

    def bulk_bytes(self) -> int:
        """Charged bytes."""
        return segment_bytes(self.segment)


class PutScore(_Kind, frozen=True, array_like=True, tag="put_score"):
    """Store the reward components of an ended trajectory."""

    trajectory: int
    attempt: int
    components: dict[str, float]


class FailAttempt(_Kind, frozen=True, array_like=True, tag="fail_attempt"):
    """The infrastructure, not the answer, failed this attempt."""

    trajectory: int
    attempt: int
    reason: str


# ---- learner --------------------------------------------------------------------------------------------------------


class Hello(_Kind, frozen=True, array_like=True, tag="hello"):
    """A learner's new incarnation holds, from its durable checkpoint `version`, these (group, use) pairs."""

    incarnation: int
    version: int
    applied: tuple[tuple[int, int], ...]


class TakeLease(_Kind, frozen=True, array_like=True, tag="take_lease"):
    """Lease one update's groups; the same (incarnation, update) gives the same lease."""

    incarnation: int
    update: int
    version: int


class KeepLease(_Kind, frozen=True, array_like=True, tag="keep_lease"):
    """The holder is alive: the lease's time starts anew."""

    incarnation: int
    lease: int


class FetchShare(_Kind, frozen=True, array_like=True, tag="fetch_share"):
    """Ask for whole trajectories of a lease."""

    lease: int
    trajectories: tuple[int, ...]


class Whole(_Kind, frozen=True, array_like=True):
    """All segments of a trajectory."""

    trajectory: int
    segments: tuple[Segment, ...]


class Share(_Kind, frozen=True, array_like=True, tag="share"):
    """Whole trajectories with their segments."""

    lease: int
    members: tuple[Whole, ...]

    def bulk_bytes(self) -> int:
        """Charged bytes."""
        return sum(segment_bytes(segment) for member in self.members for segment in member.segments)


class Complete(_Kind, frozen=True, array_like=True, tag="complete"):
    """The update of a lease is in the learner's weights; one transaction of replay closes it."""

    incarnation: int
    lease: int
    """0: none is open, and only the checkpoint is told, by a learner that has nothing left to train on."""
    version: int
    """What the weights are called now: the lease's version, or one more where a version ends."""
    checkpointed: bool
    """The weights are durable under `version`: everything applied becomes consumed."""
    feedback: tuple[tuple[int, float], ...]
    """(group, learner feedback) pairs for the priorities."""


class LearnerState(_Kind, frozen=True, array_like=True, tag="learner_state"):
    """A learner's heartbeat: what generators may pull, and the newest durable checkpoint."""

    version: int
    """-1 before the first is exposed."""
    source: str
    checkpoint: int
    checkpoint_source: str
    finished: bool
    """`version` is the last of the run."""
    used_up: str = ""
    """What there is no more of, `prompts` or `signal`, where the run ends before its last update."""


# ---- the house ------------------------------------------------------------------------------------------------------


class Evaluated(_Kind, frozen=True, array_like=True, tag="evaluated"):
    """Held-out results of one version."""

    version: int
    results: dict[str, float]
    final: bool
    """The run has ended with this version, and it was evaluated with all samples."""


class Alive(_Kind, frozen=True, array_like=True, tag="alive"):
    """To the supervisor, at each heartbeat period."""


class ActorDied(_Kind, frozen=True, array_like=True, tag="actor_died"):
    """From the world to the supervisor: a process ended or an actor raised."""

    name: str
    incarnation: int
    reason: str


class StopRun(_Kind, frozen=True, array_like=True, tag="stop_run"):
    """From a person (Ctrl-C) or the end of the run to the supervisor, and from it to everybody."""

    reason: str


class Stopped(_Kind, frozen=True, array_like=True, tag="stopped"):
    """To the supervisor: this actor has saved what it had and leaves."""


class SamplePart(_Kind, frozen=True, array_like=True):
    """One segment of a sample: token ids (little-endian int32) and (version, tokens) runs."""

    ids: bytes
    versions: Runs


class Sample(_Kind, frozen=True, array_like=True):
    """One trained response for a person to read; small, see `actors/samples.py`."""

    trajectory: int
    group: int
    version: int
    """That the update starts from."""
    prompt: bytes
    """Token ids."""
    parts: tuple[SamplePart, ...]
    components: dict[str, float]


class Notes(_Kind, frozen=True, array_like=True, tag="notes"):
    """For the recorder: (name, time ns, value) rows of one actor, and responses to show."""

    actor: str
    rows: tuple[tuple[str, int, float], ...]
    samples: tuple[Sample, ...] = ()


KINDS: tuple[type[msgspec.Struct], ...] = (
    TakeSnapshot,
    OpenGroups,
    Reassign,
    ReplayState,
    Dispatch,
    DropJobs,
    Released,
    Declined,
    GeneratorState,
    Score,
    RewarderState,
    Settled,
    FetchPrompt,
    PromptRecord,
    FetchResponse,
    Chunk,
    Append,
    PutScore,
    FailAttempt,
    Hello,
    TakeLease,
    KeepLease,
    FetchShare,
    Share,
    Complete,
    LearnerState,
    Evaluated,
    Alive,
    ActorDied,
    StopRun,
    Stopped,
    Notes,
    Refused,
    Opened,
    Appended,
    Reassigned,
    ScoreStored,
    AttemptFailed,
    Snapshot,
    Leased,
    Completed,
    Welcome,
)
