"""Whether the marked answer is, character by character, the reference; component `outcome`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rewards.answered import Answered
from rewards.final_answer import find_final_answer

COMPONENT = "outcome"


@dataclass(frozen=True)
class Config:
    """Where the answer stands."""

    after: str = ""
    """The answer is what follows the last of these; empty: where `rewards.final_answer` finds a mark, or all of it."""
    until: str = ""
    """The answer ends before this text, e.g. the stop character; empty: at the end."""


def build(config: Config) -> Callable[[Answered], float]:
    """The reward with this config."""
    return partial(grade, config=config)


def grade(answered: Answered, config: Config) -> float:
    """1 if the answer equals the reference but for outer blanks, else 0."""
    response = answered.response
    if config.after:
        _, mark, given = response.rpartition(config.after)
        if not mark:
            return 0.0
    else:
        found = find_final_answer(response)
        given = response if found is None else found
    if config.until:
        given = given.partition(config.until)[0]
    return float(given.strip() == answered.answer.strip())
