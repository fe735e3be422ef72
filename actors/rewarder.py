"""The rewarder: fetches ended trajectories, has them scored by its Reward port, stores the components in replay.

Score --> fetching (prompt with answer, response) --> scoring --Scored--> storing (PutScore, until answered) --> Settled
|                                                       | refused
+--ScoringFailed--> storing (FailAttempt) ------------> Settled, or Declined where replay refuses the attempt
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.kernel.context import Answer, Context, Started
from actors.kernel.operations import Message
from actors.messages import (
    Alive,
    Declined,
    DropJobs,
    FailAttempt,
    FetchPrompt,
    PromptRecord,
    PutScore,
    RewarderState,
    Score,
    Settled,
    Stopped,
    StopRun,
)
from actors.responses import fetch_response
from actors.roster import Beat, Numbers, Pace, Roster
from buffers.answers import AttemptFailed, ScoreStored
from rewards.reward import Reward, Scored, ScoreJob, ScoringFailed

PROMPTS_KEPT = 1024
"""Prompts with their answers cached by a rewarder: the members of a group share one."""


class Fetched(msgspec.Struct, frozen=True, gc=False):
    """Result of fetching a trajectory; `job` is None when replay no longer has it."""

    trajectory: int
    attempt: int
    job: ScoreJob | None


class Rewarder:
    """See the module."""

    def __init__(self, roster: Roster, pace: Pace, reward: Reward) -> None:
        self._roster = roster
        self._pace = pace
        self._reward = reward
        self._epoch = 0
        self._held: dict[int, int] = {}
        """Trajectory -> attempt."""
        self._prompts: dict[int, PromptRecord] = {}
        self._asked: dict[int, list[Score]] = {}
        """Prompt being fetched -> what waits for it."""
        self._stopping = False
        self._numbers = Numbers(roster.recorder)
        self._handlers: dict[type, Callable[[Any, Context], None]] = {
            Started: self._on_beat,
            Beat: self._on_beat,
            Score: self._on_score,
            Fetched: self._on_fetched,
            Scored: self._on_scored,
            ScoringFailed: self._on_failed,
            Answer: self._on_answer,
            DropJobs: self._on_drop,
            StopRun: self._on_stop,
        }

    def receive(self, message: Message, context: Context) -> None:
        """Take one message."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message, context)

    def close(self) -> None:
        """Close the scorer."""
        self._reward.close()

    def _on_score(self, message: Score, context: Context) -> None:
        if message.epoch < self._epoch:
            return
        self._epoch = message.epoch
        if self._stopping:
            context.send(context.sender, Declined(message.trajectory, message.attempt, "stopping"))
        elif self._held.get(message.trajectory, 0) < message.attempt:
            self._held[message.trajectory] = message.attempt
            self._fetch(message, context)

    def _fetch(self, one: Score, context: Context) -> None:
        prompt = self._prompts.get(one.prompt)
        if prompt is not None:
            context.start(fetch_trajectory(self._roster.replay, one, prompt, self._pace.ask_timeout_s))
            return
        waiting = self._asked.setdefault(one.prompt, [])
        waiting.append(one)
        if len(waiting) == 1:
            context.ask(self._roster.replay, FetchPrompt(one.prompt), self._pace.ask_timeout_s, 1 << 16)

    def _on_prompt(self, request: FetchPrompt, reply: Message | None, context: Context) -> None:
        waiting = self._asked.pop(request.prompt)
        if isinstance(reply, PromptRecord):
            if len(self._prompts) >= PROMPTS_KEPT:
                self._prompts.pop(next(iter(self._prompts)))
            self._prompts[request.prompt] = reply
        for one in waiting:
            if self._held.get(one.trajectory) == one.attempt:
                self._fetch(one, context)

    def _on_fetched(self, message: Fetched, context: Context) -> None:
        if self._held.get(message.trajectory) != message.attempt:
            return
        if message.job is None:
            self._decline(message.trajectory, message.attempt, "unknown", context)
        else:
            self._reward.score(message.job)

    def _on_scored(self, event: Scored, context: Context) -> None:
        if self._held.get(event.trajectory) == event.attempt:
            self._numbers.add(context, "score_s", event.seconds)
            if "raised" in event.components or "killed" in event.components:
                self._numbers.add(context, "reward_failed", 1.0)
            request = PutScore(event.trajectory, event.attempt, event.components)
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)

    def _on_failed(self, event: ScoringFailed, context: Context) -> None:
        if self._held.get(event.trajectory) == event.attempt:
            request = FailAttempt(event.trajectory, event.attempt, event.reason)
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)

    def _on_answer(self, answer: Answer, context: Context) -> None:
        if isinstance(answer.request, FetchPrompt):
            self._on_prompt(answer.request, answer.reply, context)
            return
        request: PutScore | FailAttempt = answer.request
        if self._held.get(request.trajectory) != request.attempt:
            return
        reply = answer.reply
        if reply is None:
            context.ask(self._roster.replay, request, self._pace.ask_timeout_s)
        elif isinstance(reply, AttemptFailed):
            self._settle(request.trajectory, request.attempt, reply.next_attempt, bool(reply.closed), context)
        elif isinstance(reply, ScoreStored):
            self._settle(request.trajectory, request.attempt, 0, False, context)
        else:
            context.decide("refused", request.trajectory, request.attempt, reply.reason)
            self._decline(request.trajectory, request.attempt, reply.reason, context)

    def _decline(self, trajectory: int, attempt: int, reason: str, context: Context) -> None:
        """Give an attempt up that replay does not take (any more); the controller asks replay how things stand."""
        self._held.pop(trajectory, None)
        context.send(self._roster.controller, Declined(trajectory, attempt, reason))
        self._leave_if_done(context)

    def _settle(self, trajectory: int, attempt: int, next_attempt: int, group_closed: bool, context: Context) -> None:
        self._held.pop(trajectory, None)
        context.send(self._roster.controller, Settled(trajectory, attempt, next_attempt, group_closed))
        self._leave_if_done(context)

    def _on_drop(self, message: DropJobs, context: Context) -> None:
        if message.epoch >= self._epoch:
            for trajectory in message.trajectories:
                self._held.pop(trajectory, None)
            self._leave_if_done(context)

    def _on_beat(self, message: Beat | Started, context: Context) -> None:
        context.after(self._pace.heartbeat_s, Beat())
        context.send(self._roster.controller, RewarderState(self._epoch, tuple(self._held.items())))
        self._numbers.flush(context)
        if self._roster.supervisor:
            context.send(self._roster.supervisor, Alive())

    def _on_stop(self, message: StopRun, context: Context) -> None:
        if not self._stopping:
            self._stopping = True
            self._leave_if_done(context)

    def _leave_if_done(self, context: Context) -> None:
        if self._stopping and not self._held:
            self._numbers.flush(context)
            context.send(self._roster.supervisor, Stopped())
            context.stop(context.name)


async def fetch_trajectory(replay: str, one: Score, prompt: PromptRecord, timeout_s: float) -> Fetched:
    """The whole response, joined with its prompt to a job."""
    found = await fetch_response(replay, one.trajectory, one.length, timeout_s)
    if found is None:
        return Fetched(one.trajectory, one.attempt, None)
    response, end = found
    job = ScoreJob(one.trajectory, one.attempt, prompt.payload, response, prompt.answer, end)
    return Fetched(one.trajectory, one.attempt, job)
