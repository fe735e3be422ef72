"""The Reward's double: scorings on the cores of a rewarder; more of them than cores share these equally.

Outcomes are hashes of seed and trajectory at a given success rate, whatever the response is.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.kernel.backend import Clock
from actors.standins import mix
from rewards.reward import RewardEvent, Scored, ScoreJob
from sim.costs.cost import RewardCost
from sim.doubles.device import Cores, Share
from sim.doubles.meter import Meter

NS = 1e9


class RewardDouble:
    """See the module."""

    def __init__(
        self,
        cost: RewardCost,
        emit: Callable[[RewardEvent], None],
        clock: Clock,
        meter: Meter,
        seed: int,
        solved: float,
        host: Cores | None = None,
    ) -> None:  # what it costs, whom it tells, what it draws from, where it works
        self._cost = cost
        self._emit = emit
        self._clock = clock
        self._meter = meter
        self._seed = seed
        self._solved = round(solved * 1_000_000)
        self._cores = host or Cores(cost.cores)
        self._shares: dict[int, Share] = {}
        self._closed = False

    def score(self, job: ScoreJob) -> None:
        """Score one response."""
        work = self._cost.work(job.trajectory, job.response.length)
        share = self._shares[job.trajectory] = Share(self._cores, self._clock)
        self._meter.score(self._clock.now(), 1)
        share.busy(True)
        share.call_at(share.now() + work, self._scored, (job, work))

    def _scored(self, done: tuple[ScoreJob, int]) -> None:
        job, work = done
        self._shares.pop(job.trajectory).busy(False)
        self._meter.score(self._clock.now(), -1)
        outcome = float(mix(self._seed, job.trajectory, 3) % 1_000_000 < self._solved)
        self._emit(Scored(job.trajectory, job.attempt, {"outcome": outcome}, work / NS))

    def close(self) -> None:
        """Stop."""
        if not self._closed:
            self._closed = True
            for share in self._shares.values():
                self._meter.score(self._clock.now(), -1)
                share.close()
            self._shares.clear()
