"""The controller (the paper's master): opens groups, hands trajectories to workers, heals what is lost.

    replay --Opened--> waiting --Dispatch--> held --Released(cut)--> waiting (resumed ones first)
                                              |
                                              +--Released(ended)--> to score --Score--> scoring --Settled--> gone

    lost, or just restored --Reassign--> asking --> waiting, to score or gone: as replay says

It sees ids, lengths, versions and outcomes, never tokens, and what it knows it can lose: a new controller takes a
snapshot (which raises the epoch), listens to the workers' holdings for one heartbeat period and reassigns only what
nobody holds. A worker's heartbeat lists what it holds; what is missing from two of them, or held by a worker that has
fallen silent, is reassigned under a new attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from actors.kernel.context import Answer, Context, Started
from actors.kernel.operations import Message, ns
from actors.messages import (
    Alive,
    Assignment,
    Declined,
    Dispatch,
    DropJobs,
    GeneratorState,
    LearnerState,
    OpenGroups,
    Reassign,
    Released,
    ReplayState,
    RewarderState,
    Score,
    Settled,
    Stopped,
    StopRun,
    TakeSnapshot,
)
from actors.roster import Beat, Pace, Roster
from actors.schedules.schedule import JobView, Schedule, Workers, WorkerView
from buffers.answers import MemberView, Opened, Reassigned, Refused, Snapshot

Phase = Literal["waiting", "held", "to_score", "scoring", "asking", "gone"]


class Settle(msgspec.Struct, frozen=True):
    """The workers have had their time to say what they hold."""


class Track:
    """What the controller knows of one trajectory."""

    __slots__ = ("attempt", "group", "holder", "home", "length", "missed", "phase", "prompt", "trajectory", "version")

    def __init__(self, member: MemberView) -> None:
        self.trajectory = member.trajectory
        self.group = member.group
        self.prompt = member.prompt
        self.attempt = member.attempt
        self.length = member.length
        self.version = member.last_version
        self.phase: Phase = "asking"
        self.holder = ""
        self.home = ""
        self.missed = 0


class Worker:
    """A generator or rewarder: what it holds by the controller's book, and when it was last heard of."""

    __slots__ = ("counted", "held", "seen", "view")

    def __init__(self, name: str, slots: int) -> None:
        self.view = WorkerView(name, -1, slots, 0)
        self.held: dict[int, Track] = {}
        self.seen = 0
        self.counted = 0
        """When what it lacks was last counted as missed."""


