"""The supervisor: starts the cast, watches it, restarts what dies with backoff and within a budget, ends the run.

    ActorDied, or silence ------> RestartBook --Restart--> spawn the next incarnation
                                              --GiveUp---> stop the run
    final version published (and evaluated), StopRun, GiveUp --> all stop: replay after the rest, the recorder last

A hanging actor is killed first (the world then reports its death). What is stopping is not restarted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.kernel.context import ActorSpec, Context, Started
from actors.kernel.operations import Message, ns
from actors.kernel.supervision import GiveUp, RestartBook, RestartPolicy
from actors.messages import ActorDied, Alive, Evaluated, LearnerState, Stopped, StopRun
from actors.roster import Beat, Pace, Roster


class Respawn(msgspec.Struct, frozen=True):
    """The pause before a restart is over."""

    name: str
    incarnation: int


class Overdue(msgspec.Struct, frozen=True):
    """A stage of the stop has taken long enough."""

    stage: int


class Supervisor:
    """See the module."""

    def __init__(
        self, roster: Roster, pace: Pace, specs: tuple[ActorSpec, ...], policy: RestartPolicy, first: int = 1
    ) -> None:
        self._roster = roster
        self._pace = pace
        self._specs = {spec.name: spec for spec in specs}
        self._first = first
        """Incarnation that everybody starts as: above all that an earlier start of the same run has used."""
        self._book = RestartBook(policy)
        self._heard: dict[str, int] = {}
        """Running actors -> when they were last heard of (ns); in the future: they may still be starting."""
        self._stages = stop_stages(roster, tuple(self._specs))
        self._stage = -1
        self._left: set[str] = set()
        self._final = -1
        """Version that the run ends with, once the learner has said so."""
        self._evaluated = -1
        """That the evaluator calls final."""
        self._used_up = ""
        self.outcome = ""
        """Why the run ended: `finished` (see `is_finished`), a person's reason, or what was given up."""
        self._handlers: dict[type, Callable[[Any, Context], None]] = {
            Started: self._on_started,
            Beat: self._on_beat,
            Alive: self._on_alive,
            ActorDied: self._on_died,
            Respawn: self._on_respawn,
            LearnerState: self._on_learner_state,
            Evaluated: self._on_evaluated,
            StopRun: self._on_stop_run,
            Stopped: self._on_stopped,
            Overdue: self._on_overdue,
        }

    def receive(self, message: Message, context: Context) -> None:
        """Take one message."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message, context)

    # ---- watching -------------------------------------------------------------------------------------------------

    def _on_started(self, message: Started, context: Context) -> None:
        for name in self._specs:
            self._spawn(name, self._first, context)
        context.after(self._pace.heartbeat_s, Beat())

    def _spawn(self, name: str, incarnation: int, context: Context) -> None:
        self._book.started(name, incarnation)
        self._heard[name] = context.now + ns(max(0.0, self._pace.start_s - self._pace.hang_s))
        context.decide("spawn", name, incarnation)
        context.spawn(self._specs[name], incarnation)

    def _on_alive(self, message: Alive, context: Context) -> None:
        if context.sender in self._heard:
            self._heard[context.sender] = context.now

    def _on_beat(self, message: Beat, context: Context) -> None:
        context.after(self._pace.heartbeat_s, message)
        limit = context.now - ns(self._pace.hang_s)
        for name, heard in list(self._heard.items()):
            if heard < limit:
                context.decide("hang", name)
                context.stop(name)
                self._died(name, context)

    def _on_died(self, message: ActorDied, context: Context) -> None:
        if message.incarnation == self._book.incarnation(message.name) and message.name in self._heard:
            self._died(message.name, context)

    def _died(self, name: str, context: Context) -> None:
        del self._heard[name]
        context.decide("died", name)
        if self._stage >= 0:
            self._gone(name, context)
            return
        verdict = self._book.died(name, context.now)
        if isinstance(verdict, GiveUp):
            self._stop(f"{name} died {verdict.deaths} times", context)
        else:
            context.after(verdict.delay_s, Respawn(name, verdict.incarnation))

    def _on_respawn(self, message: Respawn, context: Context) -> None:
        if self._stage < 0:
            self._spawn(message.name, message.incarnation, context)

    # ---- the end --------------------------------------------------------------------------------------------------

    def _on_learner_state(self, message: LearnerState, context: Context) -> None:
        if message.finished:
            self._final, self._used_up = message.version, message.used_up
            self._finish(context)

    def _on_evaluated(self, message: Evaluated, context: Context) -> None:
        if message.final:
            self._evaluated = message.version
            self._finish(context)

    def _finish(self, context: Context) -> None:
        """End the run if its last version is known and evaluated; of the two words either may come first."""
        if self._final >= 0 and (not self._roster.evaluator or self._evaluated == self._final):
            self._stop("finished: no signal left" if self._used_up == "signal" else "finished", context)

    def _on_stop_run(self, message: StopRun, context: Context) -> None:
        self._stop(message.reason, context)

    def _stop(self, reason: str, context: Context) -> None:
        if self._stage < 0:
            self.outcome = reason
            context.decide("stop", reason)
            self._next_stage(context)

    def _next_stage(self, context: Context) -> None:
        self._stage += 1
        if self._stage == len(self._stages):
            context.stop(context.name)
            return
        self._left = {name for name in self._stages[self._stage] if name in self._heard}
        for name in self._stages[self._stage]:
            if name in self._left:
                context.send(name, StopRun(self.outcome))
        context.after(self._pace.stop_s, Overdue(self._stage))
        if not self._left:
            self._next_stage(context)

    def _on_stopped(self, message: Stopped, context: Context) -> None:
        if context.sender in self._heard:
            del self._heard[context.sender]
            self._gone(context.sender, context)

    def _on_overdue(self, message: Overdue, context: Context) -> None:
        if message.stage == self._stage:
            for name in sorted(self._left):
                context.decide("kill", name)
                self._heard.pop(name, None)
                context.stop(name)
            self._left.clear()
            self._next_stage(context)

    def _gone(self, name: str, context: Context) -> None:
        if name in self._left:
            self._left.discard(name)
            if not self._left:
                self._next_stage(context)


def is_finished(outcome: str) -> bool:
    """Whether a run came to its end: after its last update, or where nothing was left to learn, which it says then."""
    return outcome.partition(":")[0] == "finished"


def stop_stages(roster: Roster, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Who stops with whom: controller first, then workers and learner, then replay, then the recorder."""
    first = (roster.controller,)
    late = (roster.replay, roster.recorder)
    middle = tuple(name for name in names if name not in first + late)
    stages = (first, middle, (roster.replay,), (roster.recorder,))
    return tuple(tuple(name for name in stage if name in names) for stage in stages)
