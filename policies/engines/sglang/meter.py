"""What an engine did, from what its port sees: calls that run, and what their answers say.

Tokens count when their answer comes, so a report holds what ended in its interval. Steps and contexts are not told by
the server: a step is taken to give each running job one token, and a context to be the mean of its ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from policies.engine import EngineReport


@dataclass(slots=True)
class Meter:
    """Counters since the last report."""

    since: float
    busy_s: float = 0.0
    """Seconds with at least one job running and no update in the way."""
    job_s: float = 0.0
    """Sum of those seconds over jobs."""
    decoded: int = 0
    prefilled: int = 0
    cached: int = 0
    contexts: float = 0.0
    """Sum of context lengths over decoded tokens."""
    running: int = 0
    paused: bool = False
    _at: float = 0.0

    @classmethod
    def now(cls) -> Meter:
        """A meter that starts now."""
        at = time.monotonic()
        return cls(since=at, _at=at)

    def turn(self, running: int | None = None, paused: bool | None = None) -> None:
        """From now on so many jobs run, or the server stands still."""
        now = time.monotonic()
        if self.running and not self.paused:
            self.busy_s += now - self._at
            self.job_s += self.running * (now - self._at)
        self._at = now
        self.running = self.running if running is None else running
        self.paused = self.paused if paused is None else paused

    def answered(self, prompt: int, cached: int, decoded: int) -> None:
        """A call of `prompt` tokens, of which the server had `cached`, brought `decoded`."""
        self.decoded += decoded
        self.cached += cached
        self.prefilled += max(0, prompt - cached)
        self.contexts += decoded * (prompt + decoded / 2)

    def report(self) -> EngineReport:
        """The report since the last one; starts anew."""
        self.turn()
        batch = self.job_s / self.busy_s if self.busy_s else 0.0
        steps = round(self.decoded / batch) if batch else 0
        report = EngineReport(
            seconds=self._at - self.since,
            busy_s=self.busy_s,
            steps=steps,
            decoded_tokens=self.decoded,
            prefill_tokens=self.prefilled,
            mean_batch=self.decoded / steps if steps else 0.0,
            context_tokens=round(self.contexts / steps) if steps else 0,
            cached_tokens=self.cached,
        )
        self.since, self.busy_s, self.job_s, self.contexts = self._at, 0.0, 0.0, 0.0
        self.decoded = self.prefilled = self.cached = 0
        return report
