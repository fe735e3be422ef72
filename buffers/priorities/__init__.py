"""Priority rules: how much a stored group is worth training on now. One rule a file, under the name `Rule`.

A rule is a frozen dataclass of its options with `proportional` and `priority`; it sees the spread of outcomes,
freshness and what the learner said, never lengths or content. Found by file name here or by `module:name` elsewhere.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Mapping
from typing import Protocol

import msgspec

from buffers import plugin
from buffers.errors import ContractError, UsageError


class Signal(msgspec.Struct, frozen=True, gc=False):
    """All that a rule may know of a group."""

    spread: float
    """Four times the variance of its outcomes, 0 .. 1."""
    age: int
    """Versions since its last member ended."""
    position: int
    """Order in which it became eligible."""
    feedback: float
    """What the learner said of its last use (>= 0); -1 before the first."""


class PriorityRule(Protocol):
    """What every rule offers."""

    @property
    def proportional(self) -> bool:
        """True: drawn in proportion to the priority. False: the greatest is taken."""

    def priority(self, signal: Signal) -> float:
        """Worth of a group; positive where it is drawn in proportion."""


def require_positive(name: str, value: float) -> None:
    """Raise `UsageError` unless an option of a rule is a finite number above 0."""
    if not 0.0 < value < math.inf:
        raise UsageError(f"buffer.priority_options.{name} is {value}; it must be a finite number above 0")


def worth(rule: PriorityRule, name: str, group: int, signal: Signal) -> float:
    """What a rule gives a group; raises `ContractError` for a number that is no priority."""
    priority = rule.priority(signal)
    if not math.isfinite(priority) or (rule.proportional and not priority > 0.0):
        kind = "positive and finite" if rule.proportional else "finite"
        raise ContractError(f"buffer.priority {name!r} gave group {group} the priority {priority}; it must be {kind}")
    return priority


def names() -> tuple[str, ...]:
    """Rules of this folder."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str, options: Mapping[str, float]) -> PriorityRule:
    """Make the rule called `name`; raises `UsageError` for an unknown name or option."""
    if ":" in name:
        kind = plugin.load(name, "buffer.priority")
    elif name in names():
        kind = importlib.import_module(f"{__name__}.{name}").Rule
    else:
        raise UsageError(f"buffer.priority is {name!r}; it is one of {', '.join(names())}, or module:name")
    try:
        rule: PriorityRule = kind(**options)
    except TypeError as error:
        raise UsageError(f"buffer.priority {name!r} with {dict(options)} cannot be made: {error}") from error
    for needed in ("proportional", "priority"):
        if not hasattr(rule, needed):
            raise UsageError(f"buffer.priority {name!r} is no rule: it needs {needed}, see buffers/priorities")
    return rule
