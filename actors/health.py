"""Training health: which numbers of a learner and of replay are alarming, and what to do about it.

An alarm is about the mean over the last `WINDOW` updates, so that one odd batch rings nothing; it rings once when the
mean passes its limit, and again only after it has come back. A gradient that is not finite rings at once: the update
was skipped, and `trainer.update.most_skipped` of them in a row roll the weights back to the last checkpoint.
`no_signal_share`, which has many groups behind it, rings at once too, also where all are evicted and none trained.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW = 10


@dataclass(frozen=True)
class Limit:
    """When a number is alarming."""

    most: float
    advice: str
    least: float = -math.inf
    window: int = WINDOW


LIMITS = {
    "truncated_share": Limit(0.05, "tokens are too old or the engines disagree: lower schedule.eta"),
    "masked_share": Limit(0.10, "tokens are older than trainer.packing.max_token_lag: lower schedule.eta"),
    "mismatch": Limit(0.05, "engine and trainer disagree about the same weights: check dtype and temperature"),
    "penalty": Limit(1.0, "the policy runs away from its reference: lower trainer.update.rate"),
    "entropy": Limit(math.inf, "the policy has become deterministic: lower trainer.update.rate", least=0.005),
    "all_right_share": Limit(0.9, "hardly a group has signal: harder prompts are needed"),
    "all_wrong_share": Limit(0.9, "hardly a group has signal: easier prompts are needed"),
    "no_signal_share": Limit(
        0.9, "hardly a group has signal: easier prompts are needed, or harder ones if most are solved", window=1
    ),
    "reward_failed": Limit(0.5, "the reward raises, or is killed for taking too long: see the logs of the rewarders"),
    "skipped": Limit(0.0, "a gradient was not finite and its update was skipped: lower trainer.update.rate", window=1),
}
"""By name of the number. `penalty` is in units of the loss, rewards being of the order of 1."""


class Health:
    """Listens to the numbers of a run."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = {name: deque(maxlen=limit.window) for name, limit in LIMITS.items()}
        self._ringing: dict[str, float] = {}
        """Name and mean of what is beyond its limit."""
        self.alarms: dict[str, int] = {}
        """How often each alarm rang."""

    def take(self, name: str, value: float) -> str | None:
        """The alarm that this number sets off, as a sentence; None as long as all is well or it rings already."""
        limit = LIMITS.get(name)
        if limit is None:
            return None
        recent = self._recent[name]
        recent.append(value)
        mean = sum(recent) / len(recent)
        if len(recent) < limit.window or limit.least <= mean <= limit.most:
            self._ringing.pop(name, None)
            return None
        known = name in self._ringing
        self._ringing[name] = mean
        if known:
            return None
        self.alarms[name] = self.alarms.get(name, 0) + 1
        return f"alarm: {words(name, mean)}"

    def sounding(self) -> list[str]:
        """What is beyond its limit now, as sentences."""
        return [words(name, mean) for name, mean in self._ringing.items()]


def words(name: str, mean: float) -> str:
    """A number beyond its limit, and what to do about it."""
    limit = LIMITS[name]
    bound = f"below {limit.least:g}" if mean < limit.least else f"above {limit.most:g}"
    return f"{name} = {mean:.3g} is {bound}; {limit.advice}"
