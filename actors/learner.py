"""The learner (trainer worker): holds a Trainer; one lease, one update; versions published in a fixed order.

    TrainerReady --Hello--> Welcome(number) --expose--> Exposed --+
                                                                  v
      +--> TakeLease --> Leased --FetchShare--> share --step--> StepDone
      |                                                           |
      |       (a) where a version ends and is due: checkpoint --> Checkpointed     weights, optimizer, applied durable
      |       (b) Complete --> Completed                          one transaction of replay
      +------ (c) where a version ended: expose --> Exposed       only now may generators pull it

Where the prompts, or what carries signal, are used up before the last update, what is not in a checkpoint yet goes into
one, under the version that it begins if there is an update since the last; that is the last version of the run.

No version number ever names two sets of weights: a learner that comes back with weights that are not those of the
highest number gets a new number from replay before it exposes them. A learner whose lease was lost after its update is
in its weights leaves; its next incarnation restores the checkpoint, and `Hello` settles what that contains.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.kernel.context import Answer, Context, Started
from actors.kernel.operations import Message, ask, ns, wait
from actors.lease_statistics import lease_statistics
from actors.messages import (
    Alive,
    Complete,
    FetchPrompt,
    FetchShare,
    Hello,
    KeepLease,
    LearnerState,
    PromptRecord,
    Share,
    Stopped,
    StopRun,
    TakeLease,
)
from actors.roster import Beat, Numbers, Pace, Roster, seconds
from actors.samples import samples_of
from actors.schedules.schedule import ScheduleConfig
from actors.turns import note_turn
from buffers.answers import Completed, Leased, LeasedGroup, Refused, Welcome
from buffers.segment import BYTES_PER_TOKEN, Payload, Segment
from policies.card import Held
from policies.trainer import (
    Checkpointed,
    Exposed,
    Member,
    StepDone,
    Trainer,
    TrainerFailed,
    TrainerReady,
    TrainGroup,
    UpdateJob,
)

SHARE_TOKENS = 65536
"""Tokens fetched by one ask, at most (one longer trajectory goes alone)."""


class Fetched(msgspec.Struct, frozen=True):
    """Result of fetching a lease; `job` is None when the lease was lost meanwhile."""

    lease: int
    job: UpdateJob | None


class Learner:
    """See the module."""

    def __init__(self, roster: Roster, pace: Pace, config: ScheduleConfig, trainer: Trainer) -> None:
        self._roster = roster
        self._pace = pace
        self._config = config
        self._trainer = trainer
        self._version = -1
        """What the current weights are called; between two versions, the one that they started from."""
        self._updates = 0
        """Updates since that version."""
        self._total = 0
        """Updates in the weights since the beginning of the run; the run ends with versions * updates_per_version."""
        self._source = ""
        self._exposed = -1
        self._checkpoint: tuple[int, str] = (-1, "")
        self._lease: Leased | None = None
        self._done: StepDone | None = None
        self._leased_at = 0
        self._waited_from = 0
        self._stopping = False
        self._finished = False
        self._used_up = ""
        """What is, `prompts` or `signal`, when there is nothing left to train on."""
        self._numbers = Numbers(roster.recorder)
        self._handlers: dict[type, Callable[[Any, Context], None]] = {
            Started: self._on_started,
            Beat: self._on_beat,
            TrainerReady: self._on_ready,
            Answer: self._on_answer,
            Fetched: self._on_fetched,
            StepDone: self._on_step,
            Held: self._on_turn,
            Checkpointed: self._on_checkpointed,
            Exposed: self._on_exposed,
            TrainerFailed: self._on_failed,
            StopRun: self._on_stop,
        }

    def receive(self, message: Message, context: Context) -> None:
        """Take one message."""
        handler = self._handlers.get(type(message))
        if handler is not None and not self._stopping:
            handler(message, context)

    def close(self) -> None:
        """Close the trainer."""
        self._trainer.close()

    # ---- start ----------------------------------------------------------------------------------------------------

    def _on_started(self, message: Started, context: Context) -> None:
        self._trainer.start()
        self._on_beat(Beat(), context)

    def _on_ready(self, event: TrainerReady, context: Context) -> None:
        self._version = event.version
        self._total = event.steps
        self._checkpoint = (event.version, event.source) if event.source else (-1, "")
        request = Hello(context.incarnation, event.version, event.applied)
        context.ask(self._roster.replay, request, self._pace.ask_timeout_s)

    def _on_welcome(self, welcome: Welcome, context: Context) -> None:
        self._version = welcome.highest
        context.decide("welcome", welcome.highest, len(welcome.settled))
        self._trainer.expose(self._version)

    def _on_exposed(self, event: Exposed, context: Context) -> None:
        self._exposed = event.version
        self._source = event.source
        self._finished = bool(self._used_up) or self._total >= self._last_update
        context.decide("publish", event.version, event.source)
        self._numbers.add(context, "version", event.version)
        self._tell(context)
        if not self._finished:
            self._take_lease(context)

    # ---- lease ----------------------------------------------------------------------------------------------------

    def _take_lease(self, context: Context) -> None:
        self._waited_from = context.now
        request = TakeLease(context.incarnation, self._total + 1, self._version)
        context.ask(self._roster.replay, request, self._pace.ask_timeout_s, 1 << 16)

    def _on_leased(self, leased: Leased, context: Context) -> None:
        self._lease = leased
        self._leased_at = context.now
        self._numbers.add(context, "wait_s", seconds(context.now - self._waited_from))
        context.start(fetch_lease(self._roster.replay, leased, self._pace.ask_timeout_s))

    def _on_fetched(self, message: Fetched, context: Context) -> None:
        if self._lease is None or message.lease != self._lease.lease:
            return
        if message.job is None:
            self._lease = None
            self._take_lease(context)
        else:
            for name, value in lease_statistics(self._lease, message.job).items():
                self._numbers.add(context, name, value)
            self._numbers.show(samples_of(message.job))
            self._trainer.step(message.job)

    # ---- update and publish ---------------------------------------------------------------------------------------

    def _on_step(self, event: StepDone, context: Context) -> None:
        lease = self._lease
        if lease is None or event.lease != lease.lease:
            return
        self._done = event
        context.decide("update", event.lease)
        self._updates += 1
        self._total += 1
        for name, value in event.metrics.items():
            self._numbers.add(context, name, value)
        self._numbers.add(context, "update_s", event.busy_s)
        self._numbers.add(context, "trained_tokens", event.trained_tokens)
        version = self._version + self._ends
        if self._ends and self._due(version):
            self._trainer.checkpoint(version)
        else:
            self._complete(version, False, context)

    @property
    def _ends(self) -> bool:
        return self._updates >= self._config.updates_per_version

    def _due(self, version: int) -> bool:
        return version % self._config.checkpoint_every == 0 or self._total >= self._last_update

    @property
    def _last_update(self) -> int:
        return self._config.versions * self._config.updates_per_version

    def _on_turn(self, event: Held, context: Context) -> None:
        note_turn(self._numbers, context, event)

    def _on_checkpointed(self, event: Checkpointed, context: Context) -> None:
        self._checkpoint = (event.version, event.source)
        context.decide("checkpoint", event.version)
        self._complete(event.version, True, context)

    def _complete(self, version: int, checkpointed: bool, context: Context) -> None:
        lease, feedback = (self._lease.lease, self._done.feedback) if self._lease and self._done else (0, ())
        request = Complete(context.incarnation, lease, version, checkpointed, feedback)
        context.ask(self._roster.replay, request, self._pace.ask_timeout_s)

    def _on_completed(self, request: Complete, context: Context) -> None:
        self._lease = None
        self._done = None
        if request.version > self._version:
            self._version = request.version
            self._updates = 0
            self._trainer.expose(self._version)
        elif self._used_up:
            self._finish(context)
        else:
            self._take_lease(context)

    def _on_used_up(self, what: str, context: Context) -> None:
        """There is nothing left to train on: the run ends with these weights, which must be durable."""
        self._used_up = what
        version = self._version + (self._updates > 0)
        if self._checkpoint[0] == version:
            self._finish(context)
        else:
            self._trainer.checkpoint(version)

    def _finish(self, context: Context) -> None:
        self._finished = True
        self._tell(context)

    def _on_answer(self, answer: Answer, context: Context) -> None:
        request, reply = answer.request, answer.reply
        if reply is None:
            context.ask(answer.to, request, self._pace.ask_timeout_s, 1 << 16)
        elif isinstance(request, Complete):
            if isinstance(reply, Completed):
                self._on_completed(request, context)
            else:
                self._give_up(reply, context)
        elif isinstance(request, TakeLease):
            if isinstance(reply, Leased):
                self._on_leased(reply, context)
            elif isinstance(reply, Refused) and reply.reason in ("prompts", "signal"):
                self._on_used_up(reply.reason, context)
            else:
                self._give_up(reply, context)
        elif isinstance(request, Hello):
            if isinstance(reply, Welcome):
                self._on_welcome(reply, context)
            else:
                self._give_up(reply, context)

    def _give_up(self, refused: Message, context: Context) -> None:
        """Replay no longer takes this incarnation's word: leave, and let the next one restore the checkpoint."""
        context.decide("give_up", refused.reason)
        context.stop(context.name)

    def _on_failed(self, event: TrainerFailed, context: Context) -> None:
        raise RuntimeError(f"{context.name}: the trainer failed: {event.reason}")

    # ---- heartbeat and end ----------------------------------------------------------------------------------------

    def _on_beat(self, message: Beat, context: Context) -> None:
        context.after(self._pace.heartbeat_s, message)
        self._tell(context)
        self._numbers.flush(context)
        if self._roster.supervisor:
            context.send(self._roster.supervisor, Alive())
        if self._lease is not None and context.now - self._leased_at > ns(self._pace.lease_s / 4):
            self._leased_at = context.now
            context.send(self._roster.replay, KeepLease(context.incarnation, self._lease.lease))

    def _tell(self, context: Context) -> None:
        if self._exposed < 0:
            return
        state = LearnerState(self._exposed, self._source, *self._checkpoint, self._finished, self._used_up)
        for name in self._roster.generators:
            context.send(name, state)
        context.send(self._roster.controller, state)
        for name in (self._roster.evaluator, self._roster.supervisor):
            if name:
                context.send(name, state)

    def _on_stop(self, message: StopRun, context: Context) -> None:
        self._stopping = True
        self._trainer.close()
        self._numbers.flush(context)
        context.send(self._roster.supervisor, Stopped())
        context.stop(context.name)


