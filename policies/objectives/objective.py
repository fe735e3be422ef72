"""The Objective port: rewards of groups to advantages, and log-probabilities to a loss.

An objective is one file in this folder (or any class, named `module:name`) with a frozen `Config` and a class
`Objective` that is made from it and names it as `config_type`; or a function, see `function.py`. It is pure: no state,
no model, no randomness.

    rewards [B], groups [B] --advantages--> [B]          over the whole update, so that groups are whole
    Tokens [B, T] -----------loss---------> Loss         additive over trajectories, so micro-batches add up

The trainer divides the sum of the losses by what `divide_by` names: "sequences" is the number of trajectories of the
update, G k, as in the design's formula; "tokens" is the number of its loss-bearing tokens, which keeps the gradient's
size independent of length and is what the CPU example uses. Both are constants of the update: the loss's shape is the
same, only its scale differs. Masked tokens count in neither the numerator nor "tokens".

Legend: B trajectories (groups adjacent or not), T columns of right-padded prompt + response; column t of every array
speaks of token t. `logp` l: current log-probability, with gradient; `reference` l_ref: of the frozen reference;
`behaviour` b: recorded when the token was drawn; `mask` m: 1 where the token bears loss.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch

from buffers.errors import UsageError
from buffers.plugin import load

Tensor = torch.Tensor
DivideBy = Literal["sequences", "tokens"]


@dataclass(frozen=True)
class Tokens:
    """One micro-batch of whole trajectories; shapes are checked."""

    logp_BT: Tensor
    reference_BT: Tensor
    behaviour_BT: Tensor
    mask_BT: Tensor
    advantage_B: Tensor
    weight_B: Tensor
    """Importance weight of each trajectory's group, 1 unless groups are drawn with replacement."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other, and constants that carry a gradient."""
        shape = self.logp_BT.shape
        for name in ("reference_BT", "behaviour_BT", "mask_BT"):
            array: Tensor = getattr(self, name)
            if array.shape != shape or array.requires_grad:
                raise ValueError(f"{name} {tuple(array.shape)} must be a constant of shape {tuple(shape)}")
        for name in ("advantage_B", "weight_B"):
            array = getattr(self, name)
            if array.shape != shape[:1] or array.requires_grad:
                raise ValueError(f"{name} {tuple(array.shape)} must be a constant of shape {tuple(shape[:1])}")


@dataclass(frozen=True)
class Loss:
    """`total`: scalar sum over trajectories, to be minimised once divided; `sums`: detached sums to be logged."""

    total: Tensor
    sums: Mapping[str, Tensor]
    """`penalty`: the part of `total` that pulls to the reference; `truncated`: loss-bearing tokens at the limit of
    their weight or clipped."""


class Objective(Protocol):
    """What every objective offers."""

    config_type: ClassVar[type]
    divide_by: DivideBy

    def check(self, updates_per_reference: int) -> None:
        """Raise `UsageError` if the objective makes no sense with so many updates per reference."""

    def advantages(self, rewards_B: Tensor, groups_B: Tensor) -> Tensor:
        """One advantage per trajectory [B]; `groups_B` int64 numbers the groups from 0."""

    def loss(self, tokens: Tokens) -> Loss:
        """The loss of a micro-batch."""


def group_mean(values_B: Tensor, groups_B: Tensor) -> Tensor:
    """For each trajectory the mean of its group's values [B]."""
    count = int(groups_B.max()) + 1
    sums = values_B.new_zeros(count).index_add_(0, groups_B, values_B)
    sizes = values_B.new_zeros(count).index_add_(0, groups_B, torch.ones_like(values_B))
    return (sums / sizes)[groups_B]


def truncated_weight(ahead_BT: Tensor, behind_BT: Tensor, limit: float) -> Tensor:
    """min(exp(ahead - behind), limit) [B, T], without gradient: corrects staleness and engine mismatch alike."""
    return (ahead_BT - behind_BT).detach().exp().clamp(max=limit)


def count_truncated(ahead_BT: Tensor, behind_BT: Tensor, mask_BT: Tensor, limit: float) -> Tensor:
    """How many loss-bearing tokens `truncated_weight` has cut."""
    return (((ahead_BT - behind_BT).detach().exp() > limit) * mask_BT).sum()


def find_objective(name: str, settings: Mapping[str, Any] | None = None) -> Objective:
    """The objective called `name` (a file of this folder, or `module:name`), made from `settings`."""
    if ":" in name:
        kind = load(name, "objective")
    elif name in (known := known_objectives()):
        kind = importlib.import_module(f"{__package__}.{name}").Objective
    else:
        raise UsageError(f"no objective {name!r}; there are {', '.join(known)}; or write module:name")
    if not isinstance(kind, type):  # a person's function
        kind = importlib.import_module(f"{__package__}.function").made_of(name, kind)
    config_type: Any = getattr(kind, "config_type", None)
    if not hasattr(config_type, "__dataclass_fields__"):
        raise UsageError(f"objective {name!r} has no config_type; name a dataclass of its settings there")
    allowed = [field.name for field in fields(config_type)]
    for key in settings or {}:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1, 0.0)
            raise UsageError(f"objective {name!r} has no setting {key!r}; did you mean {near[0] if near else allowed}?")
    objective: Objective = kind(config_type(**(settings or {})))
    return objective


def known_objectives() -> list[str]:
    """The files of this folder that are objectives."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    return [name for name in files if name not in ("__init__", "objective", "function")]
