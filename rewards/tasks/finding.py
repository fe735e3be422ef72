"""Tasks by name: one file of this package each, with a frozen `Config` and a class `Task`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any, cast

import msgspec

import rewards.tasks
from buffers.errors import UsageError
from rewards.tasks.task import Task

MACHINERY = ("task", "finding")
"""Files here that are no tasks."""


def known_tasks() -> list[str]:
    """Names of the tasks."""
    return sorted(info.name for info in pkgutil.iter_modules(rewards.tasks.__path__) if info.name not in MACHINERY)


def find_task(name: str, settings: dict[str, Any]) -> Task:
    """The task of this name with these settings; `UsageError` for an unknown name or key, or a bad value."""
    known = known_tasks()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(f"no task {name!r}; {f'did you mean {near[0]}?' if near else f'there are: {known}'}")
    module = importlib.import_module(f"rewards.tasks.{name}")
    fields = module.Config.__dataclass_fields__
    unknown = [key for key in settings if key not in fields]
    if unknown:
        raise UsageError(f"task {name}: unknown key {unknown[0]}; known: {', '.join(fields)}")
    try:
        return cast("Task", module.Task(msgspec.convert(settings, module.Config)))
    except msgspec.ValidationError as error:
        raise UsageError(f"task {name}: {error}") from None
