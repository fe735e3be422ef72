"""A run at a glance: what its numbers say now. Fed with rows, live or from `metrics.jsonl`; shown by `cli/view.py`.

It keeps the newest value of each number, rates over the last half minute, and nothing else; times are the run's own.
"""

from __future__ import annotations

from collections import deque

from actors.health import Health
from buffers.histogram import read_bucket

WINDOW_S = 30.0
"""Rates and idle shares are those of the last so many seconds."""
BUSY = ("busy_s", "update_s", "score_s")
"""Seconds of useful work that an actor reports."""
CARD = "card_wait_s"
"""Seconds that it waited for a card that another had."""
STATES = ("state_queued", "state_running", "state_cut", "state_ended", "state_scored", "eligible", "leased", "applied")


class Board:
    """The state of a run, from its rows."""

    def __init__(self, versions: int, eta: int = 0) -> None:
        self.versions = versions
        self.eta = eta
        self.now_s = 0.0
        self.health = Health()
        self._began_s: float | None = None
        self._latest: dict[str, float] = {}
        self._told_by: dict[str, dict[str, float]] = {}
        """Number -> actor -> newest value."""
        self._first: tuple[float, float] | None = None
        """When the first version was seen, and which."""
        self._evaluations: list[tuple[float, float, float]] = []
        self._recent: deque[tuple[float, str, str, float]] = deque()
        self._version_s = 0.0
        self._actors: dict[str, None] = {}

    def take(self, actor: str, name: str, at_s: float, value: float) -> None:
        """One number."""
        if read_bucket(name) is not None:
            return
        if self._began_s is None:
            self._began_s = at_s
        self.now_s = max(self.now_s, at_s)
        self._latest[name] = value
        self._told_by.setdefault(name, {})[actor] = value
        self.health.take(name, value)
        if name in (*BUSY, CARD, "decoded_tokens", "trained_tokens"):
            self._recent.append((at_s, actor, name, value))
            if name in BUSY:
                self._actors[actor] = None
        elif name == "version":
            self._version_s = at_s
            if self._first is None:
                self._first = (at_s, value)
        elif name == "eval_sampled":
            self._evaluations.append((at_s, value, self._latest.get("eval_greedy", 0.0)))
        while self._recent and self._recent[0][0] < self.now_s - WINDOW_S:
            self._recent.popleft()

    def get(self, name: str) -> float | None:
        """The newest value of a number; None if it was never told."""
        return self._latest.get(name)

    def by_actor(self, name: str) -> dict[str, float]:
        """The newest value of a number, by who told it."""
        return self._told_by.get(name, {})

    @property
    def elapsed_s(self) -> float:
        """Since the first number."""
        return self.now_s - (self._began_s or 0.0)

    @property
    def version(self) -> int:
        """The newest that may be pulled."""
        return int(self._latest.get("version", 0))

    @property
    def since_version_s(self) -> float:
        """Since it was published; since the first number while there is none."""
        return self.now_s - (self._version_s if self._first is not None else self._began_s or 0.0)

    @property
    def version_s(self) -> float | None:
        """Mean seconds between two versions; None before the second."""
        if self._first is None or self.version <= self._first[1]:
            return None
        return (self._version_s - self._first[0]) / (self.version - self._first[1])

    @property
    def left_s(self) -> float | None:
        """Until the last version, at the mean pace so far; None while that is not known."""
        pace = self.version_s
        return None if pace is None else pace * max(0, self.versions - self.version)

    @property
    def evaluations(self) -> list[tuple[float, float, float]]:
        """(time, sampled accuracy, greedy accuracy) of each evaluation."""
        return self._evaluations

    def rate(self, name: str) -> float:
        """Sum of a number per second, lately."""
        return sum(row[3] for row in self._recent if row[2] == name) / self._span_s

    def idle_shares(self) -> dict[str, float]:
        """1 - seconds of useful work / seconds, by actor, lately."""
        busy = dict.fromkeys(self._actors, 0.0)
        for _, actor, name, value in self._recent:
            if name in BUSY:
                busy[actor] += value
        return {actor: min(1.0, max(0.0, 1.0 - value / self._span_s)) for actor, value in sorted(busy.items())}

    def card_shares(self) -> dict[str, float]:
        """Seconds of waiting for a shared card / seconds, by actor, lately; only of those who waited."""
        waited: dict[str, float] = {}
        for _, actor, name, value in self._recent:
            if name == CARD:
                waited[actor] = waited.get(actor, 0.0) + value
        return {actor: min(1.0, value / self._span_s) for actor, value in sorted(waited.items())}

    @property
    def _span_s(self) -> float:
        return max(1.0, min(WINDOW_S, self.elapsed_s))
