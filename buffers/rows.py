"""The durable rows: everything of a buffer that outlives a crash, and the keys under which a store holds it.

    b"m"                         MetaRow          counters, versions, fences: one row
    b"w"                         WelcomeRow       the answer to the learner's hello, likewise for its retry
    b"p" + prompt (4)            PromptRow        tokens, answer and difficulty of a prompt
    b"q" + prompt (4)            SuccessRow       how often a prompt was drawn, trained and solved
    b"d" + level (4)             LevelRow         how well the prompts of one difficulty are solved by now
    b"o" + ordinal (8)           OpenRow          the answer to an `open_groups`, for the retry of a lost reply
    b"g" + group (8)             GroupRow
    b"t" + trajectory (8)        TrajectoryRow
    b"l" + lease (8)             LeaseRow
    b"s" + trajectory (8) + start (4)   Segment   segments of one trajectory are neighbours, in order

Numbers in keys are big-endian, so the order of keys is the order of numbers. A key is put (with its row) or removed
(with None); `segments_key(trajectory)` is only ever removed, and with it all segments of the trajectory.

Invariants: a row that was handed to a store never changes (the journal hands out copies; nothing inside a row is
changed in place). From `eligible` on the members of a group move together and only the group's row is written: the
state of such a member is its group's stage, whatever its own row says.
"""

from __future__ import annotations

from struct import Struct
from typing import Literal, TypeVar

import msgspec

from buffers.answers import State, Welcome
from buffers.segment import EndReason, Payload, Segment

Stage = Literal["open", "eligible", "leased", "applied", "closed"]
"""Where a group is. `open`: its members still move one by one."""


class TrajectoryRow(msgspec.Struct, array_like=True, gc=False):
    """One response being made, or made, to a group's prompt; its tokens are segments of their own."""

    trajectory: int
    group: int
    index: int
    """Place in the group, 0..k-1."""
    state: State = "queued"
    attempt: int = 1
    """The only attempt that may change anything; older ones are refused."""
    length: int = 0
    """Response tokens stored."""
    last_version: int = -1
    """Version of the last token; -1 without tokens."""
    oldest_version: int = -1
    """Version of the first token that trains; -1 without one."""
    version_sum: int = 0
    """Sum of the versions of all tokens; divided by `length` it is their mean."""
    end: EndReason | None = None
    """Why it ended; None while it is open."""
    failures: int = 0
    applied_attempt: int = 0
    """Attempt of the newest stored segment, with `applied_start` its natural key: a retry is recognized by it."""
    applied_start: int = -1
    failed_attempt: int = 0
    """Attempt of the newest failure counted by `fail`."""
    components: dict[str, float] | None = None
    """Reward components once scored."""
    attached_bytes: int = 0
    """Bytes of attachments stored."""


class GroupRow(msgspec.Struct, array_like=True, gc=False):
    """k trajectories of one prompt; their ids are first .. first + k - 1."""

    group: int
    prompt: int
    prompt_tokens: int
    first: int
    k: int
    opened_version: int
    stage: Stage = "open"
    ended: int = 0
    """Members that ended."""
    scored: int = 0
    ended_version: int = -1
    """Highest version when the last member ended: ages are counted from it."""
    spread: float = 0.0
    """Four times the variance of the outcomes: 0 all equal, 1 half solved."""
    position: int = 0
    """Order in which groups became eligible."""
    feedback: float = -1.0
    """What the learner said of it after its last use; -1 before."""
    uses: int = 0
    """Uses that are in the learner's weights."""
    durable_uses: int = 0
    """Uses that are in a durable checkpoint; a crash of the learner rolls back to it."""
    lease: int = 0
    """The open lease that holds it; 0 when none does."""
    reason: str = ""
    """Why it closed."""

    @property
    def members(self) -> range:
        """Ids of its trajectories."""
        return range(self.first, self.first + self.k)


class LeaseRow(msgspec.Struct, array_like=True, frozen=True):
    """An open lease: one optimizer update's share of groups."""

    lease: int
    incarnation: int
    update: int
    version: int
    groups: tuple[tuple[int, int, int], ...]
    """(group, use, age) of each."""
    weights: tuple[float, ...] = ()
    """Importance weight of each; () where all are 1."""


class PromptRow(msgspec.Struct, array_like=True, frozen=True):
    """A prompt as it was put in the store at the start of a run."""

    prompt: int
    payload: Payload
    """Its tokens (log-probabilities zero)."""
    answer: str = ""
    difficulty: float = 0.0
    """Label for a curriculum; greater is harder."""
    prior: float | None = None
    """Success rate known beforehand (the paper: the pass rate of ten samples); None takes the config's."""


class SuccessRow(msgspec.Struct, array_like=True, gc=False):
    """What is known of a prompt by now."""

    prompt: int
    tries: float = 0.0
    """Scored responses, decayed."""
    solved: float = 0.0
    """Outcomes of them, decayed."""
    draws: int = 0
    leased: int = 0
    """Groups of it that were handed to the learner."""


class LevelRow(msgspec.Struct, array_like=True, gc=False):
    """What is known of all prompts of one difficulty, kept where a frontier needs it."""

    level: int
    """Place of the difficulty among those of the set, from 0, easiest first."""
    tries: float = 0.0
    """Scored responses, decayed."""
    solved: float = 0.0
    """Outcomes of them, decayed."""
    passed: bool = False
    """Whether it was the frontier and the next difficulty was opened."""


class OpenedGroup(msgspec.Struct, array_like=True, frozen=True):
    """A group as it was opened, with trajectories first .. first + k - 1."""

    group: int
    prompt: int
    prompt_tokens: int
    first: int
    k: int


