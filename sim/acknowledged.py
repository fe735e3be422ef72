"""What replay has told anybody, kept beside it: the memory that a crash of replay must not contradict.

Every answer that leaves replay is taken in, in the order of leaving, which is the order of deciding. From then on its
content is a fact: the attempts it issued, the tokens it called stored, the scores, the versions, the fences. An answer
that contradicts an earlier one, or a recovered buffer that contradicts any, is a violation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.kernel.operations import Message
from actors.messages import Append, Complete, FailAttempt, FetchShare, OpenGroups, PutScore, ReplayState, Share
from buffers.answers import (
    Appended,
    AttemptFailed,
    Completed,
    Leased,
    LeasedGroup,
    MemberView,
    Opened,
    Reassigned,
    ScoreStored,
    Snapshot,
    Welcome,
)
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.store import Store

Complain = Callable[[int, str], None]
"""(number of the invariant, what happened with which ids) -> raises."""


class Fact:
    """What is known of one trajectory."""

    __slots__ = ("attempt", "ended", "group", "length", "scored", "version")

    def __init__(self, group: int) -> None:
        self.group = group
        self.attempt = 1
        """The newest that was issued."""
        self.length = 0
        self.version = -1
        """Of the last token."""
        self.ended = False
        self.scored = False


class Acknowledged:
    """Facts by kind; `take` adds those of an answer, `recovered` compares a buffer that was rebuilt."""

    def __init__(self, config: BufferConfig, complain: Complain) -> None:
        self.facts: dict[int, Fact] = {}
        self.failed: set[int] = set()
        """Trajectories whose group failed."""
        self.epoch = 0
        self.highest = 0
        self.incarnation = -1
        self.lease = 0
        self.done: set[int] = set()
        """Leases that are completed."""
        self._config = config
        self._complain = complain
        self._opens: dict[tuple[int, int], tuple[int, ...]] = {}
        self._answers: dict[type, Callable[[Any, Any], None]] = {
            Opened: self._opened,
            Appended: self._appended,
            Reassigned: lambda request, answer: self._seen(answer.member),
            ScoreStored: self._scored,
            AttemptFailed: self._attempt_failed,
            Snapshot: self._snapshot,
            Leased: self._leased,
            Completed: self._completed,
            Welcome: self._welcome,
            Share: self._share,
        }

    def take(self, request: Message, answer: Message) -> None:
        """An answer of replay leaves."""
        handler = self._answers.get(type(answer))
        if handler is not None:
            handler(request, answer)

    def announced(self, state: ReplayState) -> None:
        """Replay's heartbeat leaves."""
        self._raise_highest(state.highest, "announced")

    # ---- controller -----------------------------------------------------------------------------------------------

    def _opened(self, request: OpenGroups, answer: Opened) -> None:
        members = tuple(member.trajectory for member in answer.members)
        key = (request.epoch, request.ordinal)
        if self._opens.setdefault(key, members) != members:
            self._complain(1, f"open_groups {key} opened {self._opens[key]} and then {members}")
        for member in answer.members:
            fact = self.facts.setdefault(member.trajectory, Fact(member.group))
            if fact.group != member.group:
                self._complain(
                    1, f"trajectory {member.trajectory} is in group {fact.group} and opened in {member.group}"
                )
        if request.epoch < self.epoch:
            self._complain(12, f"groups were opened for epoch {request.epoch} after epoch {self.epoch} began")

    def _seen(self, member: MemberView) -> None:
        fact = self.facts.setdefault(member.trajectory, Fact(member.group))
        if member.attempt < fact.attempt:
            self._complain(
                12, f"trajectory {member.trajectory} went back from attempt {fact.attempt} to {member.attempt}"
            )
        if member.length < fact.length:
            self._complain(9, f"trajectory {member.trajectory} lost tokens: {fact.length} stored, now {member.length}")
        if member.last_version < fact.version:
            self._complain(3, f"trajectory {member.trajectory} went back from version {fact.version}")
        fact.attempt, fact.length, fact.version = member.attempt, member.length, member.last_version
        fact.ended = fact.ended or member.state == "ended"

    def _snapshot(self, request: Message, answer: Snapshot) -> None:
        if answer.epoch <= self.epoch:
            self._complain(12, f"a snapshot has epoch {answer.epoch} after {self.epoch}")
        self.epoch = answer.epoch
        self._raise_highest(answer.highest, "in a snapshot")
        for member in answer.members:
            self._seen(member)

    # ---- workers --------------------------------------------------------------------------------------------------

    def stored(self, number: int, attempt: int, start: int) -> None:
        """Replay has just decided to store a segment: its attempt must be the newest, and it must join."""
        fact = self.facts.setdefault(number, Fact(0))
        if attempt < fact.attempt:
            self._complain(12, f"trajectory {number}: a segment of attempt {attempt} after {fact.attempt} was issued")
        if start < fact.length:
            self._complain(2, f"trajectory {number}: a segment at {start} behind {fact.length} tokens")
        if number in self.failed or fact.ended:
            self._complain(12, f"trajectory {number}: a segment of attempt {attempt} after it was closed")

    def _appended(self, request: Append, answer: Appended) -> None:
        fact = self.facts.setdefault(request.trajectory, Fact(0))
        if answer.length < request.segment.stop and answer.state != "failed":
            self._complain(
                9, f"trajectory {request.trajectory}: {answer.length} tokens after {request.segment.stop} were stored"
            )
        if answer.state != "failed" and answer.last_version < request.segment.last_version:
            self._complain(3, f"trajectory {request.trajectory}: its last token is said to be of {answer.last_version}")
        fact.version = max(fact.version, answer.last_version)
        fact.length = max(fact.length, answer.length)
        fact.attempt = max(fact.attempt, answer.next_attempt)
        fact.ended = fact.ended or answer.state == "ended"
        self.failed.update(answer.closed)

    def _scored(self, request: PutScore, answer: ScoreStored) -> None:
        fact = self.facts.setdefault(request.trajectory, Fact(answer.group))
        if fact.scored:
            return
        if request.attempt < fact.attempt:
            self._complain(
                12, f"trajectory {request.trajectory}: a score of attempt {request.attempt} after {fact.attempt}"
            )
        if not fact.ended:
            self._complain(7, f"trajectory {request.trajectory} was scored before it ended")
        fact.scored = True

    def _attempt_failed(self, request: FailAttempt, answer: AttemptFailed) -> None:
        fact = self.facts.setdefault(request.trajectory, Fact(0))
        if request.attempt < fact.attempt and answer.next_attempt != fact.attempt:
            self._complain(
                12, f"trajectory {request.trajectory}: a failure of attempt {request.attempt} after {fact.attempt}"
            )
        fact.attempt = max(fact.attempt, answer.next_attempt)
        self.failed.update(answer.closed)

    # ---- learner --------------------------------------------------------------------------------------------------

    def _leased(self, request: Message, answer: Leased) -> None:
        if request.incarnation != self.incarnation:
            self._complain(12, f"lease {answer.lease} went to incarnation {request.incarnation} of {self.incarnation}")
        if answer.lease < self.lease or answer.lease in self.done:
            self._complain(6, f"lease {answer.lease} was given out after lease {self.lease}")
        self.lease = answer.lease
        for group in answer.groups:
            self._leased_group(answer, group)

    def _leased_group(self, answer: Leased, group: LeasedGroup) -> None:
        name = f"lease {answer.lease}, group {group.group}, use {group.use}"
        eta, reuse = self._config.eta, self._config.reuse
        if not 1 <= group.use <= reuse:
            self._complain(6, f"{name}: reuse is bounded by {reuse}")
        if group.age > eta + group.use - 1:
            self._complain(4, f"{name}: age {group.age} over eta {eta}")
        if len(group.members) != self._config.k:
            self._complain(7, f"{name}: {len(group.members)} of {self._config.k} members")
        outcomes = {member.components.get("outcome") for member in group.members}
        if self._config.no_signal == "evict" and len(outcomes) == 1:
            self._complain(7, f"{name}: all outcomes are equal, and such groups are to be evicted")
        for member in group.members:
            fact = self.facts.get(member.trajectory)
            if "outcome" not in member.components:
                self._complain(7, f"{name}: member {member.trajectory} has no score")
            if member.last_version > self.highest or (fact is not None and member.last_version < fact.version):
                self._complain(3, f"{name}: trajectory {member.trajectory} ends at version {member.last_version}")
            if fact is not None and fact.length > member.length:
                self._complain(9, f"{name}: member {member.trajectory} has {member.length} of {fact.length} tokens")
            if member.trajectory in self.failed:
                self._complain(7, f"{name}: member {member.trajectory} belongs to a failed group")

    def _completed(self, request: Complete, answer: Completed) -> None:
        if request.incarnation != self.incarnation:
            self._complain(
                12, f"lease {answer.lease} completed by incarnation {request.incarnation} of {self.incarnation}"
            )
        self.done.add(answer.lease)
        self._raise_highest(answer.highest, f"at the completion of lease {answer.lease}")

    def _welcome(self, request: Message, answer: Welcome) -> None:
        if answer.incarnation < self.incarnation:
            self._complain(12, f"learner {answer.incarnation} was welcomed after {self.incarnation}")
        self.incarnation = answer.incarnation
        self._raise_highest(answer.highest, f"to learner {answer.incarnation}")

    def _share(self, request: FetchShare, answer: Share) -> None:
        for whole in answer.members:
            position, version, end = 0, -1, "cut"
            for segment in whole.segments:
                if segment.start != position:
                    self._complain(2, f"trajectory {whole.trajectory}: a segment at {segment.start} follows {position}")
                for number, _ in segment.versions:
                    if number < version:
                        self._complain(3, f"trajectory {whole.trajectory}: version {number} follows {version}")
                    version = number
                position, end = segment.stop, segment.end
            if end == "cut":
                self._complain(7, f"lease {answer.lease}: trajectory {whole.trajectory} is not ended")

    def _raise_highest(self, version: int, where: str) -> None:
        if version < self.highest:
            self._complain(3, f"the highest version went back from {self.highest} to {version} {where}")
        self.highest = version

    # ---- recovery -------------------------------------------------------------------------------------------------

    def recovered(self, buffer: Buffer, store: Store) -> None:
        """Compare every fact with a buffer that was rebuilt from its store."""
        held = buffer._held
        meta = held.meta
        for name, known, now in (
            ("epoch", self.epoch, meta.epoch),
            ("highest version", self.highest, meta.highest),
            ("incarnation", self.incarnation, meta.incarnation),
            ("lease", self.lease, meta.next_lease - 1),
            ("trajectory", max(self.facts, default=0), meta.next_trajectory - 1),
        ):
            if now < known:
                self._complain(9, f"{name} {known} was acknowledged, the store holds {now}")
        for lease in held.leases:
            if lease in self.done:
                self._complain(9, f"lease {lease} was completed and is open again")
        for number, fact in self.facts.items():
            row = held.trajectories.get(number)
            if row is None:
                continue
            stored = store.segments(number)
            if row.attempt < fact.attempt or row.length < fact.length:
                self._complain(
                    9,
                    f"trajectory {number}: attempt {fact.attempt} and {fact.length} tokens were acknowledged,"
                    f" the store holds {row.attempt} and {row.length}",
                )
            if (stored[-1].stop if stored else 0) != row.length:
                self._complain(2, f"trajectory {number}: segments to {stored[-1].stop if stored else 0}, {row.length}")
            if (fact.scored and row.components is None) or (fact.ended and row.end is None) or number in self.failed:
                self._complain(9, f"trajectory {number} is {row.state}, but its end, score or failure was acknowledged")
