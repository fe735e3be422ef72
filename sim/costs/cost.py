"""What the doubles ask of cost models. An implementation is one small file of this folder, or anybody's own class.

    EngineDouble   decode(batch) -> Curve, mixed(step) -> ns, install(version) -> Install
    TrainerDouble  update(lengths) -> Parts, checkpoint(), expose()
    RewardDouble   work(trajectory, tokens)
    all            LengthModel.response_tokens(trajectory)

Every model is pure: equal arguments, equal results; what is drawn is a hash of a seed and of a number. Costs that are
added up before they become an event are float nanoseconds; costs of one event are integer nanoseconds, rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from sim.costs.curve import Curve


class Chunk(NamedTuple):
    """Tokens of one sequence that a step prefills."""

    tokens: int
    context: int
    """Tokens of it that were held before."""


class Step(NamedTuple):
    """One step of an engine that prefills: `batch` sequences with `context` held tokens in all get a token each."""

    batch: int
    context: int
    chunks: Sequence[Chunk]


class Install(msgspec.Struct, frozen=True):
    """What going over to a version takes."""

    fetch_ns: int
    """From the order until the weights can go in; generation goes on meanwhile."""
    stall_ns: int
    """Generation stands still, between two steps."""
    recompute: bool
    """Whether everything held is stale afterwards and is prefilled again."""


class EngineCost(Protocol):
    """One generator's engine: a replica of some model on some devices."""

    def decode(self, batch: int) -> Curve:
        """Time (ns) of one step in which `batch` >= 1 sequences get a token, by the sum of their contexts."""

    def mixed(self, step: Step) -> float:
        """Time (ns) of one step that prefills something."""

    def install(self, version: int) -> Install:
        """What going over to a version takes."""


class Parts(msgspec.Struct, frozen=True):
    """What one update takes, by what for: the doubles add it up, reports show it."""

    ns: Mapping[str, int]

    @property
    def total_ns(self) -> int:
        """All of it."""
        return sum(self.ns.values())


class TrainerCost(Protocol):
    """The learner's devices."""

    def update(self, lengths: Sequence[int]) -> Parts:
        """One update over sequences of so many tokens (prompt and response)."""

    def checkpoint(self) -> int:
        """Until the weights and the optimizer are durable (ns)."""

    def expose(self) -> int:
        """From the order to expose a version until generators may pull it (ns)."""


class RewardCost(Protocol):
    """Scoring."""

    @property
    def cores(self) -> int:
        """Scorings that one rewarder runs at full speed; more share its cores equally."""

    def work(self, trajectory: int, tokens: int) -> int:
        """Time on a core of its own that scoring one response takes (ns)."""


class LengthModel(Protocol):
    """How long responses are."""

    def response_tokens(self, trajectory: int, cap: int) -> int:
        """Length of a trajectory's whole response, in [1, cap]; the same at each call."""

    def prompt_tokens(self, prompt: int) -> int:
        """Length of a prompt."""