class OpenRow(msgspec.Struct, array_like=True, frozen=True):
    """What `open_groups` answered to (epoch, ordinal)."""

    epoch: int
    ordinal: int
    groups: tuple[OpenedGroup, ...]


class WelcomeRow(msgspec.Struct, array_like=True, frozen=True):
    """The last hello of a learner and its answer: a retry gets the same and changes nothing."""

    version: int
    applied: tuple[tuple[int, int], ...]
    answer: Welcome


class MetaRow(msgspec.Struct, array_like=True, gc=False):
    """The buffer's counters; one row. `closed` is replaced, never changed in place."""

    k: int
    epoch: int = 0
    """The controller's epoch: raised by each snapshot."""
    highest: int = 0
    """The highest published version."""
    next_group: int = 1
    next_trajectory: int = 1
    next_lease: int = 1
    incarnation: int = -1
    """The learner's incarnation; older ones are refused. -1 before the first hello."""
    completed: tuple[int, int] = (0, -1)
    """(lease, update) of the last lease completed since the last hello."""
    used_in_version: int = 0
    """Groups applied by updates of the version that has not ended yet."""
    retired_in_version: int = 0
    """Trajectories of those that will not be used again; they count as live until the version ends."""
    forgotten_ordinal: int = -1
    """Greatest ordinal whose `OpenRow` was dropped in this epoch."""
    drawn: int = 0
    """Prompts drawn; with `prompt_position` the exact place in the prompt set."""
    prompt_position: int = 0
    law_draws: int = 0
    """Random numbers used up by the priority law."""
    positions: int = 0
    """Groups that became eligible."""
    slots: int = 0
    law_slots: int = 0
    """Leased groups, and those of them that the priority law chose."""
    opened: int = 0
    """Trajectories ever opened."""
    ended: int = 0
    ended_tokens: int = 0
    """Trajectories that ended by themselves and their response tokens."""
    closed: dict[str, tuple[int, int]] = {}
    """Trajectories and response tokens closed, by `"state: reason"`."""
    prompts: int = 0
    prompts_digest: int = 0
    unsignalled: int = 0
    """Groups evicted without signal since the last whole lease, while too few were eligible for the next."""


Row = MetaRow | WelcomeRow | PromptRow | SuccessRow | LevelRow | OpenRow | GroupRow | TrajectoryRow | LeaseRow | Segment

Transaction = tuple[tuple[bytes, Row | None], ...]
"""Puts (key, row) and removals (key, None), durable together or not at all."""

Changing = TrajectoryRow | GroupRow | MetaRow | SuccessRow | LevelRow
"""Rows that the buffer changes in memory; the others are made once."""

C = TypeVar("C", bound=Changing)


def copy_row(row: C) -> C:
    """A copy that later changes of the row do not reach."""
    return row.__copy__()  # type: ignore[union-attr, no-any-return]


META_KEY = b"m"
WELCOME_KEY = b"w"

ROW_TYPES: dict[bytes, type[Row]] = {
    b"m": MetaRow,
    b"w": WelcomeRow,
    b"p": PromptRow,
    b"q": SuccessRow,
    b"d": LevelRow,
    b"o": OpenRow,
    b"g": GroupRow,
    b"t": TrajectoryRow,
    b"l": LeaseRow,
    b"s": Segment,
}
"""The first byte of a key says what its row is."""

SEGMENT = b"s"

SHORT = Struct(">cL").pack
LONG = Struct(">cQ").pack
PLACED = Struct(">cQL").pack
"""The forms of a key: its kind and a number of 4 or 8 bytes; a trajectory and a place in it."""


def prompt_key(prompt: int) -> bytes:
    """Key of a `PromptRow`."""
    return SHORT(b"p", prompt)


def success_key(prompt: int) -> bytes:
    """Key of a `SuccessRow`."""
    return SHORT(b"q", prompt)


def level_key(level: int) -> bytes:
    """Key of a `LevelRow`."""
    return SHORT(b"d", level)


def open_key(ordinal: int) -> bytes:
    """Key of an `OpenRow` (those of one epoch at a time are kept)."""
    return LONG(b"o", ordinal)


def group_key(group: int) -> bytes:
    """Key of a `GroupRow`."""
    return LONG(b"g", group)


def trajectory_key(trajectory: int) -> bytes:
    """Key of a `TrajectoryRow`."""
    return LONG(b"t", trajectory)


def lease_key(lease: int) -> bytes:
    """Key of a `LeaseRow`."""
    return LONG(b"l", lease)


def segments_key(trajectory: int) -> bytes:
    """Beginning of the keys of all segments of a trajectory."""
    return LONG(b"s", trajectory)


def segment_key(trajectory: int, start: int) -> bytes:
    """Key of the segment that begins at `start`."""
    return PLACED(b"s", trajectory, start)


def describe_key(key: bytes) -> str:
    """A key in words, for error messages."""
    if key[:1] == b"\x00":
        return f"the store's mark {key[1:].decode(errors='replace')!r}"
    kind = ROW_TYPES.get(key[:1])
    if kind is None or (key[:1] == SEGMENT and len(key) != 13):
        return f"unknown key {key.hex()}"
    if kind is Segment:
        return f"Segment of trajectory {int.from_bytes(key[1:9], 'big')} at {int.from_bytes(key[9:], 'big')}"
    return f"{kind.__name__} {int.from_bytes(key[1:], 'big')}" if len(key) > 1 else kind.__name__
