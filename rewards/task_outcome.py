"""The outcome as the task itself judges it; component `outcome`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rewards.answered import Answered
from rewards.tasks.finding import find_task

COMPONENT = "outcome"


@dataclass(frozen=True)
class Config:
    """Which task."""

    task: str = "chains"
    """A file of `rewards/tasks`, or `module:name`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys of the task's own `Config`."""


def build(config: Config) -> Callable[[Answered], float]:
    """The task's `outcome`; `UsageError` for an unknown task or a bad setting."""
    task = find_task(config.task, config.settings)
    return lambda answered: float(task.outcome(answered.response, answered.answer))
