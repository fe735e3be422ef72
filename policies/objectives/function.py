"""An objective that is one Python function of a person: `objective = "module:name"`.

    def my_objective(tokens: Tokens) -> Tensor          the loss of every token [B, T]

Advantages are rewards less the mean of their group. What the function returns is masked, weighted by the group's
importance and summed here; what more than tokens decide (a square of a whole response) is a class, see `objective.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from buffers.errors import UsageError
from policies.objectives.objective import DivideBy, Loss, Tokens, group_mean

Tensor = torch.Tensor
TokenLoss = Callable[[Tokens], Tensor]


@dataclass(frozen=True)
class Config:
    """What a sum of losses is divided by."""

    divide_by: DivideBy = "tokens"
    """`tokens`: loss-bearing tokens of the update; `sequences`: its trajectories."""


class Objective:
    """Wraps the function; `made_of` gives the class its name and function."""

    config_type: ClassVar[type] = Config
    name: ClassVar[str]
    function: ClassVar[TokenLoss]

    def __init__(self, config: Config) -> None:
        self.divide_by = config.divide_by

    def check(self, updates_per_reference: int) -> None:
        """Try the function on two made-up responses; `UsageError` for what it raises, or a loss without gradient."""
        logp_BT, ones_BT = torch.full((2, 3), -1.0, requires_grad=True), torch.ones(2, 3)
        try:
            loss = self.loss(Tokens(logp_BT, -ones_BT, -ones_BT, ones_BT, torch.tensor([1.0, -1.0]), torch.ones(2)))
        except UsageError:
            raise
        except Exception as error:  # it is a person's code, so it may fail in any way
            raise UsageError(f"objective {self.name!r} raised {type(error).__name__}: {error}; make it work") from error
        if not loss.total.requires_grad:
            raise UsageError(f"objective {self.name!r} gives no gradient; use tokens.logp_BT")

    def advantages(self, rewards_B: Tensor, groups_B: Tensor) -> Tensor:
        """Reward minus its group's mean [B]."""
        return rewards_B - group_mean(rewards_B, groups_B)

    def loss(self, tokens: Tokens) -> Loss:
        """The function's losses, masked and summed."""
        loss_BT = type(self).function(tokens)
        shape = tuple(tokens.logp_BT.shape)
        if not isinstance(loss_BT, Tensor) or tuple(loss_BT.shape) != shape:
            found = tuple(loss_BT.shape) if isinstance(loss_BT, Tensor) else type(loss_BT).__name__
            raise UsageError(f"objective {self.name!r} returned {found}; it must give every token's loss, {shape} here")
        total = (tokens.weight_B * (tokens.mask_BT * loss_BT).sum(1)).sum()
        none = torch.zeros((), device=total.device)
        return Loss(total, {"penalty": none, "truncated": none})


def made_of(name: str, function: TokenLoss) -> type[Objective]:
    """The objective of a function called `name`."""
    if not callable(function):
        raise UsageError(f"objective {name!r} is neither a class nor a function; write module:name of one")
    return type(
        "Objective", (Objective,), {"__doc__": function.__doc__, "name": name, "function": staticmethod(function)}
    )
