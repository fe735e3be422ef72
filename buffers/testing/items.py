"""What the adapters of prioritized samplers have in common: whole trajectories, each one item with a priority.

A sampler is asked through five methods of its adapter: put, change, draw, tokens (and its own `alpha`). Everything
else that the kit asks is kept here in a dictionary, so that what is tested is the sampler. The adapters refuse nothing
of what the sampler is to refuse itself; `guarded` makes one whose bad priorities are stopped here, so that the laws
behind them can be seen.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from buffers.errors import UsageError
from buffers.priority_tree import PriorityTree

CAPACITY = 64
"""Items; more than the kit ever brings."""
LONGEST = 4
"""Tokens of an item, for samplers that store arrays."""
ALPHA = 0.6


class Sampler(Protocol):
    """A prioritized sampler as its adapter shows it."""

    def put(self, tokens: tuple[int, ...]) -> int:
        """Store an item with priority 1; where it lies."""

    def change(self, place: int, priority: float) -> None:
        """Give an item another priority; an exception is a refusal."""

    def draw(self, count: int, seed: int) -> tuple[Sequence[int], Sequence[float]]:
        """Places with replacement, and importance weights of exponent 1."""

    def tokens(self, place: int) -> tuple[int, ...]:
        """What lies at a place."""


class Items:
    """The kit's view of a sampler."""

    abilities: Sequence[str] = ("priorities", "weights")
    alpha = ALPHA

    def __init__(self, sampler: Sampler, guarded: bool = False) -> None:
        self._sampler = sampler
        self._guarded = guarded
        self._places: dict[int, int] = {}

    def append(self, trajectory: int, start: int, version: int, tokens: tuple[int, ...], last: bool) -> bool:
        """Store a whole trajectory, once."""
        if start or not last or trajectory in self._places:
            return False
        self._places[trajectory] = self._sampler.put(tokens)
        return True

    def read(self, trajectory: int) -> tuple[int, ...] | None:
        """Its tokens."""
        return self._sampler.tokens(self._places[trajectory]) if trajectory in self._places else None

    def set_priority(self, trajectory: int, priority: float) -> bool:
        """Whether the sampler took it without an exception."""
        bad = not (math.isfinite(priority) and priority >= 0.0)
        if trajectory not in self._places or (self._guarded and bad):
            return False
        try:
            self._sampler.change(self._places[trajectory], priority)
        except (ValueError, RuntimeError, UsageError):
            return False
        return True

    def sample(self, count: int, seed: int) -> tuple[Sequence[int], Sequence[float]]:
        """Trajectories by their places."""
        names = {place: trajectory for trajectory, place in self._places.items()}
        places, weights = self._sampler.draw(count, seed)
        return [names.get(int(place), -1) for place in places], [float(weight) for weight in weights]


class _Tree:
    """Braid's own tree."""

    def __init__(self) -> None:
        self._tree, self._tokens = PriorityTree(CAPACITY), list[tuple[int, ...]]()

    def put(self, tokens: tuple[int, ...]) -> int:
        self._tokens.append(tokens)
        self._tree.set_one(len(self._tokens) - 1, 1.0)
        return len(self._tokens) - 1

    def change(self, place: int, priority: float) -> None:
        self._tree.set_one(place, math.pow(priority, ALPHA) if priority > 0.0 else priority)

    def draw(self, count: int, seed: int) -> tuple[Sequence[int], Sequence[float]]:
        found, weights = self._tree.sample(np.random.default_rng(seed).random(count), 1.0)
        return found.tolist(), weights.tolist()

    def tokens(self, place: int) -> tuple[int, ...]:
        return self._tokens[place]


class _Cpprb:
    """cpprb's PrioritizedReplayBuffer; its random numbers are its own."""

    def __init__(self) -> None:
        cpprb: Any = importlib.import_module("cpprb")
        fields = {"tokens": {"shape": LONGEST, "dtype": np.int64}, "count": {"dtype": np.int64}}
        self._buffer = cpprb.PrioritizedReplayBuffer(CAPACITY, fields, alpha=ALPHA, eps=0.0)

    def put(self, tokens: tuple[int, ...]) -> int:
        row = [*tokens, *(0,) * (LONGEST - len(tokens))]
        return int(self._buffer.add(tokens=row, count=len(tokens), priorities=1.0))

    def change(self, place: int, priority: float) -> None:
        self._buffer.update_priorities([place], [priority])

    def draw(self, count: int, seed: int) -> tuple[Sequence[int], Sequence[float]]:
        found = self._buffer.sample(count, beta=1.0)
        return found["indexes"].tolist(), found["weights"].tolist()

    def tokens(self, place: int) -> tuple[int, ...]:
        stored = self._buffer.get_all_transitions()
        return tuple(int(one) for one in stored["tokens"][place][: int(stored["count"][place][0])])


class _Torchrl:
    """torchrl's PrioritizedReplayBuffer over a list; its random numbers are torch's."""

    def __init__(self) -> None:
        data: Any = importlib.import_module("torchrl.data")
        self._torch: Any = importlib.import_module("torch")
        self._buffer = data.PrioritizedReplayBuffer(
            alpha=ALPHA, beta=1.0, eps=1e-12, storage=data.ListStorage(CAPACITY), collate_fn=lambda items: items
        )

    def put(self, tokens: tuple[int, ...]) -> int:
        place = int(self._buffer.add(list(tokens)))
        self._buffer.update_priority([place], self._torch.tensor([1.0]))
        return place

    def change(self, place: int, priority: float) -> None:
        self._buffer.update_priority([place], self._torch.tensor([priority]))

    def draw(self, count: int, seed: int) -> tuple[Sequence[int], Sequence[float]]:
        self._torch.manual_seed(seed)
        _, info = self._buffer.sample(count, return_info=True)
        return info["index"].tolist(), info["priority_weight"].tolist()

    def tokens(self, place: int) -> tuple[int, ...]:
        return tuple(int(one) for one in self._buffer[place])


def tree() -> Items:
    """Braid's tree."""
    return Items(_Tree())


def cpprb() -> Items:
    """Cpprb (the extra `bench`)."""
    return Items(_Cpprb())


def cpprb_guarded() -> Items:
    """The same, asked with good priorities only."""
    return Items(_Cpprb(), guarded=True)


def torchrl() -> Items:
    """torchrl, in an environment of its own."""
    return Items(_Torchrl())


def torchrl_guarded() -> Items:
    """The same, asked with good priorities only."""
    return Items(_Torchrl(), guarded=True)
