"""What the doubles of one world did with their time, and why they stood still.

    Generators   busy | stalled (weights) | idle because: training, tail, reward, protocol, switch
    Trainer      busy by part             | idle because: generation, reward, protocol, switch

A generator without a job waits for the trainer where that is at work (admission is closed), else for other generators
(the tail of a batch), else for scores, else for messages. The reasons are global, so they are integrated once for
everybody and an idle spell is a difference of two integrals.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

Reason = Literal["training", "tail", "reward", "protocol", "switch"]
REASONS: tuple[Reason, ...] = ("training", "tail", "reward", "protocol", "switch")


class Spell:
    """One device's account of its time, in ns."""

    __slots__ = ("busy", "cached", "decoded", "idle", "preempted", "prefilled", "rows", "since", "stalled", "steps")

    def __init__(self) -> None:
        self.busy = 0.0
        self.stalled = 0.0
        """Standing still for new weights, or for the switch of shared devices."""
        self.idle: Counter[str] = Counter()
        self.since: tuple[float, ...] | None = None
        """The integrals when it became idle; None while it is not."""
        self.steps = 0
        self.decoded = 0
        self.prefilled = 0
        self.cached = 0
        """Tokens that did not have to be prefilled again."""
        self.preempted = 0
        self.rows = 0.0
        """Sequences at work, integrated over busy ns."""


class Meter:
    """One for a world; every double reports to it."""

    def __init__(self) -> None:
        self.engines: dict[str, Spell] = {}
        self.training: Counter[str] = Counter()
        """ns by part of the updates."""
        self.trainer_idle: Counter[str] = Counter()
        self.updates = 0
        self.trained_tokens = 0
        self.scored = 0
        self._integrals = [0.0] * len(REASONS)
        self._at = 0.0
        self._working = 0
        self._scoring = 0
        self._trainer = False
        self._switching = False

    def engine(self, name: str, now: float) -> Spell:
        """The account of one engine; a new life goes on with the old one's."""
        found = self.engines.get(name)
        if found is None:
            found = self.engines[name] = Spell()
        self._advance(now)
        found.since = tuple(self._integrals)
        return found

    def work(self, spell: Spell, now: float) -> None:
        """An engine begins to work."""
        if spell.since is None:
            return
        self._advance(now)
        for reason, before, after in zip(REASONS, spell.since, self._integrals, strict=True):
            if after > before:
                spell.idle[reason] += after - before  # type: ignore[assignment]
        spell.since = None
        self._working += 1

    def rest(self, spell: Spell, now: float) -> None:
        """An engine has nothing to do."""
        if spell.since is not None:
            return
        self._advance(now)
        spell.since = tuple(self._integrals)
        self._working -= 1

    def score(self, now: float, by: int) -> None:
        """So many scorings more are under way."""
        self._advance(now)
        self._scoring += by
        self.scored += by < 0

    def train(self, now: float, on: bool) -> None:
        """The trainer begins, or ends, whatever it does."""
        self._advance(now)
        self._trainer = on

    def switch(self, now: float, on: bool) -> None:
        """Shared devices change hands."""
        self._advance(now)
        self._switching = on

    def close(self, now: float) -> None:
        """Book what is idle up to now."""
        self._advance(now)
        for spell in self.engines.values():
            if spell.since is not None:
                self.work(spell, now)
                self.rest(spell, now)

    def _advance(self, now: float) -> None:
        passed = now - self._at
        if passed <= 0:
            return
        self._at = now
        if self._trainer:
            self._integrals[0] += passed
            return
        if self._switching and not self._working:
            self._integrals[4] += passed
            self.trainer_idle["switch"] += passed  # type: ignore[assignment]
            return
        index = 1 if self._working else 2 if self._scoring else 3
        self._integrals[index] += passed
        self.trainer_idle[("", "generation", "reward", "protocol")[index]] += passed  # type: ignore[assignment]
