"""The Reward port in earnest: decodes ended trajectories to text and runs the configured rewards in sandboxes.

    score(job) -> queue -> one thread per sandbox -> decode -> Sandbox.call -> emit(Scored | ScoringFailed)

An answer that exceeds the limits, kills its process or makes a reward raise is `Scored` with outcome 0 and every
other component 0, and says so by a component `killed` or `raised` of 1. That a process cannot be started or a text
not be decoded is `ScoringFailed`. Nothing is emitted after `close`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from buffers.errors import UsageError
from buffers.segment import IntArray, ids_of
from rewards.answered import Answered
from rewards.grading import Spec, build_rewards, components_of
from rewards.reward import Emit, RewardEvent, Scored, ScoreJob, ScoringFailed
from rewards.sandbox import Killed, Limits, Raised, Sandbox, SandboxError

Decode = Callable[[IntArray], str]
"""Token ids [L] to text; called from the scorer's threads."""
GRADING = "rewards.grading:build"


@dataclass(frozen=True)
class Config:
    """Which rewards, and what one answer may use."""

    rewards: tuple[str, ...] = ("exact",)
    """Files of this package, or `module:name` of a function."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Reward to the keys of its own config."""
    workers: int = 1
    """Sandboxes that score at the same time."""
    seconds: float = 10.0
    """Wall time of one answer."""
    memory_bytes: int = 2 << 30
    """Address space of a sandbox."""

    def __post_init__(self) -> None:
        """Refuse limits under which nothing can be scored."""
        if self.workers < 1 or self.seconds <= 0 or self.memory_bytes < 256 << 20:
            raise UsageError(
                f"scorer: workers = {self.workers}, seconds = {self.seconds}, memory_bytes = {self.memory_bytes}; "
                "at least 1, above 0 and at least 268435456 are needed"
            )


def check(config: Config) -> None:
    """Raise `UsageError` if the rewards cannot be built; imports them here, a person's function among them."""
    build_rewards(Spec(config.rewards, config.settings))


_log = logging.getLogger(__name__)
REASONS_TOLD = 32


class Scorer:
    """Scores with `config.workers` sandboxes; the first is started at once, so that bad settings show themselves."""

    def __init__(self, config: Config, decode: Decode, emit: Emit) -> None:
        self._decode = decode
        self._emit_outside = emit
        self._jobs: queue.SimpleQueue[ScoreJob | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._told: set[str] = set()
        """Why rewards failed, as the log has it already."""
        limits = Limits(seconds=config.seconds, memory_bytes=config.memory_bytes)
        spec = Spec(config.rewards, config.settings)
        self._components = components_of(spec)
        self._sandboxes = [Sandbox(GRADING, spec, limits) for _ in range(config.workers)]
        self._sandboxes[0].start()
        self._threads = [
            threading.Thread(target=self._serve, args=(sandbox,), name=f"scorer-{index}", daemon=True)
            for index, sandbox in enumerate(self._sandboxes)
        ]
        for thread in self._threads:
            thread.start()

    def score(self, job: ScoreJob) -> None:
        """Take a job."""
        self._jobs.put(job)

    def close(self) -> None:
        """Stop: running answers are killed, queued ones dropped; nothing is emitted afterwards."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for sandbox in self._sandboxes:
            sandbox.close()
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=5.0)

    def _serve(self, sandbox: Sandbox) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            self._emit(self._score(job, sandbox))

    def _emit(self, event: RewardEvent) -> None:
        with self._lock:
            if not self._closed:
                self._emit_outside(event)

    def _tell(self, flag: str, why: str) -> None:
        """Log why the reward failed, each reason once."""
        short = why[:200]
        with self._lock:
            new = short not in self._told and len(self._told) < REASONS_TOLD
            if new:
                self._told.add(short)
        if new:
            _log.warning("the reward failed (%s): %s; such a response counts as wrong", flag, short)

    def _score(self, job: ScoreJob, sandbox: Sandbox) -> RewardEvent:
        begin = time.perf_counter()
        try:
            prompt, response = self._decode(ids_of(job.prompt)), self._decode(ids_of(job.response))
        except Exception as error:
            return ScoringFailed(job.trajectory, job.attempt, f"tokens could not be decoded: {error!r:.200}")
        answered = Answered(prompt, response, job.answer, job.end)
        try:
            outcome = sandbox.call(msgspec.to_builtins(answered))
        except (SandboxError, UsageError) as error:
            return ScoringFailed(job.trajectory, job.attempt, str(error))
        if isinstance(outcome, Killed | Raised):
            flag = "killed" if isinstance(outcome, Killed) else "raised"
            self._tell(flag, outcome.text if isinstance(outcome, Raised) else "it took too long, or its worker died")
            components = dict.fromkeys(self._components, 0.0) | {flag: 1.0}
        else:
            components = {str(name): float(value) for name, value in outcome.value.items()}
        return Scored(job.trajectory, job.attempt, components, time.perf_counter() - begin)