async def fetch_lease(replay: str, leased: Leased, timeout_s: float) -> Fetched:
    """Fetch prompts and whole trajectories of a lease, in bounded chunks, and join them to an update's job."""
    prompts: dict[int, Payload] = {}
    for prompt in {group.prompt: None for group in leased.groups}:
        reply = None
        while reply is None:
            reply = await ask(replay, FetchPrompt(prompt), timeout_s, 1 << 16)
        if not isinstance(reply, PromptRecord):
            return Fetched(leased.lease, None)
        prompts[prompt] = reply.payload
    segments: dict[int, tuple[Segment, ...]] = {}
    asks = [ask(replay, request, timeout_s, size) for request, size in shares(leased)]
    while asks:
        replies = await wait(asks)
        again = []
        for one, reply in zip(asks, replies, strict=True):
            if reply is None:
                again.append(one)
            elif not isinstance(reply, Share):
                return Fetched(leased.lease, None)
            else:
                segments.update((one.trajectory, one.segments) for one in reply.members)
        asks = again
    groups = tuple(train_group(group, prompts[group.prompt], segments) for group in leased.groups)
    return Fetched(leased.lease, UpdateJob(leased.lease, leased.version, groups))


def shares(leased: Leased) -> list[tuple[FetchShare, int]]:
    """The asks that fetch a lease, with the bytes to reserve for each reply."""
    result: list[tuple[FetchShare, int]] = []
    batch: list[int] = []
    size = 0
    for group in leased.groups:
        for member in group.members:
            more = member.length * BYTES_PER_TOKEN + member.attached_bytes
            if batch and size + more > SHARE_TOKENS * BYTES_PER_TOKEN:
                result.append((FetchShare(leased.lease, tuple(batch)), size))
                batch, size = [], 0
            batch.append(member.trajectory)
            size += more
    if batch:
        result.append((FetchShare(leased.lease, tuple(batch)), size))
    return result


def train_group(group: LeasedGroup, prompt: Payload, segments: dict[int, tuple[Segment, ...]]) -> TrainGroup:
    """One group of the lease with its fetched members, in the order of the lease."""
    whole = tuple(Member(one.trajectory, segments[one.trajectory], one.components) for one in group.members)
    return TrainGroup(group.group, group.use, prompt, group.weight, whole)
