"""A reward that is one Python function of a person: `function = "module:name"`.

    def score(prompt: str, response: str, answer: str) -> float | dict[str, float]

A number of 1 or more is `outcome` 1, less is 0, and the number itself is kept as `score`; a dict is taken as the
components and must hold `outcome`, 0 or 1. Numbers must be finite. The function runs in the sandbox, in the
directory and with the import path of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from buffers.errors import UsageError
from buffers.plugin import load
from rewards.answered import Answered

COMPONENT = "outcome"
Score = Callable[[str, str, str], Any]
"""A person's function; what it returns is checked."""


@dataclass(frozen=True)
class Config:
    """Which function."""

    function: str = ""
    """`module:name`, importable from where the run was started."""


def build(config: Config) -> Callable[[Answered], dict[str, float]]:
    """Import the function; `UsageError` naming what cannot be found."""
    score = find_function(config.function)
    return lambda answered: components(score(answered.prompt, answered.response, answered.answer))


def find_function(name: str) -> Score:
    """The function called `module:name`."""
    found = load(name, "reward")
    if not callable(found):
        raise UsageError(f"reward = {name!r} is no function; write module:name, e.g. my_rewards:score")
    return cast("Score", found)


def components(result: object) -> dict[str, float]:
    """What a function returned, as components; `ValueError` if it is no number and no dict of numbers."""
    if isinstance(result, bool | int | float):
        number = finite("score", result)
        return {"outcome": float(number >= 1.0), "score": number}
    if not isinstance(result, dict) or result.get("outcome") not in (0, 1):
        raise ValueError(f"a reward function returns a number, or a dict with outcome 0 or 1; not {result!r:.80}")
    return {str(name): finite(str(name), value) for name, value in result.items()}


def finite(name: str, value: object) -> float:
    """The value as a float; `ValueError` naming it if it is no finite number."""
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        raise ValueError(f"component {name} = {value!r:.80} is no finite number")
    return float(value)