class Controller:
    """See the module."""

    def __init__(self, roster: Roster, pace: Pace, schedule: Schedule, eta: int) -> None:
        self._roster = roster
        self._pace = pace
        self._schedule = schedule
        self._eta = eta
        self._epoch = 0
        self._highest = -1
        self._ready = False
        self._tracks: dict[int, Track] = {}
        self._resumed: deque[Track] = deque()
        self._fresh: deque[Track] = deque()
        self._to_score: deque[Track] = deque()
        self._generators: dict[str, Worker] = {}
        self._rewarders: dict[str, Worker] = {}
        self._views = Workers(schedule.room)
        self._ordinal = 0
        """Of the last groups that were opened. A refused one is used again, so a late copy's groups are heard of."""
        self._opening = False
        self._blocked = ""
        self._stopping = False
        self._outbox: dict[str, list[Assignment]] = {}
        self._handlers: dict[type, Callable[[Any, Context], None]] = {
            Started: self._on_started,
            Answer: self._on_answer,
            Settle: self._on_settle,
            Beat: self._on_beat,
            ReplayState: self._on_replay_state,
            LearnerState: self._on_learner_state,
            GeneratorState: self._on_generator_state,
            RewarderState: self._on_rewarder_state,
            Released: self._on_released,
            Declined: self._on_declined,
            Settled: self._on_settled,
            StopRun: self._on_stop,
        }

    def receive(self, message: Message, context: Context) -> None:
        """Take one message, then give out whatever can be given out."""
        handler = self._handlers.get(type(message))
        if handler is None:
            return
        handler(message, context)
        if self._ready and not self._stopping:
            self._dispatch(context)
            self._score(context)
            self._open(context)

    # ---- start ----------------------------------------------------------------------------------------------------

    def _on_started(self, message: Started, context: Context) -> None:
        context.ask(self._roster.replay, TakeSnapshot(message.incarnation), self._pace.ask_timeout_s)
        self._on_beat(Beat(), context)

    def _on_snapshot(self, snapshot: Snapshot, context: Context) -> None:
        self._epoch = snapshot.epoch
        self._highest = max(self._highest, snapshot.highest)
        for member in snapshot.members:
            track = self._tracks[member.trajectory] = Track(member)
            if member.state in ("queued", "cut"):
                self._wait(track)
        context.decide("snapshot", snapshot.epoch, len(snapshot.members))
        if snapshot.members:
            context.after(self._pace.heartbeat_s * 1.5, Settle())
        else:
            self._ready = True

    def _on_settle(self, message: Settle, context: Context) -> None:
        self._ready = True
        for track in list(self._tracks.values()):
            if track.phase == "asking":
                self._reassign(track, context)

    def _adopt(self, worker: Worker, phase: Phase, held: tuple[tuple[int, int], ...]) -> None:
        """Leave what a worker holds with it; later on, what is asked about already gets another attempt."""
        if self._ready:
            return
        for trajectory, attempt in held:
            track = self._tracks.get(trajectory)
            if track is not None and track.phase == "asking" and track.attempt == attempt:
                self._give(track, worker, phase)

    # ---- answers --------------------------------------------------------------------------------------------------

    def _on_answer(self, answer: Answer, context: Context) -> None:
        request, reply = answer.request, answer.reply
        if isinstance(reply, Refused) and reply.reason == "epoch":
            context.decide("superseded", self._epoch)
            context.stop(context.name)
        elif isinstance(request, TakeSnapshot):
            if isinstance(reply, Snapshot):
                self._on_snapshot(reply, context)
            else:
                context.ask(answer.to, request, self._pace.ask_timeout_s)
        elif isinstance(request, OpenGroups):
            self._on_opened(request, reply, context)
        elif isinstance(request, Reassign):
            self._on_reassigned(request, reply, context)

    def _on_opened(self, request: OpenGroups, reply: Message | None, context: Context) -> None:
        if reply is None:
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)
            return
        self._opening = False
        if isinstance(reply, Opened):
            self._ordinal = request.ordinal
            for member in reply.members:
                track = self._tracks[member.trajectory] = Track(member)
                self._wait(track)
        elif isinstance(reply, Refused):
            if reply.reason != self._blocked:
                context.note(f"wait: {reply.reason}", 1.0)
            self._blocked = reply.reason

    def _on_reassigned(self, request: Reassign, reply: Message | None, context: Context) -> None:
        track = self._tracks.get(request.trajectory)
        if track is None or track.phase != "asking" or track.attempt != request.attempt:
            return  # settled meanwhile, or lost once more under a newer attempt, which was asked about too
        if reply is None:
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)
        elif isinstance(reply, Reassigned):
            member = reply.member
            track.attempt, track.length, track.version = member.attempt, member.length, member.last_version
            if member.state == "ended":
                self._queue_score(track)
            else:
                self._wait(track)
        else:
            self._drop(track)

    # ---- workers --------------------------------------------------------------------------------------------------

    def _on_generator_state(self, message: GeneratorState, context: Context) -> None:
        worker = self._generators.get(context.sender)
        if worker is None:
            worker = self._generators[context.sender] = Worker(context.sender, message.slots)
            self._views[context.sender] = worker.view
        worker.view.version = message.version
        worker.view.slots = message.slots
        self._views.changed(context.sender)
        self._reconcile(worker, "held", message.held, context)

    def _on_rewarder_state(self, message: RewarderState, context: Context) -> None:
        worker = self._rewarders.get(context.sender)
        if worker is None:
            worker = self._rewarders[context.sender] = Worker(context.sender, 1)
        self._reconcile(worker, "scoring", message.held, context)

    def _reconcile(self, worker: Worker, phase: Phase, held: tuple[tuple[int, int], ...], context: Context) -> None:
        worker.seen = context.now
        self._adopt(worker, phase, held)
        if not worker.held:
            return
        present = dict(held)
        beats = context.now - worker.counted >= ns(self._pace.heartbeat_s / 2)  # it also tells between two heartbeats
        if beats:
            worker.counted = context.now
        for track in list(worker.held.values()):
            if present.get(track.trajectory) == track.attempt:
                track.missed = 0
                continue
            track.missed += beats
            if track.missed >= self._pace.lost_after:
                self._lose(track, context)

    def _on_beat(self, message: Beat, context: Context) -> None:
        context.after(self._pace.heartbeat_s, message)
        if self._roster.supervisor:
            context.send(self._roster.supervisor, Alive())
        limit = context.now - ns(self._pace.heartbeat_s * self._pace.silent_after)
        for workers in (self._generators, self._rewarders):
            for worker in list(workers.values()):
                if worker.seen < limit:
                    context.decide("silent", worker.view.name)
                    del workers[worker.view.name]
                    self._views.pop(worker.view.name, None)
                    self._views.changed(worker.view.name)
                    for track in list(worker.held.values()):
                        self._lose(track, context)

    def _lose(self, track: Track, context: Context) -> None:
        context.decide("lost", track.trajectory, track.attempt, track.holder)
        self._take_back(track)
        self._reassign(track, context)

    def _reassign(self, track: Track, context: Context) -> None:
        track.phase = "asking"
        request = Reassign(self._epoch, track.trajectory, track.attempt)
        context.ask(self._roster.replay, request, self._pace.ask_timeout_s)

    def _on_released(self, message: Released, context: Context) -> None:
        track = self._tracks.get(message.trajectory)
        if track is None or message.next_attempt <= track.attempt:
            return
        self._take_back(track)
        track.attempt = message.next_attempt
        track.length = message.length
        track.version = message.last_version
        if message.state == "failed":
            self._close_group(track.group, context)
        elif message.state == "ended":
            self._queue_score(track)
        else:
            self._wait(track)

    def _on_declined(self, message: Declined, context: Context) -> None:
        track = self._tracks.get(message.trajectory)
        if track is None or track.holder != context.sender or message.attempt != track.attempt:
            return
        scoring = track.phase == "scoring"
        self._take_back(track)
        if message.reason in ("full", "stopping"):
            self._queue_score(track) if scoring else self._wait(track)
        else:
            self._reassign(track, context)

    def _on_settled(self, message: Settled, context: Context) -> None:
        track = self._tracks.get(message.trajectory)
        if track is None:
            return
        if message.group_closed:
            self._close_group(track.group, context)
            return
        if message.attempt != track.attempt or track.phase not in ("held", "scoring"):
            return
        generating = track.phase == "held"
        self._take_back(track)
        if message.next_attempt:
            track.attempt = message.next_attempt
            self._wait(track) if generating else self._queue_score(track)
        else:
            self._drop(track)

    # ---- giving out -----------------------------------------------------------------------------------------------

    def _dispatch(self, context: Context) -> None:
        oldest = self._highest - self._eta
        for queue in (self._resumed, self._fresh):
            while queue:
                track = queue[0]
                if track.phase != "waiting":
                    queue.popleft()
                    continue
                needed = track.version if track.version > oldest else oldest
                job = JobView(track.trajectory, track.prompt, track.length, needed, track.home)
                name = self._schedule.choose(job, self._views)
                if name is None:
                    break
                queue.popleft()
                self._give(track, self._generators[name], "held")
                track.home = name
                context.decide("dispatch", track.trajectory, track.attempt, name, needed)
                budget = self._schedule.budget(job)
                self._outbox.setdefault(name, []).append(
                    Assignment(track.trajectory, track.attempt, track.prompt, track.length, needed, budget)
                )
        for name, assignments in self._outbox.items():
            context.send(name, Dispatch(self._epoch, tuple(assignments)))
        self._outbox.clear()

    def _score(self, context: Context) -> None:
        while self._to_score and self._rewarders:
            track = self._to_score.popleft()
            if track.phase != "to_score":
                continue
            worker = least_loaded(self._rewarders.values())
            self._give(track, worker, "scoring")
            context.decide("score", track.trajectory, track.attempt, worker.view.name)
            message = Score(self._epoch, track.trajectory, track.attempt, track.prompt, track.length)
            context.send(worker.view.name, message)

    def _open(self, context: Context) -> None:
        if self._opening or self._blocked:
            return
        room = self._views.total_room
        count = self._schedule.groups_to_open(room, len(self._fresh) + len(self._resumed))
        if count <= 0:
            return
        self._opening = True
        request = OpenGroups(self._epoch, self._ordinal + 1, count)
        context.ask(self._roster.replay, request, self._pace.ask_timeout_s)

    def _on_replay_state(self, message: ReplayState, context: Context) -> None:
        self._highest = max(self._highest, message.highest)
        self._unblock(context)

    def _unblock(self, context: Context) -> None:
        """There may be room for further groups again."""
        if self._blocked and self._blocked != "prompts":
            context.note(f"wait: {self._blocked}", 0.0)
            self._blocked = ""

    def _on_learner_state(self, message: LearnerState, context: Context) -> None:
        self._highest = max(self._highest, message.version)

    def _on_stop(self, message: StopRun, context: Context) -> None:
        self._stopping = True
        context.send(self._roster.supervisor, Stopped())
        context.stop(context.name)

    # ---- the book -------------------------------------------------------------------------------------------------

    def _wait(self, track: Track) -> None:
        track.phase = "waiting"
        (self._resumed if track.length else self._fresh).append(track)

    def _queue_score(self, track: Track) -> None:
        track.phase = "to_score"
        self._to_score.append(track)

    def _give(self, track: Track, worker: Worker, phase: Phase) -> None:
        track.phase = phase
        track.holder = worker.view.name
        track.missed = 0
        worker.held[track.trajectory] = track
        worker.view.held += 1
        if phase == "held":
            self._views.changed(worker.view.name)

    def _take_back(self, track: Track) -> None:
        workers = self._generators if track.phase == "held" else self._rewarders
        worker = workers.get(track.holder)
        if worker is not None and worker.held.pop(track.trajectory, None) is not None:
            worker.view.held -= 1
            if track.phase == "held":
                self._views.changed(worker.view.name)
        track.holder = ""

    def _drop(self, track: Track) -> None:
        self._take_back(track)
        track.phase = "gone"
        self._tracks.pop(track.trajectory, None)

    def _close_group(self, group: int, context: Context) -> None:
        held: dict[str, list[int]] = {}
        for track in [one for one in self._tracks.values() if one.group == group]:
            if track.holder:
                held.setdefault(track.holder, []).append(track.trajectory)
            self._drop(track)
        for name, trajectories in held.items():
            context.send(name, DropJobs(self._epoch, tuple(trajectories)))
        context.decide("group_failed", group)
        self._unblock(context)


def least_loaded(workers: Iterable[Worker]) -> Worker:
    """The one that holds least, by name where several do; there are few."""
    others = iter(workers)
    best = next(others)
    held = best.view.held
    for one in others:
        view = one.view
        if view.held < held or (view.held == held and view.name < best.view.name):
            best, held = one, view.held
    return best
