"""Replay (the buffer actor): the only truth about groups, trajectories, attempts, versions, counters and prompts.

    command --> buffer decides (pure) --> rows to the store --> Durable --> answer
    read    --> store ------------------------------------------------> answer

Nothing is answered before it is durable: every answer to a command, refusals and duplicates too, leaves when all that
was written up to then is on disk. The highest version is announced only when it is durable. A learner that finds no
batch is kept waiting here and answered as soon as there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from actors.kernel.context import Context, Started, Ticket
from actors.kernel.operations import Message, ns
from actors.messages import (
    Alive,
    Append,
    Chunk,
    Complete,
    FailAttempt,
    FetchPrompt,
    FetchResponse,
    FetchShare,
    Hello,
    KeepLease,
    OpenGroups,
    PromptRecord,
    PutScore,
    Reassign,
    ReplayState,
    Share,
    Stopped,
    StopRun,
    TakeLease,
    TakeSnapshot,
    Whole,
)
from actors.replay_charts import Charts
from actors.roster import Beat, Numbers, Pace, Roster
from buffers.answers import Appended, Completed, Leased, Opened, Refused, ScoreStored, Welcome
from buffers.buffer import Buffer
from buffers.rows import PromptRow, prompt_key
from buffers.segment import Payload, Segment, slice_payload
from buffers.store import Durable, Store, StoreFailed

FREES = frozenset((Completed, Welcome))
"""Answers behind which further groups may be admitted."""
MAY_EVICT = frozenset((ScoreStored, Leased))
"""Answers behind which they may, if fewer trajectories live."""


class LeaseDue(msgspec.Struct, frozen=True):
    """Time to look whether a lease was kept."""

    lease: int


class Replay:
    """See the module."""

    def __init__(self, roster: Roster, pace: Pace, buffer: Buffer, store: Store, first_life: int = 1) -> None:
        self._roster = roster
        self._first_life = first_life
        """The incarnation that begins a start of the run: whoever worked on something is gone."""
        self._pace = pace
        self.buffer = buffer
        self._store = store
        self._written = 0
        self._durable = 0
        self._parked: deque[tuple[int, Ticket, Message]] = deque()
        self._waiting: tuple[Ticket, TakeLease] | None = None
        self._kept: dict[int, int] = {}
        """Lease -> when it was last kept (ns)."""
        self._highest: deque[tuple[int, int]] = deque()
        """(store sequence, version) that is not durable yet."""
        self._announced = buffer.highest
        self._full_at = 0
        """Trajectories that lived when groups were last refused; 0 since the controller was told to ask again."""
        self._snapshot_for: Ticket | None = None
        """The newest ask for a snapshot: delivered twice it must not raise the epoch twice."""
        self._stopping = False
        self._numbers = Numbers(roster.recorder)
        self._charts = Charts()
        self._commands: dict[type, Callable[[Any, Context], Message]] = {
            TakeSnapshot: self._snapshot,
            OpenGroups: self._open,
            Reassign: lambda message, context: self.buffer.reassign(message.epoch, message.trajectory, message.attempt),
            Append: self._append,
            PutScore: lambda message, context: self.buffer.score(
                message.trajectory, message.attempt, message.components
            ),
            FailAttempt: lambda message, context: self.buffer.fail(message.trajectory, message.attempt, message.reason),
            Hello: self._hello,
            Complete: self._complete,
        }
        self._reads: dict[type, Callable[[Any], Message]] = {
            FetchPrompt: self._fetch_prompt,
            FetchResponse: self._fetch_response,
            FetchShare: self._fetch_share,
        }
        self._events: dict[type, Callable[[Any, Context], None]] = {
            Started: self._on_started,
            Beat: self._on_beat,
            Durable: self._on_durable,
            TakeLease: self._on_take_lease,
            KeepLease: self._on_keep_lease,
            LeaseDue: self._on_lease_due,
            StoreFailed: self._on_store_failed,
            StopRun: self._on_stop,
        }

    def receive(self, message: Message, context: Context) -> None:
        """Take one message."""
        kind = type(message)
        command = self._commands.get(kind)
        if command is not None:
            ticket = context.ticket
            if kind is TakeSnapshot and ticket == self._snapshot_for:
                return
            answer = command(message, context)
            self._settle(ticket, answer, context)
            if type(answer) is not Appended or answer.state != "cut":  # of a response that goes on comes no batch
                self._serve(context)
            return
        read = self._reads.get(kind)
        if read is not None:
            if context.ticket is not None:
                context.send(context.ticket, read(message))
            return
        event = self._events.get(kind)
        if event is not None:
            event(message, context)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    # ---- durability -----------------------------------------------------------------------------------------------

    def _settle(self, ticket: Ticket | None, answer: Message, context: Context) -> None:
        """Write what the buffer changed; answer when that, and everything before it, is durable."""
        transaction = self.buffer.drain()
        if transaction:
            self._written = self._store.write(transaction)
            highest = self.buffer.highest
            if highest > (self._highest[-1][1] if self._highest else self._announced):
                self._highest.append((self._written, highest))
        if ticket is None:
            return
        if self._written <= self._durable:
            context.send(ticket, answer)
        else:
            self._parked.append((self._written, ticket, answer))

    def _on_durable(self, event: Durable, context: Context) -> None:
        if event.up_to > self._durable:
            self._durable = event.up_to
        parked = self._parked
        freed = False
        while parked and parked[0][0] <= self._durable:
            _, ticket, answer = parked.popleft()
            context.send(ticket, answer)
            kind = type(answer)
            freed = freed or kind in FREES or (kind in MAY_EVICT and self.buffer.live < self._full_at)
        while self._highest and self._highest[0][0] <= self._durable:
            self._announced = self._highest.popleft()[1]
            freed = True
        if freed:
            self._announce(context)
        if self._stopping and not parked:
            self._leave(context)

    # ---- commands -------------------------------------------------------------------------------------------------

    def _snapshot(self, message: TakeSnapshot, context: Context) -> Message:
        self._snapshot_for = context.ticket
        return self.buffer.snapshot()

    def _open(self, message: OpenGroups, context: Context) -> Message:
        if self._stopping:
            return Refused("drain")
        answer = self.buffer.open_groups(message.epoch, message.ordinal, message.count)
        if isinstance(answer, Opened) and self.buffer.changed:
            context.decide("admit", message.ordinal, *(member.trajectory for member in answer.members))
        elif isinstance(answer, Refused):
            self._full_at = max(self._full_at, self.buffer.live)  # what was evicted since is still to be told
        return answer

    def _append(self, message: Append, context: Context) -> Message:
        answer = self.buffer.append(message.trajectory, message.attempt, message.segment)
        if isinstance(answer, Appended) and self.buffer.changed:
            segment = message.segment
            if answer.state == "ended":
                self._charts.ended(answer.length)
            context.decide("store", message.trajectory, message.attempt, segment.start, segment.length, segment.end)
        return answer

    def _hello(self, message: Hello, context: Context) -> Message:
        answer = self.buffer.hello(message.incarnation, message.version, message.applied)
        if isinstance(answer, Welcome) and self.buffer.changed:
            self._kept.clear()
            self._waiting = None
            context.decide("hello", message.incarnation, answer.highest, len(answer.settled))
        return answer

    def _complete(self, message: Complete, context: Context) -> Message:
        answer = self.buffer.complete(
            message.incarnation, message.lease, message.version, message.checkpointed, message.feedback
        )
        if isinstance(answer, Completed) and self.buffer.changed:
            self._kept.pop(message.lease, None)
            context.decide("complete", message.lease, message.version, int(message.checkpointed))
        return answer

    # ---- leases ---------------------------------------------------------------------------------------------------

    def _on_take_lease(self, message: TakeLease, context: Context) -> None:
        if context.ticket is not None:
            self._waiting = (context.ticket, message)
            self._serve(context)

    def _serve(self, context: Context) -> None:
        """Answer the waiting learner if there is a batch (or a reason) for it now."""
        if self._waiting is None:
            return
        ticket, message = self._waiting
        answer = self.buffer.lease(message.incarnation, message.update, message.version)
        if isinstance(answer, Refused) and answer.reason == "not yet":
            if self.buffer.changed:
                self._settle(None, answer, context)
            return
        self._waiting = None
        if isinstance(answer, Leased) and answer.lease not in self._kept:
            context.decide("lease", answer.lease, *(group.group for group in answer.groups))
            self._keep(answer.lease, context)
        self._settle(ticket, answer, context)

    def _keep(self, lease: int, context: Context) -> None:
        self._kept[lease] = context.now
        context.after(self._pace.lease_s, LeaseDue(lease))

    def _on_keep_lease(self, message: KeepLease, context: Context) -> None:
        if message.lease in self._kept:
            self._kept[message.lease] = context.now

    def _on_lease_due(self, message: LeaseDue, context: Context) -> None:
        kept = self._kept.get(message.lease)
        if kept is None:
            return
        left = kept + ns(self._pace.lease_s) - context.now
        if left > 0:
            context.after(left / ns(1), message)
            return
        del self._kept[message.lease]
        context.decide("expire", message.lease)
        self.buffer.expire(message.lease)
        self._settle(None, None, context)
        self._serve(context)

    # ---- reads ----------------------------------------------------------------------------------------------------

    def _fetch_prompt(self, message: FetchPrompt) -> Message:
        row = self._store.read(prompt_key(message.prompt))
        if not isinstance(row, PromptRow):
            return Refused("unknown", f"prompt {message.prompt}")
        return PromptRecord(message.prompt, row.payload, row.answer)

    def _fetch_response(self, message: FetchResponse) -> Message:
        segments = self._store.segments(message.trajectory)
        if not segments:
            return Refused("unknown", f"trajectory {message.trajectory}")
        payloads = pieces(segments, message.start, message.start + message.max_tokens)
        last = segments[-1]
        return Chunk(message.trajectory, message.start, last.stop, last.end, payloads)

    def _fetch_share(self, message: FetchShare) -> Message:
        members = []
        for trajectory in message.trajectories:
            if not self.buffer.may_fetch(message.lease, trajectory):
                return Refused("closed", f"lease {message.lease} does not hold trajectory {trajectory}")
            members.append(Whole(trajectory, self._store.segments(trajectory)))
        return Share(message.lease, tuple(members))

    # ---- heartbeat and end ----------------------------------------------------------------------------------------

    def _on_started(self, message: Started, context: Context) -> None:
        if message.incarnation == self._first_life and (resumed := self.buffer.resume_all()):
            context.decide("resume", resumed)
        for lease in self.buffer.open_leases():
            self._keep(lease, context)
        self._settle(None, None, context)
        self._on_beat(Beat(), context)

    def _on_beat(self, message: Beat, context: Context) -> None:
        context.after(self._pace.heartbeat_s, message)
        self._announce(context)
        for name, value in self._charts.levels(self.buffer).items():
            self._numbers.add(context, name, value)
        self._numbers.flush(context)
        if self._roster.supervisor:
            context.send(self._roster.supervisor, Alive())

    def _announce(self, context: Context) -> None:
        self._full_at = 0
        context.send(self._roster.controller, ReplayState(self._announced))

    def _on_store_failed(self, event: StoreFailed, context: Context) -> None:
        raise RuntimeError(f"{context.name}: the store failed: {event.reason}")

    def _on_stop(self, message: StopRun, context: Context) -> None:
        self._stopping = True
        if not self._parked:
            self._leave(context)

    def _leave(self, context: Context) -> None:
        self._numbers.flush(context)
        context.send(self._roster.supervisor, Stopped())
        context.stop(context.name)


def pieces(segments: tuple[Segment, ...], start: int, stop: int) -> tuple[Payload, ...]:
    """The payloads of response tokens [start, stop) out of contiguous segments."""
    result = []
    for segment in segments:
        begin, end = segment.start, segment.stop
        if start <= begin < end <= stop:
            result.append(segment.payload)
        elif (left := max(start, begin)) < (right := min(stop, end)):
            result.append(slice_payload(segment.payload, left - begin, right - begin))
    return tuple(result)
