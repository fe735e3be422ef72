"""Tasks by name: one file of this package each, with a frozen `Config` and a class `Task`; or a person's own.

`module:name` is a person's: a function that draws a problem (`rewards/tasks/function.py`), or a class like those here,
with a `Config` beside it in its module.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import msgspec

import rewards.tasks
from buffers.errors import UsageError
from buffers.plugin import load
from rewards.tasks import function
from rewards.tasks.task import Task

MACHINERY = ("task", "finding", "function")
"""Files here that are no tasks."""


def known_tasks() -> list[str]:
    """Names of the tasks."""
    return sorted(info.name for info in pkgutil.iter_modules(rewards.tasks.__path__) if info.name not in MACHINERY)


def find_task(name: str, settings: dict[str, Any]) -> Task:
    """The task of this name with these settings; `UsageError` for an unknown name or key, or a bad value."""
    config_type, make = kind_of(name)
    fields = config_type.__dataclass_fields__
    unknown = [key for key in settings if key not in fields]
    if unknown:
        raise UsageError(f"task {name}: unknown key {unknown[0]}; known: {', '.join(fields)}")
    try:
        return make(msgspec.convert(settings, config_type))
    except msgspec.ValidationError as error:
        raise UsageError(f"task {name}: {error}") from None


def seeded(name: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """The settings with this seed, where the task has one and they say nothing of it."""
    has_one = "seed" in kind_of(name)[0].__dataclass_fields__
    return {"seed": seed, **settings} if has_one else settings


def kind_of(name: str) -> tuple[Any, Callable[[Any], Task]]:
    """Config class and maker of the task of this name."""
    return own(name) if ":" in name else listed(name)


def listed(name: str) -> tuple[Any, Callable[[Any], Task]]:
    """Config class and maker of a file here."""
    known = known_tasks()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {known}; or write module:name"
        raise UsageError(f"no task {name!r}; {hint}")
    module = importlib.import_module(f"rewards.tasks.{name}")
    return module.Config, module.Task


def own(name: str) -> tuple[Any, Callable[[Any], Task]]:
    """Config class and maker of a person's task."""
    found = load(name, "task.name")
    if not isinstance(found, type):
        return function.Config, lambda config: function.Task(name, found, config)
    config_type = getattr(sys.modules[found.__module__], "Config", None)
    if not hasattr(config_type, "__dataclass_fields__"):
        raise UsageError(f"task {name}: its module needs a dataclass Config beside it, with the keys of the task")
    return config_type, found
