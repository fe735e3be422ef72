"""The configured rewards as one function of an answered prompt: what the sandbox runs.

A reward is one file of this package, or of a person's, with

    COMPONENT                                    the name of the component it gives ("outcome", "format" ...)
    Config                                       a frozen dataclass, every field with a default
    build(config) -> Callable[[Answered], float | dict[str, float]]

Names without a colon are files here; `module:name` is a person's Python function (see `rewards/function.py`).
"""

from __future__ import annotations

import difflib
import importlib
import math
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec

import rewards
from buffers.errors import UsageError
from rewards.answered import Answered

Grade = Callable[[Answered], float | dict[str, float]]
Settings = dict[str, dict[str, Any]]
"""Reward name to the keys of its `Config`."""


class Spec(msgspec.Struct, frozen=True):
    """Which rewards, and their settings; the argument of `build`."""

    rewards: tuple[str, ...]
    settings: Settings = {}


def known_rewards() -> list[str]:
    """Names of the files here that are rewards."""
    names = (info.name for info in pkgutil.iter_modules(rewards.__path__) if not info.ispkg)
    return sorted(name for name in names if name != "grading" and is_reward(importlib.import_module(f"rewards.{name}")))


def is_reward(module: ModuleType) -> bool:
    """Whether a module has the agreed names."""
    return all(hasattr(module, name) for name in ("COMPONENT", "Config", "build"))


def find_module(name: str) -> ModuleType:
    """The reward's file; `UsageError` naming the nearest for an unknown name. `module:name` is `rewards.function`."""
    known = known_rewards()
    file = "function" if ":" in name else name
    if file not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}; or write module:name"
        raise UsageError(f"no reward {name!r}; {hint}")
    return importlib.import_module(f"rewards.{file}")


def build_reward(name: str, settings: dict[str, Any]) -> Grade:
    """The reward of this name; `UsageError` for an unknown name or a bad setting."""
    module = find_module(name)
    if ":" in name:
        settings = settings | {"function": name}
    fields = module.Config.__dataclass_fields__
    unknown = [key for key in settings if key not in fields]
    if unknown:
        raise UsageError(f"reward {name}: unknown key {unknown[0]}; known: {', '.join(fields) or 'none'}")
    try:
        config = msgspec.convert(settings, module.Config)
    except msgspec.ValidationError as error:
        raise UsageError(f"reward {name}: {error}") from None
    grade: Grade = module.build(config)
    return grade


def components_of(spec: Spec) -> list[str]:
    """Names of the components in order; `UsageError` if one is given twice, or the outcome by none."""
    names: list[str] = [find_module(reward).COMPONENT for reward in spec.rewards]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"rewards {', '.join(spec.rewards)}: two of them give the component {name}; keep one")
    stray = [reward for reward in spec.settings if reward not in spec.rewards]
    if stray:
        raise UsageError(f"settings for reward {stray[0]}, which is not among {', '.join(spec.rewards)}")
    if "outcome" not in names:
        raise UsageError(f"rewards {', '.join(spec.rewards) or '(none)'}: none gives the outcome; add exact or another")
    return names


def build_rewards(spec: Spec) -> dict[str, Grade]:
    """Component to function; `UsageError` for whatever is wrong in the spec."""
    names = components_of(spec)
    return {
        name: build_reward(reward, spec.settings.get(reward, {}))
        for name, reward in zip(names, spec.rewards, strict=True)
    }


def build(argument: object) -> Callable[[object], dict[str, float]]:
    """The sandbox's function: an `Answered` as plain JSON values to components by name."""
    found = build_rewards(msgspec.convert(argument, Spec))

    def grade(value: object) -> dict[str, float]:
        answered = msgspec.convert(value, Answered)
        components: dict[str, float] = {}
        for component, function in found.items():
            result = function(answered)
            components |= result if isinstance(result, dict) else {component: float(result)}
        bad = [name for name, number in components.items() if not math.isfinite(number)]
        if bad or components.get("outcome") not in (0.0, 1.0):
            raise ValueError(f"components {components}: outcome must be 0 or 1, all finite")
        return components

    return grade
