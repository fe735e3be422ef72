"""The generator (rollout worker): holds an Engine and continues trajectories, one segment at a time.

    Dispatch --> fetching (prompt, prefix: only what is not cached) --> queued (until its version is installed)
             --> running in the engine --SegmentDone--> storing (Append, until answered) --> Released to the controller

Weights are pulled when the learner's heartbeat names a newer version; they go in between two tokens of what runs, or,
under `install = drain`, when nothing runs. A held job is fenced by its attempt: an event of another attempt changes
nothing. All that it holds it repeats in its heartbeat; what it loses is reassigned.

A prefix counts as cached if and only if `_cached[trajectory] == length`: the newest segment made here ends where the
stored tokens end. The engine may have lost it all the same ("not cached"), then it is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from actors.kernel.context import Answer, Context, Started
from actors.kernel.operations import Message
from actors.messages import (
    Alive,
    Append,
    Assignment,
    Declined,
    Dispatch,
    DropJobs,
    FailAttempt,
    FetchPrompt,
    GeneratorState,
    LearnerState,
    PromptRecord,
    Released,
    Settled,
    Stopped,
    StopRun,
)
from actors.responses import fetch_response
from actors.roster import Beat, Numbers, Pace, Roster
from actors.schedules.schedule import ScheduleConfig
from actors.turns import note_turn
from buffers.answers import Appended, AttemptFailed
from buffers.segment import Payload
from policies.card import Held
from policies.engine import (
    Engine,
    EngineFailed,
    EngineReport,
    Installed,
    InstallFailed,
    Job,
    JobFailed,
    Sampling,
    SegmentDone,
)

HoldPhase = Literal["prefix", "prompt", "queued", "running", "aborting", "storing"]
"""What a hold waits for: its prefix, its prompt, its version, the engine (twice), replay."""
PROMPTS_KEPT = 4096
"""Prompts cached by a generator."""
CACHED_KEPT = 4096
"""Trajectories whose cached prefix a generator remembers: what goes on elsewhere never says so. One too few costs the
fetch of a prefix."""


class Prefix(msgspec.Struct, frozen=True, gc=False):
    """Result of fetching a stored prefix; None when replay no longer has the trajectory."""

    trajectory: int
    attempt: int
    payload: Payload | None


class Hold:
    """One held attempt."""

    __slots__ = ("assignment", "next", "phase", "prefix", "prompt")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.phase: HoldPhase = "prompt"
        self.prefix: Payload | None = None
        self.prompt: Payload | None = None
        """From when it is queued: the cache may lose it."""
        self.next: Assignment | None = None
        """A newer attempt that waits until the engine has let go of the one it runs."""


class Generator:
    """See the module."""

    def __init__(self, roster: Roster, pace: Pace, config: ScheduleConfig, sampling: Sampling, engine: Engine) -> None:
        self._roster = roster
        self._pace = pace
        self._config = config
        self._sampling = sampling
        self._engine = engine
        self._epoch = 0
        self._held: dict[int, Hold] = {}
        self._prompts: dict[int, Payload] = {}
        self._asked: dict[int, list[int]] = {}
        """Prompt being fetched -> trajectories that wait for it."""
        self._cached: dict[int, int] = {}
        """Trajectory -> response tokens that the engine should still have cached, least recently used first."""
        self._queued: dict[int, Hold] = {}
        self._running = 0
        self._version = -1
        self._wanted: tuple[int, str] = (-1, "")
        self._installing = False
        self._stopping = False
        self._numbers = Numbers(roster.recorder)
        self._handlers: dict[type, Callable[[Any, Context], None]] = {
            Started: self._on_beat,
            Beat: self._on_beat,
            Dispatch: self._on_dispatch,
            DropJobs: self._on_drop,
            LearnerState: self._on_learner_state,
            Answer: self._on_answer,
            Prefix: self._on_prefix,
            SegmentDone: self._on_segment,
            JobFailed: self._on_job_failed,
            Installed: self._on_installed,
            InstallFailed: self._on_install_failed,
            EngineReport: self._on_report,
            Held: self._on_turn,
            EngineFailed: self._on_engine_failed,
            StopRun: self._on_stop,
        }

    def receive(self, message: Message, context: Context) -> None:
        """Take one message."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message, context)

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    # ---- what it is given -----------------------------------------------------------------------------------------

    def _on_dispatch(self, message: Dispatch, context: Context) -> None:
        if message.epoch < self._epoch:
            return
        self._epoch = message.epoch
        for assignment in message.assignments:
            hold = self._held.get(assignment.trajectory)
            if hold is not None:
                self._supersede(hold, assignment, context)
            elif self._stopping or len(self._held) >= 2 * (self._engine.slots + self._config.backlog):
                reason = "stopping" if self._stopping else "full"
                context.send(context.sender, Declined(assignment.trajectory, assignment.attempt, reason))
            else:
                self._take(assignment, context)

    def _supersede(self, hold: Hold, assignment: Assignment, context: Context) -> None:
        newest = hold.next or hold.assignment
        if assignment.attempt <= newest.attempt:
            return
        if hold.phase in ("running", "aborting"):
            hold.next = assignment
            if hold.phase == "running":
                hold.phase = "aborting"
                self._engine.abort(assignment.trajectory)
        else:
            if hold.phase == "storing":
                self._forget(assignment.trajectory)
            self._let_go(hold)
            self._take(assignment, context)

    def _take(self, assignment: Assignment, context: Context) -> None:
        hold = self._held[assignment.trajectory] = Hold(assignment)
        cached = self._cached.pop(assignment.trajectory, 0)
        if assignment.length and cached == assignment.length:
            self._cached[assignment.trajectory] = cached
        if assignment.length and cached != assignment.length:
            self._fetch_prefix(hold, context)
        elif assignment.prompt not in self._prompts:
            self._fetch_prompt(hold, context)
        else:
            self._queue(hold, context)

    def _fetch_prompt(self, hold: Hold, context: Context) -> None:
        hold.phase = "prompt"
        prompt = hold.assignment.prompt
        waiting = self._asked.setdefault(prompt, [])
        waiting.append(hold.assignment.trajectory)
        if len(waiting) == 1:
            context.ask(self._roster.replay, FetchPrompt(prompt), self._pace.ask_timeout_s, 1 << 16)

    def _fetch_prefix(self, hold: Hold, context: Context) -> None:
        hold.phase = "prefix"
        one = hold.assignment
        context.start(fetch_prefix(self._roster.replay, one, self._pace.ask_timeout_s))

    def _on_prefix(self, message: Prefix, context: Context) -> None:
        hold = self._held.get(message.trajectory)
        if hold is None or hold.assignment.attempt != message.attempt or hold.phase != "prefix":
            return
        if message.payload is None:
            self._decline(hold, "unknown", context)
            return
        hold.prefix = message.payload
        if hold.assignment.prompt in self._prompts:
            self._queue(hold, context)
        else:
            self._fetch_prompt(hold, context)

    def _on_prompt(self, request: FetchPrompt, reply: Message | None, context: Context) -> None:
        if not isinstance(reply, PromptRecord):
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s, 1 << 16)
            return
        if len(self._prompts) >= PROMPTS_KEPT:
            self._prompts.pop(next(iter(self._prompts)))
        self._prompts[request.prompt] = reply.payload
        for trajectory in self._asked.pop(request.prompt, []):
            hold = self._held.get(trajectory)
            if hold is not None and hold.phase == "prompt" and hold.assignment.prompt == request.prompt:
                self._queue(hold, context)

    # ---- the engine -----------------------------------------------------------------------------------------------

    def _queue(self, hold: Hold, context: Context) -> None:
        hold.prompt = self._prompts[hold.assignment.prompt]
        draining = self._config.install == "drain" and self._wanted[0] > self._version
        if draining or self._version < hold.assignment.min_version or self._version < 0:
            hold.phase = "queued"
            self._queued[hold.assignment.trajectory] = hold
        else:
            self._submit(hold)

    def _submit(self, hold: Hold) -> None:
        one = hold.assignment
        hold.phase = "running"
        self._running += 1
        cap = self._config.max_response_tokens
        prompt = hold.prompt
        assert prompt is not None
        job = Job(one.trajectory, one.attempt, prompt, hold.prefix, one.length, one.max_tokens, cap, self._sampling)
        self._engine.submit(job)

    def _on_segment(self, event: SegmentDone, context: Context) -> None:
        hold = self._ended(event.trajectory, event.attempt, context)
        if hold is None:
            return
        segment = event.segment
        if segment.length == 0 and segment.end == "cut":
            self._decline(hold, "stopping" if self._stopping else "aborted", context)
        else:
            self._remember(event.trajectory, segment.stop)
            hold.phase = "storing"
            request = Append(event.trajectory, event.attempt, segment)
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)
        self._after_work(context)

    def _on_job_failed(self, event: JobFailed, context: Context) -> None:
        hold = self._ended(event.trajectory, event.attempt, context)
        if hold is None:
            return
        self._cached.pop(event.trajectory, None)
        if event.reason == "not cached" and self._stopping:
            self._decline(hold, "stopping", context)
        elif event.reason == "not cached":
            self._fetch_prefix(hold, context)
        else:
            hold.phase = "storing"
            request = FailAttempt(event.trajectory, event.attempt, event.reason)
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)
        self._after_work(context)

    def _ended(self, trajectory: int, attempt: int, context: Context) -> Hold | None:
        """The hold whose engine job has just ended; None if it was dropped or superseded meanwhile."""
        hold = self._held.get(trajectory)
        if hold is None or hold.assignment.attempt != attempt or hold.phase not in ("running", "aborting"):
            return None
        self._running -= 1
        if hold.phase == "aborting":
            self._let_go(hold)
            self._go_over(trajectory, hold.next, context)
            self._after_work(context)
            return None
        return hold

    def _go_over(self, trajectory: int, newer: Assignment | None, context: Context) -> None:
        """The engine has let go of an attempt that was dropped, or that a newer one takes the place of."""
        if newer is None:
            self._forget(trajectory)
            return
        self._cached.pop(trajectory, None)
        if self._stopping:
            context.send(self._roster.controller, Declined(trajectory, newer.attempt, "stopping"))
        else:
            self._take(newer, context)

    def _after_work(self, context: Context) -> None:
        if self._running == 0 and self._wanted[0] > self._version and self._config.install == "drain":
            self._install()
        if self._stopping and not self._held:
            self._leave(context)

    # ---- storing --------------------------------------------------------------------------------------------------

    def _on_answer(self, answer: Answer, context: Context) -> None:
        request, reply = answer.request, answer.reply
        if isinstance(request, FetchPrompt):
            self._on_prompt(request, reply, context)
            return
        hold = self._held.get(request.trajectory)
        if hold is None or hold.assignment.attempt != request.attempt or hold.phase != "storing":
            return
        if reply is None:
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)
            return
        self._let_go(hold)
        if isinstance(reply, Appended):
            if reply.state != "cut":
                self._forget(request.trajectory)
            released = Released(reply.trajectory, reply.next_attempt, reply.length, reply.last_version, reply.state)
            context.send(self._roster.controller, released)
        elif isinstance(reply, AttemptFailed):
            self._forget(request.trajectory)
            settled = Settled(request.trajectory, request.attempt, reply.next_attempt, bool(reply.closed))
            context.send(self._roster.controller, settled)
        else:
            self._forget(request.trajectory)
            context.decide("refused", request.trajectory, request.attempt, reply.reason)
            context.send(self._roster.controller, Declined(request.trajectory, request.attempt, reply.reason))
        self._after_work(context)

    def _decline(self, hold: Hold, reason: str, context: Context) -> None:
        self._let_go(hold)
        one = hold.assignment
        context.send(self._roster.controller, Declined(one.trajectory, one.attempt, reason))

    def _on_drop(self, message: DropJobs, context: Context) -> None:
        if message.epoch < self._epoch:
            return
        for trajectory in message.trajectories:
            hold = self._held.get(trajectory)
            if hold is None:
                continue
            hold.next = None
            if hold.phase == "running":
                hold.phase = "aborting"
                self._engine.abort(trajectory)
            elif hold.phase != "aborting":
                self._let_go(hold)
                self._forget(trajectory)
        self._after_work(context)

    def _let_go(self, hold: Hold) -> None:
        self._held.pop(hold.assignment.trajectory, None)
        self._queued.pop(hold.assignment.trajectory, None)

    def _remember(self, trajectory: int, length: int) -> None:
        self._cached.pop(trajectory, None)
        self._cached[trajectory] = length
        if len(self._cached) > CACHED_KEPT:
            del self._cached[next(iter(self._cached))]

    def _forget(self, trajectory: int) -> None:
        self._cached.pop(trajectory, None)
        self._engine.forget(trajectory)

    # ---- weights --------------------------------------------------------------------------------------------------

    def _on_learner_state(self, message: LearnerState, context: Context) -> None:
        if message.version <= self._wanted[0]:
            return
        self._wanted = (message.version, message.source)
        if self._config.install == "in_flight" or self._running == 0:
            self._install()

    def _install(self) -> None:
        if not self._installing:
            self._installing = True
            self._engine.install(*self._wanted)

    def _on_installed(self, event: Installed, context: Context) -> None:
        self._installing = False
        self._version = max(self._version, event.version)
        context.decide("installed", event.version)
        self._numbers.add(context, "install_stall_s", event.stall_s)
        self._numbers.add(context, "install_recomputed", float(event.recomputed))
        self._numbers.add(context, "install_failed", 0.0)
        self._numbers.add(context, "installed_version", event.version)
        self._tell(context)
        newest, in_flight = self._wanted[0] <= self._version, self._config.install == "in_flight"
        if newest or in_flight:  # also where publishing outruns installing: no version that is there may be the newest
            self._release()
        if not newest and (in_flight or self._running == 0):
            self._install()

    def _release(self) -> None:
        """Submit what waited for the version that is installed now."""
        for hold in list(self._queued.values()):
            if self._version >= max(0, hold.assignment.min_version):
                del self._queued[hold.assignment.trajectory]
                self._submit(hold)

    def _on_install_failed(self, event: InstallFailed, context: Context) -> None:
        self._installing = False
        self._wanted = (self._version, "")
        context.decide("install_failed", event.version)
        self._numbers.add(context, "install_failed", 1.0)
        self._release()  # what may be made by the version that is there does not wait until another try succeeds

    def _on_engine_failed(self, event: EngineFailed, context: Context) -> None:
        raise RuntimeError(f"{context.name}: the engine failed: {event.reason}")

    def _on_turn(self, event: Held, context: Context) -> None:
        note_turn(self._numbers, context, event)

    def _on_report(self, event: EngineReport, context: Context) -> None:
        for name in event.__struct_fields__:
            self._numbers.add(context, name, getattr(event, name))

    # ---- heartbeat and end ----------------------------------------------------------------------------------------

    def _on_beat(self, message: Beat | Started, context: Context) -> None:
        context.after(self._pace.heartbeat_s, Beat())
        self._tell(context)
        self._numbers.flush(context)
        if self._roster.supervisor:
            context.send(self._roster.supervisor, Alive())

    def _tell(self, context: Context) -> None:
        held = tuple((trajectory, hold.assignment.attempt) for trajectory, hold in self._held.items())
        state = GeneratorState(self._epoch, self._version, self._engine.slots, held)
        context.send(self._roster.controller, state)

    def _on_stop(self, message: StopRun, context: Context) -> None:
        if self._stopping:
            return
        self._stopping = True
        for trajectory, hold in list(self._held.items()):
            if hold.phase == "running":
                self._engine.abort(trajectory)
            elif hold.phase in ("prefix", "prompt", "queued"):
                self._let_go(hold)
        self._after_work(context)

    def _leave(self, context: Context) -> None:
        self._numbers.flush(context)
        context.send(self._roster.supervisor, Stopped())
        context.stop(context.name)


async def fetch_prefix(replay: str, one: Assignment, timeout_s: float) -> Prefix:
    """The stored response tokens [0, one.length) of a trajectory."""
    found = await fetch_response(replay, one.trajectory, one.length, timeout_s)
    return Prefix(one.trajectory, one.attempt, None if found is None else found[0])
