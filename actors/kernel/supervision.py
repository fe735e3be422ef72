"""Supervision as pure decisions: restart with backoff, within a budget."""

from __future__ import annotations

from collections import deque

import msgspec

from actors.kernel.operations import ns


class RestartPolicy(msgspec.Struct, frozen=True):
    """How often and how fast an actor is restarted."""

    backoff_s: float = 0.2
    """Pause before the first restart; doubles with each death inside the window."""
    max_backoff_s: float = 10.0
    """The longest pause."""
    budget: int = 8
    """Restarts within the window; one more death gives up."""
    window_s: float = 300.0
    """Deaths older than this are forgotten."""


class Restart(msgspec.Struct, frozen=True):
    """Start the actor again after a pause, as this incarnation."""

    delay_s: float
    incarnation: int


class GiveUp(msgspec.Struct, frozen=True):
    """The budget is spent."""

    deaths: int


class RestartBook:
    """Deaths of each actor, and what follows from them."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._deaths: dict[str, deque[int]] = {}
        self._incarnation: dict[str, int] = {}

    def started(self, name: str, incarnation: int) -> None:
        """An actor was started as this incarnation."""
        self._incarnation[name] = max(incarnation, self._incarnation.get(name, 0))

    def incarnation(self, name: str) -> int:
        """The newest incarnation of an actor; 0 if it never started."""
        return self._incarnation.get(name, 0)

    def died(self, name: str, now: int) -> Restart | GiveUp:
        """Decide about an actor that has just died at `now` (ns)."""
        policy = self._policy
        deaths = self._deaths.setdefault(name, deque())
        deaths.append(now)
        while deaths[0] < now - ns(policy.window_s):
            deaths.popleft()
        if len(deaths) > policy.budget:
            return GiveUp(len(deaths))
        incarnation = self._incarnation.get(name, 0) + 1
        self._incarnation[name] = incarnation
        return Restart(min(policy.max_backoff_s, policy.backoff_s * 2 ** (len(deaths) - 1)), incarnation)
